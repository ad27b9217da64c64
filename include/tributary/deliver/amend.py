"""Changes of a stored event while nothing of it has left; a platform keeps what it has got."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import psycopg

from tributary.deliver import destinations, intake
from tributary.deliver.intake import Brand, Raw
from tributary.event import Event
from tributary.warehouse import Connection

# What a second report may add, where the first one lacks it.
_COMPLETED = (
    "event_source_url", "campaign_id", "contact_id", "user_ip", "user_agent", "fbp", "fbc",
    "gclid", "gbraid", "wbraid", "ad_id",
)  # fmt: skip
# Deliveries that are judged again: those that wait, and those skipped for what the event lacked.
_OPEN = (None, "no_consent", "unaddressable", "original_not_sent")


class Stored(NamedTuple):
    """An event and its deliveries, locked until the transaction ends."""

    event: dict[str, Any]
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
    return Stored(found, deliveries)


def complete(
    connection: Connection,
    brand: Brand,
    event: UUID,
    raw: Raw,
    *,
    source: str,
    now: datetime,
    weaker: Iterable[Raw] = (),
    own_id: str | None = None,
) -> list[str] | None:
    """Complete a stored event by what a second report of it says, while nothing of it has left.

    A payment provider reports one purchase several times, and names the person perhaps only once.
    What the first report said stays; deliveries that were skipped for what it lacked become
    pending. Its adjustments are completed with it.

    Args:
        raw: the second report. Its `event_id`, where it has one, is the browser's: it takes the
            place of one that was made here.
        weaker: what is only known of the same person, in other words of the same customer. It
            fills in what is still lacking, and gives way to what a report of the event itself says;
            all of it where that names another e-mail address.
        own_id: an id that was made of the report, which gives way to the browser's, too.

    Returns:
        Why something could not be done, in sentences; None when the event was erased.
    """
    row, raw, unusable = _usable(connection, brand, raw, source=source, now=now)
    others = [_usable(connection, brand, one, source=source, now=now)[0] for one in weaker]
    with intake.in_one_transaction(connection):
        targets = destinations.active_for_intake(connection, brand.id, now)
        stored = locked(connection, event)
        if stored is None:
            return None
        wanted = raw.get("event_id")
        is_named_anew = bool(wanted) and wanted != stored.event["event_id"]
        if stored.has_left:
            return unusable + ([_LEFT] if is_named_anew else [])
        people = [
            {**one, "number": number, "event_id": stored.event["event_id"]}
            for number, one in enumerate([row, *others])
        ]
        if intake.erased_among(connection, brand, people):
            return []
        known = stored.event
        others = [one for one in others if _give_way(known, row, one)]
        for one in (row, *others):
            if one is not row and _is_anothers(known, one):  # another weaker one came first
                continue
            _fill(known, one)
            known["notes"] = list(dict.fromkeys([*known["notes"], *one["notes"]]))
        changed = [*_COMPLETED, "google_address", "custom_params", "user_hashes", "consent",
                   "action_source", "notes"]  # fmt: skip
        before, problem = known["event_id"], None
        if is_named_anew:
            problem = _rename(connection, brand, stored, raw, own_id, source=source, now=now)
        if known["event_id"] != before:
            try:
                with connection.transaction():
                    write(connection, stored, [*changed, "event_id"], targets, now)
            except psycopg.errors.UniqueViolation:  # another event has got the id at this moment
                known["event_id"], problem = before, intake.TAKEN_ID
        if known["event_id"] == before:
            write(connection, stored, changed, targets, now)
        pass_on(connection, stored, targets, now)
    return unusable + ([problem] if problem else [])


# What an event is stored without where it cannot be used.
DISPENSABLE = ("event_id", "ad_id", "campaign_id")


def _usable(
    connection: Connection, brand: Brand, raw: Raw, *, source: str, now: datetime
) -> tuple[dict[str, Any], Raw, list[str]]:
    """The row of a report, the report without the ids that cannot be used, and why they cannot."""
    problems: list[str] = []
    while True:
        try:
            row = intake.row_of(connection, brand, raw, source=source, now=now)
        except intake.EventRefused as error:
            if error.field not in DISPENSABLE or raw.get(error.field) is None:
                raise
            problems.append(str(error))
            raw = {**raw, error.field: None}
        else:
            return row, raw, problems


def _is_anothers(known: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a report names another e-mail address than the event by now."""
    has, theirs = (one["user_hashes"].get("meta", {}).get("em") for one in (known, row))
    return bool(has and theirs and has != theirs)


_LEFT = (
    "event_id: it came when the event had left under another id, so that the browser's counts "
    "beside it; send it with every report, for Stripe in payment_intent_data.metadata, too"
)


def _rename(
    connection: Connection,
    brand: Brand,
    stored: Stored,
    raw: Raw,
    own_id: str | None,
    *,
    source: str,
    now: datetime,
) -> str | None:
    """Give an event the browser's id; why not, where it cannot have it."""
    known, wanted = stored.event, str(raw["event_id"])
    own = intake.row_of(connection, brand, {**raw, "event_id": None}, source=source, now=now)
    if known["event_id"] not in (known["transaction_id"], own["event_id"], own_id):
        return "event_id: the event has one of another report already"
    taken = connection.execute(
        "select 1 from ops.conversion_events where brand_id = %s and event_name = %s "
        "and event_id = %s limit 1",
        [brand.id, known["event_name"], wanted],
    ).fetchone()
    if taken:
        return intake.TAKEN_ID
    known["event_id"] = wanted
    return None


def _give_way(known: dict[str, Any], row: Mapping[str, Any], weaker: Mapping[str, Any]) -> bool:
    """Put what the event itself says in the place of what came from a weaker report.

    Returns:
        Whether both may be about one person. Where the e-mail addresses differ they are not:
        then all goes that came from the weaker one.
    """
    mine, theirs, has = (one["user_hashes"].get("meta", {}).get("em") for one in
                         (row, weaker, known))  # fmt: skip
    is_another = bool(mine and theirs and mine != theirs)
    goes = is_another and has == theirs
    for name in _COMPLETED:
        if known[name] == weaker[name] and (goes or row[name] is not None):
            known[name] = row[name]
    parts = [(known["google_address"], row["google_address"], weaker["google_address"])]
    parts += [
        (said, row["user_hashes"].get(platform, {}), weaker["user_hashes"].get(platform, {}))
        for platform, said in known["user_hashes"].items()
    ]
    for said, ours, other in parts:
        for key in [key for key in said if key in other and said[key] == other[key]]:
            if key in ours:
                said[key] = ours[key]
            elif goes:
                del said[key]
    return not is_another


def _fill(known: dict[str, Any], row: Mapping[str, Any]) -> None:
    """Take over from another report of an event what it lacks."""
    for name in _COMPLETED:
        known[name] = row[name] if known[name] is None else known[name]
    for name in ("google_address", "custom_params"):
        known[name] = {**row[name], **known[name]}
    known["user_hashes"] = {
        platform: {
            **row["user_hashes"].get(platform, {}),
            **known["user_hashes"].get(platform, {}),
        }
        for platform in {*row["user_hashes"], *known["user_hashes"]}
    }
    said = {key: value for key, value in known["consent"].items() if value is not None}
    refused = {key: False for key, value in row["consent"].items() if value is False}
    refused.pop("required", None)
    required = bool(row["consent"].get("required") or said.get("required"))
    known["consent"] = {**row["consent"], **said, **refused, "required": required}
    if known["action_source"] == "system_generated":
        known["action_source"] = row["action_source"]


# What an adjustment has from its original.
INHERITED = (
    "event_name", "event_id", "transaction_id", "contact_id", "action_source", "event_source_url",
    "is_test", "gclid", "gbraid", "wbraid", "user_hashes", "google_address", "consent",
)  # fmt: skip


def pass_on(
    connection: Connection,
    original: Stored,
    targets: Iterable[destinations.Destination],
    now: datetime,
) -> None:
    """Give an event's adjustments what the event has by now, while nothing of them has left."""
    rows = connection.execute(
        "select id from ops.conversion_events where adjusts = %s order by revision",
        [original.event["id"]],
    ).fetchall()
    for row in rows:
        stored = locked(connection, row["id"])
        if stored is None or stored.has_left:
            continue
        stored.event.update({name: original.event[name] for name in INHERITED})
        stored.event["adjusts_time"] = original.event["event_time"]
        write(connection, stored, INHERITED, targets, now)


def correct(
    connection: Connection,
    brand: Brand,
    event: UUID,
    raw: Raw,
    *,
    is_void: bool,
    source: str,
    now: datetime,
) -> bool:
    """Give a stored event another value and currency, while nothing of it has left.

    Where one destination has got it, an adjustment says it instead, and what waits for the others
    leaves with the newest adjustment's value.

    Args:
        raw: the event with its `value` in major units, what is left of it, and its `currency`.
        is_void: whether the order is cancelled, wholly refunded or no longer paid: then what waits
            is `skipped / cancelled`, else what was skipped as that is judged again.

    Returns:
        Whether the event itself says it now, or is gone; false when it has left.

    Raises:
        EventRefused: such a value or currency cannot be.
    """
    row = intake.row_of(connection, brand, raw, source=source, now=now)
    with intake.in_one_transaction(connection):
        targets = destinations.active_for_intake(connection, brand.id, now)
        stored = locked(connection, event)
        if stored is None:
            return True
        if stored.has_left or _is_adjusted(connection, event):
            return False
        stored.event.update(event_value=row["event_value"], currency=row["currency"])
        write(connection, stored, ("event_value", "currency"), targets, now)
        if is_void:
            connection.execute(
                "update ops.conversion_deliveries set sync_status = 'skipped', "
                "outcome = 'cancelled', updated_at = %s "
                "where event = %s and sync_status = 'pending'",
                [now, event],
            )
        else:
            judge(connection, stored, ("cancelled",), targets, now)
    return True


def _is_adjusted(connection: Connection, event: UUID) -> bool:
    """Whether a change is recorded of it; then the newest one is what counts."""
    found = connection.execute(
        "select 1 from ops.conversion_events where adjusts = %s and kind = 'adjustment' limit 1",
        [event],
    )
    return found.fetchone() is not None


def write(
    connection: Connection,
    stored: Stored,
    changed: Iterable[str],
    targets: Iterable[destinations.Destination],
    now: datetime,
) -> None:
    """Store changed columns of an event, and judge its open deliveries again.

    Args:
        changed: the columns that `stored.event` has anew.
        targets: the brand's active destinations.
    """
    event, columns = stored.event, list(changed)
    connection.execute(
        "update ops.conversion_events as e set updated_at = %s, "
        + ", ".join(f"{name} = v.{name}" for name in columns)
        + " from jsonb_populate_record(null::ops.conversion_events, %s) as v where e.id = %s",
        [now, intake.as_json([{name: event[name] for name in columns}])[1:-1], event["id"]],
    )
    judge(connection, stored, _OPEN, targets, now)


def judge(
    connection: Connection,
    stored: Stored,
    outcomes: Container[str | None],
    targets: Iterable[destinations.Destination],
    now: datetime,
) -> None:
    """Judge the deliveries that have one of these outcomes as if they came in now."""
    event = stored.event
    active: Mapping[str, destinations.Destination] = {target.name: target for target in targets}
    for one in stored.deliveries:
        if one["outcome"] in outcomes and one["destination"] in active:
            target = active[one["destination"]]
            if one["sync_status"] == "pending":  # also by a backfill: it stays so
                target = replace(target, send_from=min(target.send_from, event["event_time"]))
            state = destinations.first_state(cast(Event, event), target, now)
            connection.execute(
                "update ops.conversion_deliveries set sync_status = %s, outcome = %s, "
                "batch_key = %s, next_attempt_at = %s, updated_at = %s "
                "where event = %s and destination = %s",
                [state.sync_status, state.outcome, state.batch_key, state.due, now, event["id"],
                 one["destination"]],
            )  # fmt: skip
