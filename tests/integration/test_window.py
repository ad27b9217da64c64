"""Which days a run loads: by the account's own calendar, whatever the scheduler's clock says."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tributary.errors import SettingsError
from tributary.extract.window import Window
from tributary.platforms.meta.source import MetaSource
from tributary.platforms.source import Account

LOS_ANGELES, JAKARTA = ZoneInfo("America/Los_Angeles"), ZoneInfo("Asia/Jakarta")
MIDNIGHT = datetime(2025, 3, 20, tzinfo=UTC)
LATER = datetime(2025, 6, 1, tzinfo=UTC)
ACCOUNT = Account("1", "meta_acme", name="Acme", lookback_days=3)


def _span(window: Window, zone: ZoneInfo, now: datetime = LATER) -> tuple[str, str, int]:
    days = window.dates(ACCOUNT, zone, now, MetaSource)
    assert days == sorted(set(days))
    return str(days[0]), str(days[-1]), len(days)


@pytest.mark.parametrize(
    ("zone", "last"),
    [
        # At 00:00 UTC of the 20th it is 17:00 of the 19th in Los Angeles, 07:00 of the 20th here:
        ("America/Los_Angeles", "2025-03-18"),
        ("Asia/Jakarta", "2025-03-19"),
        ("UTC", "2025-03-19"),
        ("Pacific/Kiritimati", "2025-03-19"),
        ("Pacific/Pago_Pago", "2025-03-18"),
    ],
)
def test_the_last_day_is_the_last_that_had_ended_there(zone: str, last: str) -> None:
    """An account would get a day that is not over, or miss its newest whole one."""
    found = _span(Window(MIDNIGHT), ZoneInfo(zone))
    assert found[1:] == (last, 3)
    assert found[0] == str(date.fromisoformat(last) - timedelta(days=2))


def test_the_window_does_not_depend_on_when_the_run_gets_its_turn() -> None:
    """A delayed run would load other days than a punctual one."""
    for late in (timedelta(0), timedelta(hours=9), timedelta(days=40)):
        found = _span(Window(MIDNIGHT), JAKARTA, MIDNIGHT + late)
        assert found == ("2025-03-17", "2025-03-19", 3)


def test_a_run_of_the_future_ends_now() -> None:
    """An anchor ahead of the clock would ask for days that have not ended."""
    found = _span(Window(MIDNIGHT + timedelta(days=9)), JAKARTA, MIDNIGHT)
    assert found == ("2025-03-17", "2025-03-19", 3)


@pytest.mark.parametrize(
    ("window", "span"),
    [
        (Window(MIDNIGHT, days=1), ("2025-03-19", "2025-03-19", 1)),
        (Window(MIDNIGHT, days=30), ("2025-02-18", "2025-03-19", 30)),
        (Window(MIDNIGHT, since=date(2025, 3, 1)), ("2025-03-01", "2025-03-19", 19)),
        (Window(MIDNIGHT, until=date(2025, 3, 10)), ("2025-03-08", "2025-03-10", 3)),
        (
            Window(MIDNIGHT, until=date(2025, 3, 10), days=2),
            ("2025-03-09", "2025-03-10", 2),
        ),
        (
            Window(MIDNIGHT, date(2024, 2, 28), date(2024, 3, 1), days=9),
            ("2024-02-28", "2024-03-01", 3),
        ),
        # Later than the run's own anchor, but past: what a person asks for is given.
        (
            Window(MIDNIGHT, date(2025, 5, 1), date(2025, 5, 2)),
            ("2025-05-01", "2025-05-02", 2),
        ),
    ],
)
def test_since_until_and_lookback(window: Window, span: tuple[str, str, int]) -> None:
    """A backfill by hand would load other days than those that were asked for."""
    assert _span(window, JAKARTA) == span


def test_days_that_have_not_begun_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Graph would refuse the whole range, or the days would be stored as empty."""
    now = datetime(2025, 3, 20, 18, tzinfo=UTC)  # the 21st in Jakarta
    window = Window(MIDNIGHT, date(2025, 3, 19), date(2025, 4, 30))
    assert _span(window, JAKARTA, now) == ("2025-03-19", "2025-03-21", 3)
    assert _span(window, LOS_ANGELES, now) == ("2025-03-19", "2025-03-20", 2)
    assert [r.getMessage() for r in caplog.records] == [
        "Acme: days after 2025-03-21 have not begun there; left out",
        "Acme: days after 2025-03-20 have not begun there; left out",
    ]


def test_nothing_to_load_is_an_error() -> None:
    """A run whose days lie in the future would end green with nothing loaded."""
    window = Window(MIDNIGHT, since=date(2025, 3, 19))
    assert _span(window, JAKARTA) == ("2025-03-19", "2025-03-19", 1)
    with pytest.raises(SettingsError) as caught:
        window.dates(ACCOUNT, LOS_ANGELES, LATER, MetaSource)
    assert str(caught.value) == (
        "Nothing to load for Acme: 2025-03-19 is after 2025-03-18, the last day that could be "
        "asked for in America/Los_Angeles. Give an earlier `since`."
    )


def _context(
    run_type: str = "scheduled",
    *,
    interval: tuple[datetime, datetime] | None = (MIDNIGHT - timedelta(days=1), MIDNIGHT),
    logical_date: datetime | None = MIDNIGHT - timedelta(days=1),
    run_after: datetime = LATER,
    **params: object,
) -> dict[str, Any]:
    names = ("since", "until", "lookback_days")
    start, end = interval or (None, None)
    run = SimpleNamespace(
        run_type=run_type,
        data_interval_start=start,
        data_interval_end=end,
        logical_date=logical_date,
        run_after=run_after,
    )
    return {"params": {name: params.get(name) for name in names}, "dag_run": run}


NOON = MIDNIGHT + timedelta(hours=12)


@pytest.mark.parametrize(
    ("context", "window"),
    [
        (_context(), Window(MIDNIGHT)),
        # `dags test 2025-03-20`, and *Trigger* with that as its logical date: then or later.
        (_context("manual", logical_date=MIDNIGHT, run_after=NOON), Window(MIDNIGHT)),
        (_context("manual", logical_date=MIDNIGHT), Window(MIDNIGHT)),
        (_context("manual", logical_date=NOON), Window(MIDNIGHT)),
        # *Trigger* with its default: the logical date is now, the interval ended at midnight.
        (_context("manual", logical_date=NOON, run_after=NOON), Window(NOON)),
        # *Trigger* with an interval of one's own, and the default logical date.
        (_context("manual", logical_date=LATER), Window(MIDNIGHT)),
        # Triggered by REST with a null date: there is no interval, only the moment of the run.
        (_context("manual", interval=None, logical_date=None), Window(LATER)),
        (_context("backfill"), Window(MIDNIGHT, date(2025, 3, 19), date(2025, 3, 19))),
        (_context("backfill", lookback_days=7), Window(MIDNIGHT, days=7)),
        (
            _context("backfill", since="2025-03-01"),
            Window(MIDNIGHT, since=date(2025, 3, 1)),
        ),
        (
            _context("manual", since="2025-03-01", until="2025-03-02"),
            Window(MIDNIGHT, date(2025, 3, 1), date(2025, 3, 2)),
        ),
    ],
)
def test_the_window_of_a_run(postgres: str, context: dict[str, Any], window: Window) -> None:
    """A backfill run would load a month instead of its day, a manual run an empty interval."""
    from tributary.orchestration.tasks.window import window as of_run

    assert of_run(context) == window


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"since": "2025-03-02", "until": "2025-03-01"},
            "`since` (2025-03-02) is after `until` (2025-03-01).",
        ),
        ({"since": "yesterday"}, "`since` must be a date such as 2025-01-31, not 'yesterday'."),
        ({"until": "2025-02-30"}, "`until` must be a date such as 2025-01-31, not '2025-02-30'."),
        ({"since": "20250301"}, "`since` must be a date such as 2025-01-31, not '20250301'."),
    ],
)
def test_dates_that_cannot_be_used(postgres: str, params: dict[str, Any], sentence: str) -> None:
    """A mistyped date would be retried as a mishap, or be taken for another day."""
    from tributary.orchestration.tasks.window import window as of_run

    with pytest.raises(SettingsError) as caught:
        of_run(_context("manual", **params))
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        # In days from today; the run is triggered now.
        (None, None, [-2, -1, 0]),
        (-90, -89, [-90, -89]),
        (-92, -89, [-90, -89]),
        (-92, -91, "No clicks to load: Google keeps those of the last 90 days, back to "),
        (2, None, " is after "),
        (2, 3, " has not begun anywhere."),
    ],
)
def test_the_days_whose_clicks_are_loaded(
    postgres: str, since: int | None, until: int | None, found: list[int] | str
) -> None:
    """Days of which Google tells nothing would be loaded as empty, with a green run."""
    from tributary.orchestration.tasks.extract_google import click_days

    now = datetime.now(UTC)
    days = {
        name: None if n is None else str((now + timedelta(days=n)).date())
        for name, n in (("since", since), ("until", until))
    }
    context = _context("manual", interval=None, logical_date=None, run_after=now, **days)
    if isinstance(found, list):
        assert click_days(context) == [(now + timedelta(days=n)).date() for n in found]
    else:
        with pytest.raises(SettingsError) as caught:
            click_days(context)
        assert found in str(caught.value)


def test_unknown_conf_is_refused_by_name(postgres: str) -> None:
    """A misspelt `lookback` would be ignored without a word."""
    from tributary.orchestration.tasks.window import refuse_unknown

    known = ("accounts", "since", "until", "lookback_days")

    refuse_unknown({"since": "2025-03-01"}, known)
    refuse_unknown(None, known)
    with pytest.raises(SettingsError) as caught:
        refuse_unknown({"since": "2025-03-01", "untill": "x", "days": 3}, known)
    assert str(caught.value) == (
        "Unknown conf days, untill: this DAG knows accounts, since, until, lookback_days."
    )
