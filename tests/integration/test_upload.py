"""Uploads: every good event is counted once, every bad one stands alone with its own code."""

import math
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from conftest_of_loads import query
from outgoing import (
    NOW,
    OTHER_PIXEL,
    OTHER_TOKEN,
    PIXEL,
    configure,
    counted_once,
    meta_destination,
    purchase,
    requests,
    sandbox_with_pixels,
    send,
    states,
    take,
)

from include.conversions.upload import Troubled
from include.sandbox.faults import Fault
from include.sandbox.server import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_with_pixels() as running:
        yield running


@pytest.mark.parametrize("bad", [1, 3, 17])
@pytest.mark.parametrize("spread", ["spread", "together"])
def test_bad_events_are_isolated_in_few_requests(
    warehouse: str, sandbox: Sandbox, bad: int, spread: str
) -> None:
    """A red test here: one bad event costs its batch, or a request per event."""
    configure(warehouse)
    step = 1000 // bad if spread == "spread" else 1
    wrong = [f"order-{number * step + step // 2}" for number in range(bad)]
    sandbox.faults.add(Fault("refuse_event", event_id=wrong, subcode=2804050))
    take(warehouse, [purchase(number) for number in range(1000)])

    summary = send(warehouse, sandbox)

    assert states(warehouse) == {("sent", "accepted"): 1000 - bad, ("dead", "100/2804050"): bad}
    dead = query(
        warehouse,
        "select e.event_id, d.sync_error from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event where d.sync_status = 'dead'",
    )
    assert {row["event_id"] for row in dead} == set(wrong)
    assert counted_once(sandbox) == 1000 - bad
    bound = 2 * bad * (math.ceil(math.log2(1000 / bad)) + 1) + 1
    assert summary.requests == requests(warehouse) <= bound
    assert (summary.succeeded, summary.dead, summary.errors) == (
        1000 - bad,
        bad,
        Counter({"100/2804050": bad}),
    )
