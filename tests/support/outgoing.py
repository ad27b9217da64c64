"""What the tests of conversions share: brands with destinations, events, uploads, whole ledgers.

Everything goes through the real intake, outbox and Graph client to the sandbox; its clock is also
the outbox's, so that a day takes no time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tributary import config
from tributary import warehouse as wh
from tributary.deliver import brands, destinations, intake
from tributary.deliver.reading import Raw
from tributary.deliver.upload import Summary, upload
from tributary.platforms import registry
from tributary.platforms.base import Sender
from tributary.platforms.meta.client import Graph
from tributary.settings.apply import apply
from tributary.settings.read import check

from sandbox.graph import Token
from sandbox.server import Sandbox
from sandbox.world import Clock
from tests.support.loads import query

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOKEN, PIXEL = "a-token-for-conversions-0123456789", "2000000077"
OTHER_TOKEN, OTHER_PIXEL = "another-token-for-conversions-987654", "2000000088"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"


@contextmanager
def sandbox_with_pixels(**options: Any) -> Iterator[Sandbox]:
    tokens = {
        TOKEN: Token(frozenset({"1000000001"}), pixels=frozenset({PIXEL})),
        OTHER_TOKEN: Token(frozenset({"1000000003"}), pixels=frozenset({OTHER_PIXEL})),
    }
    with Sandbox(**{"clock": Clock(NOW), "tokens": tokens, **options}) as sandbox:
        yield sandbox


def meta_destination(name: str = "acme-meta", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "platform": "meta",
        "conn_id": "meta_acme",
        "pixel_id": PIXEL,
        "send_from": "2026-01-01T00:00:00+00:00",
        **changes,
    }


def configure(uri: str, slug: str = "acme", *targets: dict[str, Any], **brand: Any) -> None:
    wanted = {
        "slug": slug,
        "name": slug.title(),
        "reporting_currency": "USD",
        "time_zone": "UTC",
        "consent_when_unknown": "allow",
        "destinations": list(targets or [meta_destination()]),
        **brand,
    }
    with wh.connect(uri, autocommit=True) as connection:
        apply(connection, check({"brands": [wanted]}))


def purchase(number: int, **fields: Any) -> Raw:
    return {
        "event_name": "Purchase",
        "event_id": f"order-{number}",
        "transaction_id": f"T-{number}",
        "event_time": NOW - timedelta(hours=1),
        "action_source": "website",
        "event_source_url": "https://shop.example/thanks",
        "email": f"person.{number}@example.com",
        "user_agent": AGENT,
        "ip": "192.0.2.7",
        "value": "19.90",
        "currency": "USD",
        **fields,
    }


def take(
    uri: str,
    events: Sequence[Raw],
    slug: str = "acme",
    now: datetime = NOW,
    *,
    internal: bool = False,
) -> list[intake.Receipt]:
    with wh.connect(uri, autocommit=True) as connection:
        brand = brands.load(connection)[slug]
        return intake.take(connection, brand, events, source="test", now=now, internal=internal)


def send(
    uri: str,
    sandbox: Sandbox,
    name: str = "acme-meta",
    *,
    token: str = TOKEN,
    timeout: float = 10,
    **options: Any,
) -> Summary:
    """One upload of a destination, at the sandbox's own time."""
    clock = virtual(sandbox)
    with wh.connect(uri, autocommit=True) as connection:
        destination = destinations.one(connection, name, clock(connection))
    make = senders(sandbox, destination, token, timeout)
    return upload(uri, destination, make, clock=clock, **options)


def virtual(sandbox: Sandbox) -> Callable[[wh.Connection], datetime]:
    return lambda connection: sandbox.clock.now()


def senders(
    sandbox: Sandbox, destination: destinations.Destination, token: str = TOKEN, timeout: float = 10
) -> Callable[[], Sender]:
    def make() -> Sender:
        graph = Graph(token, host=sandbox.url, attempts=1, timeout=(5, timeout))
        return registry.platform("meta").sender(graph, destination.settings)

    return make


def states(uri: str, destination: str = "acme-meta") -> Counter[tuple[str, str | None]]:
    """How many deliveries are in which state, with which outcome."""
    rows = query(
        uri,
        "select sync_status, outcome, count(*)::int as number from ops.conversion_deliveries "
        f"where destination = '{destination}' group by 1, 2",
    )
    return Counter({(row["sync_status"], row["outcome"]): row["number"] for row in rows})


def counted_once(sandbox: Sandbox, pixel: str = PIXEL) -> int:
    """How many events the platform counts; fails when it counts one of them twice."""
    ledger = sandbox.events.ledger(pixel)
    assert {counted for counted, _ in ledger.values()} <= {1}
    return len(ledger)


def requests(uri: str) -> int:
    return int(query(uri, "select count(*)::int as number from ops.upload_batches")[0]["number"])


def execute(uri: str, statement: str, given: Sequence[object] | None = None) -> None:
    with wh.connect(uri, autocommit=True) as connection:
        connection.execute(statement, given)


def leased(uri: str) -> int:
    """How many deliveries some worker holds."""
    rows = query(
        uri,
        "select count(*)::int as n from ops.conversion_deliveries where sync_status = 'queued'",
    )
    return int(rows[0]["n"])


def kill_when(program: str, arguments: Sequence[str], true: Callable[[], bool]) -> None:
    """Run a program in a process of its own, and kill it (-9) as soon as something is true."""
    worker = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=config.ROOT, env=os.environ.copy()
    )
    deadline = time.monotonic() + 60
    while not true():
        assert worker.poll() is None, "the worker ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
