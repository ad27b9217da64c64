"""Where every event enters, whatever its source: checked, named, hashed, stored once, and given one
delivery for each destination that is active at that time.

Personal data in clear lives only within the call; the tables get hashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

import psycopg

from tributary import warehouse
from tributary.deliver import contacts, destinations, erasure, reading, store
from tributary.deliver.brands import Brand
from tributary.deliver.reading import Raw
from tributary.errors import WarehouseBusy, WarehouseDown, WarehouseError
from tributary.event import Event, EventRefused
from tributary.warehouse import Connection

ERASED = "this person or event was erased on request"  # why an event is refused
TAKEN_ID = "event_id: belongs to another transaction already"


class FirstDelivery(NamedTuple):
    """Whether an accepted event will be sent to a destination."""

    destination: str
    platform: str
    outcome: str | None  # why it is skipped; None: it will be sent


class Receipt(NamedTuple):
    """What intake did with an event."""

    status: Literal["accepted", "duplicate", "refused"]
    id: UUID | None = None
    reason: str | None = None  # all faults of a refused one
    faults: tuple[tuple[str, str], ...] = ()  # field and sentence of each
    differs: bool = False  # a duplicate with another amount than the stored event
    notes: tuple[str, ...] = ()  # what was left out of an accepted one, and why
    deliveries: tuple[FirstDelivery, ...] = ()  # of an accepted one

    @property
    def field(self) -> str | None:
        """The first field at fault."""
        return self.faults[0][0] if self.faults else None


def _refused(error: EventRefused) -> Receipt:
    return Receipt("refused", None, str(error), error.faults)


def take(
    connection: Connection,
    brand: Brand,
    events: Sequence[Raw],
    *,
    source: str,
    now: datetime,
    internal: bool = False,
) -> list[Receipt]:
    """Store events of a brand, each once, with their deliveries; one transaction for all.

    An event that is known changes nothing: one of the same brand and event name with the same
    event id, or with the same transaction.

    Args:
        events: mappings with keys of `event.FIELDS` or aliases of them; absent, None and "" are
            alike. `value` in major units, times as ISO 8601 text (without an offset: in the brand's
            time zone), epoch seconds or datetimes.
        source: where they come from, such as `transactions`, `file`, `api`.
        internal: whether they may have the fields that only our own sources know.

    Returns:
        A receipt per event, in the same order.

    Raises:
        WarehouseDown: nothing was stored; WarehouseBusy where other work was in the way.
        WarehouseError: the warehouse refuses them; nothing was stored.
    """
    receipts: dict[int, Receipt] = {}
    read = [reading.given(brand, raw, internal=internal) for raw in events]
    clicked = _contacts(connection, brand, read)
    rows: dict[int, Event] = {}
    for number, given in enumerate(read):
        try:
            rows[number] = reading.row(
                brand, given, source=source, now=now, contact=clicked.get(given.contact or "")
            )
        except EventRefused as error:
            receipts[number] = _refused(error)
    # In one order, or two calls could deadlock.
    ordered = sorted(rows, key=lambda n: (rows[n]["event_name"], rows[n]["event_id"]))
    try:
        with store.in_one_transaction(connection):
            receipts.update(_store(connection, brand, {n: rows[n] for n in ordered}, now))
    except psycopg.Error as error:
        # Its text quotes the row: people's data.
        kind = WarehouseDown if isinstance(error, psycopg.OperationalError) else WarehouseError
        if isinstance(error, warehouse.LOCK_ERRORS):
            kind = WarehouseBusy
        raise kind(
            f"The warehouse does not take events of {brand.slug}: {type(error).__name__} "
            f"{error.sqlstate or ''}".rstrip()
        ) from None
    return [receipts[number] for number in range(len(events))]


def _store(
    connection: Connection, brand: Brand, rows: Mapping[int, Event], now: datetime
) -> Iterator[tuple[int, Receipt]]:
    targets = destinations.active_for_intake(connection, brand.id, now)
    erased = erasure.erased_among(connection, brand.id, rows)
    for number in erased:
        yield number, Receipt("refused", None, ERASED, (("event_id", ERASED),))
    rows = {number: row for number, row in rows.items() if number not in erased}
    states = {
        row["id"]: [destinations.first_state(row, target, now) for target in targets]
        for row in rows.values()
    }
    inserted = store.insert(connection, rows.values(), targets, states, now)
    again = []
    for number, row in rows.items():
        if row["id"] not in inserted:
            again.append(number)
            continue
        deliveries = tuple(
            FirstDelivery(target.name, target.platform, state.outcome)
            for target, state in zip(targets, states[row["id"]], strict=True)
        )
        yield (
            number,
            Receipt("accepted", row["id"], notes=tuple(row["notes"]), deliveries=deliveries),
        )
    firsts = store.first_rows(connection, brand, [rows[number] for number in again])
    for number, first in zip(again, firsts, strict=True):
        if first.is_taken:
            yield number, Receipt("refused", None, TAKEN_ID, (_split(TAKEN_ID),))
        else:
            yield number, Receipt("duplicate", first.id, differs=first.differs)


def _split(sentence: str) -> tuple[str, str]:
    field, _, text = sentence.partition(": ")
    return field, text


def _contacts(
    connection: Connection, brand: Brand, events: Iterable[reading.Given]
) -> dict[str, dict[str, Any]]:
    """The contacts of events that bring a bare click id: they know when it was first seen."""
    ids = {given.contact for given in events if given.needs_contact and given.contact}
    return contacts.known(connection, brand.id, ids) if ids else {}


def row_of(connection: Connection, brand: Brand, raw: Raw, *, source: str, now: datetime) -> Event:
    """An event of our own sources as the row that `take` would store; nothing is stored.

    Raises:
        EventRefused: it cannot be taken.
    """
    given = reading.given(brand, raw, internal=True)
    contact = _contacts(connection, brand, [given]).get(given.contact or "")
    return reading.row(brand, given, source=source, now=now, contact=contact)


def counted(receipts: Iterable[Receipt]) -> dict[str, int]:
    """How many were accepted, duplicate and refused."""
    counts = Counter(receipt.status for receipt in receipts)
    return {status: counts[status] for status in ("accepted", "duplicate", "refused")}


# Builders: the fields that an event of that name needs, and any other of `event.FIELDS`.


def page_view(event_source_url: str, **fields: Any) -> Raw:
    """A page was opened."""
    return {"event_name": "PageView", "event_source_url": event_source_url, **fields}


def view_content(content_ids: Sequence[str], **fields: Any) -> Raw:
    """A product was looked at."""
    return _with_contents("ViewContent", content_ids, fields)


def lead(**fields: Any) -> Raw:
    """A person left their address or number."""
    return {"event_name": "Lead", **fields}


def add_to_cart(content_ids: Sequence[str], **fields: Any) -> Raw:
    """A product was put into the cart."""
    return _with_contents("AddToCart", content_ids, fields)


def initiate_checkout(**fields: Any) -> Raw:
    """The checkout was opened."""
    return {"event_name": "InitiateCheckout", **fields}


def complete_registration(**fields: Any) -> Raw:
    """An account was made."""
    return {"event_name": "CompleteRegistration", **fields}


def purchase(value: Decimal | str, currency: str, **fields: Any) -> Raw:
    """Something was bought, for an amount in major units."""
    return {"event_name": "Purchase", "value": value, "currency": currency, **fields}


def _with_contents(name: str, content_ids: Sequence[str], fields: Mapping[str, Any]) -> Raw:
    custom = {**(fields.get("custom_params") or {}), "content_ids": list(content_ids)}
    return {"event_name": name, **fields, "custom_params": custom}


def test_event(brand: Brand, now: datetime) -> Event:
    """A page view of no person, as the outbox would hand it to a platform; stored nowhere."""
    raw = page_view(
        "https://example.com/tributary-test",
        user_agent="Tributary",
        external_id="tributary-test",
        event_id=f"tributary-test-{int(now.timestamp())}",
        is_test=True,
    )
    event = reading.row(brand, reading.given(brand, raw), source="test", now=now)
    return {**event, "opt_out": False}
