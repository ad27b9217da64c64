"""Where every event enters, whatever its origin: checked, named, hashed, stored once, and given one
delivery per destination that is active at that moment.

Raw personal data lives only within the call; the tables get hashes. Names of events and properties
are data: `EVENT_NAMES` and `ALIASES` here, `event_names` and `property_aliases` of a brand.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from string import Formatter
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit
from uuid import UUID, uuid4, uuid5

import orjson
import psycopg
import pycountry
from psycopg.pq import TransactionStatus

from include.conversions import contacts, destinations, erasure, identity, policies
from include.conversions.destinations import Destination
from include.errors import TributaryError, WarehouseDown, WarehouseError
from include.meta.conversions import ACTION_SOURCES
from include.warehouse import Connection

Raw = Mapping[str, Any]

# The product's own names → Meta's standard names. Anything else is a custom event.
EVENT_NAMES = {
    "signup_started": "Lead",
    "signup_completed": "CompleteRegistration",
    "checkout_started": "InitiateCheckout",
    "purchase_completed": "Purchase",
    "video_rendered": "Purchase",
    "batch_completed": "Purchase",
}
# https://developers.facebook.com/docs/meta-pixel/reference#standard-events
STANDARD_EVENTS = (
    "AddPaymentInfo", "AddToCart", "AddToWishlist", "CompleteRegistration", "Contact",
    "CustomizeProduct", "Donate", "FindLocation", "InitiateCheckout", "Lead", "PageView",
    "Purchase", "Schedule", "Search", "StartTrial", "SubmitApplication", "Subscribe",
    "ViewContent",
)  # fmt: skip
ALIASES = {
    "price": "value",
    "amount": "value",
    "userId": "external_id",
    "user_id": "external_id",
    "planId": "content_ids",
    "plan_id": "content_ids",
    "productId": "content_ids",
    "product_id": "content_ids",
}
ACTION_SOURCE_ALIASES = {"web": "website", "phone": "phone_call", "store": "physical_store"}

PERSON = (
    "email", "phone", "first_name", "last_name", "city", "state", "zip", "country", "gender",
    "date_of_birth", "external_id",
)  # fmt: skip
CONSENTS = ("consent_ad_user_data", "consent_ad_personalization")
FIELDS = (
    "brand", "event_name", "event_id", "event_time", "action_source", "event_source_url", *PERSON,
    "contact_id", "ip", "user_agent", "fbp", "fbc", "fbclid", "gclid", "gbraid", "wbraid", "ad_id",
    "campaign_id", "value", "currency", "transaction_id", "custom_params", "is_test", *CONSENTS,
)  # fmt: skip
# What only our own sources may say: the row's own id; an adjustment's original and its hashes.
_INTERNAL = (
    "id", "kind", "adjusts", "adjusts_time", "revision", "fbclid_seen_at", "user_hashes",
    "google_address", "consent",
)  # fmt: skip

ERASED = "this person or event was erased on request"  # why something is refused

_NAMESPACE = UUID("9d7f3f2e-6c0b-5d5e-9d63-9f4f6f0c7a11")
_FUTURE = timedelta(minutes=10)  # clocks differ
# What may follow the last dot is the mark of Meta's parameter builder.
_FBC = re.compile(r"fb\.\d\.\d{13}\.[\w-]+(\.[\w-]{2}|\.[\w-]{8})?", re.ASCII)
_FBP = re.compile(r"fb\.\d\.\d{13}\.\d+(\.[\w-]{2}|\.[\w-]{8})?", re.ASCII)
_FBCLID = re.compile(r"[\w-]{5,}", re.ASCII)
# One character before the @ and bounded behind it: that an address is there is all we ask, and
# whoever writes 200 kB must not be paid for by the square of it.
_EMAIL = re.compile(r"[^\s@\"'<>=&?/:,;](@|%40)[^\s@\"'<>=&?/,;]{1,255}\.[A-Za-z]{2}")
_MOST_CUSTOM = 16_384  # bytes of custom_params as JSON
_MOST_URL = 8_192  # characters
_CURRENCIES = {currency.alpha_3 for currency in pycountry.currencies} - {"XXX", "XTS"}  # no money


class EventRefused(TributaryError):
    """An event that cannot be taken: which field, and how to mend it. Never quotes a person."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


class Receipt(NamedTuple):
    """What became of an event that was handed in."""

    status: Literal["accepted", "duplicate", "refused"]
    id: UUID | None = None
    reason: str | None = None
    field: str | None = None
    differs: bool = False  # a duplicate whose amount is not that of the event which came first


@dataclass(frozen=True)
class Brand:
    """A brand as intake needs it."""

    id: UUID
    slug: str
    settings: Mapping[str, Any]


def brands(connection: Connection) -> dict[str, Brand]:
    """All brands by slug."""
    rows = connection.execute("select id, slug, settings from ops.brands order by slug")
    return {row["slug"]: Brand(**row) for row in rows}


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
        events: mappings with keys of `FIELDS` or aliases of them; absent, None and "" are alike.
            `value` in major units, times as ISO 8601 text (UTC where it has no offset), epoch
            seconds or datetimes.
        source: where they come from, such as `transactions`, `file`, `api`.
        internal: whether they may have the fields that only our own sources know.

    Returns:
        A receipt per event, in the same order; those of refused ones name field and reason.

    Raises:
        WarehouseDown: nothing was stored.
        WarehouseError: the warehouse refuses them; nothing was stored.
    """
    receipts: list[Receipt | None] = [None] * len(events)
    rows: list[dict[str, Any]] = []
    clicked = _clicked(connection, brand, events)
    for number, raw in enumerate(events):
        try:
            contact = clicked.get(_text(raw.get("contact_id")) or "")
            row = _prepared(brand, raw, now, source, internal, contact)
            rows.append({**row, "source": source, "number": number})
        except EventRefused as error:
            receipts[number] = Receipt("refused", None, str(error), error.field)
    rows.sort(key=lambda row: (row["event_name"], row["event_id"]))  # or two calls could deadlock
    try:
        with in_one_transaction(connection):
            for number, receipt in _store(connection, brand, rows, now):
                receipts[number] = receipt
    except psycopg.Error as error:
        # Its text quotes the row: people's data.
        kind = WarehouseDown if isinstance(error, psycopg.OperationalError) else WarehouseError
        raise kind(
            f"The warehouse does not take events of {brand.slug}: {type(error).__name__} "
            f"{error.sqlstate or ''}".rstrip()
        ) from None
    return [receipt for receipt in receipts if receipt is not None]


def _store(
    connection: Connection, brand: Brand, rows: list[dict[str, Any]], now: datetime
) -> Iterator[tuple[int, Receipt]]:
    targets = destinations.active_for_intake(connection, brand.id, now)
    suppressed = erased_among(connection, brand, rows)
    for number in suppressed:
        yield number, Receipt("refused", None, ERASED, "event_id")
    rows = [row for row in rows if row["number"] not in suppressed]
    inserted = _insert(connection, rows, targets, now)
    for row in rows:
        if row["id"] in inserted:
            yield row["number"], Receipt("accepted", row["id"])
    known = _Known(connection, brand, [row for row in rows if row["id"] not in inserted])
    for row in known.rows:
        yield row["number"], known.receipt(row)


def in_one_transaction(connection: Connection) -> AbstractContextManager[object]:
    """A transaction, unless we are in one: a savepoint costs two more journeys."""
    if connection.info.transaction_status == TransactionStatus.INTRANS:
        return nullcontext()
    return connection.transaction()


def _clicked(
    connection: Connection, brand: Brand, events: Sequence[Raw]
) -> dict[str, dict[str, Any]]:
    """The contacts of events that bring a bare click id: they know when it was first seen."""
    ids = {
        _text(raw.get("contact_id"))
        for raw in events
        if raw.get("fbclid") and not raw.get("fbc") and not raw.get("fbclid_seen_at")
    } - {None}
    return contacts.known(connection, brand.id, [str(one) for one in ids]) if ids else {}


def counted(receipts: Iterable[Receipt]) -> dict[str, int]:
    """How many were accepted, duplicate and refused."""
    counts = Counter(receipt.status for receipt in receipts)
    return {status: counts[status] for status in ("accepted", "duplicate", "refused")}


# Builders: the fields that an event of that name needs, and any other of `FIELDS`.


def page_view(event_source_url: str, **fields: Any) -> Raw:
    """A page was opened."""
    return {"event_name": "PageView", "event_source_url": event_source_url, **fields}


def view_content(content_ids: Sequence[str], **fields: Any) -> Raw:
    """A product was looked at."""
    return _with_contents("ViewContent", content_ids, fields)


def lead(**fields: Any) -> Raw:
    """Somebody left how to reach them."""
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


def test_event(brand: Brand, now: datetime) -> dict[str, Any]:
    """A page view of nobody, as the outbox would hand it to a platform; stored nowhere."""
    raw = page_view(
        "https://example.com/tributary-test",
        user_agent="Tributary",
        external_id="tributary-test",
        event_id=f"tributary-test-{int(now.timestamp())}",
        is_test=True,
    )
    return {**_prepared(brand, raw, now, "test"), "opt_out": False}


def test_event_for_google(event: Mapping[str, Any], event_name: str) -> dict[str, Any]:
    """The same under a name that the destination maps, and with an address of nobody."""
    hashes, _ = identity.google_identifiers({"email": "tributary-test@example.com"})
    return {**event, "event_name": event_name, "user_hashes": {"google": hashes}}


def row_of(
    connection: Connection, brand: Brand, raw: Raw, *, source: str, now: datetime
) -> dict[str, Any]:
    """An event of our own sources as the row that `take` would store; nothing is stored.

    Raises:
        EventRefused: it cannot be taken.
    """
    contact = _clicked(connection, brand, [raw]).get(_text(raw.get("contact_id")) or "")
    return _prepared(brand, raw, now, source, internal=True, contact=contact)


# From a raw event to a row.


def _prepared(
    brand: Brand,
    raw: Raw,
    now: datetime,
    source: str,
    internal: bool = False,
    contact: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    given, custom = _named(brand, raw, internal)
    name = _event_name(brand, given)
    value, currency = _amount(given.get("value")), _currency(given.get("currency"))
    if value is not None and currency is None:
        raise EventRefused("currency", "is missing beside a value; write an ISO 4217 code")
    if name == "Purchase" and value is None:
        raise EventRefused("value", "a Purchase needs value and currency")
    at = _moment("event_time", given.get("event_time"), now)
    if at > now + _FUTURE:
        raise EventRefused("event_time", "lies in the future")
    ids = {
        key: _identifier(key, given.get(key))
        for key in ("event_id", "transaction_id", "campaign_id", "contact_id", "ad_id")
    }
    person = {key: given[key] for key in PERSON if key in given}
    hashes, address = identity.google_identifiers(person)
    meta_hashes = identity.meta_hashes(person)
    url, agent = _url(given.get("event_source_url")), _text(given.get("user_agent"))
    row = {
        "id": given.get("id") or uuid4(),
        "brand_id": brand.id,
        "event_name": name,
        "kind": given.get("kind", "conversion"),
        "adjusts": given.get("adjusts"),
        "adjusts_time": given.get("adjusts_time"),  # no column: the original has it
        "revision": given.get("revision", 0),
        "event_time": at,
        "action_source": _action_source(given.get("action_source"), bool(url and agent)),
        "event_source_url": url,
        "event_value": value,
        "currency": currency,
        **ids,
        "user_ip": _ip(given.get("ip")),
        "user_agent": agent,
        "fbp": _matching(_FBP, given.get("fbp")),
        "fbc": _fbc(given, at, contact),
        **{key: _text(given.get(key)) for key in ("gclid", "gbraid", "wbraid")},
        "user_hashes": given.get("user_hashes")
        or {
            platform: found
            for platform, found in (("meta", meta_hashes), ("google", hashes))
            if found
        },
        "google_address": given.get("google_address") or address,
        "consent": given.get("consent") or _consent(brand, given),
        "custom_params": custom,
        "is_test": _flag("is_test", given.get("is_test")) or False,
    }
    # A line of a file without a time must be the same event when the file is handed in again.
    at_all = "event_time" in given or source != "file"
    row["event_id"] = ids["event_id"] or _event_id(brand, row, at.isoformat() if at_all else "")
    return row


def _named(brand: Brand, raw: Raw, internal: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The event under our own names, and what else belongs to Meta's custom_data."""
    aliases = {**ALIASES, **brand.settings.get("property_aliases", {})}
    given: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for mapping in (raw, _json_object(raw.get("custom_params"))):
        for key, value in mapping.items():
            name = aliases.get(key, key)
            if value is None or value == "" or key == "custom_params":
                continue
            if name in FIELDS or (internal and name in _INTERNAL and mapping is raw):
                given.setdefault(name, value)
            elif mapping is raw and name == key:
                raise EventRefused(key, "is no field of an event; put it into custom_params")
            else:
                custom[name] = value
    if "content_ids" in custom:
        ids = custom["content_ids"]
        custom["content_ids"] = [str(one) for one in (ids if isinstance(ids, list) else [ids])]
    _check_custom(custom)
    return given, custom


def holds_email(text: str) -> bool:
    """Whether an e-mail address is anywhere in it, also percent-encoded."""
    return _EMAIL.search(text) is not None


def _check_custom(custom: Mapping[str, Any]) -> None:
    try:
        whole = orjson.dumps(custom)
    except TypeError:
        raise EventRefused("custom_params", "is not JSON") from None
    if len(whole) > _MOST_CUSTOM:
        raise EventRefused("custom_params", f"is larger than {_MOST_CUSTOM // 1024} kB of JSON")
    text = whole.decode()
    if "\\u0000" in text:
        raise EventRefused("custom_params", "holds a NUL character")
    if holds_email(text):
        raise EventRefused("custom_params", "holds an e-mail address; it would be sent in clear")


def _json_object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str) and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise EventRefused("custom_params", "is not JSON") from None
    if value in (None, ""):
        return {}
    if not isinstance(value, Mapping):
        raise EventRefused("custom_params", "must be a JSON object")
    return value


_STANDARD = {name.lower(): name for name in STANDARD_EVENTS}


def _event_name(brand: Brand, given: Raw) -> str:
    said = _text(given.get("event_name"))
    if said is None:
        raise EventRefused("event_name", "is missing")
    if len(said) > 100 or holds_email(said):
        raise EventRefused("event_name", "must be a name of at most 100 characters")
    own = {**EVENT_NAMES, **brand.settings.get("event_names", {})}
    if said in own:
        return str(own[said])
    return _STANDARD.get(said.replace("_", "").replace(" ", "").lower(), said)


def _amount(value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        text = str(value).strip()
        amount = Decimal(text if len(text) <= 40 else "nan")
    except (InvalidOperation, ValueError):
        raise EventRefused("value", "must be a number such as 1234.50") from None
    if not amount.is_finite() or abs(amount.adjusted()) > 15:
        raise EventRefused("value", "must be a number such as 1234.50")
    if amount < 0:
        raise EventRefused("value", "is negative; a refund is no event of its own")
    return amount


def _currency(value: Any) -> str | None:
    text = _text(value)
    if text is None:
        return None
    if text.upper() not in _CURRENCIES:
        raise EventRefused("currency", "is no ISO 4217 code such as USD")
    return text.upper()


def _moment(field: str, value: Any, default: datetime) -> datetime:
    if value is None:
        return default
    if isinstance(value, int | float) or re.fullmatch(r"\s*\d{9,14}\s*", str(value), re.ASCII):
        seconds = float(value) if abs(float(str(value)[:20])) < 1e15 else 0.0
        seconds = seconds / 1000 if seconds > 1e11 else seconds
        if not 946_684_800 <= seconds <= 4_102_444_800:  # from 2000 to 2100
            raise EventRefused(field, "is no moment between 2000 and 2100")
        return datetime.fromtimestamp(seconds, UTC)
    try:
        moment = (
            value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        )
    except ValueError:
        raise EventRefused(
            field, "must be a moment in ISO 8601 such as 2026-01-31T18:30:00+00:00"
        ) from None
    if not 2000 <= moment.year < 2100:
        raise EventRefused(field, "is no moment between 2000 and 2100")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _identifier(field: str, value: Any) -> str | None:
    text = _text(value)
    if text is not None and (len(text) > 256 or holds_email(text)):
        raise EventRefused(field, "must be an id of at most 256 characters, never an e-mail")
    return text


def _action_source(value: Any, has_browser: bool) -> str:
    text = _text(value)
    if text is None:
        return "website" if has_browser else "system_generated"
    text = ACTION_SOURCE_ALIASES.get(text.lower(), text.lower())
    if text not in ACTION_SOURCES:
        raise EventRefused("action_source", f"must be one of {', '.join(ACTION_SOURCES)}")
    return text


def _url(value: Any) -> str | None:
    """The address without what identifies a person: Meta refuses such URLs, and we keep none."""
    text = _text(value)
    if text is None or len(text) > _MOST_URL:
        return None
    if "@" not in _plain(text):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        raise EventRefused("event_source_url", "is no URL") from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = [(k, v) for k, v in pairs if "@" not in _plain(k + v)]
    netloc = parts.netloc.rpartition("@")[2]
    path = "/".join("_" if "@" in _plain(part) else part for part in parts.path.split("/"))
    return urlunsplit((parts.scheme, netloc, path, urlencode(query), ""))


def _plain(text: str) -> str:
    """Percent-encoding undone, also where it was done twice."""
    return unquote(unquote(text))


def _ip(value: Any) -> str | None:
    try:
        return str(ipaddress.ip_address(str(value).strip())) if value else None
    except ValueError:
        return None


def _fbc(given: Raw, at: datetime, contact: Mapping[str, Any] | None) -> str | None:
    """The click as Meta's cookie has it; the time is when the click id was first seen."""
    whole = _matching(_FBC, given.get("fbc"))
    fbclid = _matching(_FBCLID, given.get("fbclid"))
    if whole or not fbclid:
        return whole
    return contacts.fbc(contact, fbclid, _moment("fbclid_seen_at", given.get("fbclid_seen_at"), at))


def clicks(raw: Raw, now: datetime, contact: Mapping[str, Any] | None) -> dict[str, str | None]:
    """What an event that is not taken says of its contact, checked: `contacts.CLICKS`."""
    return {
        "fbclid": _matching(_FBCLID, raw.get("fbclid")),
        "fbp": _matching(_FBP, raw.get("fbp")),
        "fbc": _fbc(raw, now, contact),
        "ad_id": _identifier("ad_id", raw.get("ad_id")),
        "gclid": _text(raw.get("gclid")),
    }


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    text = _text(value)
    return text if text and pattern.fullmatch(text) else None


def _consent(brand: Brand, given: Raw) -> dict[str, Any]:
    said = given.get("country")
    countries = map(identity.country_alpha2, said if isinstance(said, list | tuple) else [said])
    answers = {key.removeprefix("consent_"): _flag(key, given.get(key)) for key in CONSENTS}
    required = any(policies.consent_required(one, brand.settings) for one in countries)
    return {**answers, "required": required}


_YES, _NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0"}


def _flag(field: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in _YES | _NO:
        raise EventRefused(field, "must be true, false or empty")
    return text in _YES


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # what a spreadsheet makes of an id
    text = str(value).replace("\x00", "").encode(errors="replace").decode()
    return text.strip() or None


def _event_id(brand: Brand, row: Mapping[str, Any], at: str) -> str:
    """By the brand's template, else from brand, transaction and event name.

    An event without a transaction is told apart by its time, person and contents, so that the same
    file handed in twice is the same events.
    """
    fields = {**row, "brand": brand.slug}
    template = brand.settings.get("event_id_template")
    if template and all(fields.get(name) for _, name, _, _ in Formatter().parse(template) if name):
        return str(template.format_map(fields))
    if row["transaction_id"]:
        parts = [brand.slug, row["transaction_id"], row["event_name"]]
    else:
        about = (
            "contact_id", "user_hashes", "fbp", "fbc", "gclid", "user_ip", "user_agent",
            "event_source_url", "event_value", "currency", "custom_params",
        )  # fmt: skip
        content = orjson.dumps([row[name] for name in about], default=str).decode()
        parts = [brand.slug, row["event_name"], at, content]
    return str(uuid5(_NAMESPACE, "|".join(parts)))


# Into the tables.

_COLUMNS = (
    "id", "brand_id", "event_name", "event_id", "kind", "adjusts", "revision", "event_time",
    "action_source", "event_source_url", "event_value", "currency", "transaction_id",
    "campaign_id", "contact_id", "source", "user_ip", "user_agent", "fbp", "fbc", "gclid",
    "gbraid", "wbraid", "ad_id", "user_hashes", "google_address", "consent", "custom_params",
    "is_test", "destinations", "created_at", "updated_at",
)  # fmt: skip


def _insert(
    connection: Connection,
    rows: list[dict[str, Any]],
    targets: list[Destination],
    now: datetime,
) -> set[UUID]:
    """Insert what is new, with its deliveries; returns the ids of the new events."""
    if not rows:
        return set()
    names = [target.name for target in targets]
    complete = [
        {**row, "destinations": names, "created_at": now, "updated_at": now} for row in rows
    ]
    deliveries = []
    for row in rows:
        for target in targets:
            state = policies.first_state(row, target, now)
            deliveries.append(
                {
                    "event": row["id"],
                    "destination": target.name,
                    "sync_status": state.sync_status,
                    "outcome": state.outcome,
                    "deadline": state.deadline,
                    "batch_key": state.batch_key,
                    "now": now,
                }
            )
    return {
        found["id"]
        for found in connection.execute(
            f"with new as (insert into ops.conversion_events ({', '.join(_COLUMNS)}) "
            f"select {', '.join(_COLUMNS)} "
            "from jsonb_populate_recordset(null::ops.conversion_events, %s) "
            "on conflict do nothing returning id), born as ("
            "insert into ops.conversion_deliveries (event, destination, sync_status, outcome, "
            "deadline, batch_key, next_attempt_at, created_at, updated_at) select new.id, "
            "destination, sync_status, outcome, deadline, batch_key, now, now, now "
            "from jsonb_to_recordset(%s) as d (event uuid, destination text, sync_status text, "
            "outcome text, deadline timestamptz, batch_key text, now timestamptz) "
            "inner join new on new.id = event) select id from new",
            [as_json(complete), as_json(deliveries)],
        )
    }


def as_json(rows: list[dict[str, Any]]) -> str:
    """For `jsonb_populate_recordset`."""
    return orjson.dumps(rows, default=str).decode()


class _Known:
    """The first rows of events that came again; a transaction they lack is filled in."""

    def __init__(self, connection: Connection, brand: Brand, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self._by_id: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._by_transaction: dict[tuple[Any, ...], dict[str, Any]] = {}
        if not rows:
            return
        for found in connection.execute(
            _KNOWN,
            {
                "brand": brand.id,
                "names": [row["event_name"] for row in rows],
                "ids": [row["event_id"] for row in rows],
                "transactions": [row["transaction_id"] for row in rows],
            },
        ):
            self._by_id[self._key(found)] = found
            self._by_transaction[found["event_name"], found["transaction_id"]] = found
        for row in rows:
            first = self._by_id.get(self._key(row))
            if first and row["transaction_id"] and first["transaction_id"] is None:
                connection.execute(
                    "update ops.conversion_events as e set transaction_id = %(transaction)s "
                    "where e.id = %(id)s and not exists (select 1 from ops.conversion_events as o "
                    "where o.brand_id = e.brand_id and o.event_name = e.event_name "
                    "and o.kind = 'conversion' and o.transaction_id = %(transaction)s)",
                    {"transaction": row["transaction_id"], "id": first["id"]},
                )

    @staticmethod
    def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["event_name"], row["event_id"], row["kind"], row["revision"]

    def receipt(self, row: Mapping[str, Any]) -> Receipt:
        """A duplicate, or refused where another transaction has taken the event id."""
        first = self._by_id.get(self._key(row))
        if first is None:
            first = self._by_transaction[row["event_name"], row["transaction_id"]]
        elif row["transaction_id"] and first["transaction_id"] not in (None, row["transaction_id"]):
            return Receipt(
                "refused", None, "event_id: belongs to another transaction already", "event_id"
            )
        amount = ("event_value", "currency")
        differs = row["event_value"] is not None and any(row[n] != first[n] for n in amount)
        return Receipt("duplicate", first["id"], differs=differs)


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
"""


def erased_among(connection: Connection, brand: Brand, rows: list[dict[str, Any]]) -> set[int]:
    """Numbers of rows whose event or person was erased."""
    people = {row["number"]: erasure.hashes_of(row) for row in rows}
    found = connection.execute(
        "select hash, event_name, event_id from ops.erasures where brand_id = %s "
        "and (hash = any(%s) or event_id = any(%s))",
        [brand.id, list(set().union(*people.values())), [row["event_id"] for row in rows]],
    ).fetchall()
    erased = {(row["event_name"], row["event_id"]) for row in found}
    hashes = {row["hash"] for row in found}
    return {
        row["number"]
        for row in rows
        if (row["event_name"], row["event_id"]) in erased or hashes & people[row["number"]]
    }
