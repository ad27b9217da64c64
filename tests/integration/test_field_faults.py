"""What Graph was seen to do to others: the right rows, or a failure that names its cause.

Exact means here, as in `test_faults.py`, what one undisturbed load leaves in another database.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tributary import warehouse as wh
from tributary.errors import DaysVanished, SettingsError, Unreconciled
from tributary.extract.account import Result, Task, reread_changed
from tributary.extract.window import Window
from tributary.platforms.meta import errors
from tributary.platforms.meta.client import Graph
from tributary.platforms.meta.source import MetaSource
from tributary.platforms.source import Account, Notes
from tributary.warehouse.load import Run

from sandbox.call import Call
from sandbox.faults import Fault
from sandbox.objects import AccountSpec
from tests.support.loads import (
    ACCOUNT_ID,
    NOW,
    SINCE,
    SPEC,
    MeetingSandbox,
    known,
    load,
    query,
    serving,
    tables,
    tried_as_airflow_does,
)

Tables = dict[str, list[str]]
MakeWarehouse = Callable[[str], str]
ACME = replace(SPEC, campaigns=4)
LUMEN = AccountSpec("2000000010", "lumen", "Lumen", "USD", "America/New_York", campaigns=1, ads=3)
DAY, LAST = SINCE, SINCE + timedelta(days=3)
_ROWS: dict[str, Any] = {"edge": "insights", "level": "ad"}
_TOTALS = {"edge": "insights", "level": "account"}


@pytest.fixture(scope="module")
def served() -> Iterator[MeetingSandbox]:
    with serving(ACME, LUMEN, empty_pages=False) as running:
        yield running


@pytest.fixture
def sandbox(served: MeetingSandbox) -> Iterator[MeetingSandbox]:
    served.reset()
    served.clock.set(NOW)
    meet, tamper = served.meet, served.tamper
    yield served
    served.meet, served.tamper = meet, tamper
    for ad in served.world.ads[ACCOUNT_ID]:
        ad.held = None


@pytest.fixture(scope="module")
def clean(module_warehouse: str, served: MeetingSandbox) -> Tables:
    """What an undisturbed load leaves."""
    served.reset()
    served.clock.set(NOW)
    _load(module_warehouse, served)
    return _left(module_warehouse)


def _load(uri: str, sandbox: MeetingSandbox, **more: Any) -> Result:
    return load(uri, sandbox, **{"until": LAST, **more})


def _left(uri: str) -> Tables:
    return tables(uri, but=("amount_spent",))


def _set(uri: str, statement: str) -> None:
    with wh.connect(uri, autocommit=True) as connection:
        connection.execute(statement)


def _calls(sandbox: MeetingSandbox, edge: str, method: str = "GET") -> int:
    return sandbox.graph.tally[method, edge, ACCOUNT_ID]


# Paging.


@pytest.mark.parametrize(
    ("kind", "details"),
    [("circle", {"to": "first"}), ("circle", {"to": "itself"}), ("endless", {})],
)
@pytest.mark.parametrize("edge", ["insights", "results", "ads"])
def test_paging_that_does_not_end_is_ended(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    details: dict[str, Any],
    edge: str,
) -> None:
    """A load would never end, or fail for good though all rows came."""
    known(warehouse, asynchronous=edge == "results", page_size=50, edge_pages={"ads": 50})
    level: dict[str, Any] = {} if edge == "ads" else {"level": "ad"}
    fault = sandbox.faults.add(Fault(kind, edge=edge, **level, **details))
    _load(warehouse, sandbox)
    assert fault.hits > 0
    assert _left(warehouse) == clean
    assert len(sandbox.requests) < 40
    assert "ends after" in caplog.text


# An outage that looks like days without delivery.


@pytest.mark.parametrize("days", [None, [str(DAY), str(LAST)]])
def test_days_that_had_spend_and_are_empty_now_are_kept_for_three_days(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    caplog: pytest.LogCaptureFixture,
    days: list[str] | None,
) -> None:
    """An outage of Meta's would delete a month of spend with a green run; or a day that Meta
    took back would be counted for ever.
    """
    _load(warehouse, sandbox, run="before")
    sandbox.faults.add(Fault("no_data", days=days))
    gone = {date.fromisoformat(day) for day in days or [str(DAY + timedelta(n)) for n in range(4)]}

    def once() -> None:
        _load(warehouse, sandbox, run="outage")

    with pytest.raises(DaysVanished) as caught:
        once()
    assert caught.value.retryable
    assert f"Acme (2000000009) on {DAY} had spend, and Meta answers with none since" in str(
        caught.value
    )
    left = _left(warehouse)
    left["ops.loads"] = clean["ops.loads"] if days is None else left["ops.loads"]
    assert left["raw.meta_ad_insights"] == clean["raw.meta_ad_insights"]
    assert left["raw.meta_account_insights"] == clean["raw.meta_account_insights"]
    found = query(warehouse, "select date, status, empty_since, spend > 0 as spent from ops.loads")
    assert {row["date"] for row in found if row["empty_since"]} == gone
    assert {(row["status"], row["spent"]) for row in found} == {("reconciled", True)}
    # When the outage is over, nothing has happened.
    sandbox.faults.clear()
    _load(warehouse, sandbox, run="after")
    assert _left(warehouse) == clean
    # An answer that lasts is taken, and recorded as a restatement.
    sandbox.faults.add(Fault("no_data", days=days))
    with pytest.raises(DaysVanished):
        _load(warehouse, sandbox, run="again")
    _set(warehouse, "update ops.loads set empty_since = empty_since - interval '71 hours'")
    with pytest.raises(DaysVanished):
        _load(warehouse, sandbox, run="a day too early")
    _set(warehouse, "update ops.loads set empty_since = empty_since - interval '1 hour'")
    _load(warehouse, sandbox, run="taken")
    found = query(warehouse, "select date, rows, status from ops.loads")
    assert {row["date"] for row in found if row["rows"] == 0} == gone
    assert {row["status"] for row in found} == {"reconciled"}
    restated = query(warehouse, "select date, run_id from ops.restatements order by date")
    assert [(row["date"], row["run_id"]) for row in restated] == [
        (day, "taken") for day in sorted(gone)
    ]
    assert "Meta has answered with none since" in caplog.text


# What changes without spend.


def _reread(uri: str, sandbox: MeetingSandbox, run: str) -> Result:
    return reread_changed(
        MetaSource,
        Graph("a-token-that-sees-everything-0123456789", host=sandbox.url),
        uri,
        Account(ACCOUNT_ID, "meta", name="Acme"),
        Window(datetime.now(UTC), SINCE, LAST),
        Task(Run(run), lambda: None, Notes()),
    )


@pytest.mark.parametrize("field", ["actions", "action_values", "clicks"])
def test_what_comes_later_than_spend_is_found_by_the_weekly_look(
    make_warehouse: MakeWarehouse, sandbox: MeetingSandbox, field: str
) -> None:
    """Purchases that Meta reports a day late would be lost for good."""
    late, whole = make_warehouse("late"), make_warehouse("late_whole")
    load(whole, sandbox, until=LAST, attribution_windows=())
    fault = sandbox.faults.add(Fault("changed_rows", without=[field], rows=500, edge="insights"))
    load(late, sandbox, run="before", until=LAST, attribution_windows=())
    assert fault.hits > 0
    assert _left(late) != _left(whole)
    assert _reread(late, sandbox, "nothing new").days == {"loaded": 0, "reconciled": 0}
    sandbox.faults.clear()
    assert _reread(late, sandbox, "after").days == {"loaded": 0, "reconciled": 4}
    assert _left(late) == _left(whole)


# Fields and objects that Graph does not give.


def test_a_broken_creative_costs_nothing_but_itself(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    """One ad with a deleted post would stop the spend of its whole account."""
    broken = sandbox.world.ads[ACCOUNT_ID][17].id
    sandbox.faults.add(Fault("broken_object", id=broken, edge="ads"))
    sandbox.faults.add(Fault("broken_object", id=broken, edge="ids"))
    _load(warehouse, sandbox)
    left = _left(warehouse)
    (one,) = set(clean["raw.meta_ads"]) - set(left["raw.meta_ads"])
    (other,) = set(left["raw.meta_ads"]) - set(clean["raw.meta_ads"])
    assert f"'{broken}'" in one
    assert f"'{broken}'" in other
    (ad,) = query(warehouse, "select payload from raw.meta_ads where id = %s", broken)
    whole = {"id", "account_id", "campaign_id", "adset_id", "name", "status", "effective_status",
             "created_time", "updated_time"}  # fmt: skip
    assert ad["payload"].keys() == whole
    assert {**left, "raw.meta_ads": []} == {**clean, "raw.meta_ads": []}
    assert f"creative of ad {broken} is left out: " in caplog.text
    assert "Ad Creative Is Incomplete" in caplog.text
    assert _calls(sandbox, "ids") < 40


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    ("field", "edge", "table"),
    [
        ("targeting", "adsets", "meta_adsets"),
        ("bid_strategy", "campaigns", "meta_campaigns"),
        ("amount_spent", "account", "meta_ad_accounts"),
        ("frequency", "ad insights", "meta_ad_insights"),
        ("reach", "ad insights", "meta_ad_insights"),
    ],
)
def test_a_field_that_no_mart_is_built_on_is_left_out(
    make_warehouse: MakeWarehouse,
    sandbox: MeetingSandbox,
    caplog: pytest.LogCaptureFixture,
    field: str,
    edge: str,
    table: str,
    status: int,
) -> None:
    """A field that Meta does not give to one account would cost that account its spend."""
    part, whole = make_warehouse("field_part"), make_warehouse("field_whole")
    _load(whole, sandbox)
    known(part)
    sandbox.faults.add(Fault("field_refused", field=field, status=status, account_id=ACCOUNT_ID))
    _load(part, sandbox, run="first")
    lacking = {
        name: rows if name not in (f"raw.{table}", "raw.meta_adsets") else None
        for name, rows in _left(part).items()
    }
    assert lacking == {
        name: rows if name not in (f"raw.{table}", "raw.meta_adsets") else None
        for name, rows in _left(whole).items()
    }
    for row in query(part, f"select payload from raw.{table}"):
        assert field not in row["payload"]
    assert f"the field {field} of {edge} is left out for a week" in caplog.text
    with_field = query(whole, f"select payload from raw.{table}")
    assert any(field in row["payload"] for row in with_field)
    # It is remembered: the next run asks without it.
    sandbox.requests.clear()
    _load(part, sandbox, run="second")
    asked = [r.params.get("fields", "") for r in sandbox.requests if _is_edge(r.path, edge)]
    assert asked
    assert not [one for one in asked if field in one.split(",")]


def _is_edge(path: str, edge: str) -> bool:
    ends = {"account": f"act_{ACCOUNT_ID}", "ad insights": "insights"}
    return path.endswith(ends.get(edge, f"/{edge}"))


@pytest.mark.parametrize(("field", "edge"), [("currency", "object"), ("spend", "insights")])
def test_a_field_that_all_is_built_on_fails(
    warehouse: str, sandbox: MeetingSandbox, field: str, edge: str
) -> None:
    """A load without spend, or without a currency, would be green."""
    sandbox.faults.add(Fault("field_refused", field=field, edge=edge))
    with pytest.raises(errors.MetaRefused, match=rf"nonexisting field \({field}\)"):
        _load(warehouse, sandbox)
    assert query(warehouse, "select 1 from ops.loads") == []


# Less at a time.


def test_edges_are_read_in_pages_of_any_size_and_it_is_remembered(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """An account of which Meta answers ten ads at a time would not load at all."""
    known(warehouse)
    sandbox.limits.change(edge_page_limit=10)
    _load(warehouse, sandbox, run="first")
    assert _left(warehouse) == clean
    sandbox.requests.clear()
    _load(warehouse, sandbox, run="second")
    limits = {r.params["limit"] for r in sandbox.requests if r.path.endswith(("/ads", "/adsets"))}
    assert limits == {"7"}
    sandbox.limits.change(edge_page_limit=1)
    _load(warehouse, sandbox, run="third", account_id=LUMEN.account_id)
    assert len(query(warehouse, "select 1 from raw.meta_ads where account_id = '2000000010'")) == 9


@pytest.mark.parametrize("level", ["ad", "account"])
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (504, None, ""),
        (500, 1, "An unknown error occurred"),
        (500, 2, "Service temporarily unavailable"),
        (500, 1, "Please reduce the amount of data you're asking for, then retry your request"),
    ],
)
def test_what_is_answered_for_one_day_only_is_asked_for_day_by_day(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    level: str,
    status: int,
    code: int | None,
    message: str,
) -> None:
    """A query that Graph can answer in parts would fail its account every day."""
    known(warehouse)
    sandbox.faults.add(
        Fault("above_days", days=1, status=status, code=code, message=message, level=level)
    )
    _load(warehouse, sandbox, run="first")
    assert _left(warehouse) == clean
    sandbox.requests.clear()
    _load(warehouse, sandbox, run="second")
    assert _left(warehouse) == clean
    spans = sandbox.asked_days(level)
    assert spans
    assert all(since == until for since, until in spans)


def test_a_single_day_that_pages_cannot_give_comes_as_a_report(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """A day too large for pages would fail though a report has it."""
    sandbox.faults.add(Fault("above_days", days=0, level="ad", method="GET"))
    sandbox.faults.add(Fault("above_days", days=0, level="account", method="GET", times=8))
    _load(warehouse, sandbox)
    assert _left(warehouse) == clean


def test_a_report_that_hangs_is_asked_for_no_more(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    """An account whose reports hang would be polled for hours, and be red."""
    caplog.set_level(logging.INFO)
    known(warehouse, asynchronous=True, days=2)
    fault = sandbox.faults.add(Fault("report_stuck", times=None))
    _load(warehouse, sandbox, run="first")
    assert _left(warehouse) == clean
    assert fault.hits == 2  # once, and once more for the same days; the other days came in pages
    sandbox.requests.clear()
    _load(warehouse, sandbox, run="second")
    assert "POST" not in {r.method for r in sandbox.requests}
    # However large the account is.
    _set(warehouse, "update ops.loads set rows = 50000")
    _load(warehouse, sandbox, run="third")
    assert "POST" not in {r.method for r in sandbox.requests}
    assert _left(warehouse) == clean


# Objects that cannot be read.


def test_ids_that_graph_refuses_are_asked_for_once_a_week(
    warehouse: str, sandbox: MeetingSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty purged ads would cost a hundred calls in every run."""
    known(warehouse)
    delivering = {
        row.ad.id
        for n in range(4)
        for row in sandbox.world.full_day(ACCOUNT_ID, SINCE + timedelta(days=n))
    }
    gone = sorted(delivering)[:20]
    sandbox.world.hide(set(gone))
    for one in gone:
        monkeypatch.delitem(sandbox.world.objects, one)
    _load(warehouse, sandbox, run="first")
    sandbox.requests.clear()
    _load(warehouse, sandbox, run="second")
    assert [r for r in sandbox.requests if "ids" in r.params] == []
    _set(
        warehouse,
        "update ops.ad_accounts set learned = learned || jsonb_build_object("
        "'at', now() - interval '7 days 1 minute')",
    )
    _load(warehouse, sandbox, run="a week later")
    assert [r for r in sandbox.requests if "ids" in r.params] != []


# What no cast takes.


def test_a_time_that_is_none_is_named(
    warehouse: str, sandbox: MeetingSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """An ad set without an end would get one in 1970, or stop the marts of all brands."""
    sandbox.faults.add(
        Fault("changed_rows", set={"end_time": 0, "daily_budget": "x"}, edge="adsets")
    )
    _load(warehouse, sandbox)
    (odd,) = query(warehouse, "select id from raw.meta_adsets where payload ->> 'end_time' = '0'")
    assert (
        f"meta_adsets {odd['id']}: end_time is 0, daily_budget is 'x'; null in the marts"
        in caplog.text
    )


@pytest.mark.parametrize(
    "change",
    [
        {"spend": ""},
        {"impressions": "NaN"},
        {"clicks": "many"},
        {"actions": [{"action_type": "purchase", "value": "many"}]},
        {"actions": [{"action_type": "purchase", "value": "1", "7d_click": "-"}]},
        {"action_values": [{"action_type": "purchase", "value": "Infinity"}]},
    ],
    ids=str,
)
def test_a_figure_that_is_none_makes_its_day_red_and_no_other(
    warehouse: str, sandbox: MeetingSandbox, change: dict[str, Any]
) -> None:
    """A row without spend would pass as free, or fail all brands' marts hours later."""
    sandbox.faults.add(Fault("changed_rows", set=change, level="ad"))
    with pytest.raises(Unreconciled) as caught:
        _load(warehouse, sandbox)
    (name,) = change
    assert f"Acme (2000000009) on {DAY}: " in str(caught.value)
    assert f"has no number in {name} " in str(caught.value)
    found = query(warehouse, "select date, status, rows from ops.loads order by date")
    assert [row["status"] for row in found] == ["unreconciled"] + ["reconciled"] * 3
    assert found[0]["rows"] == len(sandbox.world.full_day(ACCOUNT_ID, DAY)) - 1
    bad = query(warehouse, "select 1 from raw.meta_ad_insights where payload ->> 'spend' = ''")
    assert bad == []
    _load(
        warehouse, sandbox, account_id=LUMEN.account_id, reconcile="fail"
    ) if name == "x" else None


def test_two_entries_of_one_action_type_are_named(
    warehouse: str, sandbox: MeetingSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two counts of purchases one would be taken without a word."""
    twins = [{"action_type": "omni_purchase", "value": count} for count in ("2", "3")]
    sandbox.faults.add(Fault("changed_rows", set={"actions": twins}, level="ad"))
    _load(warehouse, sandbox)
    (row,) = query(
        warehouse,
        "select ad_id from raw.meta_ad_insights where payload -> 'actions' = %s::jsonb",
        json.dumps(twins),
    )
    assert (
        f"ad {row['ad_id']} on {DAY} has several entries of one action type in actions, and the "
        "marts count the first"
    ) in caplog.text


def test_totals_that_are_no_numbers_leave_the_day_as_it_is(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """A day would be compared with nothing, and be green."""
    _load(warehouse, sandbox)
    sandbox.faults.add(Fault("changed_rows", set={"spend": "NaN"}, level="account"))
    with pytest.raises(Unreconciled, match=f"on {DAY}: Meta's own totals hold no numbers"):
        _load(warehouse, sandbox, run="again")
    assert _left(warehouse) == clean


def test_figures_as_json_numbers_are_exact(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """0.1 + 0.2 would not be 0.3, and days would be unreconciled by 1e-13."""
    sandbox.faults.add(Fault("json_numbers"))
    _load(warehouse, sandbox)
    assert _left(warehouse)["ops.loads"] == clean["ops.loads"]
    (row,) = query(warehouse, "select sum((payload ->> 'spend')::numeric) as spend "
                   "from raw.meta_ad_insights")  # fmt: skip
    totals = sandbox.world.account_totals(ACCOUNT_ID, SINCE, LAST, sandbox.clock.now())
    assert row["spend"] == sum((t.spend for t in totals.values()), Decimal(0))


def test_an_account_without_a_currency_is_a_sentence(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing field would be a KeyError, or spend would be stored in no currency."""

    def tamper(call: Call, body: Any) -> Any:
        if "currency" in call.params.get("fields", "").split(","):
            del body["currency"]
        return body

    as_it_is, sandbox.tamper = sandbox.tamper, tamper
    with pytest.raises(errors.MetaTransient, match="the ad account Acme without currency"):
        _load(warehouse, sandbox)
    assert query(warehouse, "select 1 from ops.loads") == []
    sandbox.tamper = as_it_is
    _load(warehouse, sandbox)
    sandbox.tamper = tamper
    _load(warehouse, sandbox, run="second")  # what is known of it stays
    assert _left(warehouse) == clean
    assert "without currency; what it said before is kept" in caplog.text


# Edges of what Meta keeps and knows.


@pytest.mark.parametrize("days", [92, 1])
def test_a_first_day_that_meta_keeps_no_longer_is_left_out(
    warehouse: str, caplog: pytest.LogCaptureFixture, days: int
) -> None:
    """A load of 37 months would be refused whole for one day."""
    now = datetime.now(UTC)
    spec = AccountSpec("62", "acme", "Acme", "USD", "UTC", campaigns=1)
    with serving(spec, LUMEN, start=now.date() - timedelta(days=1200)) as sandbox:
        sandbox.clock.set(now)
        sandbox.limits.change(retention_days_less=1)
        known(warehouse, "62", days=days)
        first = Window(now, date(2000, 1, 1), now.date()).dates(
            Account("62", "meta", name="Acme"), ZoneInfo("UTC"), now, MetaSource
        )[0]
        load(warehouse, sandbox, account_id="62", since=first, until=first + timedelta(days=2))
    found = query(warehouse, "select date, status from ops.loads order by date")
    assert found == [{"date": first + timedelta(days=n), "status": "reconciled"} for n in (1, 2)]
    assert f"Acme: {first} is left out: Meta refuses the request: older than the 37" in caplog.text


def test_ads_of_a_status_that_is_new_are_found(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    """A status that Meta adds would take its ads' spend away, without a hint of why."""
    known(warehouse)
    for row in sandbox.world.full_day(ACCOUNT_ID, DAY)[:2]:
        row.ad.held = "IN_APPEAL"
    _load(warehouse, sandbox, run="first")
    assert _left(warehouse)["raw.meta_ad_insights"] == clean["raw.meta_ad_insights"]
    assert _left(warehouse)["ops.loads"] == clean["ops.loads"]
    assert "statuses that are new to us: ['IN_APPEAL']" in caplog.text
    sandbox.requests.clear()
    _load(warehouse, sandbox, run="second")
    assert len(sandbox.asked_days()) == 1  # not read twice


def test_a_status_that_meta_refuses_is_asked_for_no_more(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    """A status that Meta gives up would stop all accounts on one day."""
    known(warehouse)
    fault = sandbox.faults.add(Fault("status_refused", value="PREAPPROVED"))
    _load(warehouse, sandbox, run="first")
    assert _left(warehouse) == clean
    assert "the status PREAPPROVED is asked for no more in ads for a week" in caplog.text
    hits = fault.hits
    _load(warehouse, sandbox, run="second")
    assert fault.hits == hits


# Retries.


def test_a_throttled_hierarchy_is_gone_on_with_page_by_page(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large account would read its hierarchy in each retry and never get to its days."""
    monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    known(warehouse, edge_pages={"ads": 20})
    memory = Notes()
    # Every sixth call of the account is sent away.
    for number in range(6):
        sandbox.faults.add(Fault("throttle_80004", minutes=5, after=6 * (number + 1), edge="ads"))
    sandbox.faults.add(Fault("throttle_80004", minutes=5, after=2, edge="insights"))
    seen: list[int] = []

    def once() -> None:
        seen.append(len(sandbox.requests))
        _load(warehouse, sandbox, memory=memory)

    for edge in ("ads", "insights"):
        sandbox.faults.clear()
        sandbox.faults.add(Fault("throttle_80004", minutes=5, after=2, edge=edge))
        with pytest.raises(errors.MetaThrottled):
            once()
    sandbox.faults.clear()
    tried_as_airflow_does(once, sandbox)
    assert _left(warehouse) == clean
    assert memory == {}
    asked = [r.params.get("after") for r in sandbox.requests if r.path.endswith("/ads")]
    pages = -(-len(sandbox.world.ads[ACCOUNT_ID]) // 20)
    assert len(asked) == pages + 1  # the one that was sent away came again
    assert len(set(asked)) == pages
    assert len([r for r in sandbox.requests if r.path.endswith("/campaigns")]) == 1


def test_a_new_run_reads_the_hierarchy_afresh(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """A cleared task would keep the names of the run before."""
    memory = Notes()
    fault = sandbox.faults.add(Fault("throttle_80004", minutes=5, after=1, edge="insights"))
    with pytest.raises(errors.MetaThrottled):
        _load(warehouse, sandbox, memory=memory)
    sandbox.faults.remove(fault)
    sandbox.requests.clear()
    _load(warehouse, sandbox, memory=memory, clear=1)
    assert len([r for r in sandbox.requests if r.path.endswith("/campaigns")]) == 1
    assert _left(warehouse) == clean


def test_what_is_not_to_be_had_of_the_hierarchy_fails_after_the_days(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """An edge that Meta refuses would cost the account its spend, or nobody would see it."""
    sandbox.faults.add(Fault("fatal_1504042", edge="adsets", times=None))
    with pytest.raises(errors.MetaRefused, match="Invalid custom metrics"):
        _load(warehouse, sandbox)
    left = _left(warehouse)
    assert left["raw.meta_ad_insights"] == clean["raw.meta_ad_insights"]
    assert left["ops.loads"] == clean["ops.loads"]
    assert left["raw.meta_ads"] == clean["raw.meta_ads"]


def test_what_another_version_has_learnt_is_ignored(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """Going back to an earlier version would fail every load with a TypeError."""
    known(warehouse, page_size=50, days="many", a_key_of_tomorrow={"x": 1}, reports=1)
    _load(warehouse, sandbox)
    assert _left(warehouse) == clean
    asked = [r.params["limit"] for r in sandbox.requests if r.params.get("level") == "ad"]
    assert set(asked) == {"50"}


# What is learnt, and what is not.


def _learned(uri: str) -> dict[str, Any]:
    (row,) = query(uri, "select learned from ops.ad_accounts")
    return dict(row["learned"])


@pytest.mark.parametrize(
    ("matching", "raises"),
    [
        ({"edge": "ads", "times": None}, True),
        ({**_TOTALS, "times": 9}, False),
        ({**_ROWS, "times": 9}, False),
    ],
)
def test_a_passing_outage_teaches_nothing(
    warehouse: str,
    sandbox: MeetingSandbox,
    clean: Tables,
    matching: dict[str, Any],
    raises: bool,
) -> None:
    """A minute without an answer would cost a call for each ad, or each day, for a week."""
    known(warehouse)
    sandbox.faults.add(Fault("busy", **matching))
    if raises:
        with pytest.raises(errors.MetaTransient):
            _load(warehouse, sandbox)
        assert _left(warehouse)["ops.loads"] == clean["ops.loads"]
    else:
        _load(warehouse, sandbox)
        assert _left(warehouse) == clean
    learned = _learned(warehouse)
    assert learned.get("edge_pages", {}) == {}
    assert learned.get("account_days", 1200) == 1200
    assert learned.get("days", 92) == 92


def test_reports_that_work_for_fewer_days_are_kept_to(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """An account that only reports can read would be asked in pages for a week, and be red,
    after one report that failed.
    """
    known(warehouse, asynchronous=True)
    sandbox.faults.add(Fault("too_much_data", method="GET", times=None, **_ROWS))
    sandbox.faults.add(Fault("report_failed", times=2))
    _load(warehouse, sandbox, run="first")
    assert _left(warehouse) == clean
    learned = _learned(warehouse)
    assert (learned["reports"], learned["asynchronous"], learned["page_size"]) == (True, True, 500)
    _load(warehouse, sandbox, run="second")
    assert _left(warehouse) == clean


def test_an_outage_that_is_over_is_not_counted_to_the_next(
    warehouse: str, sandbox: MeetingSandbox
) -> None:
    """The second outage within a year would delete what the first one only threatened."""
    load(warehouse, sandbox, until=LAST, attribution_windows=(), run="before")
    left = _left(warehouse)["raw.meta_ad_insights"]
    sandbox.faults.add(Fault("no_data"))
    with pytest.raises(DaysVanished):
        _reread(warehouse, sandbox, "the first outage")
    sandbox.faults.clear()
    assert _reread(warehouse, sandbox, "over").days == {"loaded": 0, "reconciled": 4}
    assert query(warehouse, "select 1 from ops.loads where empty_since is not null") == []
    sandbox.faults.add(Fault("no_data"))
    with pytest.raises(DaysVanished):
        _reread(warehouse, sandbox, "the second outage")
    assert _left(warehouse)["raw.meta_ad_insights"] == left


@pytest.mark.parametrize("edge", ["campaigns", "ads"])
@pytest.mark.parametrize("status", ["DELETED", "ARCHIVED"])
def test_a_status_that_one_edge_refuses_is_asked_for_elsewhere(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, edge: str, status: str
) -> None:
    """Spend of archived ads would be missing since a list of campaigns has no such status."""
    known(warehouse)
    sandbox.faults.add(Fault("status_refused", value=status, edge=edge))
    _load(warehouse, sandbox)
    left = _left(warehouse)
    assert left["ops.loads"] == clean["ops.loads"]
    assert left["raw.meta_ad_insights"] == clean["raw.meta_ad_insights"]


@pytest.mark.parametrize("which", ["last page", "both ends", "every fourth"])
def test_broken_creatives_anywhere_cost_only_themselves_and_one_search_a_week(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, which: str
) -> None:
    """A broken ad behind the first page would end the list; two at the ends would take the
    creatives of all; many would be searched for in every run.
    """
    known(warehouse, edge_pages={"ads": 20} if which == "last page" else {})
    ids = sorted(ad.id for ad in sandbox.world.ads[ACCOUNT_ID])
    broken = {
        "last page": ids[-1:], "both ends": [ids[0], ids[-1]], "every fourth": ids[1:-1:4],
    }[which]  # fmt: skip
    for one in broken:
        for edge in ("ads", "ids"):
            sandbox.faults.add(Fault("broken_object", id=one, edge=edge))
    for run, most in (("first", 250), ("second", 40)):
        sandbox.requests.clear()
        _load(warehouse, sandbox, run=run)
        assert len([r for r in sandbox.requests if "ids" in r.params]) < most
        found = query(warehouse, "select id, payload ? 'creative' as whole from raw.meta_ads")
        assert {row["id"] for row in found} == set(ids)
        assert {row["id"] for row in found if not row["whole"]} == set(broken)


def test_ads_that_no_listing_shows_are_there_after_a_throttle(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables
) -> None:
    """An ad's name would be missing for good where its day was stored before the throttle."""
    known(warehouse)
    sandbox.world.hide({row.ad.id for row in sandbox.world.full_day(ACCOUNT_ID, DAY)[:3]})
    sandbox.faults.add(Fault("throttle_80004", minutes=5, edge="ids"))
    memory = Notes()
    with pytest.raises(errors.MetaThrottled):
        _load(warehouse, sandbox, memory=memory)
    _load(warehouse, sandbox, memory=memory)
    assert _left(warehouse) == clean


@pytest.mark.parametrize("level", ["ad", "account"])
@pytest.mark.parametrize(
    "row", ["x", None, {"date_start": "2025-03-25T00", "date_stop": "2025-03-25T00", "ad_id": "1"}]
)
def test_rows_of_any_shape_are_left_out_or_a_sentence(
    warehouse: str, sandbox: MeetingSandbox, clean: Tables, level: str, row: Any
) -> None:
    """An odd row would be a raw exception, of which neither page nor retries know anything."""

    def tamper(call: Call, body: Any) -> Any:
        if call.path.endswith("/insights") and call.params.get("level") == level:
            body["data"].append(row)
        return body

    sandbox.tamper = tamper
    if isinstance(row, dict):
        _load(warehouse, sandbox)
        assert _left(warehouse) == clean
    else:
        with pytest.raises(errors.MetaTransient, match="without a list of objects in `data`"):
            _load(warehouse, sandbox)


@pytest.mark.parametrize("actions", [None, 5, ["x"]])
def test_totals_with_actions_of_any_shape_can_be_compared(
    warehouse: str, sandbox: MeetingSandbox, actions: Any
) -> None:
    """The weekly look would end with a raw exception, and with it all later days."""
    load(warehouse, sandbox, until=LAST, attribution_windows=(), run="before")
    sandbox.faults.add(Fault("changed_rows", set={"actions": actions}, level="account"))
    assert _reread(warehouse, sandbox, "odd").days == {"loaded": 0, "reconciled": 1}


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc"])
def test_a_time_zone_that_is_none_is_a_sentence(
    warehouse: str, sandbox: MeetingSandbox, zone: str
) -> None:
    """A new zone of Meta's would be a raw exception of Python's."""

    def tamper(call: Call, body: Any) -> Any:
        return body | {"timezone_name": zone} if "timezone_name" in body else body

    sandbox.tamper = tamper
    with pytest.raises(SettingsError, match=f"the time zone '{zone}', which is not known here"):
        _load(warehouse, sandbox)
