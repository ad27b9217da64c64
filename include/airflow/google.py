"""What the tasks of `confirm_conversions` and `extract_google_clicks` do with Airflow's context."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

from include.airflow.connections import data_managers, google_ads, warehouse_uri
from include.airflow.extract import refuse_unknown, window
from include.errors import SettingsError

log = logging.getLogger(__name__)

# A day's clicks are final when it has ended in the account's time zone; this many days cover
# every time zone and a run that was missed.
LOOKBACK_DAYS = 3
_LONGEST = timedelta(days=90)  # that Google tells of


def destinations_to_confirm(context: Any) -> list[str]:
    """Names of the destinations with requests whose end is to be asked for, one task each."""
    from include.conversions import confirm, outbox
    from include.warehouse import connect, migrate

    refuse_unknown(context["dag_run"].conf, tuple(context["dag"].params))
    uri = warehouse_uri()
    migrate(uri)
    with connect(uri, autocommit=True) as opened:
        return confirm.due(opened, outbox.now_of(opened))


def confirm_one(name: str) -> dict[str, Any]:
    """Ask Data Manager what became of a destination's requests.

    Returns:
        Requests asked about, rows by what became of them, reasons with counts; no identifiers.

    Raises:
        TributaryError: what a person can mend.
    """
    from include.conversions import confirm, destinations, outbox
    from include.conversions.platforms import DataManagerPlatform
    from include.warehouse import connect

    uri = warehouse_uri()
    with connect(uri, autocommit=True) as opened:
        destination = destinations.one(opened, name, outbox.now_of(opened))
    client = data_managers(destination.conn_id, f"for destination {name}")()
    quota = DataManagerPlatform(client, destination.settings).quota
    return confirm.confirm(uri, destination, client, quota=quota).as_dict()


def click_accounts(context: Any) -> list[dict[str, Any]]:
    """Active Google Ads accounts as plain data, one mapped task each; none is no error.

    Raises:
        SettingsError: an account was asked for that is not configured.
    """
    from include.warehouse import connect, migrate

    refuse_unknown(context["dag_run"].conf, tuple(context["dag"].params))
    click_days(context)
    uri = warehouse_uri()
    migrate(uri)
    with connect(uri) as opened:
        rows = opened.execute(
            "select account_id, conn_id, is_active, settings ->> 'name' as name "
            "from ops.ad_accounts where platform = 'google_ads' order by account_id"
        ).fetchall()
    asked = {str(one).strip() for one in context["params"].get("accounts") or ()}
    if unknown := sorted(asked - {row["account_id"] for row in rows}):
        raise SettingsError(f"No such Google Ads account is configured: {', '.join(unknown)}.")
    return [
        {
            "account_id": row["account_id"],
            "conn_id": row["conn_id"],
            "name": row["name"] or row["account_id"],
        }
        for row in rows
        if (row["account_id"] in asked if asked else row["is_active"])
    ]


def click_days(context: Any) -> list[date]:
    """The days of a run: `since` and `until`, a backfill's own day, else the latest few."""
    found = window(context)
    last = found.until or (found.anchor - timedelta(microseconds=1)).astimezone(UTC).date()
    first = found.since or last - timedelta(days=LOOKBACK_DAYS - 1)
    oldest = (datetime.now(UTC) - _LONGEST).date()
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day for day in days if day >= oldest]


def load_clicks(account: dict[str, Any], context: Any) -> dict[str, Any]:
    """Load the clicks of one account's days.

    Returns:
        Account, days, clicks.

    Raises:
        TributaryError: what a person can mend; the days before stay loaded.
    """
    from include.google_clicks import load_day

    client = google_ads(account["conn_id"], f"for ad account {account['account_id']}")()
    uri, days = warehouse_uri(), click_days(context)
    clicks = sum(
        load_day(
            client,
            uri,
            account["account_id"],
            day,
            run_id=context["dag_run"].run_id,
            now=datetime.now(UTC),
        )
        for day in days
    )
    log.info("%s: %d clicks of %d days", account["name"], clicks, len(days))
    return {"account_id": account["account_id"], "days": len(days), "clicks": clicks}
