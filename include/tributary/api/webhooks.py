"""Webhooks: proven, taken once, kept encrypted for seven days (what waits for its payment, 30).

A 2xx leaves only after the commit of one transaction that holds the event, its deliveries, the
contact and the payload. What intake refuses is kept, too, and answered with 422: the provider
posts it again, or `tributary webhooks replay` takes it once the cause is repaired.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

import orjson
import psycopg
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from psycopg.types.json import Jsonb
from stripe import SignatureVerificationError, WebhookSignature

from tributary.api import payments
from tributary.api.access import Failures
from tributary.api.database import Database, database
from tributary.api.models import Posted
from tributary.api.payments import Report
from tributary.api.problems import Refused, faults_of_event, unprocessable
from tributary.api.sources import ADAPTERS, Links, Meaning, Refund, Settings
from tributary.deliver import amend, brands, contacts, erasure, intake, outbox, retention
from tributary.deliver.brands import Brand
from tributary.deliver.clicks import with_clicks
from tributary.deliver.event_names import event_name
from tributary.deliver.personal import personal_in
from tributary.deliver.reading import Raw, contact_clicks
from tributary.deliver.store import locked
from tributary.errors import SettingsError, WarehouseDown
from tributary.event import INHERITED, EventRefused, by_column
from tributary.platforms.hook import connection
from tributary.settings import models
from tributary.warehouse import Connection

router = APIRouter(tags=["webhooks"])

REPLAY_WINDOW = 300  # seconds
_REMEMBERED = 30.0  # seconds that a secret and a brand's settings are not asked for again
_REFUND_PATIENCE = timedelta(days=3)

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Hook:
    """A brand's webhook with what proves its posts."""

    brand: Brand
    source: str
    secret: str
    takes_plain_secret: bool
    behind: timedelta  # our clock behind the warehouse's, which is the one that counts
    settings: Settings = field(default_factory=dict)


@router.post(
    "/webhooks/{brand}/{source}",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The provider's own payload.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": words,
                "schema": {"type": "string"},
            }
            for name, words in (
                ("Stripe-Signature", "Stripe's own, for the source stripe."),
                ("X-Tributary-Signature", "t=SECONDS,v1=HMAC-SHA256 of `SECONDS.BODY` in hex."),
                ("X-Webhook-Secret", "The secret itself, where the connection allows it."),
            )
        ],
    },
)
async def post(brand: str, source: str, request: Request) -> Posted:
    """Take a provider's webhook. The same one again changes nothing."""
    body = await request.body()
    hooks: Hooks = request.app.state.hooks
    warehouse = database(request)
    failures: Failures = request.app.state.failures
    async with failures.counted(request, f"{brand}/{source}") as place:
        hook = hooks.known(brand, source)
        if hook is None:
            warehouse.refuse_while_down()
            async with place:
                hook = await run_in_threadpool(_found, hooks, warehouse, brand, source)
        request.state.route = f"/webhooks/{hook.brand.slug}/{hook.source}"
        _prove(hook, body, request.headers, may_guess=not failures.is_over(request))
    async with warehouse.share(brand):
        return await run_in_threadpool(_received, warehouse, hook, source, body)


def _found(hooks: Hooks, database: Database, brand: str, source: str) -> Hook:
    with database.connection() as connection:
        return hooks.find(connection, brand, source)


def _received(database: Database, hook: Hook, source: str, body: bytes) -> Posted:
    payload = _read(body)
    now = datetime.now(UTC) + hook.behind
    with database.connection() as connection:
        return take(connection, hook.brand, source, hook.settings, payload, body, now)


class Hooks:
    """The configured webhooks; secrets are asked of Airflow at most twice a minute each."""

    def __init__(self, secret_of: Callable[[str], tuple[str, bool]]) -> None:
        self._secret_of = secret_of
        self._known: dict[tuple[str, str], tuple[float, Hook]] = {}
        self._lock = threading.Lock()

    def known(self, brand: str, source: str) -> Hook | None:
        """The webhook of a brand, where it was asked for lately."""
        until, hook = self._known.get((brand, source), (0.0, None))
        return hook if until > time.monotonic() else None

    def find(self, connection: Connection, brand: str, source: str) -> Hook:
        """The webhook of a brand, asked for anew.

        Raises:
            Refused: there is none.
            SettingsError: its connection is missing or incomplete.
        """
        key = (brand, source)
        row = None
        if source in ADAPTERS and brand.isprintable():
            row = connection.execute(
                "select b.id, b.slug, b.settings, w.conn_id, w.settings as own "
                "from ops.webhooks as w inner join ops.brands as b on b.id = w.brand_id "
                "where b.slug = %s and w.source = %s",
                [brand, source],
            ).fetchone()
        if row is None:
            self._known.pop(key, None)
            raise Refused(404, "There is no such webhook.")
        with self._lock:
            secret, plain = self._secret_of(row.pop("conn_id"))
        own = row.pop("own")
        now = outbox.now_of(connection)
        retention.forget_payloads(connection, now)  # also where every DAG is paused
        behind = now - datetime.now(UTC)
        owner = Brand(row["id"], row["slug"], models.Brand.of_stored(row["settings"]))
        hook = Hook(owner, source, secret, plain, behind, own)
        self._known[key] = time.monotonic() + _REMEMBERED, hook
        return hook


def of_connection(conn_id: str) -> tuple[str, bool]:
    """The signing secret of a `tributary_webhook` connection, and whether it may be sent as it is.

    Raises:
        SettingsError: the connection is missing or incomplete.
    """
    found = connection(conn_id, "tributary_webhook", "that signs webhooks")
    if not found.password:
        raise SettingsError(f"The Airflow connection {conn_id!r} has no signing secret (password).")
    return found.password, found.extra_dejson.get("scheme") == "secret"


def _prove(hook: Hook, body: bytes, headers: Headers, *, may_guess: bool) -> None:
    """Refuse what is not the provider's, or is more than five minutes from now.

    Both signatures are of Stripe's form. https://docs.stripe.com/webhooks#verify-manually
    """
    plain = headers.get("x-webhook-secret")
    if hook.takes_plain_secret and plain is not None:
        if may_guess and hmac.compare_digest(plain.encode(), hook.secret.encode()):
            return
        raise Refused(401, "The secret is not right.")
    name = "stripe-signature" if hook.source == "stripe" else "x-tributary-signature"
    words = f"The header {name.title()} does not prove this body, or is not of these minutes."
    try:
        WebhookSignature.verify_header(body, headers.get(name), hook.secret, REPLAY_WINDOW)
    except (SignatureVerificationError, ValueError, TypeError):  # their texts quote the body
        raise Refused(401, words) from None
    # Stripe's library refuses what is old alone: one signed ahead could be replayed until then.
    parts = (part.split("=") for part in headers[name].split(","))
    signed_at = next(int(part[1]) for part in parts if part[0] == "t")  # what was proven
    if signed_at > time.time() + REPLAY_WINDOW:
        raise Refused(401, words)


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    if not isinstance(payload, dict):
        raise Refused(400, "The body is no JSON object.")
    return payload


class _Post(NamedTuple):
    """A proven payload on its way."""

    brand: Brand
    source: str
    settings: Settings
    meaning: Meaning
    to_be: UUID  # of the event that it may become
    hashes: list[str]
    said_at: datetime  # when it was first posted
    now: datetime


class _Done(NamedTuple):
    """What became of it."""

    posted: Posted
    events: list[UUID] = []
    used: list[Report] = []  # what came before and was used with it


def take(
    connection: Connection,
    brand: Brand,
    source: str,
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
        Refused: the payload has not what an event needs; it is kept for a replay.
    """
    said_at = received_at or now
    meaning = ADAPTERS[source](payload, said_at, settings)
    if len(meaning.id) > 256 or "\x00" in meaning.id:
        raise EventRefused("id", "must be an id of at most 256 characters")
    if personal_in(meaning.id):  # it is kept in clear
        meaning = replace(meaning, id=hashlib.sha256(meaning.id.encode()).hexdigest())
    hashes = _hashes(meaning, brand.settings.default_country)
    to_be = uuid4()
    if meaning.event is not None and meaning.own_id is not None:  # whatever id it is sent with
        name = meaning.event["event_name"]
        to_be = uuid5(_OWN, f"{brand.id}|{name}|{meaning.own_id}")
    post = _Post(brand, source, settings, meaning, to_be, hashes, said_at, now)
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
    brand, meaning, hashes = post.brand, post.meaning, post.hashes
    refusal: Refused | None = None
    done = _Done(Posted(status="ignored"))
    with connection.transaction():
        if meaning.links is not None:
            payments.lock(connection, brand, meaning.links)
        relatives = _is_new(connection, post, body)
        if relatives is None:
            return Posted(status="duplicate")
        try:  # what refuses has written nothing; alone it refuses before it writes
            with connection.transaction() if relatives else nullcontext():
                done = _act(connection, post, _reports(connection, post) if relatives else [])
        except EventRefused as error:
            refusal = unprocessable(faults_of_event(error))
        except Refused as error:
            refusal = error
        # Intake knows the person of what it has stored; nobody else's payload was looked at.
        looked_at = done.events == [post.to_be] and meaning.refund is None
        erased = not looked_at and erasure.suppressed(connection, brand.id, hashes)
        if erased and refusal is not None:
            refusal, done = None, _Done(Posted(status="ignored", reason=intake.ERASED))
        _keep(connection, post, done, refusal, erased)
    if refusal is not None:
        raise refusal
    return done.posted


def _keep(
    connection: Connection, post: _Post, done: _Done, refusal: Refused | None, erased: bool
) -> None:
    """Correct the payload's row, which was written as the happy case has it."""
    waits = post.meaning.waits and refusal is None and done.posted.reason != intake.ERASED
    key = [post.brand.id, post.source, post.meaning.id]
    if erased or (refusal is None and done.posted.status == "ignored" and not waits):
        connection.execute(
            "delete from ops.webhook_payloads "
            "where brand_id = %s and source = %s and provider_id = %s",
            key,
        )
        return
    if waits or done.events != [post.to_be]:
        status, reason = ("refused", refusal.detail) if refusal else ("taken", None)
        connection.execute(
            "update ops.webhook_payloads set status = %s, reason = %s, events = %s "
            "where brand_id = %s and source = %s and provider_id = %s",
            ["waiting" if waits else status, reason, done.events, *key],
        )
    if done.used:
        me = Report(post.meaning.id, post.meaning, frozenset(post.hashes))
        payments.attach(connection, post.brand, post.source, [me, *done.used], done.events)


def _is_new(connection: Connection, post: _Post, body: bytes) -> bool | None:
    """Keep the payload, unless it was taken before; a second post at the same moment waits here.

    It is written as the happy case has it, to be corrected where it becomes another one. The lock
    on the brand keeps out an erasure, which must not miss it, and comes first in both.

    Returns:
        None when it was taken before, else whether there are other reports of its payment.
    """
    links = post.meaning.links.all if post.meaning.links else []
    row = connection.execute(
        "insert into ops.webhook_payloads as p "
        "(brand_id, source, provider_id, received_at, status, payload, events, hashes, links) "
        "select id, %(source)s, %(id)s, %(now)s, 'taken', %(payload)s, %(events)s, %(hashes)s, "
        "%(links)s from ops.brands where id = %(brand)s for key share "
        "on conflict (brand_id, source, provider_id) do update set "
        "status = excluded.status, reason = null, payload = excluded.payload, "
        "events = excluded.events, hashes = excluded.hashes, links = excluded.links "
        "where p.status = 'refused' returning exists ("
        "select 1 from ops.webhook_payloads as o where o.links && %(links)s::text[] "
        "and o.links <> '{}' and o.provider_id <> p.provider_id) as has_relatives",
        {
            "source": post.source,
            "id": post.meaning.id,
            "now": post.now,
            "payload": _fernet().encrypt(body),
            "events": [post.to_be],
            "hashes": post.hashes,
            "links": links,
            "brand": post.brand.id,
        },
    ).fetchone()
    return None if row is None else bool(row["has_relatives"])


def _reports(connection: Connection, post: _Post) -> list[Report]:
    """What came before of the same payment and person."""

    def parse(payload: bytes, received_at: datetime) -> Meaning | None:
        try:
            said = _read(_fernet().decrypt(payload))
            return _sound(connection, post, ADAPTERS[post.source](said, received_at, post.settings))
        except (Refused, EventRefused, InvalidToken):  # the last: of a key that is gone
            return None

    return payments.gather(connection, post.brand, post.source, post.meaning, parse)


def _sound(connection: Connection, post: _Post, meaning: Meaning) -> Meaning:
    """A refund without what intake would refuse of its person: it costs no other event."""
    if meaning.refund is None:
        return meaning
    try:
        _check(connection, post, meaning)
    except EventRefused:
        return replace(meaning, contact={})
    return meaning


def _check(connection: Connection, post: _Post, meaning: Meaning) -> None:
    """Refuse what would be refused with the payment that it is kept for."""
    said = {k: v for k, v in meaning.contact.items() if k not in amend.DISPENSABLE}
    raw = intake.purchase("1", "USD", **said)
    intake.row_of(connection, post.brand, raw, source=post.source, now=post.now)


def _hashes(meaning: Meaning, default_country: str | None) -> list[str]:
    """Whose payload it is: the event that it became may know another person, or none."""
    said = {**meaning.contact, **(meaning.event or {})}
    person: dict[str, Any] = {k: said[k] for k in ("email", "phone", "country") if k in said}
    contact_id = said.get("contact_id")
    shared = set(meaning.links.shared if meaning.links else ())
    mine = {str(contact_id)} - shared if contact_id else set()
    hashes = {*erasure.person_hashes(person, default_country), *map(erasure.contact_hash, mine)}
    # Several people may pay as one customer: who names an address is one of them alone.
    if not person.get("email"):
        hashes.update(erasure.lent(map(erasure.contact_hash, shared)))
    return sorted(hashes)


def _act(connection: Connection, post: _Post, reports: list[Report]) -> _Done:
    """The event, the refund or only the contact; and what the payload says of other events."""
    meaning = post.meaning
    if meaning.event is not None:
        return _store(connection, post, reports)
    if meaning.refund is not None:
        post = post._replace(meaning=_sound(connection, post, meaning))
        done = _adjust(connection, post, meaning.refund, reports)
        if not done.events or done.posted.status == "ignored":
            return done
        related = _related(connection, post, reports)
        return _Done(done.posted, done.events, related.used)
    if erasure.suppressed(connection, post.brand.id, post.hashes):
        return _Done(Posted(status="ignored", reason=intake.ERASED))
    if meaning.waits:
        _check(connection, post, meaning)
    if contact_id := str(meaning.contact.get("contact_id") or ""):
        known = contacts.known(connection, post.brand.id, [contact_id]).get(contact_id)
        clicks = contact_clicks(meaning.contact, post.said_at, known)
        if any(clicks.values()) or not meaning.waits:
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
    if meaning.links is not None:
        own, others = payments.split(meaning.links.payment, meaning.links, reports)
        same = [one for one in others if payments.speaks_of(meaning.contact, one)]
        used = [*used, *own, *same]
    if related.posted.status == "duplicate":  # a second report of what is stored
        return related._replace(used=used)
    reason = "; ".join(filter(None, (meaning.ignored, related.posted.reason)))
    return _Done(Posted(status="ignored", reason=reason), related.events, used)


def _store(connection: Connection, post: _Post, reports: list[Report]) -> _Done:
    meaning, links = post.meaning, post.meaning.links
    assert meaning.event is not None
    own: list[Report] = []
    others: list[Report] = []
    raw = dict(meaning.event)
    kind = "first"
    if links is not None and links.payment is not None:
        own, others = payments.split(links.payment, links, reports)
        raw = payments.merged(raw, own, others)
        kind = payments.kind_of(post.settings, links.payment, raw, own, others, reports, links)
        if post.settings.get("renewals") == "Subscribe":
            there = payments.stored(connection, post.brand, [links.payment])
            name = "Subscribe" if kind == "renewal" else "Purchase"
            raw["event_name"] = there[0].raw["event_name"] if there else name
    clicked = with_clicks(raw)  # these go before what the contact clicked earlier
    raw = {**contacts.lend(connection, post.brand.id, clicked, post.said_at), "id": post.to_be}
    receipt, notes = _taken(connection, post, raw)
    if receipt.reason == intake.ERASED:
        return _Done(Posted(status="ignored", reason=receipt.reason))
    assert receipt.id is not None
    if receipt.status == "duplicate":
        found = _completed(connection, post, raw, receipt.id, reports)
        if found is None:
            return _Done(Posted(status="ignored", reason=intake.ERASED))
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
    return _Done(_posted(receipt, notes), events, used)


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
    brand, own_id, notes = post.brand, post.meaning.own_id, list[str]()
    given = dict(raw)
    if own_id is not None and given.get("event_id") != own_id:
        # Before the row's id was made of it, the event's own id was kept in `event_id` alone.
        there = connection.execute(
            "select id from ops.conversion_events where brand_id = %s and event_name = %s "
            "and event_id = %s and id <> %s",
            [brand.id, event_name(brand, given), own_id, post.to_be],
        ).fetchone()
        if there is not None:
            return intake.Receipt("duplicate", there["id"]), notes
    while True:
        transaction, pixels = given.get("transaction_id"), given.get("event_id")
        if transaction and not pixels and not brand.settings.event_id_template:
            given["event_id"] = transaction
        receipt = intake.take(
            connection, brand, [given], source=post.source, now=post.now, internal=True
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
    row = connection.execute(
        "select contact_id from ops.conversion_events where id = %s", [event]
    ).fetchone()
    return row is not None and row["contact_id"] not in (None, raw.get("contact_id"))


def _completed(
    connection: Connection, post: _Post, raw: Raw, event: UUID, reports: list[Report]
) -> list[str] | None:
    """What a second report adds to the stored event; as `amend.complete`."""
    links = post.meaning.links
    if links is not None and links.payment is not None:
        me = Report(post.meaning.id, post.meaning, frozenset(post.hashes))
        for one in payments.stored(connection, post.brand, [links.payment]):
            if one.id == event:
                return payments.complete(
                    connection, post.brand, post.settings, one, links, [*reports, me],
                    source=post.source, now=post.now,
                )  # fmt: skip
    pixels = raw.get("event_id") not in (None, post.meaning.own_id)
    said = raw if pixels else {**raw, "event_id": None}
    own_id = post.meaning.own_id if event == post.to_be else None
    return amend.complete(
        connection, post.brand, event, said, source=post.source, now=post.now, own_id=own_id
    )


def _related(
    connection: Connection, post: _Post, reports: list[Report], but: str | None = None
) -> _Done:
    """Complete the events that are stored already by what this report says of them.

    Args:
        but: a payment that is seen to elsewhere.
    """
    if post.meaning.links is None:
        return _Done(Posted(status="ignored"))
    me = Report(post.meaning.id, post.meaning, frozenset(post.hashes))
    everything = [*reports, me]
    ids = {one.links.payment for one in everything} - {None, but}
    mine = payments.connected(post.meaning.links.own, everything)
    renewals = post.settings.get("renewals", "purchase") != "purchase"
    notes: list[str] = []
    events: list[UUID] = []
    used: dict[str, Report] = {}
    is_second = False  # report of what is stored
    for event in payments.stored(connection, post.brand, map(str, ids)) if ids else []:
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
                source=post.source, now=post.now,
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
        same = [one for one in others if payments.speaks_of(post.meaning.contact, one)]
        used |= {one.id: one for one in (*own, *same) if one.id != me.id}
    reason = "; ".join(dict.fromkeys(notes)) or None
    posted = Posted(status="duplicate" if is_second else "ignored", reason=reason)
    return _Done(posted, events, list(used.values()))


def _purchase(connection: Connection, brand: Brand, transaction: str) -> UUID | None:
    found = connection.execute(
        "select id from ops.conversion_events where brand_id = %s and transaction_id = %s "
        "and event_name in ('Purchase', 'Subscribe') and kind = 'conversion' "
        "order by created_at limit 1",
        [brand.id, transaction],
    ).fetchone()
    return found["id"] if found else None


def _adjust(connection: Connection, post: _Post, refund: Refund, reports: list[Report]) -> _Done:
    """What is left of a purchase, as `transactions` says it of the user's own refunds."""
    brand, now = post.brand, post.now
    purchase = _purchase(connection, brand, refund.transaction_id)
    if purchase is None:
        if refund.bought_at is None or now - refund.bought_at > _REFUND_PATIENCE:
            return _Done(Posted(status="ignored", reason="its purchase was never taken"))
        raise Refused(409, "The purchase of this refund is not known yet; post it again later.")
    stored = locked(connection, purchase)
    if stored is None:
        return _Done(Posted(status="ignored", reason=intake.ERASED))
    bought, worth = stored.event, stored.event["event_value"]
    assert worth is not None  # a Purchase has a value
    if bought["currency"] != refund.currency:
        raise EventRefused("currency", "is not that of the purchase")
    last = connection.execute(
        "select id, revision, event_value, event_time, custom_params "
        "from ops.conversion_events where adjusts = %s "
        "and kind = 'adjustment' order by revision desc limit 1",
        [bought["id"]],
    ).fetchone() or {**bought, "revision": 0, "custom_params": {}}
    before = last["custom_params"].get(_RETURNED) or {
        "refunds": str(worth - last["event_value"]), "disputes": {},
    }  # fmt: skip
    after = _returned(before, refund, reports)
    given = sum((Decimal(one["amount"]) for one in after["disputes"].values()), Decimal(0))
    value = max(worth - Decimal(after["refunds"]) - given, Decimal(0))
    if value == last["event_value"]:  # known, or an older one that comes late
        if after != before and last["revision"]:
            connection.execute(
                "update ops.conversion_events set custom_params = custom_params || %s "
                "where id = %s",
                [Jsonb({_RETURNED: after}), last["id"]],
            )
        return _Done(Posted(status="duplicate"), [bought["id"]])
    raw = {
        **{name: by_column(bought)[name] for name in INHERITED},
        "currency": bought["currency"],
        "id": post.to_be,
        "kind": "adjustment",
        "adjusts": bought["id"],
        "adjusts_time": bought["event_time"],
        "revision": last["revision"] + 1,
        "value": value,
        "custom_params": {_RETURNED: after},
        # Google drops a second one of the same moment.
        "event_time": max(min(refund.at, now), last["event_time"] + timedelta(seconds=1)),
    }
    receipt = intake.take(connection, brand, [raw], source=post.source, now=now, internal=True)[0]
    if receipt.reason == intake.ERASED:  # the erasure is at work
        return _Done(Posted(status="ignored", reason=receipt.reason))
    if receipt.status == "refused":
        raise EventRefused(receipt.field or "event", str(receipt.reason))
    assert receipt.id is not None
    return _Done(_posted(receipt), [receipt.id])


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
        for one in (report.meaning.refund for report in reports)
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
        How many by what became of them: accepted, duplicate, ignored, refused; and those that
            cannot be read with the key that is set, where there are any.
    """
    now, known = outbox.now_of(connection), brands.load(connection)
    slugs = {one.id: one.slug for one in known.values()}
    keys = connection.execute(
        "select p.brand_id, p.source, p.provider_id, coalesce(w.settings, '{}') as settings "
        "from ops.webhook_payloads as p inner join ops.brands as b on b.id = p.brand_id "
        "left join ops.webhooks as w on w.brand_id = p.brand_id and w.source = p.source "
        "where (%(brand)s::text is null or b.slug = %(brand)s) "
        "and (%(source)s::text is null or p.source = %(source)s) order by p.received_at",
        {"brand": brand, "source": source},
    ).fetchall()
    counts = dict.fromkeys(("accepted", "duplicate", "ignored", "refused"), 0)
    for key in keys:
        row = connection.execute(
            "select payload, received_at from ops.webhook_payloads where brand_id = %(brand_id)s "
            "and source = %(source)s and provider_id = %(provider_id)s",
            key,
        ).fetchone()
        if row is None:  # erased meanwhile
            continue
        owner, at = known[slugs[key["brand_id"]]], row["received_at"]
        try:
            body = _fernet().decrypt(row["payload"])
            done = take(
                connection, owner, key["source"], key["settings"], _read(body), body, now, at
            )
            counts[done.status] += 1
        except InvalidToken:
            counts[OF_ANOTHER_KEY] = counts.get(OF_ANOTHER_KEY, 0) + 1
        except (Refused, EventRefused):
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
        raise SettingsError("TRIBUTARY_SECRET_KEY is not set, so no webhook can be taken.")
    return _fernet_of(keys)
