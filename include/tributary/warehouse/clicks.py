"""Google's clicks by account and day: `raw.google_click_view`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from tributary.warehouse.connection import Connection


def lock_day(connection: Connection, account_id: str, day: date) -> None:
    """Let no other transaction write that day of the account until this one ends."""
    connection.execute(
        "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
        [f"click_view|{account_id}|{day}"],
    )


def has_newer(connection: Connection, account_id: str, day: date, read_at: datetime) -> bool:
    """Whether a read of the day that began after `read_at` is stored."""
    found = connection.execute(
        "select 1 from raw.google_click_view where account_id = %s and date = %s "
        "and extracted_at > %s limit 1",
        [account_id, day, read_at],
    ).fetchone()
    return found is not None


def count(connection: Connection, account_id: str, day: date) -> int:
    """How many clicks of the day are stored."""
    found = connection.execute(
        "select count(*) as n from raw.google_click_view where account_id = %s and date = %s",
        [account_id, day],
    ).fetchone()
    return int(found["n"]) if found else 0


def replace_day(
    connection: Connection,
    account_id: str,
    day: date,
    payloads: Mapping[str, str],
    *,
    run_id: str,
    read_at: datetime,
) -> None:
    """Store the day's clicks and delete those that are not among them.

    Args:
        payloads: by gclid, what Google says of the click, as JSON.
    """
    connection.execute(
        "delete from raw.google_click_view where account_id = %s and date = %s "
        "and gclid <> all (%s)",
        [account_id, day, list(payloads)],
    )
    connection.execute(
        "insert into raw.google_click_view as c "
        "(account_id, date, gclid, payload, extracted_at, run_id) "
        "select %s, %s, gclid, payload::jsonb, %s, %s "
        "from unnest(%s::text[], %s::text[]) as v (gclid, payload) "
        "on conflict (account_id, date, gclid) do update set payload = excluded.payload, "
        "extracted_at = excluded.extracted_at, run_id = excluded.run_id",
        [account_id, day, read_at, run_id, list(payloads), list(payloads.values())],
    )
