"""Workers that are killed with -9 on their way to Google: every event is counted once."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from tributary.deliver import outbox

from sandbox.google import GoogleFault
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import kill_when, leased, states
from tests.support.to_google import ask, configure_google, counted_once, google_sandbox, sales, send

pytestmark = pytest.mark.slow

DM, ADS = "google-data-manager", "google-ads"
_WORKER = """
import sys
from datetime import datetime
from tributary import warehouse
from tributary.deliver import destinations
from tributary.deliver.upload import upload
from tributary.platforms import registry
from tributary.platforms.google.credentials import ADS, Access
from tributary.platforms.google_data_manager.client import DataManager
from tributary.platforms.google_ads.client import GoogleAds

uri, name, host, now = sys.argv[1:]
clock = lambda connection: datetime.fromisoformat(now)
with warehouse.connect(uri, autocommit=True) as connection:
    target = destinations.one(connection, name, clock(connection))
access = Access({}, host=host, scope=ADS, who="the worker")
client = GoogleAds if target.platform == "google_ads" else DataManager
sends_to = registry.platform(target.platform)
make = lambda: sends_to.sender(client(access, host=host), target.settings)
upload(uri, target, make, clock=clock)
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with google_sandbox() as running:
        yield running


def _kill_when(
    uri: str, sandbox: Sandbox, name: str, true: Callable[[], bool], host: str | None = None
) -> None:
    """Run an upload in a process of its own, and kill it as soon as something is true."""
    host = host or (sandbox.ads_url if name == ADS else sandbox.url)
    kill_when(_WORKER, [uri, name, host, sandbox.clock.now().isoformat()], true)


def _ends_well(uri: str, sandbox: Sandbox, name: str, events: int) -> None:
    """Before the lease ends nobody else touches the deliveries; after it all is well."""
    held = leased(uri)
    assert held > 0
    send(uri, sandbox, name)
    assert leased(uri) == held
    sandbox.clock.advance(outbox.LEASE + timedelta(seconds=1))
    send(uri, sandbox, name)
    assert counted_once(sandbox) == events
    found = states(uri, name)
    assert {status for status, _ in found} == {"sent"}
    assert sum(found.values()) == events
    assert query(uri, "select id from ops.upload_batches where ended_at is null") == []


@pytest.mark.parametrize("name", [DM, ADS])
def test_killed_before_the_request_leaves(warehouse: str, sandbox: Sandbox, name: str) -> None:
    """Events that were claimed and never sent stay claimed without end."""
    import socket

    configure_google(warehouse, name.replace("-", "_"))
    sales(warehouse, range(100))
    with socket.socket() as deaf:  # accepts connections and reads nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        host = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        _kill_when(warehouse, sandbox, name, lambda: leased(warehouse) == 100, host)
    assert counted_once(sandbox) == 0
    _ends_well(warehouse, sandbox, name, 100)


@pytest.mark.parametrize("name", [DM, ADS])
def test_killed_after_the_request_was_taken(warehouse: str, sandbox: Sandbox, name: str) -> None:
    """Events that Google took just before the crash are counted twice, or look undelivered."""
    configure_google(warehouse, name.replace("-", "_"))
    sales(warehouse, range(100))
    sandbox.google.faults.append(GoogleFault("hang_after"))
    _kill_when(warehouse, sandbox, name, lambda: len(sandbox.google.conversions) == 100)
    _ends_well(warehouse, sandbox, name, 100)
    if name == DM:
        sandbox.clock.advance(timedelta(minutes=30))
        ask(warehouse, sandbox)
    assert states(warehouse, name) == {("sent", "duplicate"): 100}


@pytest.mark.parametrize("name", [DM, ADS])
def test_killed_in_the_middle_of_many_requests(warehouse: str, sandbox: Sandbox, name: str) -> None:
    """Of several requests at once some are lost or doubled."""
    configure_google(warehouse, name.replace("-", "_"), batch_size=20, in_flight=2)
    sales(warehouse, range(400))
    sandbox.latency = 0.05
    _kill_when(warehouse, sandbox, name, lambda: 40 <= len(sandbox.google.conversions) < 300)
    sandbox.latency = 0
    _ends_well(warehouse, sandbox, name, 400)
