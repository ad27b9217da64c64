"""Uploads to Google over the real clients: each good event is counted once, each bad one told."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from conftest_of_loads import query
from outgoing import NOW, configure, purchase, requests, states, take
from to_google import (
    GCLID,
    LOGIN,
    access,
    bodies,
    configure_google,
    counted_once,
    google_destination,
    google_sandbox,
    paused_until,
    sale,
    sales,
    send,
)

from include.conversions.upload import Troubled
from include.google.data_manager import MAX_BATCH
from include.sandbox.google import GoogleFault
from include.sandbox.server import Sandbox

DM, ADS = "google-data-manager", "google-ads"
BOTH = ["google_data_manager", "google_ads"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with google_sandbox() as running:
        yield running


# What is wrong with an event, and what each API calls it.
_WRONG = [
    ({"gclid": "not a click id"}, "INVALID_FORMAT", "conversion_upload_error.UNPARSEABLE_GCLID"),
    (
        {"event_time": NOW + timedelta(minutes=5)},
        "EVENT_TIME_INVALID",
        "date_error.LATER_THAN_MAXIMUM_DATE",
    ),
    (
        {"user_hashes": {"google": {"email": ["zz"]}}},
        "INVALID_HEX_ENCODING",
        "conversion_upload_error.INVALID_USER_IDENTIFIER",
    ),
]


@pytest.mark.parametrize("bad", [1, 3, 17])
@pytest.mark.parametrize("platform", BOTH)
def test_bad_events_are_told_by_row(
    warehouse: str, sandbox: Sandbox, platform: str, bad: int
) -> None:
    """Red: a bad event would cost its batch, or not be told apart from another one."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    wrong = {number * (MAX_BATCH // bad): _WRONG[number % 3] for number in range(bad)}
    take(
        warehouse,
        [sale(n, **(wrong[n][0] if n in wrong else {})) for n in range(MAX_BATCH)],
    )
    # All of one identifier kind and day, so that they leave in one request.
    summary = send(warehouse, sandbox, name)
    fine = "accepted" if platform == "google_data_manager" else "confirmed"
    codes = Counter(ways[1 if platform == "google_data_manager" else 2] for ways in wrong.values())
    assert states(warehouse, name) == Counter(
        {("sent", fine): MAX_BATCH - bad, **{("dead", code): n for code, n in codes.items()}}
    )
    assert counted_once(sandbox) == MAX_BATCH - bad
    limit = 2 if platform == "google_data_manager" else 1
    assert summary.requests == requests(warehouse) == limit
    dead = query(
        warehouse,
        "select e.event_id, d.outcome, d.sync_error from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event where d.sync_status = 'dead'",
    )
    place = 1 if platform == "google_data_manager" else 2
    assert {row["event_id"]: row["outcome"] for row in dead} == {
        f"order-{number}": ways[place] for number, ways in wrong.items()
    }
    for row in dead:
        assert row["sync_error"]
        assert "zz" not in row["sync_error"]
        assert "click id" not in row["sync_error"]
