"""What uploading conversions to Google costs, beside bare loops over its clients in the same run.

A loop builds the same events with the library's own classes and sends them 2000 at a time, one
request after the other, with no ledger and no crash safety. Each measurement is a process of its
own, and the sandbox another, so that CPU and memory are the client's alone.

    python -m bench.google_upload [--events 100000]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from rich.console import Console
from rich.table import Table
from tributary import warehouse
from tributary.deliver import destinations, outbox
from tributary.deliver.upload import upload
from tributary.local import embedded
from tributary.platforms import registry
from tributary.platforms.google.credentials import ADS, DATA_MANAGER, Access
from tributary.platforms.google_ads.client import GoogleAds
from tributary.platforms.google_data_manager.client import DataManager
from tributary.settings.apply import apply
from tributary.settings.read import check

from bench import fresh_warehouse
from sandbox.server import Sandbox

DATABASE, CUSTOMER, ACTION = "bench_google_upload", "1112223333", "42"
LATENCY, BATCH = 0.2, 2000


def _serve(pipe: Any, latency: float) -> None:
    with Sandbox(latency=latency) as sandbox:
        pipe.send((sandbox.url, sandbox.ads_url))
        pipe.recv()


@contextmanager
def serving(latency: float) -> Iterator[tuple[str, str]]:
    """A sandbox in a process of its own; yields the URLs of Data Manager and the Ads API."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(there, latency))
    process.start()
    yield here.recv()
    here.send("end")
    process.join()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _manager_loop(url: str, uri: str, events: int) -> dict[str, Any]:
    """Data Manager's client alone."""
    from google.ads import datamanager_v1 as dm
    from google.ads.datamanager_v1.services.ingestion_service.transports import (
        IngestionServiceRestTransport as Rest,
    )
    from google.auth.credentials import AnonymousCredentials

    host = url.removeprefix("http://")
    rest = Rest(host=host, url_scheme="http", credentials=AnonymousCredentials())
    client = dm.IngestionServiceClient(transport=rest)
    at = datetime.now(UTC) - timedelta(hours=1)
    account = dm.ProductAccount(account_type="GOOGLE_ADS", account_id=CUSTOMER)
    for start in range(0, events, BATCH):
        batch = [
            dm.Event(
                transaction_id=f"loop-{n}",
                event_timestamp=at,
                event_source=dm.EventSource.WEB,
                consent=dm.Consent(ad_user_data=1, ad_personalization=1),
                ad_identifiers=dm.AdIdentifiers(gclid=f"Cj0KCQ-loop-{n:030}"),
                user_data=dm.UserData(
                    user_identifiers=[
                        dm.UserIdentifier(email_address=_digest(f"person.{n}@example.com")),
                        dm.UserIdentifier(phone_number=_digest(f"+1212555{n:06}")),
                    ]
                ),
                conversion_value=19.9,
                currency="USD",
            )
            for n in range(start, min(start + BATCH, events))
        ]
        client.ingest_events(
            dm.IngestEventsRequest(
                destinations=[
                    dm.Destination(operating_account=account, product_destination_id=ACTION)
                ],
                events=batch,
                encoding=dm.Encoding.HEX,
            ),
            timeout=60,
        )
    return {"requests": -(-events // BATCH)}


def _ads_loop(url: str, uri: str, events: int) -> dict[str, Any]:
    """The Ads API's client alone, over the same kind of channel as ours."""
    import grpc
    from google.ads.googleads.interceptors import ExceptionInterceptor, MetadataInterceptor
    from google.ads.googleads.v26.common.types.consent import Consent
    from google.ads.googleads.v26.common.types.offline_user_data import UserIdentifier
    from google.ads.googleads.v26.services.services import conversion_upload_service as services
    from google.ads.googleads.v26.services.types import conversion_upload_service as types

    channel = grpc.intercept_channel(
        grpc.insecure_channel(url.removeprefix("http://")),
        MetadataInterceptor(None, None, None),
        ExceptionInterceptor("v26", use_proto_plus=True),
    )
    kind = services.ConversionUploadServiceClient
    client = kind(transport=kind.get_transport_class("grpc")(channel=channel))
    at = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%d %H:%M:%S}+00:00"
    for start in range(0, events, BATCH):
        rows = [
            types.ClickConversion(
                gclid=f"Cj0KCQ-loop-{n:030}",
                conversion_action=f"customers/{CUSTOMER}/conversionActions/{ACTION}",
                conversion_date_time=at,
                order_id=f"ads-loop-{n}",
                conversion_value=19.9,
                currency_code="USD",
                consent=Consent(ad_user_data=2, ad_personalization=2),
                user_identifiers=[
                    UserIdentifier(hashed_email=_digest(f"person.{n}@example.com")),
                    UserIdentifier(hashed_phone_number=_digest(f"+1212555{n:06}")),
                ],
            )
            for n in range(start, min(start + BATCH, events))
        ]
        client.upload_click_conversions(
            request=types.UploadClickConversionsRequest(
                customer_id=CUSTOMER, conversions=rows, partial_failure=True
            ),
            timeout=60,
        )
    return {"requests": -(-events // BATCH)}


def _ours(name: str, url: str, uri: str, events: int) -> dict[str, Any]:
    """From the outbox to the platform, settled."""
    with warehouse.connect(uri, autocommit=True) as connection:
        target = destinations.one(connection, name, outbox.now_of(connection))

    def make() -> Any:
        if name == "google-ads":
            client = GoogleAds(Access({}, host=url, scope=ADS, who="bench"), host=url)
            return registry.platform("google_ads").sender(client, target.settings)
        access = Access({}, host=url, scope=DATA_MANAGER, who="bench")
        return registry.platform("google_data_manager").sender(
            DataManager(access, host=url), target.settings
        )

    summary = upload(uri, target, make)
    assert summary.succeeded == events, summary
    return {"requests": summary.requests}


_KINDS: dict[str, Callable[[str, str, int], dict[str, Any]]] = {
    "manager_loop": _manager_loop,
    "manager": lambda url, uri, events: _ours("google-data-manager", url, uri, events),
    "ads_loop": _ads_loop,
    "ads": lambda url, uri, events: _ours("google-ads", url, uri, events),
}


def _measure(kind: str, url: str, uri: str, events: int) -> None:
    """In a process of its own: prints what it cost as JSON."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = _KINDS[kind](url, uri, events)
    found["cpu"] = time.process_time() - cpu
    found["wall"] = time.perf_counter() - wall
    found["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def measured(kind: str, url: str, uri: str, events: int) -> dict[str, Any]:
    """What one of the kinds costs."""
    command = [sys.executable, "-m", "bench.google_upload", "--events", str(events)]
    ended = subprocess.run(
        [*command, "--measure", kind, url, uri], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _prepared(events: int) -> str:
    """A fresh warehouse with so many events, due at both destinations."""
    embedded.start()
    uri = fresh_warehouse(DATABASE)
    brand = {
        "slug": "bench",
        "name": "Bench",
        "reporting_currency": "USD",
        "time_zone": "UTC",
        "consent_when_unknown": "allow",
        "destinations": [
            {"name": platform.replace("_", "-"), "platform": platform, "conn_id": "google",
             "customer_id": CUSTOMER, "events": {"Purchase": action},
             "send_from": "2020-01-01T00:00:00Z"}
            # Each has an action of its own: Google would take the second one's for repetitions.
            for platform, action in (("google_data_manager", ACTION), ("google_ads", "43"))
        ],
    }  # fmt: skip
    with warehouse.connect(uri, autocommit=True) as connection:
        apply(connection, check({"brands": [brand]}))
        for statement in (_EVENTS, _DELIVERIES):
            connection.execute(statement, {"events": events})
        connection.execute("analyze")
    return uri


# As intake leaves them; the hashes are of the right form.
_EVENTS = """
insert into ops.conversion_events (brand_id, event_name, event_id, event_time, action_source,
    event_value, currency, transaction_id, source, gclid, user_hashes, destinations)
select b.id, 'Purchase', 'ours-' || n, date_trunc('day', now()) - interval '1 hour',
    'website', 19.90, 'USD', 'T-' || n, 'bench', 'Cj0KCQ-ours-' || lpad(n::text, 30, '0'),
    jsonb_build_object('google', jsonb_build_object(
        'email', jsonb_build_array(encode(sha256(('e' || n)::bytea), 'hex')),
        'phone', jsonb_build_array(encode(sha256(('p' || n)::bytea), 'hex')))),
    array['google-ads', 'google-data-manager']
from ops.brands as b cross join generate_series(1, %(events)s) as n
"""
_DELIVERIES = """
insert into ops.conversion_deliveries (event, destination, sync_status, next_attempt_at, deadline,
    batch_key)
select e.id, d.name, 'pending', now(), e.event_time + interval '89 days',
    case d.platform when 'google_ads' then 'conversion'
    else 'conversion|Purchase|' || date(e.event_time) || '|gclid+user' end
from ops.conversion_events as e cross join ops.destinations as d
"""


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, url, uri = options.measure
        _measure(kind, url, uri, options.events)
        return
    events = options.events
    table = Table(
        "what", "requests", "wall s", "CPU s", "CPU x loop", "memory MB",
        title=f"{events:,} conversions to Google, {LATENCY * 1000:.0f} ms a request",
    )  # fmt: skip
    uri = _prepared(events)
    for title, kind, which in (("Data Manager", "manager", 0), ("Google Ads API", "ads", 1)):
        with serving(LATENCY) as urls:
            loop = measured(f"{kind}_loop", urls[which], uri, events)
            ours = measured(kind, urls[which], uri, events)
            ledger = requests.get(f"{urls[0]}/_sandbox/google/ledger", timeout=60).json()
        assert sum(counted for _, _, counted, _, _ in ledger) == 2 * events
        for what, found in ((f"{title}: bare loop", loop), (f"{title}: upload", ours)):
            table.add_row(
                what, str(found["requests"]), f"{found['wall']:.1f}", f"{found['cpu']:.1f}",
                f"{found['cpu'] / loop['cpu']:.2f}", f"{found['rss']:.0f}",
            )  # fmt: skip
    Console(width=max(100, Console().width)).print(table)


if __name__ == "__main__":
    main()
