"""Changes of a stored event before it is sent; a platform keeps the version that it received."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import psycopg

from tributary.deliver import destinations, erasure, intake, store
from tributary.deliver.brands import Brand
from tributary.deliver.reading import Raw
from tributary.deliver.store import Stored
from tributary.event import COMPLETED, INHERITED, Consent, Event, EventRefused, by_column
from tributary.warehouse import Connection

_T = TypeVar("_T")

# Deliveries that are judged again: those that wait, and those skipped for what the event lacked.
_OPEN = (None, "no_consent", "unaddressable", "original_not_sent")


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
    """Add to a stored event what a second report of it brings, unless a request has held it.

    A payment provider reports one purchase several times, and names the person perhaps only once.
    The values of the first report stay; deliveries that were skipped for a missing value become
    pending. The event's adjustments are completed with it.

    Args:
        raw: the second report. Its `event_id`, if any, is the browser's: it replaces one that was
            made here.
        weaker: reports of other events of the same customer. They fill in what is still missing,
            and are replaced by what a report of the event itself brings; wholly, where that names
            another e-mail address.
        own_id: an id that was made of the report; the browser's replaces it, too.

    Returns:
        Why something could not be done, in sentences; None when the event was erased.
    """
    row, raw, unusable = _usable_row(connection, brand, raw, source=source, now=now)
    others = [_usable_row(connection, brand, one, source=source, now=now)[0] for one in weaker]
    with store.in_one_transaction(connection):
        targets = destinations.active_for_intake(connection, brand.id, now)
        stored = store.locked(connection, event)
        if stored is None:
            return None
        known = stored.event
        has_new_id = bool(raw.get("event_id")) and raw["event_id"] != known["event_id"]
        if stored.has_left:
            return unusable + ([_SENT_UNDER_ANOTHER_ID] if has_new_id else [])
        people: dict[int, Event] = {
            number: {**one, "event_id": known["event_id"]}
            for number, one in enumerate([row, *others])
        }
        if erasure.erased_among(connection, brand.id, people):
            return []
        others = [one for one in others if _replace_weaker(known, row, one)]
        for one in (row, *others):
            # Another weaker report may have filled in its e-mail address before.
            if one is row or not _names_another_email(known, one):
                _fill_in(known, one)
        changed = [*COMPLETED, "google_address", "custom_params", "user_hashes", "consent",
                   "action_source", "notes"]  # fmt: skip
        before, problem = known["event_id"], None
        if has_new_id:
            problem = _rename(connection, brand, stored, raw, own_id, source=source, now=now)
        if known["event_id"] != before:
            try:
                with connection.transaction():
                    write(connection, stored, [*changed, "event_id"], targets, now)
            except psycopg.errors.UniqueViolation:  # another event has just got the id
                known["event_id"], problem = before, intake.TAKEN_ID
        if known["event_id"] == before:
            write(connection, stored, changed, targets, now)
        pass_on(connection, stored, targets, now)
    return unusable + ([problem] if problem else [])


# Ids without which an event is stored where they cannot be used.
DISPENSABLE = ("event_id", "ad_id", "campaign_id")


def _usable_row(
    connection: Connection, brand: Brand, raw: Raw, *, source: str, now: datetime
) -> tuple[Event, Raw, list[str]]:
    """The row of a report, the report without the ids that cannot be used, and why they cannot."""
    try:
        return intake.row_of(connection, brand, raw, source=source, now=now), raw, []
    except EventRefused as error:
        if any(name not in DISPENSABLE or raw.get(name) is None for name, _ in error.faults):
            raise
        raw = {**raw, **dict.fromkeys(name for name, _ in error.faults)}
        problems = [f"{name}: {text}" for name, text in error.faults]
    return intake.row_of(connection, brand, raw, source=source, now=now), raw, problems


def _email(event: Event) -> list[str] | None:
    return event["user_hashes"].get("meta", {}).get("em")


def _names_another_email(known: Event, row: Event) -> bool:
    """Whether a report names another e-mail address than the event has by now."""
    has, other = _email(known), _email(row)
    return bool(has and other and has != other)


_SENT_UNDER_ANOTHER_ID = (
    "event_id: it came after the event was sent under another id, so that the browser's event "
    "counts as a second one; send it with every report, for Stripe also in "
    "payment_intent_data.metadata"
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
    """Give an event the browser's id; returns why it cannot have it, if so."""
    known, wanted = stored.event, str(raw["event_id"])
    own = intake.row_of(connection, brand, {**raw, "event_id": None}, source=source, now=now)
    if known["event_id"] not in (known["transaction_id"], own["event_id"], own_id):
        return "event_id: the event already has the id of another report"
    if store.has_event_id(connection, brand, known["event_name"], wanted):
        return intake.TAKEN_ID
    known["event_id"] = wanted
    return None


def _replace_weaker(known: Event, row: Event, weaker: Event) -> bool:
    """Replace what an event has from a weaker report by what a report of itself brings.

    Returns:
        Whether both reports may be about one person. They are not where their e-mail addresses
        differ: then everything from the weaker one is removed.
    """
    own, other = _email(row), _email(weaker)
    is_another = bool(own and other and own != other)
    removes = is_another and _email(known) == other
    had, new, old = by_column(known), by_column(row), by_column(weaker)
    for name in COMPLETED:
        if had[name] == old[name] and (removes or new[name] is not None):
            had[name] = new[name]
    _replace_keys(known["google_address"], row["google_address"], weaker["google_address"], removes)
    for platform, hashes in known["user_hashes"].items():
        _replace_keys(
            hashes,
            row["user_hashes"].get(platform, {}),
            weaker["user_hashes"].get(platform, {}),
            removes,
        )
    return not is_another


def _replace_keys(
    known: dict[str, _T], new: Mapping[str, _T], old: Mapping[str, _T], removes: bool
) -> None:
    for key in [key for key in known if key in old and known[key] == old[key]]:
        if key in new:
            known[key] = new[key]
        elif removes:
            del known[key]


def _fill_in(known: Event, row: Event) -> None:
    """Take over what an event lacks from another report of it."""
    has, new = by_column(known), by_column(row)
    for name in COMPLETED:
        has[name] = new[name] if has[name] is None else has[name]
    for name in ("google_address", "custom_params"):
        has[name] = {**new[name], **has[name]}
    hashes, others = known["user_hashes"], row["user_hashes"]
    known["user_hashes"] = {
        platform: {**others.get(platform, {}), **hashes.get(platform, {})}
        for platform in {*others, *hashes}
    }
    known["consent"] = _stricter(known["consent"], row["consent"])
    if known["action_source"] == "system_generated":
        known["action_source"] = row["action_source"]
    known["notes"] = list(dict.fromkeys([*known["notes"], *row["notes"]]))


def _stricter(first: Consent, second: Consent) -> Consent:
    """The first answer that there is, and no wherever one of the two is no."""
    user_data, personalization = (
        False if False in (one, other) else other if one is None else one
        for one, other in (
            (first.get("ad_user_data"), second.get("ad_user_data")),
            (first.get("ad_personalization"), second.get("ad_personalization")),
        )
    )
    return {
        "ad_user_data": user_data,
        "ad_personalization": personalization,
        "required": bool(first.get("required") or second.get("required")),
    }


def pass_on(
    connection: Connection,
    original: Stored,
    targets: Iterable[destinations.Destination],
    now: datetime,
) -> None:
    """Give an event's adjustments what the event has by now, unless a request has held them."""
    for adjustment in store.adjustments(connection, original.event["id"]):
        stored = store.locked(connection, adjustment)
        if stored is None or stored.has_left:
            continue
        inherited = by_column(original.event)
        by_column(stored.event).update((name, inherited[name]) for name in INHERITED)
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
    """Give a stored event another value and currency, unless a request has held it.

    Where one destination has received it, an adjustment is needed instead; what waits for the
    others is sent with the newest adjustment's value.

    Args:
        raw: the event with its `value` in major units, refunds subtracted, and its `currency`.
        is_void: whether the order is cancelled, wholly refunded or no longer paid: then what waits
            becomes `skipped / cancelled`; otherwise deliveries with that outcome are judged again.

    Returns:
        Whether the event has the value now, or was erased; false where it needs an adjustment.

    Raises:
        EventRefused: the value or currency is wrong.
    """
    row = intake.row_of(connection, brand, raw, source=source, now=now)
    with store.in_one_transaction(connection):
        targets = destinations.active_for_intake(connection, brand.id, now)
        stored = store.locked(connection, event)
        if stored is None:
            return True
        if stored.has_left or store.is_adjusted(connection, event):
            return False
        stored.event["event_value"], stored.event["currency"] = row["event_value"], row["currency"]
        write(connection, stored, ("event_value", "currency"), targets, now)
        if is_void:
            store.cancel_pending(connection, event, now)
        else:
            judge(connection, stored, ("cancelled",), targets, now)
    return True


def write(
    connection: Connection,
    stored: Stored,
    changed: Iterable[str],
    targets: Iterable[destinations.Destination],
    now: datetime,
) -> None:
    """Store changed columns of an event, and judge its open deliveries again.

    Args:
        changed: the columns of `stored.event` that have a new value.
        targets: the brand's active destinations.
    """
    store.update(connection, stored.event, list(changed), now)
    judge(connection, stored, _OPEN, targets, now)


def judge(
    connection: Connection,
    stored: Stored,
    outcomes: Container[str | None],
    targets: Iterable[destinations.Destination],
    now: datetime,
) -> None:
    """Set the first state anew of the deliveries with one of these outcomes."""
    event = stored.event
    active: Mapping[str, destinations.Destination] = {target.name: target for target in targets}
    for one in stored.deliveries:
        if one["outcome"] in outcomes and one["destination"] in active:
            target = active[one["destination"]]
            if one["sync_status"] == "pending":  # also by a backfill: it stays so
                target = replace(target, send_from=min(target.send_from, event["event_time"]))
            state = destinations.first_state(event, target, now)
            store.update_delivery(connection, event["id"], target.name, state, now)
