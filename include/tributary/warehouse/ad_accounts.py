"""Run state of ad accounts in `ops.ad_accounts`: pauses, the latest load, what works for them."""

from __future__ import annotations

from typing import Any

from tributary.errors import SettingsError
from tributary.warehouse.connection import Connection, as_jsonb

Row = dict[str, Any]


_SELECT = """
select a.account_id, a.conn_id, a.is_active, a.settings, b.slug as brand,
    coalesce(a.settings ->> 'name', a.account_id) as name,
    case when a.paused_until > now() then format('until %%s: %%s', case
        when isfinite(a.paused_until) then
            to_char(a.paused_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
        else 'a person resumes it' end, a.paused_reason) end as paused
from ops.ad_accounts as a inner join ops.brands as b on b.id = a.brand_id
where a.platform = %s
"""


def of_platform(connection: Connection, platform: str) -> list[Row]:
    """All accounts of a platform by id, with brand, name and, while one is paused, why."""
    return connection.execute(_SELECT + "order by a.account_id", [platform]).fetchall()


def one(connection: Connection, platform: str, account_id: str) -> Row | None:
    """The same of one account; None: it is not configured."""
    return connection.execute(_SELECT + "and a.account_id = %s", [platform, account_id]).fetchone()


def connections_in_use(connection: Connection) -> list[Row]:
    """`conn_id`, `platform`, `name` for people and `is_account` of each active ad account and
    destination.
    """
    return connection.execute(
        "select conn_id, platform, "
        "format('ad account %s', coalesce(settings ->> 'name', account_id)) as name, "
        "true as is_account from ops.ad_accounts where is_active union all "
        "select conn_id, platform, format('destination %s', name), false "
        "from ops.destinations where is_active order by conn_id, name"
    ).fetchall()


def pause(
    connection: Connection, platform: str, account_id: str, seconds: float | None, reason: str
) -> None:
    """Pause an account: until then runs skip it and report why.

    Args:
        seconds: None: until a person resumes it. psycopg cannot read that time (infinity), so it
            stays in SQL.
    """
    connection.execute(
        "update ops.ad_accounts set paused_until = "
        "coalesce(now() + make_interval(secs => %s), 'infinity'), "
        "paused_reason = %s where platform = %s and account_id = %s",
        [seconds, reason, platform, account_id],
    )


def resume(connection: Connection, platform: str, account_id: str) -> bool:
    """End an account's pause; returns whether there was one.

    Raises:
        SettingsError: there is no such account.
    """
    with connection.transaction():
        known = connection.execute(
            "select coalesce(paused_until > now(), false) as paused from ops.ad_accounts "
            "where platform = %s and account_id = %s for update",
            [platform, account_id],
        ).fetchone()
        if known is None:
            raise SettingsError(
                f"There is no {platform} ad account {account_id!r}: add it to the settings file "
                "and apply it with `tributary configure FILE.yaml`."
            )
        connection.execute(
            "update ops.ad_accounts set paused_until = null, paused_reason = null "
            "where platform = %s and account_id = %s",
            [platform, account_id],
        )
    return bool(known["paused"])


def record_sync(
    connection: Connection, platform: str, account_id: str, status: str, count: int | None
) -> None:
    """Keep how an account's latest load ended, for people who look."""
    connection.execute(
        "update ops.ad_accounts set last_sync_at = now(), last_sync_status = %s, "
        "last_sync_count = %s where platform = %s and account_id = %s",
        [status, count, platform, account_id],
    )


def learned(connection: Connection, platform: str, account_id: str) -> Row:
    """What was found to work for an account within the last week; empty when nothing was."""
    row = connection.execute(
        "select learned from ops.ad_accounts where platform = %s and account_id = %s "
        "and (learned ->> 'at')::timestamptz > now() - interval '7 days'",
        [platform, account_id],
    ).fetchone()
    return dict(row["learned"]) if row else {}


def learn(connection: Connection, platform: str, account_id: str, what: Row) -> None:
    """Store what was found to work, for the next runs. A week after the first of it was found, all
    of it is tried again.
    """
    connection.execute(
        "update ops.ad_accounts set learned = %s::jsonb || jsonb_build_object('at', case "
        "when (learned ->> 'at')::timestamptz > now() - interval '7 days' "
        "then (learned ->> 'at')::timestamptz else now() end) "
        "where platform = %s and account_id = %s",
        [as_jsonb(what), platform, account_id],
    )
