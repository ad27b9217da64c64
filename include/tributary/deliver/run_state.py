"""The latest loads and uploads in figures, and where to look when one fails: `tributary status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

from tributary.warehouse import Connection

Row = dict[str, Any]

_ACCOUNTS: LiteralString = """
select b.slug, a.account_id, a.is_active, a.last_sync_at, a.last_sync_status,
    count(l.date) as days,
    count(*) filter (where l.status = 'reconciled') as reconciled,
    count(*) filter (where l.status = 'unreconciled') as unreconciled,
    count(*) filter (where l.status = 'loaded') as open,
    case when a.paused_until > now() then a.paused_reason end as paused
from ops.ad_accounts as a inner join ops.brands as b on b.id = a.brand_id
left join ops.loads as l on l.account_id = a.account_id
group by b.slug, a.platform, a.account_id order by b.slug, a.account_id
"""

_DESTINATIONS: LiteralString = """
select b.slug, d.name, d.platform, d.is_active, d.last_sync_at, d.last_sync_status,
    count(*) filter (where l.sync_status in ('pending', 'queued')) as pending,
    count(*) filter (where l.sync_status = 'sent') as sent,
    count(*) filter (where l.sync_status = 'failed') as failed,
    count(*) filter (where l.sync_status = 'skipped') as skipped,
    count(*) filter (where l.sync_status = 'dead') as dead,
    case when d.paused_until > now() then d.paused_reason end as paused,
    greatest(min(l.next_attempt_at) filter (where l.sync_status in ('pending', 'failed')),
        case when isfinite(d.paused_until) then d.paused_until end) as next_try
from ops.destinations as d inner join ops.brands as b on b.id = d.brand_id
left join ops.conversion_deliveries as l on l.destination = d.name
group by b.slug, d.name order by b.slug, d.name
"""


def accounts(connection: Connection) -> list[Row]:
    """Ad accounts with their latest load, and their days by result."""
    return connection.execute(_ACCOUNTS).fetchall()


def destinations(connection: Connection) -> list[Row]:
    """Destinations with their latest upload, their deliveries by state, and when the next is due.

    Returns:
        Rows with `next_try` null where nothing waits.
    """
    return connection.execute(_DESTINATIONS).fetchall()


def first_looks(accounts: list[Row], destinations: list[Row]) -> Iterator[str]:
    """Where to look first for each kind of failure: the DAG, the table, the page."""
    failed = [row for row in accounts if (row["last_sync_status"] or "").startswith("failed")]
    if failed:
        yield (
            f"{_names(failed, 'account_id')}: the red task of this account in the DAG "
            "extract_meta_ads or extract_google_clicks (its log ends with what to do), "
            "then ops.ad_accounts."
        )
    if different := [row for row in accounts if row["unreconciled"]]:
        yield (
            f"{_names(different, 'account_id')}: days that differ from the account's own totals, "
            "in ops.loads with the status unreconciled; the DAG extract_meta_ads reads a day again."
        )
    if unsent := [row for row in destinations if row["failed"] or row["dead"]]:
        yield (
            f"{_names(unsent, 'name')}: the table above, the page Tributary in Airflow, then "
            "ops.conversion_deliveries (sync_error); the DAG upload_conversions sends again."
        )
    if paused := [row for row in [*accounts, *destinations] if row["paused"]]:
        names = ", ".join(row.get("name") or row["account_id"] for row in paused)
        yield f"{names}: the reason of the pause above; a person resumes on the page Tributary."


def _names(rows: list[Row], key: str) -> str:
    return ", ".join(str(row[key]) for row in rows)
