"""What a run is about: its conf, and the days of its window."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from tributary.errors import SettingsError

if TYPE_CHECKING:
    from tributary.extract.window import Window


def refuse_unknown(conf: dict[str, Any] | None, known: tuple[str, ...]) -> None:
    """Airflow takes any key in a run's conf; a misspelt one would have no effect."""
    unknown = sorted(set(conf or {}) - set(known))
    if unknown:
        raise SettingsError(
            f"Unknown conf {', '.join(unknown)}: this DAG knows {', '.join(known)}."
        )


def refuse_unknown_conf(context: Any) -> None:
    """Refuse a run whose conf has a key that is no parameter of its DAG.

    Raises:
        SettingsError: names them, and the parameters.
    """
    refuse_unknown(context["dag_run"].conf, tuple(context["dag"].params))


def window(context: Any) -> Window:
    """The days that a run is about.

    `since` and `until` of the run win. A backfill run loads the one day of its interval. Any other
    run looks back from the end of its data interval; where that was the latest interval when the
    run was triggered by hand, from its logical date, which is the moment of the trigger unless
    somebody chose another; a run without an interval from its `run_after`.
    """
    from tributary.extract.window import Window

    params, run = context["params"], context["dag_run"]
    since, until = (_date(name, params.get(name)) for name in ("since", "until"))
    if since and until and since > until:
        raise SettingsError(f"`since` ({since}) is after `until` ({until}).")
    days = params.get("lookback_days")
    start, end = run.data_interval_start, run.data_interval_end
    if run.run_type == "backfill" and start and not (since or until or days):
        since = until = start.date()
    anchor = end or run.run_after or datetime.now(UTC)
    if start and end and run.run_after < end + (end - start):
        # The logical date of a scheduled run and of a backfill's is the beginning of the interval.
        anchor = max(end, run.logical_date)
    return Window(anchor=anchor, since=since, until=until, days=days)


def _date(name: str, text: str | None) -> date | None:
    try:
        return None if not text else datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise SettingsError(f"`{name}` must be a date such as 2025-01-31, not {text!r}.") from None
