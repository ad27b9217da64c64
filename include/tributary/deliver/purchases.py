"""Stored purchases, as webhooks complete, refund and delay them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from tributary.deliver.reading import Raw
from tributary.warehouse import Connection

_NAMES = ["Purchase", "Subscribe"]


class Purchase(NamedTuple):
    """A payment's event as it is stored."""

    id: UUID
    payment: str
    raw: Raw
    created_at: datetime
    lacks: bool  # whether one of its deliveries is skipped for what it lacks


class Adjustment(NamedTuple):
    """What is left of a purchase after its latest refund."""

    id: UUID
    revision: int
    event_value: Decimal
    event_time: datetime
    custom_params: dict[str, Any]


def of_payments(connection: Connection, brand_id: UUID, payments: Iterable[str]) -> list[Purchase]:
    """The purchases with these transaction ids that are there and were not erased."""
    rows = connection.execute(
        "select e.id, e.transaction_id, e.event_name, e.event_value as value, e.currency, "
        "e.event_time, e.created_at, exists (select 1 from ops.conversion_deliveries as d "
        "where d.event = e.id and d.outcome in ('unaddressable', 'no_consent')) as lacks "
        "from ops.conversion_events as e where e.brand_id = %s and e.transaction_id = any(%s) "
        "and e.event_name = any(%s) and e.kind = 'conversion' and e.erased_at is null "
        "order by e.id",
        [brand_id, sorted(payments), _NAMES],
    )
    return [
        Purchase(row.pop("id"), row["transaction_id"], row, row.pop("created_at"), row.pop("lacks"))
        for row in rows
    ]


def first(connection: Connection, brand_id: UUID, transaction_id: str) -> UUID | None:
    """The first purchase of a transaction, also where it was erased."""
    found = connection.execute(
        "select id from ops.conversion_events where brand_id = %s and transaction_id = %s "
        "and event_name = any(%s) and kind = 'conversion' order by created_at limit 1",
        [brand_id, transaction_id, _NAMES],
    ).fetchone()
    return found["id"] if found else None


def latest_adjustment(connection: Connection, purchase: UUID) -> Adjustment | None:
    """The latest adjustment of a purchase; None: it was never refunded."""
    found = connection.execute(
        "select id, revision, event_value, event_time, custom_params "
        "from ops.conversion_events where adjusts = %s "
        "and kind = 'adjustment' order by revision desc limit 1",
        [purchase],
    ).fetchone()
    return Adjustment(**found) if found else None


def add_params(connection: Connection, event: UUID, params: dict[str, Any]) -> None:
    """Add custom parameters to an event, over those of the same name."""
    connection.execute(
        "update ops.conversion_events set custom_params = custom_params || %s where id = %s",
        [Jsonb(params), event],
    )


def delay(connection: Connection, event: UUID, wait: timedelta) -> None:
    """Let an event's pending deliveries leave no earlier than so long after its intake."""
    connection.execute(
        "update ops.conversion_deliveries as d "
        "set next_attempt_at = greatest(d.next_attempt_at, e.created_at + %s) "
        "from ops.conversion_events as e where e.id = d.event and e.id = %s "
        "and d.sync_status = 'pending'",
        [wait, event],
    )


def skip_renewal(connection: Connection, event: UUID, now: datetime) -> None:
    """Leave out the deliveries of a renewal that have not left."""
    connection.execute(
        "update ops.conversion_deliveries set sync_status = 'skipped', "
        "outcome = 'renewal', updated_at = %s where event = %s and (sync_status = 'pending'"
        " or outcome in ('no_consent', 'unaddressable'))",
        [now, event],
    )


def of_event_id(
    connection: Connection, brand_id: UUID, event_name: str, event_id: str, but: UUID
) -> UUID | None:
    """The event that was stored under this `event_id`; `but` is not looked at."""
    found = connection.execute(
        "select id from ops.conversion_events where brand_id = %s and event_name = %s "
        "and event_id = %s and id <> %s",
        [brand_id, event_name, event_id, but],
    ).fetchone()
    return found["id"] if found else None


def contact_of(connection: Connection, event: UUID) -> str | None:
    """The contact id of a stored event; None where it has none, or is not there."""
    found = connection.execute(
        "select contact_id from ops.conversion_events where id = %s", [event]
    ).fetchone()
    return found["contact_id"] if found else None
