"""The figures of the delivery ledger that the page and `status` show, one statement per panel.

Nothing that names or identifies a person is selected: no hash, no address, no contact id. Only the
event id of one sample per error.
"""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from tributary.platforms import registry
from tributary.platforms.meanings import meaning
from tributary.settings import models
from tributary.warehouse import Connection

HOURS = 48
LAG_DAYS = 7
COVERAGE_DAYS = 28

Row = dict[str, Any]

DESTINATIONS: LiteralString = """
select b.slug as brand, b.name as brand_name, d.name, d.platform, d.is_active,
    d.conn_id, d.last_sync_at, d.last_sync_status, d.last_sync_count,
    d.settings, b.managed_by,
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

# A delivery counts in the hour in which it came into its present state.
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
with platforms as (
    select * from jsonb_to_recordset(%(match_keys)s)
        as p (platform text, email text[], phone text[], click_ids text[])
)
select destination, count(*) as events, avg(email::int)::float as email,
    avg(phone::int)::float as phone, avg(click_id::int)::float as click_id,
    avg(external_id::int)::float as external_id,
    avg(4 * email::int + 3 * phone::int + 2 * click_id::int + external_id::int)::float as estimate
from (
    select dl.destination,
        e.user_hashes #> p.email is not null as email,
        e.user_hashes #> p.phone is not null as phone,
        'fbc' = any(p.click_ids) and e.fbc is not null
            or 'gclid' = any(p.click_ids) and e.gclid is not null
            or 'gbraid' = any(p.click_ids) and e.gbraid is not null
            or 'wbraid' = any(p.click_ids) and e.wbraid is not null as click_id,
        e.user_hashes #> '{meta,external_id}' is not null as external_id
    from ops.conversion_deliveries as dl
    inner join ops.destinations as d on d.name = dl.destination
    inner join platforms as p on p.platform = d.platform
    inner join ops.conversion_events as e on e.id = dl.event
    where dl.sync_status <> 'skipped'
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

ACTIVE: LiteralString = """
select d.name, d.platform, d.settings from ops.destinations as d where d.is_active order by d.name
"""

LEFT_OUT: LiteralString = """
select source, brand_slug, problem, sum(row_count)::bigint as rows,
    array_to_string((array_agg(key order by key) filter (where key is not null))[:3], ', ') as keys
from marts.data_problems
group by source, brand_slug, problem order by source, brand_slug, problem
"""


def mistakes(connection: Connection) -> list[str]:
    """Test settings on active destinations, and rows that the latest build of the marts left out.

    Returns:
        One sentence for each.
    """
    found = []
    for row in _rows(connection, ACTIVE):
        if mode := _test_mode(row["platform"], row["settings"]):
            found.append(f"The destination {row['name']} {mode}")
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
            row["means"], row["to_do"] = meaning(
                row["platform"], row["outcome"], row["sync_status"]
            )
        return {
            "now": now and now["now"],
            "hours": hours,
            "lag_days": LAG_DAYS,
            "coverage_days": COVERAGE_DAYS,
            "destinations": [_settings_shown(row) for row in _rows(connection, DESTINATIONS)],
            "per_hour": _rows(connection, PER_HOUR, hours=hours),
            "errors": [row for row in outcomes if row["sync_status"] != "skipped"],
            "not_sent": [row for row in outcomes if row["sync_status"] == "skipped"],
            "lag": _rows(connection, LAG, days=LAG_DAYS),
            "coverage": _rows(connection, COVERAGE, days=COVERAGE_DAYS, match_keys=_match_keys()),
            "expiring": _rows(connection, EXPIRING),
        }


def _settings_shown(row: Row) -> Row:
    """The row of a destination with its settings where the page may change them."""
    settings = models.destination(row["platform"], row["settings"])
    row["sync_interval_minutes"] = settings.sync_interval_minutes
    row["settings"] = None
    if row.pop("managed_by") == "api":
        row["settings"] = settings.model_dump(exclude={"name", "platform", "conn_id"})
    return row


def _test_mode(platform: str, stored: dict[str, Any]) -> str | None:
    return registry.platform(platform).test_mode(models.destination(platform, stored))


def _match_keys() -> Jsonb:
    found = {name: registry.platform(name).match_keys for name in registry.names()}
    return Jsonb(
        [{"platform": name, **keys._asdict()} for name, keys in found.items() if keys is not None]
    )


def _rows(connection: Connection, statement: LiteralString, **values: Any) -> list[Row]:
    return connection.execute(statement, values).fetchall()
