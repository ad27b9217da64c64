"""Webhooks: proven, taken once, kept encrypted for seven days.

A 2xx leaves only after the commit of one transaction that holds the event, its deliveries, the
contact and the payload. What intake refuses is kept, too, and answered with 422: the provider
posts it again, or `python -m include.cli webhooks replay` takes it once the cause is mended.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from stripe import SignatureVerificationError, WebhookSignature

from include.airflow import connections
from include.api.access import Failures
from include.api.database import Database, database
from include.api.models import Posted
from include.api.problems import Refused, fault_of, unprocessable
from include.api.sources import ADAPTERS, Meaning, Refund
from include.conversions import amend, contacts, erasure, intake, outbox, retention
from include.conversions.intake import Brand, EventRefused, Raw
from include.errors import SettingsError
from include.warehouse import Connection

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
        _prove(hook, body, request.headers)
    async with warehouse.share(brand):
        return await run_in_threadpool(_taken, warehouse, hook, source, body)


def _found(hooks: Hooks, database: Database, brand: str, source: str) -> Hook:
    with database.connection() as connection:
        return hooks.find(connection, brand, source)


def _taken(database: Database, hook: Hook, source: str, body: bytes) -> Posted:
    payload = _read(body)
    now = datetime.now(UTC) + hook.behind
    with database.connection() as connection:
        return take(connection, hook.brand, source, payload, body, now)


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
                "select b.id, b.slug, b.settings, w.conn_id from ops.webhooks as w "
                "inner join ops.brands as b on b.id = w.brand_id "
                "where b.slug = %s and w.source = %s",
                [brand, source],
            ).fetchone()
        if row is None:
            self._known.pop(key, None)
            raise Refused(404, "There is no such webhook.")
        with self._lock:
            secret, plain = self._secret_of(row.pop("conn_id"))
        now = outbox.now_of(connection)
        retention.forget_payloads(connection, now)  # also where every DAG is paused
        behind = now - datetime.now(UTC)
        hook = Hook(Brand(**row), source, secret, plain, behind)
        self._known[key] = time.monotonic() + _REMEMBERED, hook
        return hook


def of_connection(conn_id: str) -> tuple[str, bool]:
    """The signing secret of a `tributary_webhook` connection, and whether it may be sent as it is.

    Raises:
        SettingsError: the connection is missing or incomplete.
    """
    found = connections.connection(conn_id, "tributary_webhook", "that signs webhooks")
    if not found.password:
        raise SettingsError(f"The Airflow connection {conn_id!r} has no signing secret (password).")
    return found.password, found.extra_dejson.get("scheme") == "secret"


def _prove(hook: Hook, body: bytes, headers: Headers) -> None:
    """Refuse what is not the provider's, or was not sent in the last five minutes.

    Both signatures are of Stripe's form. https://docs.stripe.com/webhooks#verify-manually
    """
    plain = headers.get("x-webhook-secret")
    if hook.takes_plain_secret and plain is not None:
        if hmac.compare_digest(plain.encode(), hook.secret.encode()):
            return
        raise Refused(401, "The secret is not right.")
    name = "stripe-signature" if hook.source == "stripe" else "x-tributary-signature"
    try:
        WebhookSignature.verify_header(body, headers.get(name), hook.secret, REPLAY_WINDOW)
    except (SignatureVerificationError, ValueError, TypeError):  # their texts quote the body
        words = f"The header {name.title()} does not prove this body, or is too old."
        raise Refused(401, words) from None


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    if not isinstance(payload, dict):
        raise Refused(400, "The body is no JSON object.")
    return payload


def take(
    connection: Connection,
    brand: Brand,
    source: str,
    payload: Mapping[str, Any],
    body: bytes,
    now: datetime,
    received_at: datetime | None = None,
) -> Posted:
    """Take a proven payload, once, in one transaction.

    Args:
        received_at: when it was first posted, where that is not now; the time of what says none.

    Raises:
        Refused: the payload has not what an event needs; it is kept for a replay.
    """
    said_at = received_at or now
    meaning = ADAPTERS[source](payload, said_at)
    if len(meaning.id) > 256 or "\x00" in meaning.id:
        raise EventRefused("id", "must be an id of at most 256 characters")
    refusal: Refused | None = None
    event, to_be = None, uuid4()
    hashes = _hashes(meaning)
    with connection.transaction():
        if not _is_new(connection, brand, source, meaning, to_be, hashes, body, now):
            return Posted(status="duplicate")
        try:  # what refuses has written nothing
            done, event = _act(connection, brand, source, meaning, to_be, hashes, said_at, now)
        except EventRefused as error:
            refusal = unprocessable([fault_of(error)])
        except Refused as error:
            refusal = error
        # Intake knows the person of what it has stored; nobody else's payload was looked at.
        looked_at = event == to_be and meaning.refund is None
        erased = not looked_at and erasure.suppressed(connection, brand.id, hashes)
        if erased and refusal is not None:
            refusal, done = None, Posted(status="ignored", reason=intake.ERASED)
        key = [brand.id, source, meaning.id]
        if erased or (refusal is None and done.status == "ignored"):
            connection.execute(
                "delete from ops.webhook_payloads "
                "where brand_id = %s and source = %s and provider_id = %s",
                key,
            )
        elif event != to_be:
            status, reason = ("refused", refusal.detail) if refusal else ("taken", None)
            connection.execute(
                "update ops.webhook_payloads set status = %s, reason = %s, events = %s "
                "where brand_id = %s and source = %s and provider_id = %s",
                [status, reason, [event] if event else [], *key],
            )
    if refusal is not None:
        raise refusal
    return done


def _is_new(
    connection: Connection,
    brand: Brand,
    source: str,
    meaning: Meaning,
    event: UUID,
    hashes: list[str],
    body: bytes,
    now: datetime,
) -> bool:
    """Keep the payload, unless it was taken before; a second post at the same moment waits here.

    It is written as the happy case has it, to be corrected where it becomes another one. The lock
    on the brand keeps out an erasure, which must not miss it, and comes first in both.
    """
    row = connection.execute(
        "insert into ops.webhook_payloads as p "
        "(brand_id, source, provider_id, received_at, status, payload, events, hashes) "
        "select id, %s, %s, %s, 'taken', %s, %s, %s from ops.brands where id = %s for key share "
        "on conflict (brand_id, source, provider_id) do update set "
        "status = excluded.status, reason = null, "
        "payload = excluded.payload, events = excluded.events, hashes = excluded.hashes "
        "where p.status = 'refused' returning provider_id",
        [source, meaning.id, now, _fernet().encrypt(body), [event], hashes, brand.id],
    ).fetchone()
    return row is not None


def _hashes(meaning: Meaning) -> list[str]:
    """Whose payload it is: the event that it became may know another person, or none."""
    said = {**meaning.contact, **(meaning.event or {})}
    person: dict[str, Any] = {k: said[k] for k in ("email", "phone", "country") if k in said}
    contact_id = said.get("contact_id")
    contact = [erasure.contact_hash(contact_id)] if contact_id else []
    return erasure.person_hashes(person) + contact


def _act(
    connection: Connection,
    brand: Brand,
    source: str,
    meaning: Meaning,
    to_be: UUID,
    hashes: list[str],
    said_at: datetime,
    now: datetime,
) -> tuple[Posted, UUID | None]:
    """The event, the refund or only the contact; returns the event that the payload became."""
    if meaning.refund is not None:
        return _adjust(connection, brand, source, meaning.refund, to_be, now)
    if meaning.event is None:
        if contact_id := meaning.contact.get("contact_id"):
            if erasure.suppressed(connection, brand.id, hashes):
                return Posted(status="ignored", reason=intake.ERASED), None
            known = contacts.known(connection, brand.id, [contact_id]).get(contact_id)
            clicks = intake.clicks(meaning.contact, said_at, known)
            contacts.remember(connection, brand.id, contact_id, clicks, said_at, hashes)
        return Posted(status="ignored", reason=meaning.ignored), None
    raw = {**_with_contact(connection, brand, meaning.event, said_at), "id": to_be}
    transaction = raw.get("transaction_id")
    if transaction and not raw.get("event_id") and not brand.settings.get("event_id_template"):
        raw["event_id"] = transaction
    receipt = intake.take(connection, brand, [raw], source=source, now=now, internal=True)[0]
    if receipt.reason == intake.ERASED:
        return Posted(status="ignored", reason=receipt.reason), None
    if receipt.status == "refused":
        field = receipt.field or "event"
        raise EventRefused(field, str(receipt.reason).removeprefix(f"{field}: "))
    assert receipt.id is not None
    if receipt.status == "duplicate" and not amend.complete(
        connection, brand, receipt.id, raw, source=source, now=now
    ):
        return Posted(status="ignored", reason=intake.ERASED), None
    contacts.learn(connection, [receipt.id])
    return Posted(status=receipt.status), receipt.id


def _with_contact(connection: Connection, brand: Brand, raw: Raw, now: datetime) -> Raw:
    """What an event lacks of its click and browser and its contact is known to have."""
    contact_id = raw.get("contact_id")
    if not isinstance(contact_id, str):
        return raw
    known = contacts.known(connection, brand.id, [contact_id]).get(contact_id)
    if known is None:
        return {**raw, "fbclid_seen_at": raw.get("event_time") or now}
    lacking = {name: known[name] for name in ("fbp", "ad_id", "gclid") if not raw.get(name)}
    if not raw.get("fbc") and not raw.get("fbclid"):
        lacking["fbc"] = known["fbc"]
    return {**raw, **lacking}


def _purchase(connection: Connection, brand: Brand, transaction: str) -> dict[str, Any] | None:
    return connection.execute(
        "select * from ops.conversion_events where brand_id = %s and transaction_id = %s "
        "and event_name = 'Purchase' and kind = 'conversion' order by created_at limit 1 "
        "for update",
        [brand.id, transaction],
    ).fetchone()


def _adjust(
    connection: Connection,
    brand: Brand,
    source: str,
    refund: Refund,
    to_be: UUID,
    now: datetime,
) -> tuple[Posted, UUID | None]:
    """What is left of a purchase, as `transactions` tells it of the user's own refunds."""
    bought = _purchase(connection, brand, refund.transaction_id)
    if bought is None:
        if now - refund.bought_at > _REFUND_PATIENCE:
            return Posted(status="ignored", reason="its purchase was never taken"), None
        raise Refused(409, "The purchase of this refund is not known yet; post it again later.")
    if bought["erased_at"] is not None:
        return Posted(status="ignored", reason=intake.ERASED), None
    if bought["currency"] != refund.currency:
        raise EventRefused("currency", "is not that of the purchase")
    last = connection.execute(
        "select revision, event_value, event_time from ops.conversion_events where adjusts = %s "
        "and kind = 'adjustment' order by revision desc limit 1",
        [bought["id"]],
    ).fetchone() or {**bought, "revision": 0}
    value = max(bought["event_value"] - refund.refunded, 0)
    if value >= last["event_value"]:  # known, or an older refund that comes late
        return Posted(status="duplicate"), bought["id"]
    kept = (
        "event_name", "event_id", "transaction_id", "currency", "contact_id", "action_source",
        "event_source_url", "is_test", "gclid", "gbraid", "wbraid", "user_hashes",
        "google_address", "consent",
    )  # fmt: skip
    raw = {
        **{name: bought[name] for name in kept},
        "id": to_be,
        "kind": "adjustment",
        "adjusts": bought["id"],
        "adjusts_time": bought["event_time"],
        "revision": last["revision"] + 1,
        "value": value,
        # Google drops a second one of the same moment.
        "event_time": max(refund.at, last["event_time"] + timedelta(seconds=1)),
    }
    receipt = intake.take(connection, brand, [raw], source=source, now=now, internal=True)[0]
    if receipt.reason == intake.ERASED:  # the erasure is at work
        return Posted(status="ignored", reason=receipt.reason), None
    if receipt.status == "refused":
        raise EventRefused(receipt.field or "event", str(receipt.reason))
    return Posted(status=receipt.status), receipt.id


OF_ANOTHER_KEY = "of another key"


def replay(
    connection: Connection, *, brand: str | None = None, source: str | None = None
) -> dict[str, int]:
    """Take kept payloads again; what was taken changes nothing.

    Returns:
        How many by what became of them: accepted, duplicate, ignored, refused; and those that
            cannot be read with the key that is set, where there are any.
    """
    now, known = outbox.now_of(connection), intake.brands(connection)
    slugs = {one.id: one.slug for one in known.values()}
    keys = connection.execute(
        "select p.brand_id, p.source, p.provider_id from ops.webhook_payloads as p "
        "inner join ops.brands as b on b.id = p.brand_id "
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
            done = take(connection, owner, key["source"], _read(body), body, now, at)
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
