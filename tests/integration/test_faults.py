"""Whatever Graph, the network or a machine does: exact tables, or a failure that says why.

Exact means equal, row by row, to what one undisturbed load leaves in another database. Where a load
fails, what it leaves is whole days and nothing else. And whatever was asked for, at the level of
ads every query named all their statuses: without that, what is archived or deleted is lost.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from tributary import config
from tributary import warehouse as wh
from tributary.errors import StillRunning, TributaryError, Unreconciled, WarehouseDown
from tributary.extract.account import Result, Task, reread_changed
from tributary.extract.window import Window
from tributary.platforms.meta import errors
from tributary.platforms.meta.client import Graph
from tributary.platforms.meta.hierarchy import AD_STATUSES
from tributary.platforms.meta.source import MetaSource
from tributary.platforms.source import Account, Memory, Notes
from tributary.warehouse.load import Run

from sandbox.faults import Fault
from sandbox.objects import AccountSpec
from tests.support.loads import (
    ACCOUNT_ID,
    NOW,
    SINCE,
    TOKEN,
    UNTIL,
    WINDOWS,
    FileNotes,
    MeetingSandbox,
    known,
    load,
    query,
    serving,
    sleeping_in,
    tables,
    tried_as_airflow_does,
)
from tests.support.loads import SPEC as LARGE

Tables = dict[str, list[str]]
MakeWarehouse = Callable[[str], str]
WHO = "connection 'meta_acme'"
SPEC = replace(LARGE, campaigns=4)
TINY = AccountSpec("61", "acme", "Acme", "EUR", "Europe/Berlin", campaigns=1, adsets=1, ads=3)
THREE = [
    AccountSpec(number, "acme", f"Acme {number}", "USD", zone, campaigns=2)
    for number, zone in (("71", "America/Los_Angeles"), ("72", "Asia/Jakarta"), ("73", "UTC"))
]


@pytest.fixture(scope="module")
def served() -> Iterator[MeetingSandbox]:
    with serving(SPEC, TINY, *THREE, empty_pages=False) as running:
        yield running


@pytest.fixture
def sandbox(served: MeetingSandbox) -> Iterator[MeetingSandbox]:
    """Red at its end: archived and deleted ads, and their spend, would be lost on some path."""
    served.reset()
    served.clock.set(NOW)
    yield served
    served.meet = lambda *_: None
    for request in served.requests:
        asked = request.shown_params()
        if request.path.endswith("/insights") and asked.get("level") == "ad":
            statuses = json.loads(asked["filtering"])[0]
            assert (statuses["field"], statuses["operator"]) == ("ad.effective_status", "IN")
            assert set(statuses["value"]) == set(AD_STATUSES)


@pytest.fixture(scope="module")
def clean(module_warehouse: str, served: MeetingSandbox) -> Tables:
    """What an undisturbed load leaves."""
    served.reset()
    served.clock.set(NOW)
    load(module_warehouse, served)
    left = _left(module_warehouse)
    assert len(left["raw.meta_ad_insights"]) > 500  # more than a page
    return left


def _left(uri: str) -> Tables:
    """All that a load has left; but not what the account had spent at the moment of asking."""
    return tables(uri, but=("amount_spent",))


def _is_whole(uri: str, clean: Tables) -> bool:
    """Whether what a failed load has left are whole days as a clean load leaves them."""
    (found,) = query(
        uri,
        "select (select coalesce(sum(rows), 0) from ops.loads) as told, "
        "(select count(*) from raw.meta_ad_insights) as stored",
    )
    left = _left(uri)
    dated = ("raw.meta_ad_insights", "raw.meta_account_insights", "ops.loads")
    return found["told"] == found["stored"] and all(set(left[t]) <= set(clean[t]) for t in dated)


def _graph(sandbox: MeetingSandbox, **arguments: Any) -> Graph:
    return Graph(
        TOKEN, host=sandbox.url, **{"sleep": sleeping_in(sandbox), "who": WHO, **arguments}
    )


def _posts(sandbox: MeetingSandbox) -> int:
    return sandbox.graph.tally["POST", "insights", ACCOUNT_ID]


# Passing faults leave no trace.


@dataclass(frozen=True)
class Trouble:
    """A fault, how the account is asked (`learned`), and how many reports that makes."""

    kind: str
    matching: dict[str, Any]
    report: bool = False
    posts: int | None = None

    def __str__(self) -> str:
        where = "-".join(f"{value}" for value in self.matching.values())
        return f"{self.kind}-{where}{'-report' if self.report else ''}"


_ROWS: dict[str, Any] = {"edge": "insights", "level": "ad"}
_TOTALS = {"edge": "insights", "level": "account"}
_START = {"edge": "insights", "method": "POST"}
_BROKEN = [
    ("json_502", {}), ("html_502", {}), ("truncated_json", {}), ("dropped", {}),
    ("reset_in_body", {}), ("reset_in_body", {"chunked": True}),
    ("closed_in_body", {}), ("closed_in_body", {"chunked": True}),
    ("busy", {}), ("busy_unflagged", {}), ("busy_1504043", {}),
]  # fmt: skip
_TROUBLES = [
    # An empty page that says `next` is not the end.
    Trouble("empty_page", {**_ROWS, "page": 0}),
    Trouble("empty_page", {**_ROWS, "page": 1}),
    Trouble("empty_page", {"edge": "campaigns", "page": 0}),
    Trouble("empty_page", {"edge": "ads", "page": 0}),
    Trouble("empty_page", {**_TOTALS, "page": 0}),
    Trouble("empty_page", {"edge": "results", "page": 0}, report=True, posts=1),
    Trouble("empty_page", {"edge": "results", "page": 1}, report=True, posts=1),
    # Broken answers; the second page of rows, and of whatever else is asked for.
    *(Trouble(kind, {**_ROWS, "page": 1, **more}) for kind, more in _BROKEN),
    Trouble("json_502", _TOTALS),
    Trouble("truncated_json", {**_TOTALS, "after": 1}),
    Trouble("html_502", {"edge": "object"}),
    Trouble("truncated_json", {"edge": "ads"}),
    Trouble("json_502", {"edge": "campaigns"}),
    Trouble("json_502", _START, report=True, posts=2),
    Trouble("dropped", _START, report=True, posts=2),
    Trouble("truncated_json", {"edge": "report"}, report=True, posts=1),
    Trouble("json_502", {"edge": "results", "page": 1}, report=True, posts=1),
    Trouble("reset_in_body", {"edge": "results"}, report=True, posts=1),
    Trouble("busy_unflagged", {"edge": "results", "times": 3}, report=True, posts=1),
    Trouble("busy_1504043", {"edge": "report", "times": 3}, report=True, posts=1),
    # Less at a time.
    Trouble("page_too_big", _ROWS),
    Trouble("page_too_big", {**_TOTALS, "times": 2}),
    Trouble("page_too_big", {"edge": "ads", "times": 2}),
    Trouble("page_too_big", {**_ROWS, "page": 1, "times": 2}),
    Trouble("page_too_big", {"edge": "results", "page": 1, "times": 2}, report=True, posts=1),
    Trouble("too_much_data", _ROWS),
    Trouble("too_much_data", _START, report=True, posts=1),
    Trouble("unknown_1_99", {**_ROWS, "page": 1}),
    Trouble("sync_timeout_100", _ROWS, posts=1),
    Trouble("sync_timeout_2", {**_ROWS, "page": 1}, posts=1),
    # Reports.
    Trouble("report_failed", {}, report=True, posts=2),
    Trouble("report_failed", {"times": 2}, report=True, posts=2),
    Trouble("report_skipped", {}, report=True, posts=2),
    Trouble("report_skipped", {"times": 2}, report=True, posts=2),
    Trouble("report_stuck", {}, report=True, posts=2),
    Trouble("report_stuck", {"times": 2}, report=True, posts=2),
    Trouble("not_there_yet", {"edge": "report"}, report=True, posts=1),
    Trouble("not_there_yet", {"edge": "report", "times": 3}, report=True, posts=1),
    Trouble("not_there_yet", {"edge": "report", "times": 5}, report=True, posts=2),
    Trouble("not_there_yet", {"edge": "results"}, report=True),
    # No report ever comes to an end: the rows come in pages.
    Trouble("too_much_data", {**_START, "times": None}, report=True, posts=1),
    Trouble("report_failed", {"times": None}, report=True, posts=2),
    Trouble("report_skipped", {"times": None}, report=True, posts=2),
    Trouble("report_stuck", {"times": None}, report=True, posts=2),
    Trouble("not_there_yet", {"edge": "report", "times": None}, report=True, posts=2),
    Trouble("not_there_yet", {"edge": "results", "times": None}, report=True, posts=1),
    # Paging.
    Trouble("cursor_expired", _ROWS),
    Trouble("cursor_expired", {"edge": "results"}, report=True),
    # A page that no cursor leads to: smaller queries do not need it.
    Trouble("cursor_expired", {**_ROWS, "times": None}),
    Trouble("cursor_too_far", {**_ROWS, "times": None}),
    Trouble("cursor_too_far", {"edge": "results", "times": None}, report=True),
    Trouble("duplicate_rows", {**_ROWS, "rows": 7}),
    Trouble("duplicate_rows", {"edge": "results", "rows": 7}, report=True, posts=1),
    # Rows that Graph leaves out in one way of asking, and not in the other.
    Trouble("drop_rows", {**_ROWS, "rows": 3}, posts=1),
    Trouble("drop_rows", {**_ROWS, "rows": 3, "times": None}),
    Trouble("drop_rows", {"edge": "results", "rows": 3, "times": None}, report=True),
    # A code that nobody knows, once.
    Trouble("error", {**_ROWS, "code": 77777, "status": 400}),
]


@pytest.mark.parametrize("trouble", _TROUBLES, ids=str)
def test_passing_trouble_leaves_no_trace(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, trouble: Trouble
) -> None:
    """Rows would be missing, doubled or mixed after a hiccup of Graph's, with a green run."""
    known(warehouse, asynchronous=trouble.report)
    fault = sandbox.faults.add(Fault(trouble.kind, **trouble.matching))
    load(warehouse, sandbox)
    assert _left(warehouse) == clean
    times = trouble.matching.get("times", 1)
    assert fault.hits == times or (times is None and fault.hits > 0)
    if trouble.posts is not None:
        assert _posts(sandbox) == trouble.posts


def test_totals_that_grow_while_rows_are_read_leave_the_grown_ones(
    make_warehouse: MakeWarehouse, sandbox: MeetingSandbox
) -> None:
    """A day would be stored as half of what it was and half of what it became."""
    moved, after = make_warehouse("moved"), make_warehouse("moved_clean")
    sandbox.faults.add(Fault("moving"))
    fault = sandbox.faults.add(Fault("restate", account_id=ACCOUNT_ID, **_ROWS, page=1, percent=9))
    result = load(moved, sandbox)
    assert fault.hits == 1
    assert result.days == {"loaded": 0, "reconciled": 12}
    assert _posts(sandbox) == 1  # read again, the other way
    load(after, sandbox)
    assert _left(moved) == _left(after)


# Trouble that outlasts the client's own tries: Airflow's retries.


@pytest.mark.parametrize(
    ("kind", "retries"),
    # What may be too much for Graph is asked for in parts before the task is tried again.
    [("json_502", 1), ("html_502", 1), ("dropped", 1), ("busy_unflagged", 0)],
)
def test_an_outage_is_over_after_a_retry(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, kind: str, retries: int
) -> None:
    """Five failures in a row would cost the day."""
    known(warehouse, days=4)
    sandbox.faults.add(Fault(kind, **_ROWS, after=1, times=5))
    memory = Notes()
    waited = tried_as_airflow_does(lambda: load(warehouse, sandbox, memory=memory), sandbox)
    assert len(waited) == retries
    assert _left(warehouse) == clean


_CHUNKS = [("2025-03-25", "2025-03-28"), ("2025-03-29", "2025-04-01"), ("2025-04-02", "2025-04-05")]
_THROTTLES = [
    ("throttle_4", "code 4/1504022"), ("throttle_17", "code 17/2446079"),
    ("throttle_613", "code 613"), ("throttle_613_1487742", "code 613/1487742"),
    ("throttle_80000", "code 80000"), ("throttle_80004", "code 80004/2446079"),
]  # fmt: skip


@pytest.mark.parametrize("minutes", [3, 60, None])
@pytest.mark.parametrize(("kind", "code"), _THROTTLES)
def test_a_throttle_is_waited_out_exactly_as_long_as_meta_says(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    code: str,
    minutes: int | None,
) -> None:
    """A throttled account would fail, knock in vain, sleep longer than asked, or lose days."""
    monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    known(warehouse, days=4)
    until = None if minutes is None else sandbox.clock.now() + timedelta(minutes=minutes)
    sandbox.faults.add(Fault(kind, **_ROWS, after=1, until=until))
    seen: list[errors.MetaThrottled] = []
    memory = Notes()

    def once() -> None:
        try:
            load(warehouse, sandbox, memory=memory, graph=_graph(sandbox))
        except errors.MetaThrottled as error:
            seen.append(error)
            assert _is_whole(warehouse, clean)
            raise

    waited = tried_as_airflow_does(once, sandbox)
    assert waited == [60.0 if minutes is None else 60.0 * minutes]
    assert [error.wait for error in seen] == [None if minutes is None else 60.0 * minutes]
    assert f"Meta throttles {WHO}. Meta said: " in str(seen[0])
    assert code in str(seen[0])
    assert sandbox.clock.now() == NOW + timedelta(seconds=waited[0])  # nothing else was waited
    assert _left(warehouse) == clean
    # The days before the throttle were fetched once; after it, the load went on where it was.
    assert sandbox.asked_days() == [_CHUNKS[0], _CHUNKS[1], _CHUNKS[1], _CHUNKS[2]]


@pytest.mark.parametrize(
    "edge", ["object", "ads", "insights", "report", "results"],
)  # fmt: skip
def test_a_block_of_20_minutes_without_a_hint_is_outlasted(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    monkeypatch: pytest.MonkeyPatch,
    edge: str,
) -> None:
    """A block that Meta does not explain would fail the run, or start its report anew."""
    monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    known(warehouse, asynchronous=edge in ("report", "results"))
    until = sandbox.clock.now() + timedelta(minutes=20)
    fault = sandbox.faults.add(Fault("throttle_80004", edge=edge, until=until, minutes=0))
    memory = Notes()
    waited = tried_as_airflow_does(lambda: load(warehouse, sandbox, memory=memory), sandbox)
    assert waited == [60, 120, 240, 480, 900]
    assert fault.hits == 5
    assert _left(warehouse) == clean
    assert _posts(sandbox) == (1 if edge in ("report", "results") else 0)
    assert memory == {}


def _loaded_while_leaving_the_slot(uri: str, sandbox: MeetingSandbox) -> list[float]:
    """Load as a task does that leaves its worker slot; how long each try held it, in seconds."""
    memory, held = Notes(), list[float]()
    for _ in range(60):
        began = sandbox.clock.now()
        try:
            load(uri, sandbox, memory=memory, longest_wait=120)
        except StillRunning as error:
            held.append((sandbox.clock.now() - began).total_seconds())
            sandbox.clock.advance(timedelta(seconds=error.wait or 0))
        else:
            assert memory == {}
            return held
    raise AssertionError("the load does not end")


@pytest.mark.parametrize("minutes", [10, 40])
def test_a_report_that_takes_long_frees_the_worker_slot_and_is_made_once(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
) -> None:
    """A slow report would hold a worker slot as long as it takes, or be asked for several times."""
    monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    known(warehouse, asynchronous=True)
    sandbox.limits.change(report_seconds=60 * minutes)
    held = _loaded_while_leaving_the_slot(warehouse, sandbox)
    assert minutes // 5 <= len(held) <= minutes // 4  # two minutes of waiting, two of leave
    assert max(held) < 150
    assert _posts(sandbox) == 1
    assert _left(warehouse) == clean
    # The campaigns, ad sets and ads were read by the first try alone.
    for edge in ("campaigns", "adsets", "ads"):
        asked = [one for one in sandbox.requests if one.path.endswith(f"/act_{ACCOUNT_ID}/{edge}")]
        assert len([one for one in asked if "after" not in one.params]) == 1, edge


def test_a_report_that_hangs_is_given_up_by_tries_that_leave_the_slot(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries that each wait for a short time would wait for ever for a report that never ends."""
    monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    known(warehouse, asynchronous=True)
    sandbox.faults.add(Fault("report_stuck"))
    held = _loaded_while_leaving_the_slot(warehouse, sandbox)
    assert 4 <= len(held) <= 8
    assert _posts(sandbox) == 2
    assert _left(warehouse) == clean


def test_used_up_calls_are_not_knocked_for(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """Calls beyond the limit would prolong the block, or stop the other accounts."""
    known(warehouse, days=4)
    sandbox.limits.change(calls_per_hour_of={ACCOUNT_ID: 10})
    memory = Notes()
    graph = _graph(sandbox)
    with pytest.raises(errors.MetaThrottled) as caught:
        load(warehouse, sandbox, memory=memory, graph=graph)
    assert str(caught.value) == (
        f"The limits of {WHO} are used up; access returns in {caught.value.wait:.0f} s."
    )
    assert caught.value.wait == 3600
    assert graph.calls == len(sandbox.requests) == 10  # the eleventh was not made
    other = _graph(sandbox)
    assert other.get("act_71", fields="name") == {"id": "act_71", "name": "Acme 71"}
    assert _is_whole(warehouse, clean)
    sandbox.clock.advance(timedelta(seconds=caught.value.wait))
    sandbox.limits.change(calls_per_hour_of={})
    load(warehouse, sandbox, memory=memory)
    assert _left(warehouse) == clean


@pytest.mark.parametrize(("percent", "least", "most"), [(74, 0, 0), (86, 5, 25), (96, 40, 80)])
def test_near_a_limit_pauses_are_smooth(
    sandbox: MeetingSandbox,
    monkeypatch: pytest.MonkeyPatch,
    percent: int,
    least: float,
    most: float,
) -> None:
    """Eleven calls would take hours, as a steady 96 % does to others, or run into the wall."""
    monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    sandbox.set_usage(ACCOUNT_ID, percent)
    slept: list[float] = []
    graph = _graph(sandbox, sleep=slept.append)
    for _ in range(11):
        graph.get(f"act_{ACCOUNT_ID}", fields="name")
    assert least <= sum(slept) <= most
    assert not slept or max(slept) < 10


# Failures are loud and say why; what was loaded stands.

_LOUD = [
    # kind, matching, error, its words, calls of its edge and method, days that stand, report
    ("fatal_1504042", {**_ROWS, "after": 1}, errors.MetaRefused,
     r"Meta refuses the request. Meta said: .*Invalid custom metrics.*code 2/1504042", 1, 4, False),
    ("token_expired", {**_ROWS, "after": 1}, errors.MetaTokenRefused,
     f"Meta refuses the access token of {WHO}: put a valid one into its password field", 1, 4,
     False),
    ("forbidden", {**_ROWS, "after": 1}, errors.MetaForbidden,
     f"The token of {WHO} may not use this object.*code 200", 1, 4, False),
    ("error", {**_ROWS, "after": 1, "code": 77777, "status": 400}, errors.MetaUnknown,
     "an error that we have no rule for.*code 77777", 2, 4, False),
    ("error", {**_ROWS, "after": 1, "code": 368, "status": 400}, errors.MetaBlocked,
     f"Meta blocks {WHO} for its policies: see Business support.*code 368", 1, 4, False),
    ("html_502", {**_ROWS, "after": 1}, errors.MetaTransient, "without a word of why.*HTTP 502",
     4, 4, False),
    ("json_502", {**_ROWS, "after": 1}, errors.MetaTransient, "without a word of why.*HTTP 502",
     4, 4, False),
    ("truncated_json", {**_ROWS, "after": 1}, errors.MetaTransient, "not whole JSON.*HTTP 200",
     4, 4, False),
    ("reset_in_body", {**_ROWS, "after": 1}, errors.MetaTransient, "could not be reached: ", 4, 4,
     False),
    # Of 4 days, of 2, of 1, and as a report.
    ("busy_unflagged", {**_ROWS, "after": 1}, errors.MetaTransient, "a temporary failure.*code 2",
     16, 4, False),
    ("page_too_big", _ROWS, errors.MetaReportFailed,
     "would not begin the report: .*less asked for at a time.*code 1, HTTP 500", None, 0, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "matching", "error", "words", "hits", "days", "report"),
    _LOUD,
    ids=[f"{one[0]}-{'report' if one[6] else 'pages'}-{n}" for n, one in enumerate(_LOUD)],
)
def test_lasting_trouble_is_loud_and_leaves_whole_days(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    kind: str,
    matching: dict[str, Any],
    error: type[TributaryError],
    words: str,
    hits: int | None,
    days: int,
    report: bool,
) -> None:
    """A green run with rows missing; a reason that helps nobody; or calls made in vain."""
    known(warehouse, asynchronous=report, days=4 if days else 12)
    fault = sandbox.faults.add(Fault(kind, **{**matching, "times": None}))
    with pytest.raises(error, match=words) as caught:
        load(warehouse, sandbox, graph=_graph(sandbox))
    assert type(caught.value) is error or error is TributaryError
    assert hits is None or fault.hits == hits
    assert TOKEN not in str(caught.value)
    assert _is_whole(warehouse, clean)
    (found,) = query(warehouse, "select count(*) as n from ops.loads")
    assert found["n"] == days
    # When it is over, the same run ends with all that there is.
    sandbox.faults.clear()
    load(warehouse, sandbox)
    assert _left(warehouse) == clean


@pytest.mark.parametrize(
    ("kind", "matching", "words", "hits"),
    [
        ("too_much_data", _START, "less asked for at a time.*code 100/1504018", None),
        ("report_failed", {}, "less asked for at a time.*code 100/1504018", None),
        ("report_skipped", {}, "less asked for at a time.*code 100/1504018", None),
        ("report_stuck", {}, "less asked for at a time.*code 100/1504018", 2),
        ("not_there_yet", {"edge": "report"}, "less asked for at a time.*code 100/1504018", None),
        ("not_there_yet", {"edge": "results"}, "less asked for at a time.*code 100/1504018", None),
    ],
)
def test_neither_reports_nor_pages_are_loud(
    warehouse: str,
    sandbox: MeetingSandbox,
    kind: str,
    matching: dict[str, Any],
    words: str,
    hits: int | None,
) -> None:
    """Days would be missing with a green run where Graph answers in neither way; or each of
    many reports that hang would be waited for.
    """
    known(warehouse, "61", asynchronous=True)
    until = SINCE + timedelta(days=1)
    fault = sandbox.faults.add(Fault(kind, **matching, times=None))
    sandbox.faults.add(Fault("sync_timeout_100", method="GET", times=None, **_ROWS))
    with pytest.raises(TributaryError, match=words):
        load(warehouse, sandbox, account_id="61", until=until)
    assert hits is None or fault.hits == hits
    assert query(warehouse, "select 1 from ops.loads") == []
    sandbox.faults.clear()
    load(warehouse, sandbox, account_id="61", until=until)
    found = query(warehouse, "select status from ops.loads")
    assert found == [{"status": "reconciled"}] * 2


def test_ads_that_graph_withholds_either_way_fail_the_load(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """Ads that Graph's rows keep silent about would be lost with a green run."""
    lost = {row.ad.id for row in sandbox.world.full_day(ACCOUNT_ID, SINCE)[:2]}
    fault = sandbox.faults.add(Fault("drop_ads", ads=sorted(lost)))
    with pytest.raises(Unreconciled, match=f"on {SINCE}: .* the account itself "):
        load(warehouse, sandbox)
    assert fault.hits >= 2
    assert _posts(sandbox) > 0
    found = query(warehouse, "select date, status from ops.loads")
    assert len(found) == 12
    for row in found:
        gone = lost & {one.ad.id for one in sandbox.world.full_day(ACCOUNT_ID, row["date"])}
        assert row["status"] == ("unreconciled" if gone else "reconciled")
    sandbox.faults.clear()
    load(warehouse, sandbox)
    assert _left(warehouse) == clean


@pytest.mark.parametrize(("edge", "report"), [("insights", False), ("results", True)])
def test_ads_that_graph_withholds_in_one_way_come_in_the_other(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, edge: str, report: bool
) -> None:
    """One of Graph's two ways losing ads would lose them for us."""
    known(warehouse, asynchronous=report)
    lost = [row.ad.id for row in sandbox.world.full_day(ACCOUNT_ID, SINCE)[:2]]
    assert sandbox.faults.add(Fault("drop_ads", ads=lost, edge=edge)).hits == 0
    load(warehouse, sandbox)
    assert _left(warehouse) == clean


def test_one_forbidden_account_does_not_cost_the_others(
    make_warehouse: MakeWarehouse, sandbox: MeetingSandbox
) -> None:
    """A brand that locked us out would cost the other brands their day."""
    clean, tried = make_warehouse("forbidden_clean"), make_warehouse("forbidden_tried")
    for number in ("71", "73"):
        load(clean, sandbox, account_id=number)
    sandbox.faults.add(Fault("forbidden", account_id="72", times=None))
    for number in ("71", "72", "73"):
        if number == "72":
            with pytest.raises(errors.MetaForbidden, match=f"The token of {WHO} may not use"):
                load(tried, sandbox, account_id=number, graph=_graph(sandbox))
        else:
            load(tried, sandbox, account_id=number)
    assert _left(tried) == _left(clean)


# Objects that no listing shows.


def _delivering(sandbox: MeetingSandbox) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"campaigns": set(), "adsets": set(), "ads": set()}
    for number in range((UNTIL - SINCE).days + 1):
        for row in sandbox.world.full_day(ACCOUNT_ID, SINCE + timedelta(days=number)):
            found["ads"].add(row.ad.id)
            found["adsets"].add(row.ad.adset.id)
            found["campaigns"].add(row.ad.adset.campaign.id)
    return found


def _asked_by_id(sandbox: MeetingSandbox) -> list[list[str]]:
    asked = [request.params.get("ids") for request in sandbox.requests]
    return [ids.split(",") for ids in asked if ids]


@pytest.mark.parametrize("edge", ["campaigns", "adsets", "ads"])
def test_objects_that_no_listing_shows_are_fetched_by_id(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, edge: str
) -> None:
    """Spend of an object that Graph no longer lists would have no name in the marts."""
    hidden = _delivering(sandbox)[edge]
    sandbox.world.hide(hidden)
    load(warehouse, sandbox)
    assert _left(warehouse) == clean
    batches = _asked_by_id(sandbox)
    assert sorted(one for batch in batches for one in batch) == sorted(hidden)
    assert max(map(len, batches)) <= 50
    assert len(batches) == -(-len(hidden) // 50)
    assert edge != "ads" or len(batches) > 1


def test_an_object_that_is_gone_for_good_is_only_a_warning(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One purged ad would stop its account for good, or take 49 others' names with it."""
    hidden = sorted(_delivering(sandbox)["ads"])
    gone = hidden[3]
    sandbox.world.hide(hidden)
    monkeypatch.delitem(sandbox.world.objects, gone)
    load(warehouse, sandbox)
    left = _left(warehouse)
    (lost,) = set(clean["raw.meta_ads"]) - set(left["raw.meta_ads"])
    assert f"'{gone}'" in lost
    assert {**left, "raw.meta_ads": []} == {**clean, "raw.meta_ads": []}
    assert len(left["raw.meta_ads"]) == len(clean["raw.meta_ads"]) - 1
    assert caplog.text.count(f"ad {gone} of an insights row cannot be read") == 1
    assert max(map(len, _asked_by_id(sandbox))) <= 50


# Less at a time: whatever Graph computes at once, the same rows.


@pytest.mark.parametrize(
    ("spec", "limits", "split"),
    [
        (SPEC, {"sync_row_limit": 400}, "report"),
        (SPEC, {"sync_row_limit": 400, "sync_refusal": 2, "async_row_limit": 300}, "days"),
        (SPEC, {"sync_row_limit": 30, "async_row_limit": 30}, "campaign"),
        (SPEC, {"sync_row_limit": 6, "async_row_limit": 6}, "adset"),
        (SPEC, {"sync_row_limit": 6, "async_row_limit": 6, "async_refusal": "refused"}, "adset"),
        (TINY, {"sync_row_limit": 1, "async_row_limit": 1}, "ad"),
        (TINY, {"fields_limit": 9}, "fields"),
        (TINY, {"fields_limit": 9, "async_refusal": "refused"}, "fields"),
        (SPEC, {"page_row_limit": 40}, "pages"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_however_little_graph_computes_at_once_the_rows_are_the_same(
    make_warehouse: MakeWarehouse,
    sandbox: MeetingSandbox,
    spec: AccountSpec,
    limits: dict[str, Any],
    split: str,
) -> None:
    """An account too large for one query would lose what is archived, or fields, or load not
    at all.
    """
    whole, parts = make_warehouse("split_whole"), make_warehouse("split_parts")
    until = UNTIL if split in ("report", "days", "pages") else SINCE + timedelta(days=1)
    window: dict[str, Any] = {"account_id": spec.account_id, "until": until}
    load(whole, sandbox, **window)
    sandbox.requests.clear()
    sandbox.limits.change(**limits)
    load(parts, sandbox, **window)
    assert _left(parts) == _left(whole)
    posted = [request.shown_params() for request in sandbox.requests if request.method == "POST"]
    asked = [one for one in posted if one["level"] == "ad"]
    restricted = {part["field"] for one in asked for part in json.loads(one["filtering"])}
    assert (f"{split}.id" in restricted) == (split in ("campaign", "adset", "ad"))
    assert (len({one["fields"] for one in asked}) > 1) == (split == "fields")
    assert bool(asked) == (split != "pages")


@pytest.mark.parametrize(
    ("limits", "how"),
    [
        ({"page_row_limit": 100}, ("GET", "50")),
        ({"sync_row_limit": 400}, ("POST", "500")),
        ({"sync_row_limit": 400, "async_row_limit": 400}, ("POST", "500")),
        (
            {"sync_row_limit": 400, "async_row_limit": 400, "async_refusal": "refused"},
            ("POST", "500"),
        ),
    ],
)
def test_what_worked_is_remembered(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    limits: dict[str, Any],
    how: tuple[str, str],
) -> None:
    """Each day would begin with the failures of the day before."""
    known(warehouse)
    sandbox.limits.change(**limits)
    load(warehouse, sandbox, run="first")
    assert _left(warehouse) == clean
    sandbox.requests.clear()
    load(warehouse, sandbox, run="second")
    assert _left(warehouse) == clean
    queries = [
        (request.method, asked["limit"], json.loads(asked["time_range"]))
        for request in sandbox.requests
        for asked in [request.shown_params()]
        if asked.get("level") == "ad" and "after" not in asked
    ]
    assert {query[:2] for query in queries} == {how}
    # None was refused: each day was asked for once.
    spans = [[date.fromisoformat(span[end]) for end in ("since", "until")] for *_, span in queries]
    assert sum((until - since).days + 1 for since, until in spans) == 12


# Restatement.


def _reread(uri: str, sandbox: MeetingSandbox, run: str, **window: Any) -> Result:
    return reread_changed(
        MetaSource,
        _graph(sandbox),
        uri,
        Account(window.pop("account_id", ACCOUNT_ID), "meta", name="Acme",
                attribution_windows=WINDOWS),
        Window(datetime.now(UTC), **{"since": SINCE, "until": UNTIL, **window}),
        Task(Run(run), lambda: None, Notes()),
    )  # fmt: skip


_RESTATED = (date(2025, 3, 27), date(2025, 4, 2))


@pytest.mark.parametrize("again", ["load", "reread"])
def test_a_restatement_is_loaded_and_recorded_day_by_day(
    make_warehouse: MakeWarehouse, sandbox: MeetingSandbox, again: str
) -> None:
    """Nobody could tell why last month's spend is another than it was."""
    one, fresh = make_warehouse("restated"), make_warehouse("restated_fresh")
    load(one, sandbox, run="before")
    assert query(one, "select * from ops.restatements") == []

    def figures() -> dict[date, Any]:
        return sandbox.world.account_totals(ACCOUNT_ID, SINCE, UNTIL, sandbox.clock.now())

    before, counts = figures(), {d: len(sandbox.world.full_day(ACCOUNT_ID, d)) for d in _RESTATED}
    victim = sandbox.world.full_day(ACCOUNT_ID, _RESTATED[1])[0].ad.id
    sandbox.restate(ACCOUNT_ID, days=[_RESTATED[0]], percent=7)
    sandbox.restate(ACCOUNT_ID, days=[_RESTATED[1]], percent=-3, vanish=[victim])
    after = figures()
    sandbox.requests.clear()
    if again == "load":
        load(one, sandbox, run="after")
    else:
        _reread(one, sandbox, "after")
        assert sandbox.asked_days() == [(str(day), str(day)) for day in _RESTATED]
    load(fresh, sandbox, run="fresh")
    assert _left(one) == _left(fresh)
    rows = query(one, "select * from ops.restatements order by date")
    assert [(row["account_id"], row["date"], row["run_id"]) for row in rows] == [
        (ACCOUNT_ID, day, "after") for day in _RESTATED
    ]
    assert [row["changed_rows"] for row in rows] == [counts[day] for day in _RESTATED]
    for row, gone in zip(rows, (0, 1), strict=True):
        for name, shown, less in (("before", before, 0), ("after", after, gone)):
            total = shown[row["date"]]
            assert {key: float(value) for key, value in row[name].items()} == {
                "rows": counts[row["date"]] - less,
                "spend": float(total.spend),
                "impressions": total.impressions,
                "account_spend": float(total.spend),
                "account_impressions": total.impressions,
            }


def test_90_days_of_which_none_changed_cost_one_call(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """The weekly look far back would cost too much, or load nothing when it must."""
    window: dict[str, Any] = {
        "account_id": "61",
        "since": UNTIL - timedelta(days=89),
        "until": UNTIL,
    }
    load(warehouse, sandbox, run="first", **window)
    sandbox.requests.clear()
    result = _reread(warehouse, sandbox, "second", **window)
    asked = [r.params["level"] for r in sandbox.requests if r.path.endswith("/insights")]
    assert asked == ["account"]
    assert (result.rows, result.days) == (0, {"loaded": 0, "reconciled": 0})
    # A day that never added up is read, whatever the totals say.
    with wh.connect(warehouse, autocommit=True) as connection:
        connection.execute("update ops.loads set status = 'unreconciled' where date = %s", [SINCE])
    sandbox.requests.clear()
    _reread(warehouse, sandbox, "third", **window)
    assert sandbox.asked_days() == [(str(SINCE), str(SINCE))]


# What has ended.


def test_more_than_37_months_are_cut_off_with_a_word(
    warehouse: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A first load of years would be refused as a whole, or cut off in silence."""
    now = datetime.now(UTC)
    oldest = now.date() - relativedelta(months=37)
    spec = AccountSpec("62", "acme", "Acme", "USD", "UTC", campaigns=1)
    with serving(spec, start=oldest - timedelta(days=40)) as sandbox:
        sandbox.clock.set(now)
        window = {"since": oldest - timedelta(days=20), "until": oldest + timedelta(days=1)}
        load(warehouse, sandbox, account_id="62", **window)
    found = query(warehouse, "select date, status from ops.loads order by date")
    assert found == [{"date": oldest + timedelta(days=n), "status": "reconciled"} for n in range(2)]
    assert f"Acme: Meta keeps 37 months; days before {oldest} are left out" in caplog.text


@pytest.mark.parametrize(
    ("version", "warning"),
    [
        ("v26.0", None),
        ("v24.0", "Marketing API v24.0 ended on 2026-10-06: set a later api_version in the"),
    ],
)
def test_a_version_that_ends_is_told_before_it_fails(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    caplog: pytest.LogCaptureFixture,
    version: str,
    warning: str | None,
) -> None:
    """All accounts would fail on one day, without a word in the weeks before."""
    load(warehouse, sandbox, graph=_graph(sandbox, api_version=version))
    assert _left(warehouse) == clean
    assert ("Marketing API" in caplog.text) is (warning is not None)
    assert warning is None or warning in caplog.text


def test_a_version_that_has_ended_is_refused_with_a_way_out(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """People would look for the fault in their token."""
    with pytest.raises(errors.MetaRefused, match=r"deprecated version.*code 2635"):
        load(warehouse, sandbox, graph=_graph(sandbox, api_version="v21.0"))
    assert len(sandbox.requests) == 1


# The machine.

_CHILD = """
import sys
from pathlib import Path
from tests.support.loads import TOKEN, FileNotes, load
from tributary.platforms.meta.client import Graph
class There:
    url = sys.argv[2]
load(sys.argv[1], There, memory=FileNotes(Path(sys.argv[3])), graph=Graph(TOKEN, host=There.url))
"""


def test_a_killed_worker_is_followed_by_one_that_polls_the_same_report(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A killed worker's report would be computed again, and its hour waited for again."""
    known(warehouse, asynchronous=True)
    sandbox.limits.change(report_seconds=600)
    sandbox.clock.advance_per_request = timedelta(seconds=1)
    notes = tmp_path / "notes.json"
    command = [sys.executable, "-c", _CHILD, warehouse, sandbox.url, str(notes)]

    def polls() -> int:
        return sandbox.graph.tally["GET", "report", ACCOUNT_ID]

    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(config.ROOT)}) as child:
        deadline = time.monotonic() + 60
        while polls() < 5 and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL
    assert query(warehouse, "select 1 from ops.loads") == []
    before = polls()
    assert before >= 5
    monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    load(warehouse, sandbox, memory=FileNotes(notes))
    assert _left(warehouse) == clean
    assert _posts(sandbox) == 1
    assert polls() > before
    polled = {r.path for r in sandbox.requests if "async_status" in r.params.get("fields", "")}
    assert len(polled) == 1
    assert json.loads(notes.read_text()) == {}


class _Row(dict[str, Any]):
    """A row that does something when it is copied into the warehouse."""

    def __init__(self, row: dict[str, Any], then: Callable[[], object]) -> None:
        super().__init__(row)
        self._then = then

    def __getitem__(self, name: str) -> Any:
        if name == "date_start":
            self._then()
        return super().__getitem__(name)


class _Interrupted(Graph):
    """The real client; when the row `number` of ads is copied, `then` is called."""

    def __init__(self, *arguments: Any, number: int, then: Callable[[], object], **more: Any):
        super().__init__(*arguments, **more)
        self._left, self._then = number, then

    def pages(self, path: str, **params: Any) -> Iterator[list[dict[str, Any]]]:
        for rows in super().pages(path, **params):
            if params.get("level") == "ad" and 0 < self._left <= len(rows):
                at = self._left - 1
                rows = [*rows[:at], _Row(rows[at], self._then), *rows[at + 1 :]]
            yield rows
            if params.get("level") == "ad":
                self._left -= len(rows)


@pytest.mark.parametrize("number", [1, 250, 501])
def test_a_warehouse_that_restarts_in_the_middle_of_a_copy_costs_nothing(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, number: int
) -> None:
    """A restart of the warehouse would leave half a page, or fail the task for good."""
    ended: list[Any] = []

    def end() -> None:
        ended.extend(
            query(
                warehouse,
                "select pg_terminate_backend(pid), state, query from pg_stat_activity "
                "where application_name = 'tributary' and datname = current_database()",
            )
        )

    memory: Memory = Notes()
    graphs = [
        _Interrupted(TOKEN, host=sandbox.url, number=number, then=end),
        Graph(TOKEN, host=sandbox.url),
    ]
    seen: list[BaseException] = []

    def once() -> None:
        try:
            load(warehouse, sandbox, memory=memory, graph=graphs.pop(0))
        except WarehouseDown as error:
            seen.append(error)
            raise

    tried_as_airflow_does(once, sandbox)
    assert [(row["state"], row["query"]) for row in ended] == [
        ("active", "copy staged_rows from stdin")
    ]
    assert "went away in the middle of a load" in str(seen[0])
    assert len(seen) == 1
    assert _left(warehouse) == clean
