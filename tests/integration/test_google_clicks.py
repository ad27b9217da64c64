"""Google's clicks in the warehouse: a day is replaced whole, and a gclid is joined to its ad."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from tributary.extract.google_clicks import load_day
from tributary.platforms.google import credentials
from tributary.platforms.google.errors import GoogleForbidden, GoogleRefused
from tributary.platforms.google_ads.client import GoogleAds

from sandbox import app_data
from sandbox.google import Click, GoogleFault
from sandbox.server import Sandbox
from sandbox.world import Clock, World
from tests.support.loads import query
from tests.support.outgoing import NOW
from tests.support.to_google import access, google_sandbox

CUSTOMER, DAY = "1112223333", date(2026, 11, 19)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with google_sandbox() as running:
        yield running


def _client(sandbox: Sandbox) -> GoogleAds:
    return GoogleAds(access(sandbox, credentials.ADS), host=sandbox.ads_url)


def _load(uri: str, sandbox: Sandbox, day: date = DAY, now: datetime = NOW) -> int:
    return load_day(_client(sandbox), uri, CUSTOMER, day, run_id="test", now=now)


def _stored(uri: str) -> list[str]:
    rows = query(uri, "select gclid from raw.google_click_view order by gclid")
    return [row["gclid"] for row in rows]


def _click(sandbox: Sandbox, gclid: str, hours: float = 24) -> None:
    sandbox.google.clicks[gclid] = Click(CUSTOMER, NOW - timedelta(hours=hours))


def test_a_day_is_replaced_whole(warehouse: str, sandbox: Sandbox) -> None:
    """A click would stay that Google has taken away, or be there twice."""
    before = _load(warehouse, sandbox)
    for name in ("a-click-1", "a-click-2"):
        _click(sandbox, name)
    assert _load(warehouse, sandbox) == before + 2
    del sandbox.google.clicks["a-click-1"]
    _click(sandbox, "a-click-3")
    assert _load(warehouse, sandbox, now=NOW + timedelta(minutes=1)) == before + 2
    assert {"a-click-2", "a-click-3"} <= set(_stored(warehouse))
    assert "a-click-1" not in _stored(warehouse)
    # An orphan that began before does not put back what it had read.
    del sandbox.google.clicks["a-click-3"]
    _load(warehouse, sandbox, now=NOW)
    assert "a-click-3" in _stored(warehouse)


def test_an_empty_answer_takes_no_clicks_away(
    warehouse: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage that looks like a day without clicks would take every gclid its ad."""
    _click(sandbox, "a-click-1")
    count = _load(warehouse, sandbox)
    stored = _stored(warehouse)
    sandbox.clock.set(datetime(2026, 11, 19, 5, 0, 1, tzinfo=UTC))  # the day has just begun
    assert _load(warehouse, sandbox, now=NOW + timedelta(minutes=1)) == 0
    assert _stored(warehouse) == stored
    assert f"Google answers with no click; the {count} that are stored are kept" in caplog.text


def test_a_row_as_it_is_stored(warehouse: str, sandbox: Sandbox) -> None:
    """Whoever joins a gclid to its ad would find other names."""
    _click(sandbox, "a-click-1")
    _load(warehouse, sandbox)
    (row,) = query(warehouse, "select * from raw.google_click_view where gclid = 'a-click-1'")
    assert (row["account_id"], row["date"], row["run_id"]) == (CUSTOMER, DAY, "test")
    payload = row["payload"]
    assert set(payload) == {"click_view", "campaign", "ad_group", "customer", "segments"}
    assert payload["click_view"]["gclid"] == "a-click-1"
    assert payload["click_view"]["ad_group_ad"].startswith(f"customers/{CUSTOMER}/adGroupAds/")
    assert payload["campaign"].keys() == payload["ad_group"].keys() == {"id", "name"}
    assert payload["segments"]["date"] == "2026-11-19"


def test_days_are_the_accounts_own(warehouse: str, sandbox: Sandbox) -> None:
    """A click of the evening would be of the next day."""
    _click(sandbox, "a-late-one", hours=10)  # 02:00 UTC, 21:00 of the day before in New York
    _load(warehouse, sandbox)
    assert "a-late-one" in _stored(warehouse)


def test_every_gclid_of_the_demo_is_found(warehouse: str) -> None:
    """The demo's touchpoints would lead to no ad."""
    world = World(date(2026, 11, 10))
    now = datetime(2026, 11, 20, tzinfo=UTC)
    with Sandbox(world, clock=Clock(now)) as sandbox:
        for number in range(11):
            _load(warehouse, sandbox, date(2026, 11, 9) + timedelta(days=number), now)
    names = app_data.COLUMNS["touchpoints"].split(", ")
    touches = [
        dict(zip(names, row, strict=True)) for row in app_data.app_rows(world, now)["touchpoints"]
    ]
    wanted = {t["gclid"] for t in touches if t["brand_slug"] == "acme" and t["gclid"]}
    assert wanted
    assert wanted == set(_stored(warehouse))


def test_what_google_refuses_changes_nothing(warehouse: str, sandbox: Sandbox) -> None:
    """A refused query would empty a day."""
    _click(sandbox, "a-click-1")
    _load(warehouse, sandbox)
    stored = _stored(warehouse)
    denied = "authorization_error.USER_PERMISSION_DENIED"
    sandbox.google.faults.append(GoogleFault("error", api="search", code=denied))
    with pytest.raises(GoogleForbidden, match="USER_PERMISSION_DENIED"):
        _load(warehouse, sandbox)
    with pytest.raises(GoogleRefused, match="DATE_TOO_OLD"):
        _load(warehouse, sandbox, DAY - timedelta(days=90))
    assert _stored(warehouse) == stored


def test_the_connection_can_be_tested(sandbox: Sandbox) -> None:
    """The button would say nothing of what the credentials open."""
    assert _client(sandbox).customers() == ["1112223333", "4445556666"]
