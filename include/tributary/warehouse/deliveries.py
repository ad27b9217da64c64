"""What a change of settings does to the deliveries that wait, in `ops.conversion_deliveries`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tributary.warehouse.connection import Connection


def retire(
    connection: Connection, destination: str | None = None, *, now: datetime | None = None
) -> int:
    """Skip the deliveries that wait for a destination that is no longer active: `inactive`.

    Args:
        destination: its name; None: all.
        now: None: the warehouse's own time.

    Returns:
        How many deliveries were skipped.
    """
    return connection.execute(
        "update ops.conversion_deliveries as dl set sync_status = 'skipped', "
        "outcome = 'inactive', lease_until = null, updated_at = m.now "
        "from ops.destinations as d, "
        "(select coalesce(%(now)s::timestamptz, clock_timestamp()) as now) as m "
        "where d.name = dl.destination and not d.is_active "
        "and (%(destination)s::text is null or d.name = %(destination)s) "
        "and (dl.sync_status in ('pending', 'failed') "
        "or (dl.sync_status = 'queued' and dl.lease_until <= m.now))",
        {"now": now, "destination": destination},
    ).rowcount


# What a platform may have taken without an answer, and what corrects an event that it has: sent to
# another place, it would count there as well. Until its deadline a person can put it back.
_UNANSWERED = """
select count(*)::int as number, to_char(max(greatest(d.deadline, d.lease_until))
    at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') as until
from ops.conversion_deliveries as d
inner join ops.conversion_events as e on e.id = d.event
where d.destination = %(name)s and d.sync_status <> 'sent' and d.outcome is distinct from 'erased'
    and (%(events)s::text[] is null or e.event_name = any(%(events)s))
    and (d.sync_status = 'queued' or d.deadline > now() and (d.unknown_since is not null
        or d.sync_status in ('pending', 'failed') and exists (
            select 1 from ops.conversion_deliveries as o where o.event = e.adjusts
            and o.destination = d.destination and o.sync_status = 'sent')))
"""


def unanswered(
    connection: Connection, destination: str, events: Sequence[str] | None
) -> dict[str, Any]:
    """Deliveries that would count in two places if the destination sent elsewhere now.

    Args:
        events: names of the events; None: all.

    Returns:
        `number`, and `until` when the last of them can be sent, as text in UTC.
    """
    row = connection.execute(
        _UNANSWERED, {"name": destination, "events": None if events is None else list(events)}
    ).fetchone()
    assert row is not None
    return row
