"""Ad accounts and their loaded days, for people who look: the page's calendar."""

from __future__ import annotations

from typing import Any, LiteralString

from tributary.warehouse import Connection

LONGEST = 400  # days that are shown at most

Row = dict[str, Any]

_ACCOUNTS: LiteralString = """
select b.slug as brand, b.name as brand_name, a.platform, a.account_id, a.is_active, a.conn_id,
    coalesce(a.settings ->> 'name', a.account_id) as name, a.last_sync_at, a.last_sync_status,
    coalesce(a.paused_until > now(), false) as is_paused,
    case when a.paused_until > now() and isfinite(a.paused_until) then a.paused_until end
        as paused_until,
    case when a.paused_until > now() then a.paused_reason end as paused_reason
from ops.ad_accounts as a
inner join ops.brands as b on b.id = a.brand_id
order by b.name, a.platform <> 'meta', name, a.account_id
"""

# A day is due when the daily run of midnight UTC has had three hours for it.
_DAYS: LiteralString = """
with accounts as (
    select a.account_id, a.is_active, b.slug as brand, b.name as brand_name,
        coalesce(a.settings ->> 'name', a.account_id) as name,
        r.payload ->> 'currency' as currency,
        (date_trunc('day', now() - interval '3 hours', 'UTC')
            at time zone coalesce(r.payload ->> 'timezone_name', 'UTC'))::date - 1 as due
    from ops.ad_accounts as a
    inner join ops.brands as b on b.id = a.brand_id
    left join raw.meta_ad_accounts as r
        on r.account_id = a.account_id and r.id in (a.account_id, 'act_' || a.account_id)
    where a.platform = 'meta'
), spans as (
    select l.account_id, min(l.date) as first, max(l.date) as last
    from ops.loads as l group by l.account_id
), days as (
    select a.account_id, day::date as day
    from accounts as a
    inner join spans as s on s.account_id = a.account_id
    cross join generate_series(
        greatest(s.first, a.due - %(days)s + 1),
        case when a.is_active then greatest(s.last, a.due) else s.last end,
        interval '1 day'
    ) as day
), loaded as (
    select distinct on (account_id, date) *
    from ops.loads
    order by account_id, date, array_position(array['unreconciled', 'loaded'], status)
)
select a.brand, a.brand_name, 'meta' as platform, a.account_id, a.name, a.is_active, a.currency,
    days.day, case coalesce(l.status, 'missing') when 'loaded' then 'open'
        else coalesce(l.status, 'missing') end as status,
    l.rows, l.spend::text as spend, l.account_spend::text as account_spend,
    l.run_id, l.loaded_at
from accounts as a
left join days on days.account_id = a.account_id
left join loaded as l on l.account_id = days.account_id and l.date = days.day
order by a.brand_name, a.name, a.account_id, days.day
"""


def days(connection: Connection, number: int) -> list[Row]:
    """Every Meta account with each of its days since its first load, at most `number` of them.

    Returns:
        One row per account and day, in that order; an account without a load has one row whose
        `day` is null. `status` is `reconciled`, `unreconciled`, `open` or `missing`.
    """
    return connection.execute(_DAYS, {"days": number}).fetchall()


def accounts(connection: Connection) -> list[Row]:
    """Every ad account with its pause and the result of its latest load."""
    return connection.execute(_ACCOUNTS).fetchall()


def of_run(connection: Connection, run_id: str, clear_number: int) -> Row:
    """What a run loaded: `accounts`, `days` and `rows`, and the days `since` and `until` as text.

    Args:
        clear_number: how often the run had been cleared when it loaded them.
    """
    row = connection.execute(
        "select count(distinct account_id) as accounts, count(*) as days, "
        "min(date)::text as since, max(date)::text as until, sum(rows)::int as rows "
        "from ops.loads where run_id = %s and run_clear_number = %s",
        [run_id, clear_number],
    ).fetchone()
    return dict(row or {})
