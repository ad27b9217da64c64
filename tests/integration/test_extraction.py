"""Loads: exact, atomic by day, the same whatever happened on the way, and honest about sums."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg import sql
from tributary import config
from tributary import warehouse as wh
from tributary.errors import DaysVanished, LoadFenced, Unreconciled, WarehouseBusy, WarehouseDown
from tributary.platforms.meta import reports
from tributary.platforms.meta.client import Graph
from tributary.warehouse.load import META, ensure_partitions, stage_rows, staged_totals

from sandbox.call import Call
from sandbox.delivery import Delivery
from sandbox.nodes import show
from sandbox.objects import HIDDEN, AccountSpec, effective_status
from sandbox.rows import Piece, render
from sandbox.world import World
from tests.support.loads import (
    ACCOUNT_ID,
    SINCE,
    TOKEN,
    UNTIL,
    WINDOWS,
    MeetingSandbox,
    load,
    query,
    serving,
    tables,
)

DAY = date(2025, 3, 30)  # has 23 hours in Berlin
MakeWarehouse = Callable[[str], str]


@pytest.fixture
def sandbox() -> Iterator[MeetingSandbox]:
    with serving() as running:
        yield running


def _days(since: date = SINCE, until: date = UNTIL) -> list[date]:
    return [since + timedelta(days=n) for n in range((until - since).days + 1)]


def _expected_insights(
    world: World, account_id: str, days: Iterable[date], now: datetime
) -> dict[tuple[date, str], Any]:
    """What Graph says of each ad's day, rendered from the world without paging or HTTP."""
    fields = [f for f in (*reports.KEY_FIELDS, *reports.AD_FIELDS) if not f.startswith("date_")]
    return {
        (day, one.ad.id): render(Piece(day, day, one.ad, [one]), fields, WINDOWS)
        for day in days
        for one in world.deliveries(account_id, day, now)
    }


def _stored_insights(uri: str) -> dict[tuple[date, str], Any]:
    rows = query(uri, "select account_id, date, ad_id, payload from raw.meta_ad_insights")
    return {(row["date"], row["ad_id"]): row["payload"] for row in rows}


def _stati(uri: str) -> dict[date, str]:
    return {r["date"]: r["status"] for r in query(uri, "select date, status from ops.loads")}


# Exact.


def test_every_row_of_the_world_is_stored_as_graph_gave_it(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """Spend would be missing, doubled or changed between Graph and `raw`."""
    result = load(warehouse, sandbox)
    expected = _expected_insights(sandbox.world, ACCOUNT_ID, _days(), sandbox.clock.now())
    assert _stored_insights(warehouse) == expected
    assert len(expected) > 500
    assert result.as_dict() == {
        "account_id": ACCOUNT_ID,
        "since": "2025-03-25",
        "until": "2025-04-05",
        "rows": len(expected),
        "calls": len(sandbox.requests),
        "days": {"loaded": 0, "reconciled": 12},
        "skipped_days": 0,
    }
    # The world was one in which something could go wrong: pages, and an empty one among them.
    assert any(r.params.get("level") == "ad" and "after" in r.params for r in sandbox.requests)
    gone = {
        ad.id
        for ad in sandbox.world.ads[ACCOUNT_ID]
        if effective_status(ad, sandbox.clock.now()) in HIDDEN
    }
    kinds = {effective_status(a, sandbox.clock.now()) for a in sandbox.world.ads[ACCOUNT_ID]}
    assert {"DELETED", "ARCHIVED", "ACTIVE"} <= kinds
    assert len(gone & {ad_id for _, ad_id in expected}) > 10


def test_every_object_is_stored_deleted_and_archived_ones_included(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """A deleted campaign's spend would have no name in the marts."""
    load(warehouse, sandbox)
    account = sandbox.world.accounts[ACCOUNT_ID]
    expected = {
        "meta_campaigns": {c.id for c in account.campaigns},
        "meta_adsets": {a.id for c in account.campaigns for a in c.adsets},
        "meta_ads": {a.id for c in account.campaigns for s in c.adsets for a in s.ads},
    }
    for table, ids in expected.items():
        rows = query(warehouse, f"select account_id, id, payload from raw.{table}")
        assert {row["id"] for row in rows} == ids
        for row in rows:
            wanted = dict.fromkeys(row["payload"])
            if "creative" in wanted:
                wanted["creative"] = dict.fromkeys(row["payload"]["creative"])
            node = sandbox.world.objects[row["id"]]
            assert row["payload"] == show(node, wanted, sandbox.world, sandbox.clock.now())
            assert row["account_id"] == ACCOUNT_ID
        assert {row["payload"]["effective_status"] for row in rows} > HIDDEN
    (row,) = query(warehouse, "select * from raw.meta_ad_accounts")
    assert (row["account_id"], row["id"]) == (ACCOUNT_ID, f"act_{ACCOUNT_ID}")
    assert (row["payload"]["currency"], row["payload"]["timezone_name"]) == ("EUR", "Europe/Berlin")


def test_sums_equal_the_accounts_own_to_the_cent(warehouse: str, sandbox: MeetingSandbox) -> None:
    """What a team sees as spent would not be what Meta bills."""
    load(warehouse, sandbox)
    totals = sandbox.world.account_totals(ACCOUNT_ID, SINCE, UNTIL, sandbox.clock.now())
    sums = {
        row.pop("date"): tuple(row.values())
        for row in query(
            warehouse,
            "select date, sum((payload ->> 'spend')::numeric) as spend, "
            "sum((payload ->> 'impressions')::bigint) as impressions, "
            "sum((payload ->> 'clicks')::bigint) as clicks "
            "from raw.meta_ad_insights group by date",
        )
    }
    assert sums == {day: (t.spend, t.impressions, t.clicks) for day, t in totals.items()}
    own = query(warehouse, "select date, payload from raw.meta_account_insights")
    assert {row["date"]: Decimal(row["payload"]["spend"]) for row in own} == {
        day: total.spend for day, total in totals.items()
    }
    counts = {day: len(sandbox.world.full_day(ACCOUNT_ID, day)) for day in _days()}
    ledger = query(warehouse, "select * from ops.loads")
    assert {row["date"]: row for row in ledger}.keys() == set(_days())
    for row in ledger:
        total = totals[row["date"]]
        assert row | {"extracted_at": 0, "loaded_at": 0} == {
            "account_id": ACCOUNT_ID,
            "report": "ad_insights",
            "date": row["date"],
            "rows": counts[row["date"]],
            "spend": total.spend,
            "impressions": total.impressions,
            "account_spend": total.spend,
            "account_impressions": total.impressions,
            "status": "reconciled",
            "run_id": "run-1",
            "run_clear_number": 0,
            "extracted_at": 0,
            "loaded_at": 0,
            "empty_since": None,
        }
        assert row["extracted_at"] < row["loaded_at"]


@pytest.mark.parametrize(
    ("spec", "start", "since", "until", "now"),
    [
        (
            AccountSpec("31", "b", "Tokyo", "JPY", "Asia/Tokyo", campaigns=1, adsets=1, ads=3),
            date(2024, 2, 1), date(2024, 2, 27), date(2024, 3, 2), datetime(2024, 3, 9, tzinfo=UTC),
        ),
        (
            AccountSpec("990011223344556677", "b", "Kuwait", "KWD", "Asia/Kathmandu", campaigns=5),
            date(2025, 12, 1), date(2025, 12, 25), date(2026, 1, 5),
            datetime(2026, 1, 20, tzinfo=UTC),
        ),
        (
            AccountSpec("7", "b", "Newfoundland", "HUF", "America/St_Johns", 3, 1, 30),
            date(2025, 10, 1), date(2025, 10, 30), date(2025, 11, 4),
            datetime(2025, 11, 30, tzinfo=UTC),
        ),
        (
            # Has no object at all, and days before its data begins.
            AccountSpec("8", "b", "Nobody", "BHD", "Pacific/Apia", campaigns=0),
            date(2025, 1, 1), date(2024, 12, 30), date(2025, 1, 2),
            datetime(2025, 2, 1, tzinfo=UTC),
        ),
    ],
)  # fmt: skip
def test_any_other_world_loads_as_exactly(
    warehouse: str, spec: AccountSpec, start: date, since: date, until: date, now: datetime
) -> None:
    """The code would know the demo's accounts, currencies, zones or dates."""
    with serving(spec, start=start) as sandbox:
        sandbox.clock.set(now)
        result = load(warehouse, sandbox, account_id=spec.account_id, since=since, until=until)
        days = _days(since, until)
        expected = _expected_insights(sandbox.world, spec.account_id, days, now)
    assert _stored_insights(warehouse) == expected
    assert bool(expected) is bool(spec.campaigns)
    assert result.days == {"loaded": 0, "reconciled": len(days)}
    assert _stati(warehouse) == dict.fromkeys(days, "reconciled")
    spend = sum(Decimal(row["spend"]) for row in expected.values())
    (found,) = query(warehouse, "select sum(spend) as s, sum(account_spend) as a from ops.loads")
    assert (found["s"], found["a"]) == (spend, spend)


def test_accounts_do_not_touch_each_other(warehouse: str) -> None:
    """Loading one account would delete or change another's rows of the same days."""
    specs = [
        AccountSpec("41", "b", "One", "USD", "America/Los_Angeles", campaigns=2),
        AccountSpec("42", "b", "Two", "IDR", "Asia/Jakarta", campaigns=3),
    ]
    with serving(*specs) as sandbox:
        for spec in (*specs, specs[0]):
            load(warehouse, sandbox, account_id=spec.account_id, run=f"run-{spec.account_id}")
        for spec in specs:
            rows = query(
                warehouse,
                "select date, ad_id, payload from raw.meta_ad_insights where account_id = %s",
                spec.account_id,
            )
            assert {(r["date"], r["ad_id"]): r["payload"] for r in rows} == _expected_insights(
                sandbox.world, spec.account_id, _days(), sandbox.clock.now()
            )


# The same, whatever happened on the way.


def test_again_and_in_any_order_leaves_the_same(
    make_warehouse: MakeWarehouse, sandbox: MeetingSandbox
) -> None:
    """A second load, or a backfill in another order, would leave other tables than one."""
    clean, twice, forth, back = (make_warehouse(f"order_{n}") for n in range(4))
    load(clean, sandbox)
    early, late = (SINCE, date(2025, 4, 1)), (date(2025, 3, 28), UNTIL)
    for uri, windows in (
        (twice, [(SINCE, UNTIL)] * 2),
        (forth, [early, late]),
        (back, [late, early]),
    ):
        for number, (since, until) in enumerate(windows):
            load(uri, sandbox, run=f"run-{number}", since=since, until=until)
        assert tables(uri) == tables(clean)


def test_an_unchanged_day_is_not_written_again(warehouse: str, sandbox: MeetingSandbox) -> None:
    """Every daily look back would write a month of rows anew and bloat the table."""
    load(warehouse, sandbox, run="first")
    before = query(warehouse, "select ctid, * from raw.meta_ad_insights order by date, ad_id")
    load(warehouse, sandbox, run="second")
    after = query(warehouse, "select ctid, * from raw.meta_ad_insights order by date, ad_id")
    assert after == before
    assert {row["run_id"] for row in query(warehouse, "select run_id from ops.loads")} == {"second"}


_CHILD = """
import os, signal, sys
from tests.support.loads import SINCE, UNTIL, load
class There:
    url = sys.argv[2]
left = [int(sys.argv[3])]
def fence():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
load(sys.argv[1], There, fence=fence)
"""


def _child(uri: str, sandbox: MeetingSandbox, fences: int) -> subprocess.Popen[bytes]:
    """A process that loads as `run-1` and kills itself just before its n-th commit of a day."""
    command = [sys.executable, "-c", _CHILD, uri, sandbox.url, str(fences)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(config.ROOT)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fence", "call"),
    [(1, 0), (5, 0), (8, 0), (12, 0), (0, 2), (0, 6), (0, 7), (0, 8)],
)
def test_killed_anywhere_and_run_again_leaves_the_same(
    make_warehouse: MakeWarehouse, sandbox: MeetingSandbox, fence: int, call: int
) -> None:
    """A kill -9 in a load would leave half a day, or days that a retry does not mend."""
    clean, killed = make_warehouse("kill_clean"), make_warehouse("kill_killed")
    load(clean, sandbox)
    sandbox.requests.clear()
    with _child(killed, sandbox, fence) as child:
        if call:
            sandbox.meet = lambda _, number: child.kill() if number == call else None
        assert child.wait(60) == -signal.SIGKILL
    sandbox.meet = lambda *_: None
    calls = len(sandbox.requests)
    assert calls == call or (fence and calls > 5)
    done = _stati(killed)
    assert len(done) == max(fence - 1, 0)
    # What is there is whole days and nothing else.
    assert _stored_insights(killed) == _expected_insights(
        sandbox.world, ACCOUNT_ID, done, sandbox.clock.now()
    )
    result = load(killed, sandbox)
    assert result.skipped_days == len(done)
    assert tables(killed) == tables(clean)


def test_what_vanished_leaves(make_warehouse: MakeWarehouse, sandbox: MeetingSandbox) -> None:
    """Rows that Meta took back would be counted for ever."""
    one, other = make_warehouse("vanish_one"), make_warehouse("vanish_clean")
    load(one, sandbox, run="before")
    victim = sandbox.world.full_day(ACCOUNT_ID, DAY)[3].ad
    gone = DAY + timedelta(days=2)

    def change(_: str, day: date, rows: list[Delivery]) -> list[Delivery]:
        if day == gone:
            return []
        return [row for row in rows if day != DAY or row.ad is not victim]

    sandbox.world.becomes(change)
    with pytest.raises(DaysVanished):
        load(one, sandbox, run="after")
    with wh.connect(one, autocommit=True) as connection:  # the answer has lasted
        connection.execute("update ops.loads set empty_since = empty_since - interval '3 days'")
    load(one, sandbox, run="later")
    stored = _stored_insights(one)
    assert (DAY, victim.id) not in stored
    assert (DAY + timedelta(days=1), victim.id) in stored
    assert not [key for key in stored if key[0] == gone]
    assert query(one, "select 1 from raw.meta_account_insights where date = %s", gone) == []
    (row,) = query(one, "select rows, spend, status from ops.loads where date = %s", gone)
    assert row == {"rows": 0, "spend": 0, "status": "reconciled"}
    load(other, sandbox)
    assert tables(one) == tables(other)


def test_a_restated_day_is_replaced(make_warehouse: MakeWarehouse, sandbox: MeetingSandbox) -> None:
    """Meta's corrections of past days would never arrive."""
    one, other = make_warehouse("restated_one"), make_warehouse("restated_clean")
    load(one, sandbox, run="before")
    sandbox.world.becomes(
        lambda _, day, rows: [r._replace(spend=r.spend + 7) for r in rows] if day == DAY else rows
    )
    load(one, sandbox, run="after")
    load(other, sandbox)
    assert tables(one) == tables(other)
    assert query(one, "select distinct date from raw.meta_ad_insights where run_id = 'after'") == [
        {"date": DAY}
    ]


def test_finished_days_are_not_fetched_twice_in_one_run(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """Each retry of a long backfill would begin at its first day; or a cleared run at none."""
    fenced = _fence_that_raises_at(9)
    with pytest.raises(LoadFenced):
        load(warehouse, sandbox, fence=fenced)
    assert len(_stati(warehouse)) == 8
    for clear, run, ranges in (
        (0, "run-1", [("2025-04-02", "2025-04-05")]),  # the retry: only the rest
        (0, "run-1", []),
        (1, "run-1", [("2025-03-25", "2025-04-05")]),  # cleared
        (0, "run-2", [("2025-03-25", "2025-04-05")]),  # a new run
    ):
        sandbox.requests.clear()
        result = load(warehouse, sandbox, run=run, clear=clear)
        assert sandbox.asked_days() == ranges
        fetched = sum(result.days.values())
        assert result.skipped_days + fetched == 12


# Two at once.


def _fence_that_raises_at(number: int) -> Callable[[], None]:
    left = [number]

    def fence() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise LoadFenced("This try was abandoned by its supervisor; nothing was written.")

    return fence


def test_a_fence_that_raises_leaves_nothing_of_its_day(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """An orphan whose task runs again elsewhere would write beside it."""
    with pytest.raises(LoadFenced):
        load(warehouse, sandbox, fence=_fence_that_raises_at(3))
    first_two = _days()[:2]
    assert _stati(warehouse) == dict.fromkeys(first_two, "reconciled")
    assert {day for day, _ in _stored_insights(warehouse)} == set(first_two)
    own = query(warehouse, "select date from raw.meta_account_insights order by date")
    assert [row["date"] for row in own] == first_two


class _Overtaken(Graph):
    """The real client, with something else happening once after the ad rows were read."""

    def __init__(self, *arguments: Any, then: Callable[[], object], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._then: Callable[[], object] | None = then

    def pages(self, path: str, **params: Any) -> Iterator[list[dict[str, Any]]]:
        yield from super().pages(path, **params)
        if params.get("level") == "ad" and self._then is not None:
            then, self._then = self._then, None
            then()


def test_a_stale_read_is_discarded(
    warehouse: str, sandbox: MeetingSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A slow try would put yesterday's figures over those of the one that overtook it."""

    def overtake() -> None:
        sandbox.world.becomes(lambda _, day, rows: [r._replace(clicks=1) for r in rows])
        load(warehouse, sandbox, run="the-fast-one")

    slow = _Overtaken(TOKEN, host=sandbox.url, then=overtake)
    load(warehouse, sandbox, run="the-slow-one", graph=slow, until=SINCE + timedelta(days=2))
    assert _stored_insights(warehouse) == _expected_insights(
        sandbox.world, ACCOUNT_ID, _days(), sandbox.clock.now()
    )
    runs = query(warehouse, "select distinct run_id from ops.loads")
    assert runs == [{"run_id": "the-fast-one"}]
    discarded = [r for r in caplog.records if "this one is discarded" in r.getMessage()]
    assert len(discarded) == 3


def test_two_extractions_of_one_account_at_once(
    make_warehouse: MakeWarehouse, sandbox: MeetingSandbox
) -> None:
    """An orphan beside its second try would lock, double or mix the days."""
    clean, shared = make_warehouse("two_clean"), make_warehouse("two_shared")
    load(clean, sandbox)
    failures: list[BaseException] = []

    def one(run: str) -> None:
        try:
            load(shared, sandbox, run=run)
        except BaseException as error:  # noqa: BLE001, shown below
            failures.append(error)

    threads = [threading.Thread(target=one, args=[f"run-{n}"]) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert tables(shared) == tables(clean)


# Honest about sums.


def test_a_day_that_moves_while_it_is_read_is_read_again(
    warehouse: str, sandbox: MeetingSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Figures that Meta settles just then would fail the task, or be stored mixed."""
    moves = [0]

    def meet(call: Call, _: int) -> None:
        if call.params.get("level") == "account" and moves[0] == 1:
            moves[0] = 2
        if call.params.get("level") == "ad" and moves[0] == 0:
            moves[0] = 1
            sandbox.world.becomes(
                lambda _, day, rows: (
                    [r._replace(impressions=r.impressions + 1) for r in rows]
                    if day == DAY
                    else rows
                )
            )

    def tamper(call: Call, body: Any) -> Any:
        if call.params.get("level") == "ad" and moves[0] == 1:
            # What is read while the day moves is of both worlds: its rows are late.
            body["data"] = [r for r in body["data"] if r["date_start"] != str(DAY)]
        return body

    sandbox.meet, sandbox.tamper = meet, tamper
    result = load(warehouse, sandbox)
    assert result.days == {"loaded": 0, "reconciled": 12}
    assert sandbox.asked_days() == [("2025-03-25", "2025-04-05")]
    assert [r.method for r in sandbox.requests].count("POST") == 1  # that day, by a report run
    assert "Acme: reading 2025-03-30 again: sums differ" in caplog.text
    assert _stored_insights(warehouse) == _expected_insights(
        sandbox.world, ACCOUNT_ID, _days(), sandbox.clock.now()
    )


def _lose(sandbox: MeetingSandbox, day: date, ad_id: str | None = None) -> None:
    """From now on Graph leaves out an ad's row of a day (all rows, without an ad)."""

    def tamper(call: Call, body: Any) -> Any:
        if call.params.get("level") == "ad":
            body["data"] = [
                row
                for row in body["data"]
                if row["date_start"] != str(day) or ad_id not in (None, row["ad_id"])
            ]
        return body

    sandbox.tamper = tamper


def test_rows_that_do_not_add_up_fail_the_task_and_are_kept_as_such(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """Spend would be lost with a green run."""
    lost = sandbox.world.full_day(ACCOUNT_ID, DAY)[3]
    (total,) = sandbox.world.account_totals(ACCOUNT_ID, DAY, DAY, sandbox.clock.now()).values()
    count = len(sandbox.world.full_day(ACCOUNT_ID, DAY))
    _lose(sandbox, DAY, lost.ad.id)
    with pytest.raises(Unreconciled) as caught:
        load(warehouse, sandbox)
    spend, impressions = (
        total.spend - Decimal(lost.spend) / 100,
        total.impressions - lost.impressions,
    )
    assert str(caught.value) == (
        f"Acme (2000000009) on 2025-03-30: {count - 1} ad rows have spend {spend} EUR and "
        f"{impressions} impressions, the account itself {total.spend} EUR and {total.impressions}"
    )
    assert not caught.value.retryable
    # It was read once more, the other way.
    assert [r.method for r in sandbox.requests].count("POST") == 1
    assert _stati(warehouse) == {
        day: "unreconciled" if day == DAY else "reconciled" for day in _days()
    }
    (row,) = query(warehouse, "select * from ops.loads where date = %s", DAY)
    assert (row["spend"], row["account_spend"]) == (spend, total.spend)
    assert (row["impressions"], row["account_impressions"]) == (impressions, total.impressions)
    # The next try of the same run reads only that day; when Meta has mended it, it is fine.
    sandbox.tamper = lambda call, body: body
    sandbox.requests.clear()
    load(warehouse, sandbox)
    assert sandbox.asked_days() == [("2025-03-30", "2025-03-30")]
    assert _stati(warehouse) == dict.fromkeys(_days(), "reconciled")


def test_reconcile_warn_only_warns(
    warehouse: str, sandbox: MeetingSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Who chose a warning would get a red task, or no warning."""
    _lose(sandbox, DAY, sandbox.world.full_day(ACCOUNT_ID, DAY)[3].ad.id)
    result = load(warehouse, sandbox, reconcile="warn")
    assert result.days == {"loaded": 0, "reconciled": 11, "unreconciled": 1}
    assert _stati(warehouse)[DAY] == "unreconciled"
    (sentence,) = [r.getMessage() for r in caplog.records if "the account itself" in r.getMessage()]
    assert sentence.startswith("Acme (2000000009) on 2025-03-30: ")


@pytest.mark.parametrize("tolerance", [None, "1000000"])
def test_no_ad_rows_with_account_spend_is_never_reconciled(
    warehouse: str, sandbox: MeetingSandbox, tolerance: str | None
) -> None:
    """An empty answer for a day with spend would pass within a generous tolerance."""

    def without_impressions(call: Call, body: Any) -> Any:
        if "level" in call.params:
            rows = [row for row in body["data"] if row["date_start"] == str(DAY)]
            if call.params["level"] == "ad":
                body["data"] = [row for row in body["data"] if row not in rows]
            for row in rows:
                row["impressions"] = "0"
        return body

    sandbox.tamper = without_impressions
    with pytest.raises(Unreconciled, match="on 2025-03-30: 0 ad rows have spend 0 EUR"):
        load(warehouse, sandbox, tolerance=tolerance)
    assert _stati(warehouse)[DAY] == "unreconciled"


@pytest.mark.parametrize(
    ("cents", "tolerance", "status"),
    [
        (1, None, "reconciled"),  # the rounding of some dozens of ads
        (40, None, "unreconciled"),
        (40, "0.40", "reconciled"),
        (40, "0.39", "unreconciled"),
        (1, "0", "unreconciled"),
    ],
)
def test_the_tolerance_bounds_the_difference_in_spend(
    warehouse: str, sandbox: MeetingSandbox, cents: int, tolerance: str | None, status: str
) -> None:
    """Roundings would fail every day, or losses would pass as roundings."""

    def tamper(call: Call, body: Any) -> Any:
        if call.params.get("level") == "account":
            for row in body["data"]:
                row["spend"] = str(Decimal(row["spend"]) + Decimal(cents) / 100)
        return body

    sandbox.tamper = tamper
    load(warehouse, sandbox, reconcile="warn", tolerance=tolerance, since=DAY, until=DAY)
    assert _stati(warehouse) == {DAY: status}


def test_impressions_must_agree_exactly(warehouse: str, sandbox: MeetingSandbox) -> None:
    """A lost row without spend would pass within the tolerance of spend."""

    def tamper(call: Call, body: Any) -> Any:
        if call.params.get("level") == "account":
            for row in body["data"]:
                row["impressions"] = str(int(row["impressions"]) + 1)
        return body

    sandbox.tamper = tamper
    load(warehouse, sandbox, reconcile="warn", tolerance="1000000", since=DAY, until=DAY)
    assert _stati(warehouse) == {DAY: "unreconciled"}


def test_an_open_day_has_no_verdict(warehouse: str) -> None:
    """A day that still grows would be called reconciled, or fail the task."""
    hour = datetime.now(UTC).hour
    zone = f"Etc/GMT{hour - 12:+d}"  # where it is about noon now (the sign is POSIX's)
    today = datetime.now(ZoneInfo(zone)).date()
    spec = AccountSpec("51", "b", "Open", "USD", zone, campaigns=2)
    with serving(spec, start=today - timedelta(days=30)) as sandbox:
        sandbox.clock.set(datetime.now(UTC))
        sandbox.tamper = lambda call, body: body
        yesterday = today - timedelta(days=1)
        result = load(warehouse, sandbox, account_id="51", since=yesterday, until=today)
        expected = _expected_insights(sandbox.world, "51", [yesterday, today], sandbox.clock.now())
    assert result.days == {"loaded": 1, "reconciled": 1}
    assert _stati(warehouse) == {yesterday: "reconciled", today: "loaded"}
    assert _stored_insights(warehouse) == expected
    assert {day for day, _ in expected} == {yesterday, today}


def test_rows_that_come_twice_count_once(warehouse: str, sandbox: MeetingSandbox) -> None:
    """Pages that shift while they are read would double spend."""

    def tamper(call: Call, body: Any) -> Any:
        if "data" in body:
            body["data"] = body["data"] + body["data"][:2]
        return body

    sandbox.tamper = tamper
    load(warehouse, sandbox)
    assert _stored_insights(warehouse) == _expected_insights(
        sandbox.world, ACCOUNT_ID, _days(), sandbox.clock.now()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ad_id": None}, "a row of ad None from '2025-03-30' to '2025-03-30'"),
        ({"date_stop": "2025-03-31"}, "from '2025-03-30' to '2025-03-31'"),
        ({"date_start": "2025-04-09", "date_stop": "2025-04-09"}, "from '2025-04-09' to"),
    ],
)
def test_rows_that_were_not_asked_for_are_left_out_and_named(
    warehouse: str,
    sandbox: MeetingSandbox,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    words: str,
) -> None:
    """A row of another shape would be stored under a wrong day, or under none; or it would
    cost the days beside its own, without a word of which row it was.
    """
    other = DAY + timedelta(days=1)
    lost = []

    def tamper(call: Call, body: Any) -> Any:
        first = body["data"][0] if call.params.get("level") == "ad" and body["data"] else {}
        if first.get("date_start") == str(DAY):
            lost.append(first["ad_id"])
            first |= change
        return body

    sandbox.tamper = tamper
    with pytest.raises(Unreconciled, match=f"on {DAY}: "):
        load(warehouse, sandbox, since=DAY, until=other)
    assert words in caplog.text
    assert set(lost) == {lost[0]}
    whole = _expected_insights(sandbox.world, ACCOUNT_ID, [DAY, other], sandbox.clock.now())
    del whole[DAY, lost[0]]
    assert _stored_insights(warehouse) == whole
    assert _stati(warehouse) == {DAY: "unreconciled", other: "reconciled"}


def test_text_that_postgres_cannot_hold_is_loaded(warehouse: str, sandbox: MeetingSandbox) -> None:
    """An ad whose name has a NUL, a backslash or a tab would stop its account for good."""
    name = "a\x00b\\n\tc\\u0000 \U0001f600 'x'"

    def tamper(call: Call, body: Any) -> Any:
        for row in body.get("data", []):
            if "ad_name" in row:
                row["ad_name"] = name
        return body

    sandbox.tamper = tamper
    load(warehouse, sandbox, since=DAY, until=DAY)
    names = {row["ad_name"] for row in _stored_insights(warehouse).values()}
    assert names == {name.replace("\x00", "")}


# The warehouse.


def test_a_warehouse_that_goes_away_is_one_sentence(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """A restart of the warehouse would fail the task for good, or hide finished days."""

    def fence(left: list[int] = [4]) -> None:  # noqa: B006, counts its calls
        left[0] -= 1
        if left[0] == 0:
            query(
                warehouse,
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'tributary' and datname = current_database()",
            )

    with pytest.raises(WarehouseDown) as caught:
        load(warehouse, sandbox, fence=fence)
    assert str(caught.value) == (
        f"The warehouse at {wh.where(warehouse)} went away in the middle of a load "
        "(AdminShutdown): finished days are kept, a retry loads the rest."
    )
    assert caught.value.retryable
    assert sorted(_stati(warehouse)) == _days()[:3]
    assert load(warehouse, sandbox).skipped_days == 3


def test_a_lock_that_is_held_too_long_is_no_outage(warehouse: str, sandbox: MeetingSandbox) -> None:
    """A load that meets a lock would send somebody to a warehouse that is up."""
    with psycopg.connect(warehouse, autocommit=True) as other:
        other.execute(
            sql.SQL("alter database {} set lock_timeout = '100ms'").format(
                sql.Identifier(other.info.dbname)
            )
        )
        with other.transaction():
            other.execute("lock table raw.meta_ads in access exclusive mode")
            with pytest.raises(WarehouseBusy) as caught:
                load(warehouse, sandbox)
    assert str(caught.value) == (
        f"The warehouse at {wh.where(warehouse)} was busy with other work (LockNotAvailable): "
        "finished days are kept, a retry loads the rest."
    )
    assert caught.value.retryable
    load(warehouse, sandbox)


def test_staging_takes_any_number_of_pages_in_little_memory(warehouse: str) -> None:
    """A large account's backfill would grow until the worker is killed."""

    def pages(count: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for number in range(count):
            yield 0, [
                {"date_start": "2025-03-30", "ad_id": f"{number}-{n}", "spend": "1.00",
                 "impressions": "3", "ad_name": "x" * 500}
                for n in range(500)
            ]  # fmt: skip

    peaks = []
    with wh.connect(warehouse, autocommit=True) as connection:
        for count in (4, 60):
            tracemalloc.start()
            stage_rows(connection, META, pages(count))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            totals, unreadable = staged_totals(connection, META)
            assert unreadable == {}
            (total,) = totals.values()
            found = (total.rows, total.spend, total.impressions)
            assert found == (count * 500, Decimal(count * 500), count * 1500)
    assert peaks[1] < peaks[0] * 1.5


def test_partitions_are_made_by_whoever_comes_first(warehouse: str) -> None:
    """Accounts that meet in a new month would fail each other."""
    failures: list[BaseException] = []
    days = [date(2025, 11, 30), date(2025, 12, 31), date(2026, 1, 1)]
    gate = threading.Barrier(4)

    def make() -> None:
        try:
            with wh.connect(warehouse, autocommit=True) as connection:
                gate.wait(10)
                ensure_partitions(connection, META, days)
        except BaseException as error:  # noqa: BLE001, shown below
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    found = query(
        warehouse,
        "select inhrelid::regclass::text as name from pg_inherits "
        "where inhparent = 'raw.meta_ad_insights'::regclass order by 1",
    )
    assert [row["name"] for row in found] == [
        "raw.meta_ad_insights_2025_11", "raw.meta_ad_insights_2025_12",
        "raw.meta_ad_insights_2026_01",
    ]  # fmt: skip
