"""What a change of settings does to the deliveries that wait, in `ops.conversion_deliveries`."""

from __future__ import annotations

from datetime import datetime

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
