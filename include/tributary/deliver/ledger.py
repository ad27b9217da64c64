"""Stored conversions for people who look: find, show without personal data, retry, skip.

What identifies a person is never part of a row here, only whether it is there (`has_email`, …).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from tributary.deliver.destinations import first_state
from tributary.deliver.destinations import one as destination_of
from tributary.event import Event, EventRefused
from tributary.settings import models
from tributary.warehouse import Connection

Row = dict[str, Any]

_SHOWN = """
select e.id, b.slug as brand, e.event_name, e.event_id, e.kind, e.adjusts, e.revision,
    e.event_time, e.action_source, e.event_value, e.currency,
    e.transaction_id, e.campaign_id, e.ad_id, e.source, e.is_test,
    e.notes, e.created_at, e.updated_at,
    e.user_email_hash is not null as has_email, e.user_phone_hash is not null as has_phone,
    e.user_first_name_hash is not null or e.user_last_name_hash is not null as has_name,
    e.user_ip is not null as has_ip, e.user_agent is not null as has_user_agent,
    e.fbp is not null as has_fbp, e.fbc is not null as has_fbc, e.gclid is not null as has_gclid,
    e.contact_id is not null as has_contact_id,
    (select coalesce(jsonb_agg(jsonb_build_object(
        'destination', d.destination, 'sync_status', d.sync_status, 'outcome', d.outcome,
        'sync_attempts', d.sync_attempts, 'next_attempt_at', d.next_attempt_at,
        'deadline', d.deadline, 'synced_at', d.synced_at, 'sync_error', d.sync_error,
        'platform_trace_id', d.platform_trace_id, 'updated_at', d.updated_at
    ) order by d.destination), '[]') from ops.conversion_deliveries as d where d.event = e.id
    ) as deliveries
"""
_FROM = """
from ops.conversion_events as e inner join ops.brands as b on b.id = e.brand_id
where e.erased_at is null
    and (%(only)s::uuid is null or e.brand_id = %(only)s)
    and (%(brand)s::text is null or b.slug = %(brand)s)
    and (%(event_name)s::text is null or e.event_name = %(event_name)s)
    and (%(campaign_id)s::text is null or e.campaign_id = %(campaign_id)s)
    and (%(since)s::timestamptz is null or e.event_time >= %(since)s)
    and (%(until)s::timestamptz is null or e.event_time < %(until)s)
    and (%(status)s::text is null or exists (
        select 1 from ops.conversion_deliveries as d
        where d.event = e.id and d.sync_status = %(status)s))
"""
MOST_COUNTED = 10_000
FILTERS = ("status", "event_name", "brand", "campaign_id", "since", "until")


def find(
    connection: Connection,
    only: UUID | None,
    filters: Mapping[str, Any],
    *,
    limit: int,
    offset: int = 0,
    after: UUID | None = None,
) -> tuple[list[Row], int]:
    """A page of conversions, the newest first, and how many there are on all pages.

    Args:
        only: the brand whose rows may be seen; None: all.
        filters: any of `FILTERS`; `since` is included, `until` is not.
        after: the last conversion of the page before; a page that is asked for in this way costs
            the same wherever it is.

    Returns:
        The rows, and their number on all pages; `MOST_COUNTED` where there are as many or more.

    Raises:
        EventRefused: `after` is no conversion that may be seen.
    """
    given = {**dict.fromkeys(FILTERS), **filters, "only": only, "limit": limit, "offset": offset}
    with connection.transaction():
        connection.execute("set local statement_timeout = '10s'")
        counted = connection.execute(
            f"select count(*)::int as number from (select 1 {_FROM} limit {MOST_COUNTED}) as e",
            given,
        ).fetchone()
        onward = ""
        if after is not None:
            last = connection.execute(
                "select created_at from ops.conversion_events where id = %(after)s "
                "and (%(only)s::uuid is null or brand_id = %(only)s)",
                {"after": after, "only": only},
            ).fetchone()
            if last is None:
                raise EventRefused("after", "is no conversion that you may see")
            given |= {"after": after, "moment": last["created_at"]}
            onward = (
                "and e.created_at <= %(moment)s and (e.created_at < %(moment)s or e.id > %(after)s)"
            )
        rows = connection.execute(
            f"{_SHOWN} {_FROM} {onward} order by e.created_at desc, e.id "
            "limit %(limit)s offset %(offset)s",
            given,
        ).fetchall()
    assert counted is not None
    return rows, counted["number"]


def one(connection: Connection, only: UUID | None, event: UUID) -> Row | None:
    """A conversion with its deliveries; None when there is none to be seen, or it was erased."""
    given = {**dict.fromkeys(FILTERS), "only": only, "id": event}
    return connection.execute(f"{_SHOWN} {_FROM} and e.id = %(id)s", given).fetchone()


def change_delivery(
    connection: Connection, event: Row, destination: str, wanted: str, now: datetime
) -> None:
    """Put a delivery back into the outbox (`pending`), or leave it out (`skipped`), by hand.

    Args:
        event: as `one` returned it.

    Raises:
        EventRefused: names the field and says why it cannot be.
    """
    with connection.transaction():
        found = connection.execute(
            "select d.sync_status, e.*, o.event_time as adjusts_time "
            "from ops.conversion_deliveries as d "
            "inner join ops.conversion_events as e on e.id = d.event "
            "left join ops.conversion_events as o on o.id = e.adjusts "
            "where d.event = %s and d.destination = %s for update of d",
            [event["id"], destination],
        ).fetchone()
        if found is None:
            raise EventRefused("destination", "this conversion has no delivery to that destination")
        before = found["sync_status"]
        if wanted == "skipped" and before == "pending":
            status, outcome = "skipped", "by_hand"
        elif wanted == "pending" and before in ("failed", "dead", "skipped"):
            status, outcome = "pending", None
            _check_wanted(connection, found, destination, now)
        else:
            raise EventRefused(
                "sync_status",
                f"is {before} and cannot become {wanted}: failed, dead and skipped can become "
                "pending, and pending can become skipped",
            )
        connection.execute(
            "update ops.conversion_deliveries set sync_status = %(status)s, "
            "outcome = %(outcome)s, sync_attempts = 0, next_attempt_at = %(due)s, "
            "sync_error = null, updated_at = %(now)s, "
            # The platform's dedup window goes on, unless a person accepts the risk by this request.
            "unknown_since = case when outcome "
            "is distinct from 'outcome_unknown' then unknown_since end "
            "where event = %(event)s and destination = %(destination)s",
            {
                "status": status,
                "outcome": outcome,
                "now": now,
                "due": max(now, found["event_time"]),
                "event": event["id"],
                "destination": destination,
            },
        )


def _check_wanted(connection: Connection, event: Row, destination: str, now: datetime) -> None:
    """Refuse an event that may not leave: a request replaces neither consent nor rules."""
    target = destination_of(connection, destination, now)
    if not target.is_active:
        raise EventRefused("destination", "is not active")
    # A person asks for it, so it may have happened before the destination was configured.
    target = replace(target, send_from=event["event_time"])
    state = first_state(cast(Event, event), target, now)
    if state.sync_status != "pending":
        raise EventRefused("sync_status", f"cannot become pending: the event is {state.outcome}")


def destinations(connection: Connection, only: UUID | None, name: str | None = None) -> list[Row]:
    """Destinations with their settings and run state, by name.

    Args:
        only: the brand whose rows may be seen; None: all.
        name: of the one that is wanted; None: all.

    Returns:
        Rows with `paused_until` null where the pause lasts until a person ends it.
    """
    rows = connection.execute(
        "select d.name, b.slug as brand, d.platform, d.conn_id, d.is_active, b.managed_by, "
        "d.settings, coalesce(d.paused_until > now(), false) as is_paused, "
        "case when d.paused_until > now() and isfinite(d.paused_until) then d.paused_until "
        "end as paused_until, "
        "case when d.paused_until > now() then d.paused_reason end as paused_reason, "
        "d.last_sync_at, d.last_sync_status, d.last_sync_count "
        "from ops.destinations as d inner join ops.brands as b on b.id = d.brand_id "
        "where (%(only)s::uuid is null or d.brand_id = %(only)s) "
        "and (%(name)s::text is null or d.name = %(name)s) order by d.name",
        {"only": only, "name": name},
    ).fetchall()
    for row in rows:
        row["settings"] = models.destination(row["platform"], row["settings"]).model_dump()
    return rows


def brands(connection: Connection, only: UUID | None, wanted: str | None = None) -> list[Row]:
    """Brands by slug: `id`, `name` and `brand` (the slug).

    Args:
        only: the brand that may be seen; None: all.
        wanted: id or slug of the one that is wanted; None: all.
    """
    return connection.execute(
        "select id, name, slug as brand from ops.brands "
        "where (%(only)s::uuid is null or id = %(only)s) "
        "and (%(wanted)s::text is null or id::text = lower(%(wanted)s) or slug = %(wanted)s) "
        "order by slug",
        {"only": only, "wanted": wanted},
    ).fetchall()


def held(connection: Connection, slugs: list[str]) -> dict[str, list[str]]:
    """The active destinations that the latest upload left out, each with the reason, by brand."""
    rows = connection.execute(
        "select b.slug, array_agg(format('%%s: %%s', d.name, d.last_sync_status) order by d.name) "
        "filter (where d.is_active and d.last_sync_status <> 'ok') as reasons "
        "from ops.brands as b left join ops.destinations as d on d.brand_id = b.id "
        "where b.slug = any(%s) group by b.slug",
        [slugs],
    )
    return {row["slug"]: row["reasons"] or [] for row in rows}


def sync_status(connection: Connection, only: UUID | None) -> list[Row]:
    """Per brand: whether something is sent, the result of the latest upload, and what waits."""
    return connection.execute(
        "select b.id as brand_id, b.name as brand_name, b.slug as brand, "
        "coalesce(bool_or(d.is_active), false) as is_active, max(d.last_sync_at) as last_sync_at, "
        "(array_agg(d.last_sync_status order by d.last_sync_at desc nulls last))[1] "
        "as last_sync_status, "
        "sum(d.last_sync_count)::int as last_sync_count, "
        "(select count(*)::int from ops.conversion_deliveries as l "
        "inner join ops.destinations as o on o.name = l.destination where o.brand_id = b.id "
        "and l.sync_status in ('pending', 'queued', 'failed')) as pending_events "
        "from ops.brands as b left join ops.destinations as d on d.brand_id = b.id "
        "where (%(only)s::uuid is null or b.id = %(only)s) group by b.id order by b.slug",
        {"only": only},
    ).fetchall()
