"""Takes a proven payload: once, in one transaction, stored encrypted for seven days.

The transaction holds the event, its deliveries, the contact and the payload. What waits for its
payment is stored for 30 days. What intake refuses is stored, too: the provider posts it again, or
`tributary webhooks replay` takes it once the cause is repaired.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

import orjson
import psycopg
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from tributary.api.models import Posted
from tributary.api.problems import ApiError, faults_of_event, unprocessable
from tributary.api.webhooks import payments
from tributary.api.webhooks.base import Links, Parsed, Refund, Settings, Source
from tributary.api.webhooks.payments import Report
from tributary.api.webhooks.registry import SOURCES
from tributary.deliver import amend, brands, contacts, erasure, intake, outbox, purchases
from tributary.deliver.brands import Brand
from tributary.deliver.clicks import with_clicks
from tributary.deliver.event_names import event_name
from tributary.deliver.personal import personal_in
from tributary.deliver.reading import Raw, contact_clicks
from tributary.deliver.store import locked
from tributary.errors import SettingsError, WarehouseDown
from tributary.event import INHERITED, EventRefused, by_column
from tributary.warehouse import Connection, webhook_payloads
from tributary.warehouse.webhook_payloads import Key

_REFUND_PATIENCE = timedelta(days=3)


def read(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a body.

    Raises:
        ApiError: 400, it is none.
    """
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    if not isinstance(payload, dict):
        raise ApiError(400, "The body is no JSON object.")
    return payload


class _Post(NamedTuple):
    """A proven payload on its way."""

    brand: Brand
    source: Source
    settings: Settings
    parsed: Parsed
    to_be: UUID  # of the event that it may become
    hashes: list[str]
    said_at: datetime  # when it was first posted
    now: datetime

    @property
    def key(self) -> Key:
        """The key of the stored payload."""
        return Key(self.brand.id, self.source.name, self.parsed.id)


@dataclass(frozen=True)
class _Result:
    """The answer to a post, and which events and reports it used."""

    posted: Posted
    events: list[UUID] = field(default_factory=list)
    used: list[Report] = field(default_factory=list)  # what came before and was used with it


def take(
    connection: Connection,
    brand: Brand,
    source: Source,
    settings: Settings,
    payload: Mapping[str, Any],
    body: bytes,
    now: datetime,
    received_at: datetime | None = None,
) -> Posted:
    """Take a proven payload, once, in one transaction.

    Args:
        settings: the webhook's own.
        received_at: when it was first posted, where that is not now; the time of what says none.

    Raises:
        ApiError: the payload has not what an event needs; it is kept for a replay.
    """
    said_at = received_at or now
    parsed = source.parse(payload, said_at, settings)
    if len(parsed.id) > 256 or "\x00" in parsed.id:
        raise EventRefused("id", "must be an id of at most 256 characters")
    if personal_in(parsed.id):  # it is kept in clear
        parsed = replace(parsed, id=hashlib.sha256(parsed.id.encode()).hexdigest())
    hashes = _hashes(parsed, brand.settings.default_country)
    to_be = uuid4()
    if parsed.event is not None and parsed.own_id is not None:  # whatever id it is sent with
        name = parsed.event["event_name"]
        to_be = uuid5(_OWN, f"{brand.id}|{name}|{parsed.own_id}")
    post = _Post(brand, source, settings, parsed, to_be, hashes, said_at, now)
    for left in reversed(range(_ATTEMPTS)):
        try:
            return _take(connection, post, body)
        except (psycopg.errors.DeadlockDetected, WarehouseDown) as error:
            # Reports of several payments change the events of all of them, in an order of chance.
            met = (error, error.__context__)
            if not left or not any(isinstance(e, psycopg.errors.DeadlockDetected) for e in met):
                raise
    raise AssertionError  # the last attempt returns or raises


_ATTEMPTS = 3
_OWN = UUID("5b0f6f0c-3f0e-5a53-8f6e-2f4d1c0a7e19")


def _take(connection: Connection, post: _Post, body: bytes) -> Posted:
    brand, parsed, hashes = post.brand, post.parsed, post.hashes
    refusal: ApiError | None = None
    done = _Result(Posted(status="ignored"))
    with connection.transaction():
        if parsed.links is not None:
            webhook_payloads.lock(connection, brand.slug, parsed.links.all)
        relatives = webhook_payloads.insert(
            connection,
            post.key,
            received_at=post.now,
            payload=_fernet().encrypt(body),
            event=post.to_be,
            hashes=hashes,
            links=parsed.links.all if parsed.links else [],
        )
        if relatives is None:
            return Posted(status="duplicate")
        try:  # what refuses has written nothing; alone it refuses before it writes
            with connection.transaction() if relatives else nullcontext():
                done = _act(connection, post, _reports(connection, post) if relatives else [])
        except EventRefused as error:
            refusal = unprocessable(faults_of_event(error))
        except ApiError as error:
            refusal = error
        # Intake has checked the person of the event that it stored, but not of other payloads.
        looked_at = done.events == [post.to_be] and parsed.refund is None
        erased = not looked_at and erasure.suppressed(connection, brand.id, hashes)
        if erased and refusal is not None:
            refusal, done = None, _Result(Posted(status="ignored", reason=intake.ERASED))
        _keep(connection, post, done, refusal, erased)
    if refusal is not None:
        raise refusal
    return done.posted


def _keep(
    connection: Connection, post: _Post, done: _Result, refusal: ApiError | None, erased: bool
) -> None:
    """Correct the payload's row, which was written as the happy case has it."""
    waits = post.parsed.waits and refusal is None and done.posted.reason != intake.ERASED
    if erased or (refusal is None and done.posted.status == "ignored" and not waits):
        webhook_payloads.delete(connection, post.key)
        return
    if waits or done.events != [post.to_be]:
        status, reason = ("refused", refusal.detail) if refusal else ("taken", None)
        webhook_payloads.correct(
            connection, post.key,
            status="waiting" if waits else status, reason=reason, events=done.events,
        )  # fmt: skip
    if done.used:
        me = Report(post.parsed.id, post.parsed, frozenset(post.hashes))
        payments.attach(connection, post.brand, post.source.name, [me, *done.used], done.events)


def _reports(connection: Connection, post: _Post) -> list[Report]:
    """What came before of the same payment and person."""

    def parse(payload: bytes, received_at: datetime) -> Parsed | None:
        try:
            said = read(_fernet().decrypt(payload))
            return _sound(connection, post, post.source.parse(said, received_at, post.settings))
        except (ApiError, EventRefused, InvalidToken):  # the last: of a key that is gone
            return None

    return payments.gather(connection, post.brand, post.source.name, post.parsed, parse)


def _sound(connection: Connection, post: _Post, parsed: Parsed) -> Parsed:
    """A refund without what intake would refuse of its person: it costs no other event."""
    if parsed.refund is None:
        return parsed
    try:
        _check(connection, post, parsed)
    except EventRefused:
        return replace(parsed, contact={})
    return parsed


def _check(connection: Connection, post: _Post, parsed: Parsed) -> None:
    """Refuse what would be refused with the payment that it is kept for."""
    said = {k: v for k, v in parsed.contact.items() if k not in amend.DISPENSABLE}
    raw = intake.purchase("1", "USD", **said)
    intake.row_of(connection, post.brand, raw, source=post.source.name, now=post.now)


def _hashes(parsed: Parsed, default_country: str | None) -> list[str]:
    """Whose payload it is: the event that it became may know another person, or none."""
    said = {**parsed.contact, **(parsed.event or {})}
    person: dict[str, Any] = {k: said[k] for k in ("email", "phone", "country") if k in said}
    contact_id = said.get("contact_id")
    shared = set(parsed.links.shared if parsed.links else ())
    mine = {str(contact_id)} - shared if contact_id else set()
    hashes = {*erasure.person_hashes(person, default_country), *map(erasure.contact_hash, mine)}
    # Several people may pay as one customer: who names an address is one of them alone.
    if not person.get("email"):
        hashes.update(erasure.lent(map(erasure.contact_hash, shared)))
    return sorted(hashes)


def _act(connection: Connection, post: _Post, reports: list[Report]) -> _Result:
    """The event, the refund or only the contact; and what the payload says of other events."""
    parsed = post.parsed
    if parsed.event is not None:
        return _store(connection, post, reports)
    if parsed.refund is not None:
        post = post._replace(parsed=_sound(connection, post, parsed))
        done = _adjust(connection, post, parsed.refund, reports)
        if not done.events or done.posted.status == "ignored":
            return done
        related = _related(connection, post, reports)
        return _Result(done.posted, done.events, related.used)
    if erasure.suppressed(connection, post.brand.id, post.hashes):
        return _Result(Posted(status="ignored", reason=intake.ERASED))
    if parsed.waits:
        _check(connection, post, parsed)
    if contact_id := str(parsed.contact.get("contact_id") or ""):
        known = contacts.known(connection, post.brand.id, [contact_id]).get(contact_id)
        clicks = contact_clicks(parsed.contact, post.said_at, known)
        if any(clicks.values()) or not parsed.waits:
            contacts.remember(
                connection,
                post.brand.id,
                contact_id,
                clicks,
                post.said_at,
                erasure.own(post.hashes),
            )
    related = _related(connection, post, reports)
    used = related.used
    if parsed.links is not None:
        own, others = payments.split(parsed.links.payment, parsed.links, reports)
        same = [one for one in others if payments.speaks_of(parsed.contact, one)]
        used = [*used, *own, *same]
    if related.posted.status == "duplicate":  # a second report of what is stored
        return replace(related, used=used)
    reason = "; ".join(filter(None, (parsed.ignored, related.posted.reason)))
    return _Result(Posted(status="ignored", reason=reason), related.events, used)


def _store(connection: Connection, post: _Post, reports: list[Report]) -> _Result:
    parsed, links = post.parsed, post.parsed.links
    assert parsed.event is not None
    own: list[Report] = []
    others: list[Report] = []
    raw = dict(parsed.event)
    kind = "first"
    if links is not None and links.payment is not None:
        own, others = payments.split(links.payment, links, reports)
        raw = payments.merged(raw, own, others)
        kind = payments.kind_of(post.settings, links.payment, raw, own, others, reports, links)
        if payments.renewals_are(post.settings) == "Subscribe":
            there = purchases.of_payments(connection, post.brand.id, [links.payment])
            name = "Subscribe" if kind == "renewal" else "Purchase"
            raw["event_name"] = there[0].raw["event_name"] if there else name
    clicked = with_clicks(raw)  # these go before what the contact clicked earlier
    raw = {**contacts.lend(connection, post.brand.id, clicked, post.said_at), "id": post.to_be}
    receipt, notes = _taken(connection, post, raw)
    if receipt.reason == intake.ERASED:
        return _Result(Posted(status="ignored", reason=receipt.reason))
    assert receipt.id is not None
    if receipt.status == "duplicate":
        found = _completed(connection, post, raw, receipt.id, reports)
        if found is None:
            return _Result(Posted(status="ignored", reason=intake.ERASED))
        notes += found
    elif kind != "first":
        notes += payments.renew(connection, post.brand, post.settings, receipt.id, kind, post.now)
    contacts.learn(connection, [receipt.id])
    used = [*own, *(one for one in others if payments.speaks_of(raw, one))]
    if others:
        related = _related(connection, post, reports, but=links.payment if links else None)
        used += related.used
        events = [receipt.id, *related.events]
    else:
        events = [receipt.id]
    return _Result(_posted(receipt, notes), events, used)


def _posted(receipt: intake.Receipt, notes: Iterable[str] = ()) -> Posted:
    reason = "; ".join(dict.fromkeys(notes)) or None
    return Posted(status="accepted" if receipt.status == "accepted" else "duplicate", reason=reason)


def _taken(connection: Connection, post: _Post, raw: Raw) -> tuple[intake.Receipt, list[str]]:
    """Hand an event to intake; a browser's id or a time that cannot be costs no event.

    Returns:
        The receipt, and in sentences what the event was taken without.

    Raises:
        EventRefused: it cannot be taken all the same.
    """
    brand, own_id, notes = post.brand, post.parsed.own_id, list[str]()
    given = dict(raw)
    if own_id is not None and given.get("event_id") != own_id:
        # Before the row's id was made of it, the event's own id was kept in `event_id` alone.
        there = purchases.of_event_id(
            connection, brand.id, event_name(brand, given), own_id, but=post.to_be
        )
        if there is not None:
            return intake.Receipt("duplicate", there), notes
    while True:
        transaction, pixels = given.get("transaction_id"), given.get("event_id")
        if transaction and not pixels and not brand.settings.event_id_template:
            given["event_id"] = transaction
        receipt = intake.take(
            connection, brand, [given], source=post.source.name, now=post.now, internal=True
        )[0]
        is_pixels = pixels not in (None, own_id)
        if receipt.status != "refused":
            if (
                receipt.status == "duplicate" and is_pixels and not transaction
                and receipt.id != post.to_be and _is_anothers(connection, receipt.id, given)
            ):  # fmt: skip
                notes.append("event_id: belongs to another contact's event already")
                given["event_id"] = own_id
                continue
            return receipt, notes
        if receipt.reason == intake.ERASED:
            if transaction and is_pixels:  # perhaps of another purchase of the same payment link
                given["event_id"] = own_id
                notes.append(intake.TAKEN_ID)
                continue
            return receipt, notes
        if receipt.field == "event_id" and is_pixels:
            notes.append(str(receipt.reason))
            given["event_id"] = own_id
        elif receipt.field in amend.DISPENSABLE and receipt.field != "event_id":
            notes.append(f"{receipt.reason}; it was left out")
            del given[receipt.field]
        elif receipt.field == "event_time" and given["event_time"] != post.said_at:
            notes.append(f"{receipt.reason}; it was taken as of its receipt")
            given["event_time"] = post.said_at
        else:
            name = receipt.field or "event"
            raise EventRefused(name, str(receipt.reason).removeprefix(f"{name}: "))


def _is_anothers(connection: Connection, event: UUID | None, raw: Raw) -> bool:
    if event is None:
        return False
    return purchases.contact_of(connection, event) not in (None, raw.get("contact_id"))


def _completed(
    connection: Connection, post: _Post, raw: Raw, event: UUID, reports: list[Report]
) -> list[str] | None:
    """What a second report adds to the stored event; as `amend.complete`."""
    links = post.parsed.links
    if links is not None and links.payment is not None:
        me = Report(post.parsed.id, post.parsed, frozenset(post.hashes))
        for one in purchases.of_payments(connection, post.brand.id, [links.payment]):
            if one.id == event:
                return payments.complete(
                    connection, post.brand, post.settings, one, links, [*reports, me],
                    source=post.source.name, now=post.now,
                )  # fmt: skip
    pixels = raw.get("event_id") not in (None, post.parsed.own_id)
    said = raw if pixels else {**raw, "event_id": None}
    own_id = post.parsed.own_id if event == post.to_be else None
    return amend.complete(
        connection, post.brand, event, said, source=post.source.name, now=post.now, own_id=own_id
    )


def _related(
    connection: Connection, post: _Post, reports: list[Report], but: str | None = None
) -> _Result:
    """Complete the events that are stored already by what this report says of them.

    Args:
        but: a payment that is seen to elsewhere.
    """
    if post.parsed.links is None:
        return _Result(Posted(status="ignored"))
    me = Report(post.parsed.id, post.parsed, frozenset(post.hashes))
    everything = [*reports, me]
    ids = {one.links.payment for one in everything} - {None, but}
    mine = payments.connected(post.parsed.links.own, everything)
    renewals = payments.renewals_are(post.settings) != "purchase"
    notes: list[str] = []
    events: list[UUID] = []
    used: dict[str, Report] = {}
    is_second = False  # report of what is stored
    for event in purchases.of_payments(connection, post.brand.id, map(str, ids)) if ids else []:
        may_wait = renewals and post.now < event.created_at + payments.HELD
        if event.payment not in mine and not event.lacks and not may_wait:
            continue
        links = Links(event.payment, frozenset({event.payment}))
        own, others = payments.split(event.payment, links, everything)
        is_own = any(one.id == me.id for one in own)
        if not is_own and all(one.id != me.id for one in others):
            continue
        try:
            found = payments.complete(
                connection, post.brand, post.settings, event, links, everything,
                source=post.source.name, now=post.now,
            )  # fmt: skip
        except EventRefused as error:  # of another report: it costs this one nothing
            notes.append(str(error))
            continue
        if found is None:
            continue
        contacts.learn(connection, [event.id])
        is_second = is_second or is_own
        notes += found
        events.append(event.id)
        same = [one for one in others if payments.speaks_of(post.parsed.contact, one)]
        used |= {one.id: one for one in (*own, *same) if one.id != me.id}
    reason = "; ".join(dict.fromkeys(notes)) or None
    posted = Posted(status="duplicate" if is_second else "ignored", reason=reason)
    return _Result(posted, events, list(used.values()))


def _adjust(connection: Connection, post: _Post, refund: Refund, reports: list[Report]) -> _Result:
    """What is left of a purchase, as `transactions` says it of the user's own refunds."""
    brand, now = post.brand, post.now
    purchase = purchases.first(connection, brand.id, refund.transaction_id)
    if purchase is None:
        if refund.bought_at is None or now - refund.bought_at > _REFUND_PATIENCE:
            return _Result(Posted(status="ignored", reason="its purchase was never taken"))
        raise ApiError(409, "The purchase of this refund is not known yet; post it again later.")
    stored = locked(connection, purchase)
    if stored is None:
        return _Result(Posted(status="ignored", reason=intake.ERASED))
    bought, worth = stored.event, stored.event["event_value"]
    assert worth is not None  # a Purchase has a value
    if bought["currency"] != refund.currency:
        raise EventRefused("currency", "is not that of the purchase")
    last = purchases.latest_adjustment(connection, bought["id"])
    left = worth if last is None else last.event_value
    before = (last.custom_params.get(_RETURNED) if last else None) or {
        "refunds": str(worth - left), "disputes": {},
    }  # fmt: skip
    after = _returned(before, refund, reports)
    given = sum((Decimal(one["amount"]) for one in after["disputes"].values()), Decimal(0))
    value = max(worth - Decimal(after["refunds"]) - given, Decimal(0))
    if value == left:  # known, or an older one that comes late
        if after != before and last is not None:
            purchases.add_params(connection, last.id, {_RETURNED: after})
        return _Result(Posted(status="duplicate"), [bought["id"]])
    latest_time = bought["event_time"] if last is None else last.event_time
    raw = {
        **{name: by_column(bought)[name] for name in INHERITED},
        "currency": bought["currency"],
        "id": post.to_be,
        "kind": "adjustment",
        "adjusts": bought["id"],
        "adjusts_time": bought["event_time"],
        "revision": 1 if last is None else last.revision + 1,
        "value": value,
        "custom_params": {_RETURNED: after},
        # Google drops a second one of the same moment.
        "event_time": max(min(refund.at, now), latest_time + timedelta(seconds=1)),
    }
    receipt = intake.take(
        connection, brand, [raw], source=post.source.name, now=now, internal=True
    )[0]
    if receipt.reason == intake.ERASED:  # the erasure is at work
        return _Result(Posted(status="ignored", reason=receipt.reason))
    if receipt.status == "refused":
        raise EventRefused(receipt.field or "event", str(receipt.reason))
    assert receipt.id is not None
    return _Result(_posted(receipt), [receipt.id])


# Under it an adjustment keeps what it was made of: a dispute that is won gives back its own part
# alone. No platform gets the parameters of an adjustment.
_RETURNED = "returned"


def _returned(before: dict[str, Any], refund: Refund, reports: list[Report]) -> dict[str, Any]:
    """What was given back of a purchase, with one report more, in whatever order they come."""
    if refund.dispute is None:
        refunds = max(Decimal(before["refunds"]), refund.refunded)
        return {**before, "refunds": str(refunds)}
    new = {"amount": str(refund.refunded), "is_final": refund.is_final,
           "at": refund.at.timestamp()}  # fmt: skip
    known = [before["disputes"].get(refund.dispute)]
    known += [
        {"is_final": one.is_final, "at": one.at.timestamp()}
        for one in (report.parsed.refund for report in reports)
        if one is not None and one.dispute == refund.dispute
    ]
    if any((one["is_final"], one["at"]) > (new["is_final"], new["at"]) for one in known if one):
        return before
    return {**before, "disputes": {**before["disputes"], refund.dispute: new}}


OF_ANOTHER_KEY = "of another key"


def replay(
    connection: Connection, *, brand: str | None = None, source: str | None = None
) -> dict[str, int]:
    """Take kept payloads again; what was taken changes nothing.

    Returns:
        How many by their result: accepted, duplicate, ignored, refused; and those that
            cannot be read with the key that is set, where there are any.
    """
    now, known = outbox.now_of(connection), brands.load(connection)
    slugs = {one.id: one.slug for one in known.values()}
    counts = dict.fromkeys(("accepted", "duplicate", "ignored", "refused"), 0)
    for stored in webhook_payloads.to_replay(connection, brand, source):
        own = stored.pop("settings")
        key = Key(**stored)
        row = webhook_payloads.read(connection, key)
        if row is None:  # erased meanwhile
            continue
        owner, at = known[slugs[key.brand_id]], row["received_at"]
        try:
            body = _fernet().decrypt(row["payload"])
            done = take(connection, owner, SOURCES[key.source], own, read(body), body, now, at)
            counts[done.status] += 1
        except InvalidToken:
            counts[OF_ANOTHER_KEY] = counts.get(OF_ANOTHER_KEY, 0) + 1
        except (ApiError, EventRefused):
            counts["refused"] += 1
    return counts


@lru_cache(maxsize=4)
def _fernet_of(keys: str) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key.strip()) for key in keys.split(",")])
    except ValueError:
        raise SettingsError(
            "TRIBUTARY_SECRET_KEY must be 32 url-safe base64 bytes (several with commas, the "
            "newest first): python3 -c 'import base64, os; "
            "print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
        ) from None


def _fernet() -> MultiFernet:
    """What payloads are encrypted with.

    Raises:
        SettingsError: `TRIBUTARY_SECRET_KEY` is missing, or no key.
    """
    keys = os.environ.get("TRIBUTARY_SECRET_KEY")
    if not keys:
        raise SettingsError(
            "TRIBUTARY_SECRET_KEY is not set, so no webhook can be taken: set it, a Fernet key, "
            "in the environment of this server."
        )
    return _fernet_of(keys)
