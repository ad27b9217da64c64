"""What uploading conversions costs, beside a bare loop over Meta's SDK in the same run.

The loop builds the same events with the SDK's own classes and sends them 1000 at a time, with no
ledger, no isolation and no crash safety. Each measurement is a process of its own, and the sandbox
another, so that CPU and memory are the client's alone.

    python -m bench.upload [--events 100000]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from rich.console import Console
from rich.table import Table
from tributary import warehouse
from tributary.deliver import destinations, outbox, transactions
from tributary.deliver.upload import upload
from tributary.local import embedded
from tributary.platforms import registry
from tributary.platforms.meta.client import Graph
from tributary.settings.apply import apply
from tributary.settings.read import check

from bench import fresh_warehouse
from sandbox.graph import Token
from sandbox.server import Sandbox

TOKEN, PIXEL = "bench-token", "2000000099"
DATABASE = "bench_upload"
LATENCY = 0.2
_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0"


def _serve(pipe: Any, latency: float) -> None:
    tokens = {TOKEN: Token(frozenset({"1000000001"}), pixels=frozenset({PIXEL}))}
    with Sandbox(tokens=tokens, latency=latency) as sandbox:
        pipe.send(sandbox.url)
        pipe.recv()


@contextmanager
def serving(latency: float) -> Iterator[str]:
    """A sandbox in a process of its own; yields its URL."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(there, latency))
    process.start()
    yield here.recv()
    here.send("end")
    process.join()


def _loop(url: str, uri: str, events: int) -> dict[str, Any]:
    """The SDK alone."""
    from facebook_business.adobjects.serverside.action_source import ActionSource
    from facebook_business.adobjects.serverside.custom_data import CustomData
    from facebook_business.adobjects.serverside.event import Event
    from facebook_business.adobjects.serverside.event_request import EventRequest
    from facebook_business.adobjects.serverside.user_data import UserData
    from facebook_business.api import FacebookAdsApi
    from facebook_business.session import FacebookSession

    FacebookSession.GRAPH = url
    FacebookAdsApi.set_default_api(FacebookAdsApi(FacebookSession(access_token=TOKEN)))
    at = int(time.time()) - 3600
    for start in range(0, events, 1000):
        batch = [
            Event(
                event_name="Purchase",
                event_time=at,
                event_id=f"loop-{number}",
                action_source=ActionSource.WEBSITE,
                event_source_url="https://shop.example/thanks",
                user_data=UserData(
                    email=f"person.{number}@example.com",
                    phone=f"+1212555{number:06}",
                    first_name="Emily",
                    last_name="Garcia",
                    city="Austin",
                    state="tx",
                    zip_code="78701",
                    country_code="us",
                    external_id=f"p{number}",
                    client_ip_address="192.0.2.7",
                    client_user_agent=_AGENT,
                ),
                custom_data=CustomData(value=19.9, currency="usd", order_id=f"T-{number}"),
            )
            for number in range(start, start + 1000)
        ]
        EventRequest(pixel_id=PIXEL, events=batch).execute()
    return {}


def _enqueue(url: str, uri: str, events: int) -> dict[str, Any]:
    """From `app.transactions` and profiles into the outbox."""
    counts = transactions.enqueue(uri)["bench"]
    assert counts["accepted"] == events, counts
    return {}


def _ours(url: str, uri: str, events: int) -> dict[str, Any]:
    """From the outbox to the platform, settled."""
    with warehouse.connect(uri, autocommit=True) as connection:
        target = destinations.one(connection, "bench", outbox.now_of(connection))
    summary = upload(
        uri,
        target,
        lambda: registry.platform("meta").sender(
            Graph(TOKEN, host=url, attempts=1), target.settings
        ),
    )
    assert summary.succeeded == events, summary
    return {"requests": summary.requests}


_KINDS: dict[str, Callable[[str, str, int], dict[str, Any]]] = {
    "loop": _loop,
    "enqueue": _enqueue,
    "ours": _ours,
}


def _measure(kind: str, url: str, uri: str, events: int) -> None:
    """In a process of its own: prints what it cost as JSON. Imports are not counted."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = _KINDS[kind](url, uri, events)
    found["cpu"] = time.process_time() - cpu
    found["wall"] = time.perf_counter() - wall
    found["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def measured(kind: str, url: str, uri: str, events: int) -> dict[str, Any]:
    """What one of the kinds costs."""
    command = [sys.executable, "-m", "bench.upload", "--events", str(events), "--measure", kind]
    ended = subprocess.run([*command, url, uri], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _prepared(events: int) -> str:
    """A fresh warehouse with so many transactions, each with a profile and three touchpoints."""
    embedded.start()
    uri = fresh_warehouse(DATABASE)
    brand = {
        "slug": "bench",
        "name": "Bench",
        "reporting_currency": "USD",
        "time_zone": "UTC",
        "destinations": [
            {"name": "bench", "platform": "meta", "conn_id": "meta", "pixel_id": PIXEL,
             "send_from": "2020-01-01T00:00:00Z"}
        ],
    }  # fmt: skip
    with warehouse.connect(uri, autocommit=True) as connection:
        apply(connection, check({"brands": [brand]}))
        for statement in (_PROFILES, _TRANSACTIONS, _TOUCHPOINTS):
            connection.execute(statement, {"events": events, "agent": _AGENT})
        connection.execute("analyze")
    return uri


_PROFILES = """
insert into app.profiles (profile_id, brand_slug, email, phone, first_name, last_name, city, state,
    zip, country, external_id, consent_ad_user_data, consent_ad_personalization)
select 'p' || n, 'bench', 'person.' || n || '@example.com', '+1212555' || lpad(n::text, 4, '0'),
    'Emily', 'Garcia', 'Austin', 'Texas', '78701', 'US', 'p' || n, true, true
from generate_series(1, %(events)s) as n
"""
_TRANSACTIONS = """
insert into app.transactions (transaction_id, brand_slug, profile_id, status, amount, currency,
    transacted_at, event_id, action_source, event_source_url, ip, user_agent)
select 'T-' || n, 'bench', 'p' || n, 'completed', 19.90, 'USD',
    now() - interval '1 hour' - n * interval '1 second', 'ours-' || n, 'website',
    'https://shop.example/thanks', '192.0.2.7', %(agent)s
from generate_series(1, %(events)s) as n
"""
_TOUCHPOINTS = """
insert into app.touchpoints (touchpoint_id, brand_slug, profile_id, touched_at, fbclid, fbp, ad_id)
select 'p' || n || '-' || t, 'bench', 'p' || n, now() - t * interval '3 days',
    'IwAR' || md5(n::text), 'fb.1.1700000000000.' || n, '77'
from generate_series(1, %(events)s) as n cross join generate_series(1, 3) as t
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
        title=f"{events:,} conversions, {LATENCY * 1000:.0f} ms a request",
    )  # fmt: skip
    uri = _prepared(events)
    with serving(LATENCY) as url:
        loop = measured("loop", url, uri, events)
        enqueued = measured("enqueue", url, uri, events)
        ours = measured("ours", url, uri, events)
        ledger = requests.get(f"{url}/_sandbox/events/ledger?pixel={PIXEL}", timeout=60).json()
    assert sum(counted for _, _, counted, _ in ledger["ledger"]) == 2 * events
    for what, found in (("bare loop over the SDK", loop), ("enqueue", enqueued), ("upload", ours)):
        table.add_row(
            what, str(found.get("requests", "")), f"{found['wall']:.1f}", f"{found['cpu']:.1f}",
            f"{found['cpu'] / loop['cpu']:.2f}", f"{found['rss']:.0f}",
        )  # fmt: skip
    Console(width=max(100, Console().width)).print(table)


if __name__ == "__main__":
    main()
