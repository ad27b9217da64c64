"""SQL of `ops.conversion_events`: insert events with their deliveries, find them, change them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from psycopg.pq import TransactionStatus

from tributary.deliver.brands import Brand
from tributary.deliver.destinations import Destination, FirstState
from tributary.event import INSERTED, Event, by_column
from tributary.warehouse import Connection


def in_one_transaction(connection: Connection) -> AbstractContextManager[object]:
    """A transaction, unless one is open: a savepoint would cost two more round trips."""
    if connection.info.transaction_status == TransactionStatus.INTRANS:
        return nullcontext()
    return connection.transaction()


_INSERT = f"""
with new as (
    insert into ops.conversion_events ({", ".join(INSERTED)})
    select {", ".join(INSERTED)}
    from jsonb_populate_recordset(null::ops.conversion_events, %s)
    on conflict do nothing returning id
), born as (
    insert into ops.conversion_deliveries (event, destination, sync_status, outcome, deadline,
        batch_key, next_attempt_at, created_at, updated_at)
    select new.id, destination, sync_status, outcome, deadline, batch_key, due, now, now
    from jsonb_to_recordset(%s) as d (event uuid, destination text, sync_status text,
        outcome text, deadline timestamptz, batch_key text, due timestamptz, now timestamptz)
    inner join new on new.id = event
)
select id from new
"""


def insert(
    connection: Connection,
    events: Iterable[Event],
    targets: Sequence[Destination],
    states: Mapping[UUID, Sequence[FirstState]],
    now: datetime,
) -> set[UUID]:
    """Insert what is new, with its deliveries.

    Args:
        targets: the brand's active destinations.
        states: by event id, the first state of its delivery to each of `targets`.

    Returns:
        The ids of the new events.
    """
    names = [target.name for target in targets]
    rows = [{**one, "destinations": names, "created_at": now, "updated_at": now} for one in events]
    if not rows:
        return set()
    deliveries = [
        {**state._asdict(), "event": event, "destination": name, "now": now}
        for event, own in states.items()
        for name, state in zip(names, own, strict=True)
    ]
    found = connection.execute(_INSERT, [_as_json(rows), _as_json(deliveries)])
    return {row["id"] for row in found}


def _as_json(rows: Sequence[Mapping[str, object]]) -> str:
    """For `jsonb_populate_recordset`."""
    return orjson.dumps(rows, default=str).decode()


class First(NamedTuple):
    """The stored row of an event that is handed in again."""

    id: UUID
    differs: bool  # whether the amount is another
    is_taken: bool  # whether its event id belongs to another transaction


_KNOWN = """
with came as (
    select * from unnest(%(names)s::text[], %(ids)s::text[], %(transactions)s::text[])
        as c (event_name, event_id, transaction_id)
)
select e.id, e.event_name, e.event_id, e.kind, e.revision, e.transaction_id, e.event_value,
    e.currency
from ops.conversion_events as e inner join came as c using (event_name, event_id)
where e.brand_id = %(brand)s
union
select e.id, e.event_name, e.event_id, e.kind, e.revision, e.transaction_id, e.event_value,
    e.currency
from ops.conversion_events as e inner join came as c using (event_name, transaction_id)
where e.brand_id = %(brand)s and e.kind = 'conversion'
union
select e.id, e.event_name, e.event_id, e.kind, e.revision, e.transaction_id, e.event_value,
    e.currency
from ops.conversion_events as e where e.brand_id = %(brand)s and e.id = any(%(rows)s::uuid[])
"""
_ADD_TRANSACTION = """
update ops.conversion_events as e set transaction_id = %(transaction)s
where e.id = %(id)s and not exists (
    select 1 from ops.conversion_events as o
    where o.brand_id = e.brand_id and o.event_name = e.event_name
        and o.kind = 'conversion' and o.transaction_id = %(transaction)s
)
"""


def first_rows(connection: Connection, brand: Brand, events: Sequence[Event]) -> list[First]:
    """The stored rows of events that came again, in their order; a missing transaction is added."""
    if not events:
        return []
    by_id: dict[tuple[Any, ...], dict[str, Any]] = {}
    by_transaction: dict[tuple[Any, ...], dict[str, Any]] = {}
    by_row: dict[str, dict[str, Any]] = {}
    for found in connection.execute(
        _KNOWN,
        {
            "brand": brand.id,
            "names": [event["event_name"] for event in events],
            "ids": [event["event_id"] for event in events],
            "transactions": [event["transaction_id"] for event in events],
            "rows": [str(event["id"]) for event in events],
        },
    ):
        by_row[str(found["id"])] = found
        by_id[_key(found)] = found
        by_transaction[found["event_name"], found["transaction_id"]] = found
    result = []
    for event in events:
        first = by_id.get(_key(event))
        if first and event["transaction_id"] and first["transaction_id"] is None:
            connection.execute(
                _ADD_TRANSACTION, {"transaction": event["transaction_id"], "id": first["id"]}
            )
        first = by_row.get(str(event["id"])) or first
        is_taken = False
        if first is None:
            first = by_transaction[event["event_name"], event["transaction_id"]]
        elif event["transaction_id"]:
            is_taken = first["transaction_id"] not in (None, event["transaction_id"])
        differs = event["event_value"] is not None and (
            (event["event_value"], event["currency"]) != (first["event_value"], first["currency"])
        )
        result.append(First(first["id"], differs, is_taken))
    return result


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["event_name"], row["event_id"], row["kind"], row["revision"]


class Stored(NamedTuple):
    """An event and its deliveries, locked until the transaction ends."""

    event: Event
    deliveries: list[dict[str, Any]]

    @property
    def has_left(self) -> bool:
        """Whether a request held it, or holds it now."""
        return any(
            one["sync_status"] not in ("pending", "skipped") or one["unknown_since"]
            for one in self.deliveries
        )


def locked(connection: Connection, event: UUID) -> Stored | None:
    """Lock an event with its deliveries; None when it was erased."""
    deliveries = connection.execute(
        "select destination, sync_status, outcome, unknown_since "
        "from ops.conversion_deliveries where event = %s for update",
        [event],
    ).fetchall()
    found = connection.execute(
        "select * from ops.conversion_events where id = %s for update", [event]
    ).fetchone()
    if found is None or found["erased_at"] is not None:
        return None
    return Stored(found, deliveries)  # type: ignore[arg-type]  # a row is an `Event`


def update(connection: Connection, event: Event, columns: Collection[str], now: datetime) -> None:
    """Store these columns of an event."""
    row = by_column(event)
    connection.execute(
        "update ops.conversion_events as e set updated_at = %s, "
        + ", ".join(f"{name} = v.{name}" for name in columns)
        + " from jsonb_populate_record(null::ops.conversion_events, %s) as v where e.id = %s",
        [now, _as_json([{name: row[name] for name in columns}])[1:-1], event["id"]],
    )


def update_delivery(
    connection: Connection, event: UUID, destination: str, state: FirstState, now: datetime
) -> None:
    """Give a delivery the state that its event would have on its way in."""
    connection.execute(
        "update ops.conversion_deliveries set sync_status = %s, outcome = %s, "
        "batch_key = %s, next_attempt_at = %s, updated_at = %s "
        "where event = %s and destination = %s",
        [state.sync_status, state.outcome, state.batch_key, state.due, now, event, destination],
    )


def cancel_pending(connection: Connection, event: UUID, now: datetime) -> None:
    """Skip the waiting deliveries of an order that is cancelled or wholly refunded."""
    connection.execute(
        "update ops.conversion_deliveries set sync_status = 'skipped', "
        "outcome = 'cancelled', updated_at = %s where event = %s and sync_status = 'pending'",
        [now, event],
    )


def adjustments(connection: Connection, event: UUID) -> list[UUID]:
    """The adjustments and enhancements of an event, the oldest first."""
    rows = connection.execute(
        "select id from ops.conversion_events where adjusts = %s order by revision", [event]
    )
    return [row["id"] for row in rows]


def is_adjusted(connection: Connection, event: UUID) -> bool:
    """Whether an adjustment of the event is stored; then the newest one has its value."""
    found = connection.execute(
        "select 1 from ops.conversion_events where adjusts = %s and kind = 'adjustment' limit 1",
        [event],
    )
    return found.fetchone() is not None


def has_event_id(connection: Connection, brand: Brand, event_name: str, event_id: str) -> bool:
    """Whether an event of that name has the id."""
    found = connection.execute(
        "select 1 from ops.conversion_events where brand_id = %s and event_name = %s "
        "and event_id = %s limit 1",
        [brand.id, event_name, event_id],
    )
    return found.fetchone() is not None
