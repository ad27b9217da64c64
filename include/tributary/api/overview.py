"""What the page shows, one statement per panel; all figures are the ledger's own.

Nothing that names or identifies a person is selected: no hash, no address, no contact id. Only the
event id of one sample per error.
"""

from __future__ import annotations

from typing import Any, LiteralString

from tributary.platforms.meanings import meaning
from tributary.warehouse import Connection

HOURS = 48
LAG_DAYS = 7
COVERAGE_DAYS = 28
LONGEST_CALENDAR = 400

Row = dict[str, Any]

DESTINATIONS: LiteralString = """
select b.slug as brand, b.name as brand_name, d.name, d.platform, d.is_active,
    d.conn_id, d.last_sync_at, d.last_sync_status, d.last_sync_count,
    (d.settings ->> 'sync_interval_minutes')::int as sync_interval_minutes,
    case when b.managed_by = 'api' then d.settings - array['name', 'platform', 'conn_id'] end
        as settings,
    coalesce(d.paused_until > now(), false) as is_paused,
    case when d.paused_until > now() and isfinite(d.paused_until) then d.paused_until end
        as paused_until,
    case when d.paused_until > now() then d.paused_reason end as paused_reason,
    coalesce(l.pending, 0) as pending, coalesce(l.queued, 0) as queued,
    coalesce(l.sent, 0) as sent, coalesce(l.failed, 0) as failed,
    coalesce(l.skipped, 0) as skipped, coalesce(l.dead, 0) as dead,
    coalesce(l.retryable, 0) as retryable
from ops.destinations as d
inner join ops.brands as b on b.id = d.brand_id
left join (
    select destination,
        count(*) filter (where sync_status = 'pending') as pending,
        count(*) filter (where sync_status = 'queued') as queued,
        count(*) filter (where sync_status = 'sent') as sent,
        count(*) filter (where sync_status = 'failed') as failed,
        count(*) filter (where sync_status = 'skipped') as skipped,
        count(*) filter (where sync_status = 'dead') as dead,
        count(*) filter (where sync_status = 'dead' and deadline > now()
            and outcome is distinct from 'outcome_unknown') as retryable
    from ops.conversion_deliveries group by destination
) as l on l.destination = d.name
order by b.name, d.name
"""

# A delivery stands in the hour in which it came into its present state.
PER_HOUR: LiteralString = """
select destination, sync_status, count(*) as deliveries,
    date_trunc('hour', coalesce(synced_at, updated_at), 'UTC') as hour
from ops.conversion_deliveries
where coalesce(synced_at, updated_at)
    >= date_trunc('hour', now(), 'UTC') - make_interval(hours => %(hours)s - 1)
group by destination, sync_status, hour order by hour, destination, sync_status
"""

OUTCOMES: LiteralString = """
select f.destination, d.platform, f.sync_status, f.outcome, f.deliveries, f.retryable, f.latest,
    e.event_id as sample_event_id, s.sync_error as sample_error
from (
    select destination, sync_status, outcome, count(*) as deliveries,
        count(*) filter (where sync_status = 'dead' and deadline > now()) as retryable,
        max(updated_at) as latest, min(event::text)::uuid as sample
    from ops.conversion_deliveries
    where sync_status in ('failed', 'dead', 'skipped')
    group by destination, sync_status, outcome
) as f
inner join ops.destinations as d on d.name = f.destination
inner join ops.conversion_events as e on e.id = f.sample
inner join ops.conversion_deliveries as s
    on s.event = f.sample and s.destination = f.destination
order by f.sync_status = 'skipped', f.deliveries desc, f.destination, f.outcome
"""

LAG: LiteralString = """
select dl.destination, count(*) as deliveries,
    percentile_cont(0.5) within group (order by extract(epoch from dl.synced_at - e.event_time))
        as p50_seconds,
    percentile_cont(0.95) within group (order by extract(epoch from dl.synced_at - e.event_time))
        as p95_seconds
from ops.conversion_deliveries as dl
inner join ops.conversion_events as e on e.id = dl.event
where dl.sync_status = 'sent' and dl.synced_at >= now() - make_interval(days => %(days)s)
group by dl.destination order by dl.destination
"""

# The estimate is ours: e-mail 4 points, phone 3, click id 2, external id 1, averaged over events.
COVERAGE: LiteralString = """
select destination, count(*) as events, avg(email::int)::float as email,
    avg(phone::int)::float as phone, avg(click_id::int)::float as click_id,
    avg(external_id::int)::float as external_id,
    avg(4 * email::int + 3 * phone::int + 2 * click_id::int + external_id::int)::float as estimate
from (
    select dl.destination,
        case when d.platform = 'meta' then e.user_email_hash is not null
            else e.user_hashes #> '{google,email}' is not null end as email,
        case when d.platform = 'meta' then e.user_phone_hash is not null
            else e.user_hashes #> '{google,phone}' is not null end as phone,
        case when d.platform = 'meta' then e.fbc is not null
            else coalesce(e.gclid, e.gbraid, e.wbraid) is not null end as click_id,
        e.user_hashes #> '{meta,external_id}' is not null as external_id
    from ops.conversion_deliveries as dl
    inner join ops.destinations as d on d.name = dl.destination
    inner join ops.conversion_events as e on e.id = dl.event
    where dl.sync_status <> 'skipped' and d.platform <> 'posthog'
        and dl.created_at >= now() - make_interval(days => %(days)s)
) as keys
group by destination order by destination
"""

EXPIRING: LiteralString = """
select destination, min(deadline) as first_deadline,
    count(*) filter (where deadline <= now() + interval '6 hours') as within_6_hours,
    count(*) filter (where deadline <= now() + interval '24 hours') as within_24_hours,
    count(*) as within_72_hours
from ops.conversion_deliveries
where sync_status in ('pending', 'failed') and deadline <= now() + interval '72 hours'
group by destination order by destination
"""

ACCOUNTS: LiteralString = """
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
LOADS: LiteralString = """
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


# Of brands that send for real: what a test is set up with, and rows that are left out.
TESTS: LiteralString = """
select d.name, d.settings ->> 'test_event_code' as code from ops.destinations as d
where d.is_active and (d.settings ->> 'test_event_code' is not null
    or d.settings ->> 'validate_only' = 'true')
order by d.name
"""

LEFT_OUT: LiteralString = """
select source, brand_slug, problem, sum(row_count)::bigint as rows,
    array_to_string((array_agg(key order by key) filter (where key is not null))[:3], ', ') as keys
from marts.data_problems
group by source, brand_slug, problem order by source, brand_slug, problem
"""


def mistakes(connection: Connection) -> list[str]:
    """What is set up or handed in so that conversions are no real ones, or are left out: a sentence
    each. Rows are those that the latest build of the marts has found.
    """
    found = []
    for row in _rows(connection, TESTS):
        if row["code"]:
            found.append(
                f"The destination {row['name']} has the test_event_code {row['code']}: Meta shows "
                "what it sends under Test Events, and counts it as real. Take the code out of the "
                "settings when the test is over."
            )
        else:
            found.append(
                f"The destination {row['name']} has validate_only: the platform checks what it "
                "sends, and keeps nothing of it."
            )
    built = connection.execute("select to_regclass('marts.data_problems') as there").fetchone()
    for row in _rows(connection, LEFT_OUT) if built and built["there"] else ():
        whose = f"{row['brand_slug']}: " if row["brand_slug"] else ""
        such_as = f", such as {row['keys']}" if row["keys"] else ""
        found.append(
            f"{whose}{row['rows']:,} rows of {row['source']} are left out: "
            f"{row['problem']}{such_as}. marts.data_problems lists them; put the view right."
        )
    return found


def overview(connection: Connection, hours: int = HOURS) -> dict[str, Any]:
    """All panels of the page about conversions, seen at one moment."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        now = connection.execute("select now() as now").fetchone()
        outcomes = _rows(connection, OUTCOMES)
        for row in outcomes:
            told = meaning(row["platform"], row["outcome"], row["sync_status"])
            row["means"], row["to_do"] = told
        return {
            "now": now and now["now"],
            "hours": hours,
            "lag_days": LAG_DAYS,
            "coverage_days": COVERAGE_DAYS,
            "destinations": _rows(connection, DESTINATIONS),
            "per_hour": _rows(connection, PER_HOUR, hours=hours),
            "errors": [row for row in outcomes if row["sync_status"] != "skipped"],
            "not_sent": [row for row in outcomes if row["sync_status"] == "skipped"],
            "lag": _rows(connection, LAG, days=LAG_DAYS),
            "coverage": _rows(connection, COVERAGE, days=COVERAGE_DAYS),
            "expiring": _rows(connection, EXPIRING),
        }


def loads(connection: Connection, days: int) -> list[Row]:
    """Every account with each of its days since it was first loaded, at most `days` of them."""
    return _rows(connection, LOADS, days=days)


def accounts(connection: Connection) -> list[Row]:
    """Every ad account with its pause and what became of its latest load."""
    return _rows(connection, ACCOUNTS)


def _rows(connection: Connection, statement: LiteralString, **values: Any) -> list[Row]:
    return connection.execute(statement, values).fetchall()
