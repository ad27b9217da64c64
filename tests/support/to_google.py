"""What the tests of Google's two destinations share: the real clients, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson
from google.ads.googleads.v26.services.types import (
    conversion_adjustment_upload_service as adjusting,
)
from google.ads.googleads.v26.services.types import conversion_upload_service as uploading
from tributary import warehouse as wh
from tributary.deliver import confirm, destinations
from tributary.deliver.reading import Raw
from tributary.deliver.upload import Summary, upload
from tributary.platforms import registry
from tributary.platforms.base import Sender
from tributary.platforms.google import credentials
from tributary.platforms.google_ads.client import GoogleAds
from tributary.platforms.google_data_manager.client import DataManager

from sandbox.server import Sandbox
from sandbox.world import Clock
from tests.support.loads import query
from tests.support.outgoing import NOW, configure, execute, purchase, take, virtual

CUSTOMER, PURCHASE, LEAD = "1112223333", "42", "43"
GCLID = "Cj0KCQ-abcdefghijklmnopqrstuvwxyz-0123456789-{}"
LOGIN = {
    "client_id": "123456789012-sandbox.apps.googleusercontent.com",
    "client_secret": "sandbox-client-secret",
    "refresh_token": "sandbox-refresh-token",
}


@contextmanager
def google_sandbox(**options: Any) -> Iterator[Sandbox]:
    with Sandbox(clock=Clock(NOW), **options) as sandbox:
        yield sandbox


def google_destination(platform: str, name: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "name": name or platform.replace("_", "-"),
        "platform": platform,
        "conn_id": "google_acme",
        "customer_id": CUSTOMER,
        "events": {"Purchase": PURCHASE, "Lead": LEAD},
        "send_from": "2026-01-01T00:00:00+00:00",
        **changes,
    }


def configure_google(uri: str, *platforms: str, **changes: Any) -> None:
    """Destinations with the same action, side by side; `configure` takes them one at a time only,
    since Google counts what both bring once.
    """
    for one in platforms:
        execute(uri, "update ops.destinations set is_active = false")
        configure(uri, "acme", google_destination(one, **changes))
    execute(uri, "update ops.destinations set is_active = true")


def sale(number: int, **fields: Any) -> Raw:
    """A purchase that came from a click on a Google ad."""
    return purchase(number, **{"gclid": GCLID.format(number), **fields})


def sales(uri: str, numbers: range, **fields: Any) -> None:
    take(uri, [sale(number, **fields) for number in numbers])


def access(
    sandbox: Sandbox, scope: str = credentials.DATA_MANAGER, **extra: Any
) -> credentials.Access:
    if extra:
        extra = {"token_uri": f"{sandbox.url}/token", **extra}
    return credentials.Access(extra, host=sandbox.url, scope=scope, who="connection 'google_acme'")


def senders(
    sandbox: Sandbox,
    destination: destinations.Destination,
    timeout: float = 10,
    host: str | None = None,
    **extra: Any,
) -> Callable[[], Sender]:
    def client() -> GoogleAds | DataManager:
        if destination.platform == "google_ads":
            allowed = access(sandbox, credentials.ADS, **extra)
            return GoogleAds(allowed, host=host or sandbox.ads_url, timeout=timeout)
        return DataManager(access(sandbox, **extra), host=host or sandbox.url, timeout=timeout)

    sends_to = registry.platform(destination.platform)
    return lambda: sends_to.sender(client(), destination.settings)


def send(
    uri: str,
    sandbox: Sandbox,
    name: str,
    *,
    timeout: float = 10,
    host: str | None = None,
    login: dict[str, Any] | None = None,
    **options: Any,
) -> Summary:
    """One upload of a destination, at the sandbox's own time."""
    clock = virtual(sandbox)
    with wh.connect(uri, autocommit=True) as connection:
        destination = destinations.one(connection, name, clock(connection))
    make = senders(sandbox, destination, timeout, host, **(login or {}))
    return upload(uri, destination, make, clock=clock, **options)


def ask(uri: str, sandbox: Sandbox, name: str = "google-data-manager") -> confirm.Summary:
    """One confirmation of a destination, at the sandbox's own time."""
    clock = virtual(sandbox)
    with wh.connect(uri, autocommit=True) as connection:
        destination = destinations.one(connection, name, clock(connection))
    sender = senders(sandbox, destination)()
    return confirm.confirm(uri, destination, sender, clock=clock)


def counted_once(sandbox: Sandbox) -> int:
    """How many conversions Google counts; fails when it counts one of them twice."""
    counted = sandbox.google.counted()
    assert set(counted.values()) <= {1}
    return len(counted)


def bodies(sandbox: Sandbox, api: str = "data_manager") -> list[Any]:
    """The requests as they were on the wire: JSON, or the library's messages read from it."""
    found = [one.body for one in sandbox.google.received if one.api == api]
    match api:
        case "data_manager":
            return [orjson.loads(body) for body in found]
        case "google_ads":
            return [uploading.UploadClickConversionsRequest.deserialize(body) for body in found]
        case "adjustments":
            return [
                adjusting.UploadConversionAdjustmentsRequest.deserialize(body) for body in found
            ]
    return found


def row(uri: str, sql: str) -> dict[str, Any]:
    found = query(uri, sql)
    assert len(found) == 1
    return found[0]


def paused_until(uri: str, name: str) -> tuple[datetime | None, str | None]:
    found = row(
        uri, f"select paused_until, paused_reason from ops.destinations where name = '{name}'"
    )
    return found["paused_until"], found["paused_reason"]


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)
