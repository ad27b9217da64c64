"""What the tasks of `extract_google_clicks` do with Airflow's context."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tributary.errors import SettingsError
from tributary.orchestration import accounts
from tributary.orchestration.connections import current_warehouse, warehouse_uri
from tributary.orchestration.tasks.window import refuse_unknown_conf, window

log = logging.getLogger(__name__)

# A day's clicks are final when it has ended in the account's time zone; this many days cover
# every time zone and a run that was missed.
LOOKBACK_DAYS = 3
_LONGEST = timedelta(days=90)  # that Google reports
_FURTHEST_EAST = timedelta(hours=14)  # of UTC: where a day begins first


def click_accounts(context: Any) -> list[dict[str, str]]:
    """Ids and names of the Google Ads accounts of a run, one mapped task each; none is no error.

    Raises:
        SettingsError: an account was asked for that is not configured.
    """
    from tributary.warehouse import connect

    refuse_unknown_conf(context)
    click_days(context)
    wanted = accounts.asked(context)
    uri = current_warehouse()
    with connect(uri) as opened:
        rows = accounts.of(opened, "google_ads")
    if unknown := sorted(set(wanted) - {row["account_id"] for row in rows}):
        raise SettingsError(f"No such Google Ads account is configured: {', '.join(unknown)}.")
    return [
        accounts.label(row)
        for row in rows
        if (row["account_id"] in wanted if wanted else row["is_active"])
    ]


def click_days(context: Any) -> list[date]:
    """The days of a run: `since` and `until`, a backfill's own day, else the latest few.

    Days that Google keeps no more, or that have begun nowhere, are left out with a warning.

    Raises:
        SettingsError: no day is left.
    """
    found, now = window(context), datetime.now(UTC)
    oldest, newest = (now - _LONGEST).date(), (now + _FURTHEST_EAST).date()
    last = found.until or (found.anchor - timedelta(microseconds=1)).astimezone(UTC).date()
    first = found.since or last - timedelta(days=LOOKBACK_DAYS - 1)
    if first > last:
        raise SettingsError(f"No clicks to load: {first} is after {last}, the last day of the run.")
    if last < oldest:
        raise SettingsError(
            f"No clicks to load: Google keeps those of the last {_LONGEST.days} days, back to "
            f"{oldest}, and {last} is before that."
        )
    if first > newest:
        raise SettingsError(f"No clicks to load: {first} has not begun anywhere.")
    if first < oldest:
        log.warning("Google keeps %d days; those before %s are left out", _LONGEST.days, oldest)
    if last > newest:
        log.warning("Days after %s have not begun anywhere; left out", newest)
    first, last = max(first, oldest), min(last, newest)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def load_clicks(listed: dict[str, str], context: Any) -> dict[str, Any]:
    """Load the clicks of one account's days; how it ended is kept in `ops.ad_accounts`.

    Returns:
        Account, days, clicks.

    Raises:
        AirflowSkipException: the account is paused, or not active any more.
        TributaryError: what a person can repair; the days before stay loaded.
    """
    from tributary.extract.google_clicks import load_day
    from tributary.platforms.google_ads.hook import GoogleAdsHook

    days = click_days(context)
    with accounts.loading("google_ads", listed["account_id"], context) as load:
        account_id = load.row["account_id"]
        client = GoogleAdsHook(load.row["conn_id"], f"for ad account {account_id}").get_conn()
        for day in days:
            load.rows += load_day(
                client,
                warehouse_uri(),
                account_id,
                day,
                run_id=context["dag_run"].run_id,
                now=datetime.now(UTC),
            )
    log.info("%s: %d clicks of %d days", load.row["name"], load.rows, len(days))
    return {"account_id": account_id, "days": len(days), "clicks": load.rows}
