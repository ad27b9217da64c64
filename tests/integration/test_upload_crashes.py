"""Workers that are killed with -9: every event is counted once, and nothing stays unsettled."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from tributary.deliver import outbox

from sandbox.faults import Fault
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import (
    PIXEL,
    TOKEN,
    configure,
    counted_once,
    execute,
    kill_when,
    leased,
    meta_destination,
    purchase,
    sandbox_with_pixels,
    send,
    states,
    take,
)

pytestmark = pytest.mark.slow

_WORKER = """
import sys
from datetime import datetime
from tributary import warehouse
from tributary.deliver import destinations
from tributary.deliver.upload import upload
from tributary.platforms.meta.client import Graph
from tributary.platforms import registry

uri, host, token, now = sys.argv[1:]
clock = lambda connection: datetime.fromisoformat(now)
with warehouse.connect(uri, autocommit=True) as connection:
    target = destinations.one(connection, "acme-meta", clock(connection))
client = lambda: Graph(token, host=host, attempts=1)
make = lambda: registry.platform("meta").sender(client(), target.settings)
upload(uri, target, make, clock=clock)
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_with_pixels() as running:
        yield running


def _kill_when(
    uri: str, sandbox: Sandbox, true: Callable[[], bool], *, host: str | None = None
) -> None:
    """Run an upload in a process of its own, and kill it as soon as something is true."""
    kill_when(_WORKER, [uri, host or sandbox.url, TOKEN, sandbox.clock.now().isoformat()], true)


def _ends_well(uri: str, sandbox: Sandbox, events: int, dead: int = 0) -> None:
    """Before the lease ends nobody else touches the deliveries; after it all is well."""
    held = leased(uri)
    assert held > 0
    before = len(sandbox.requests)
    send(uri, sandbox)
    assert leased(uri) == held
    sandbox.clock.advance(outbox.LEASE + timedelta(seconds=1))
    send(uri, sandbox)
    assert len(sandbox.requests) > before
    assert counted_once(sandbox) == events - dead
    found = states(uri)
    assert found["sent", "accepted"] == events - dead
    assert sum(found.values()) == events
    open_requests = "select id from ops.upload_batches where ended_at is null"
    assert query(uri, open_requests) == []


def test_killed_before_the_request_leaves(warehouse: str, sandbox: Sandbox) -> None:
    """Events that were claimed and never sent stay claimed without end."""
    import socket

    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(100)])
    with socket.socket() as deaf:  # accepts connections and reads nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        host = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        _kill_when(warehouse, sandbox, lambda: leased(warehouse) == 100, host=host)
    assert sandbox.events.totals(PIXEL)["received"] == 0
    _ends_well(warehouse, sandbox, 100)


def test_killed_after_the_request_was_taken(warehouse: str, sandbox: Sandbox) -> None:
    """Events that Meta took just before the crash are counted twice."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(100)])
    sandbox.faults.add(Fault("hang_after", seconds=30.0))
    _kill_when(warehouse, sandbox, lambda: sandbox.events.totals(PIXEL)["received"] == 100)
    _ends_well(warehouse, sandbox, 100)
    assert sandbox.events.totals(PIXEL)["duplicates"] == 100


def test_killed_in_the_middle_of_an_isolation(warehouse: str, sandbox: Sandbox) -> None:
    """A crash among the halves of a refused batch loses or doubles some events."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(200)])
    sandbox.faults.add(Fault("refuse_event", event_id=["order-70", "order-150"], subcode=2804050))
    sandbox.latency = 0.03
    _kill_when(warehouse, sandbox, lambda: 20 <= sandbox.events.totals(PIXEL)["received"] < 190)
    sandbox.latency = 0
    _ends_well(warehouse, sandbox, 200, dead=2)
    assert states(warehouse)["dead", "100/2804050"] == 2


def test_one_of_two_workers_is_killed(warehouse: str, sandbox: Sandbox) -> None:
    """The other worker stops, or takes events that the dead one still has leased."""
    configure(warehouse, "acme", meta_destination(batch_size=20, in_flight=2))
    take(warehouse, [purchase(number) for number in range(400)])
    sandbox.latency = 0.05
    _kill_when(warehouse, sandbox, lambda: 40 <= sandbox.events.totals(PIXEL)["received"] < 300)
    sandbox.latency = 0
    _ends_well(warehouse, sandbox, 400)


def test_an_orphan_settles_nothing_that_is_no_longer_its_own(
    warehouse: str, sandbox: Sandbox
) -> None:
    """A worker that was suspended past its lease overwrites the newer answer."""
    from tributary import warehouse as wh
    from tributary.deliver.outbox import LeaseLost, Outbox
    from tributary.platforms.base import Answer, Verdict

    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(3)])
    with wh.connect(warehouse, autocommit=True) as connection:
        late = Outbox(
            connection, "acme-meta", dedup_window=None, clock=lambda _: sandbox.clock.now()
        )
        batch, _ = late.claim(10, lambda event: None)
        assert batch is not None
        sandbox.clock.advance(outbox.LEASE + timedelta(seconds=1))
        assert send(warehouse, sandbox).succeeded == 3
        with pytest.raises(LeaseLost):
            late.settle(batch, Verdict("dead", "late"), Answer())
        with pytest.raises(LeaseLost):
            late.part(batch)
    assert states(warehouse) == {("sent", "accepted"): 3}


def test_a_killed_database_connection_is_loud_and_safe(warehouse: str, sandbox: Sandbox) -> None:
    """An answer that could not be stored is lost or counted twice."""
    import psycopg

    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(10)])
    sandbox.faults.add(Fault("hang_after", seconds=0.5))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(send, warehouse, sandbox)
        while sandbox.events.totals(PIXEL)["received"] < 10:
            time.sleep(0.005)
        execute(
            warehouse,
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
            "and datname = current_database() and application_name = 'tributary'",
        )
        with pytest.raises(psycopg.OperationalError):
            running.result()
    _ends_well(warehouse, sandbox, 10)
