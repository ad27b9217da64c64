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
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import unquote
from uuid import UUID, uuid4, uuid5
from zoneinfo import ZoneInfo

import orjson
import psycopg
import pycountry
from psycopg.pq import TransactionStatus

from tributary import warehouse
from tributary.deliver import contacts, destinations, erasure, identity, personal
from tributary.deliver.consent import consent_required
from tributary.deliver.destinations import Destination
from tributary.deliver.personal import holds_email, personal_in
from tributary.errors import TributaryError, WarehouseBusy, WarehouseDown, WarehouseError
from tributary.event import Event
from tributary.platforms.meta.conversions import ACTION_SOURCES
from tributary.warehouse import Connection

__all__ = ["holds_email", "personal_in"]  # what adapters look at texts with, beside the rest here

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
TAKEN_ID = "event_id: belongs to another transaction already"

_NAMESPACE = UUID("9d7f3f2e-6c0b-5d5e-9d63-9f4f6f0c7a11")
_FUTURE = timedelta(minutes=10)  # clocks differ
# What may follow the last dot is the mark of Meta's parameter builder.
_MARK = r"(\.[\w-]{2}|\.[\w-]{8})?"
_FBC = re.compile(rf"fb\.\d\.(\d{{13}})\.[\w-]{{1,1000}}{_MARK}", re.ASCII)
_FBC_IN_SECONDS = re.compile(rf"(fb\.\d\.\d{{10}})(\.[\w-]{{1,1000}}{_MARK})", re.ASCII)
_FBP = re.compile(rf"fb\.\d\.\d{{13}}\.\d{{1,20}}{_MARK}", re.ASCII)
_FBCLID = re.compile(r"[\w-]{5,1000}", re.ASCII)
# How click ids of Facebook and Instagram begin: any other text alone in fbc is rubbish.
_BARE_FBC = re.compile(r"(?:Iw[A-Z]|PA[A-Za-z])[\w-]{3,1000}", re.ASCII)
# "keep fbc for 90 days": a click is attributed no longer than that.
# https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/fbp-and-fbc
_CLICK_LIVES = timedelta(days=90)
_MOST_CLICK = 512  # characters of a click id of Google's
# In queries, fragments and addresses within addresses, once their percent-encoding is undone.
_IN_URL = re.compile(r"(?<![\w-])(fbclid|gclid|gbraid|wbraid)=([\w.~=-]{1,1000})", re.ASCII)
_MOST_CUSTOM = 16_384  # bytes of custom_params as JSON
_MOST_URL = 8_192  # characters
_MOST_AGENT = 2_048
_MOST_IPS = 20  # proxies on the way
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
    notes: tuple[str, ...] = ()  # what was left out of an accepted one, and why


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
            `value` in major units, times as ISO 8601 text (without an offset: of the brand's
            time zone), epoch seconds or datetimes.
        source: where they come from, such as `transactions`, `file`, `api`.
        internal: whether they may have the fields that only our own sources know.

    Returns:
        A receipt per event, in the same order; those of refused ones name field and reason, those
        of accepted ones say in notes what was left out.

    Raises:
        WarehouseDown: nothing was stored; WarehouseBusy where other work was in the way.
        WarehouseError: the warehouse refuses them; nothing was stored.
    """
    receipts: list[Receipt | None] = [None] * len(events)
    rows: list[dict[str, Any]] = []
    read: dict[int, _Given] = {}
    for number, raw in enumerate(events):
        try:
            read[number] = _read(brand, raw, internal)
        except EventRefused as error:
            receipts[number] = Receipt("refused", None, str(error), error.field)
    clicked = _clicked(connection, brand, read.values())
    for number, given in read.items():
        try:
            row = _prepared(brand, given, now, source, clicked.get(given.contact or ""))
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
        if isinstance(error, warehouse.BUSY):
            kind = WarehouseBusy
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
            yield row["number"], Receipt("accepted", row["id"], notes=tuple(row["notes"]))
    known = _Known(connection, brand, [row for row in rows if row["id"] not in inserted])
    for row in known.rows:
        yield row["number"], known.receipt(row)


def in_one_transaction(connection: Connection) -> AbstractContextManager[object]:
    """A transaction, unless we are in one: a savepoint costs two more journeys."""
    if connection.info.transaction_status == TransactionStatus.INTRANS:
        return nullcontext()
    return connection.transaction()


def _clicked(
    connection: Connection, brand: Brand, events: Iterable[_Given]
) -> dict[str, dict[str, Any]]:
    """The contacts of events that bring a bare click id: they know when it was first seen."""
    ids = {
        given.contact
        for given in events
        if "fbclid" in given.fields and not given.fields.keys() & {"fbc", "fbclid_seen_at"}
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
    return {**_prepared(brand, _read(brand, raw), now, "test"), "opt_out": False}


def row_of(
    connection: Connection, brand: Brand, raw: Raw, *, source: str, now: datetime
) -> dict[str, Any]:
    """An event of our own sources as the row that `take` would store; nothing is stored.

    Raises:
        EventRefused: it cannot be taken.
    """
    given = _read(brand, raw, internal=True)
    contact = _clicked(connection, brand, [given]).get(given.contact or "")
    return _prepared(brand, given, now, source, contact)


# From a raw event to a row.


class _Given(NamedTuple):
    """An event under our own names, without what only looks like a value."""

    fields: dict[str, Any]
    custom: dict[str, Any]  # what else belongs to Meta's custom_data
    notes: list[str]  # what was left out, and why
    of_url: set[str]  # click ids that only the page's address had

    @property
    def contact(self) -> str | None:
        return _text(self.fields.get("contact_id"))


def _prepared(
    brand: Brand,
    event: _Given,
    now: datetime,
    source: str,
    contact: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    given, notes = event.fields, event.notes
    name = event_name(brand, given)
    value, currency = _amount(given.get("value")), _currency(given.get("currency"))
    if value is not None and currency is None:
        raise EventRefused("currency", "is missing beside a value; write an ISO 4217 code")
    if name == "Purchase" and value is None:
        raise EventRefused("value", "a Purchase needs value and currency")
    at = _moment("event_time", given.get("event_time"), now, _zone(brand))
    if at > now + _FUTURE:
        raise EventRefused("event_time", "lies in the future")
    ids = {
        key: _identifier(key, given.get(key))
        for key in ("event_id", "transaction_id", "campaign_id", "contact_id", "ad_id")
    }
    person = {key: given[key] for key in PERSON if key in given}
    hashes, address = _hashes(person, brand.settings.get("default_country"))
    url = _url(brand, given.get("event_source_url"))
    agent = _agent(given.get("user_agent"), notes)
    seen = _moment("fbclid_seen_at", given.get("fbclid_seen_at"), at, _zone(brand))
    if source == "file" and "event_time" not in given:
        notes.append(NO_TIME)
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
        "fbc": _fbc(given, at, seen, contact, notes),
        **{key: _click(given.get(key)) for key in ("gclid", "gbraid", "wbraid")},
        "user_hashes": given.get("user_hashes") or hashes,
        "google_address": given.get("google_address") or address,
        "consent": given.get("consent") or _consent(brand, given),
        "custom_params": event.custom,
        "is_test": _flag("is_test", given.get("is_test")) or False,
        "notes": notes,
    }
    if ids["event_id"] is None:
        # A line of a file without a time must be the same event when the file is handed in again.
        at_all = "event_time" in given or source != "file"
        row["event_id"] = _event_id(brand, row, event, at if at_all else None, contact)
    return row


def _hashes(
    person: Mapping[str, Any], default_country: str | None
) -> tuple[dict[str, dict[str, list[str]]], dict[str, str]]:
    """The person's hashes by platform, and Google's address in clear."""
    google, address = identity.google_identifiers(person, default_country)
    both = {"meta": identity.meta_hashes(person, default_country), "google": google}
    return {platform: found for platform, found in both.items() if found}, address


# Fields whose text may be a placeholder; of a number, a moment or an answer that is a fault.
_TEXTS = frozenset(FIELDS) - {
    "brand", "event_time", "action_source", "value", "currency", "custom_params", "is_test",
    *CONSENTS,
}  # fmt: skip
_NEEDED_TRUE = {"event_id", "transaction_id"}  # events differ by these
_NO_VALUE = {
    "placeholder": "is a placeholder, such as undefined, null, 0 or {{id}}: different events would "
    "count as one. Fill the variable where the event is made, or leave the field out",
    "scientific": "is a number as spreadsheets shorten it, such as 1.2E+11: different events would "
    "count as one. Format the column as text and export it again",
}
_LEFT_OUT = {
    "placeholder": "{} left out: it is a placeholder",
    "scientific": "{} left out: a spreadsheet has shortened the number (1.2E+11)",
}
NO_TIME = "event_time is missing: the moment of the import is taken"
_OLD_CLICK = "fbc left out: its click is more than 90 days before the event"


def _read(brand: Brand, raw: Raw, internal: bool = False) -> _Given:
    """The event under our own names, with what it says of itself."""
    given, custom = _named(brand, raw, internal)
    notes, of_url = _said(given)
    return _Given(given, custom, notes, of_url)


def _said(given: dict[str, Any]) -> tuple[list[str], set[str]]:
    """Take out of an event what says nothing, and put in the clicks of its page's address.

    Returns:
        Notes of what was left out, and which click ids only the address had.
    """
    notes = []
    for field, value in list(given.items()):
        # Of lists, which only people's fields may be, identity looks at each.
        if field not in _TEXTS or isinstance(value, list | tuple):
            continue
        text = value.strip() if isinstance(value, str) else _text(value) or ""
        if why := identity.why_absent(text):
            if field == "event_name":
                raise EventRefused(field, "is a placeholder: fill the variable that it comes from")
            if field in _NEEDED_TRUE:
                raise EventRefused(field, _NO_VALUE[why])
            notes.append(_LEFT_OUT[why].format(field))
            del given[field]
    if _matching(_BARE_FBC, fbc := given.get("fbc")):
        given.setdefault("fbclid", fbc)
        del given["fbc"]
    found = _clicks_in(given.get("event_source_url"))
    of_url = found.keys() - given.keys()
    given.update((name, found[name]) for name in of_url)
    return sorted(notes), of_url


def _clicks_in(url: Any) -> dict[str, str]:
    """The click ids in a page's address."""
    text = str(url or "")[:_MOST_URL]
    if "clid" not in text and "braid" not in text:
        return {}
    found: dict[str, str] = {}
    for _ in range(3):  # addresses within addresses
        for name, value in _IN_URL.findall(text):
            if identity.why_absent(value) is None:
                found.setdefault(name, value)
        if "%" not in text:
            break
        text = unquote(text)
    return found


def with_clicks(raw: Raw) -> Raw:
    """The event with the click ids that only its page's address has; a field of its own wins."""
    found = _clicks_in(raw.get("event_source_url"))
    lacking = {
        name: value
        for name, value in found.items()
        if not raw.get(name) or identity.why_absent(str(raw[name]).strip())
    }
    return {**raw, **lacking} if lacking else raw


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
    if custom:
        _check_custom(custom)
    return given, custom


def _check_custom(custom: Mapping[str, Any]) -> None:
    try:
        whole = orjson.dumps(custom)
    except TypeError:
        raise EventRefused("custom_params", "is not JSON") from None
    if len(whole) > _MOST_CUSTOM:
        raise EventRefused("custom_params", f"is larger than {_MOST_CUSTOM // 1024} kB of JSON")
    if b"\\u0000" in whole:
        raise EventRefused("custom_params", "holds a NUL character")
    if found := personal.personal_in_params(custom):
        raise EventRefused("custom_params", f"holds {found}; it would be sent in clear")


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


def event_name(brand: Brand, given: Raw) -> str:
    """The name under which an event is stored.

    Raises:
        EventRefused: it has none that can be.
    """
    said = _text(given.get("event_name"))
    if said is None:
        raise EventRefused("event_name", "is missing")
    if len(said) > 100 or personal_in(said):
        raise EventRefused(
            "event_name", "must be a name of at most 100 characters, without e-mail or phone"
        )
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


def _zone(brand: Brand) -> str:
    return brand.settings.get("time_zone") or "UTC"


def _moment(field: str, value: Any, default: datetime, zone: str) -> datetime:
    """A moment; without an offset it is of the zone.

    Where a clock is put back and the time is there twice, the first of the two; where it is put
    forward and the time is not there, what the clock would show had it not been.
    """
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
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)


def _identifier(field: str, value: Any) -> str | None:
    text = _text(value)
    if text is None:
        return None
    if len(text) > 256:
        raise EventRefused(field, "must be an id of at most 256 characters")
    if found := personal_in(text):
        raise EventRefused(field, f"holds {found}; it would be stored in clear: write another id")
    return text


def _action_source(value: Any, has_browser: bool) -> str:
    text = _text(value)
    if text is None:
        return "website" if has_browser else "system_generated"
    text = ACTION_SOURCE_ALIASES.get(text.lower(), text.lower())
    if text == "business_messaging":
        raise EventRefused(
            "action_source",
            "business_messaging needs ids of the message, which an event cannot bring: write chat",
        )
    if text not in ACTION_SOURCES:
        raise EventRefused("action_source", f"must be one of {', '.join(_TAKEN_SOURCES)}")
    return text


_TAKEN_SOURCES = tuple(one for one in ACTION_SOURCES if one != "business_messaging")


def _url(brand: Brand, value: Any) -> str | None:
    """The address without what identifies a person: Meta refuses such URLs, and we keep none."""
    text = _text(value)
    if text is None:
        return None
    if len(text) > _MOST_URL:  # its query is what makes it long
        text = re.split("[?#]", text[: _MOST_URL + 1], maxsplit=1)[0]
        if len(text) > _MOST_URL:
            return None
    try:
        return personal.page(text, brand.settings.get("url_parameters") or ())
    except ValueError:
        raise EventRefused("event_source_url", "is no URL") from None


def _agent(value: Any, notes: list[str]) -> str | None:
    text = _text(value)
    if text and (found := personal_in(text := text[:_MOST_AGENT])):
        notes.append(f"user_agent left out: it holds {found}")
        return None
    return text


# Where no visitor comes from. Ranges for documentation are left in: no proxy puts them there.
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
_PRIVATE = {
    version: [
        (int(network.network_address), int(network.netmask))
        for network in map(ipaddress.ip_network, networks)
    ]
    for version, networks in {
        4: ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"),
        6: ("::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    }.items()
}  # fmt: skip


def _ip(value: Any) -> str | None:
    """The visitor's address: the first public one of those that proxies have put in a row.

    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
    """
    if not value:
        return None
    for part in str(value)[:1024].split(",", _MOST_IPS)[:_MOST_IPS]:
        text = part.strip().strip('"')
        if text.startswith("["):  # [2001:db8::1]:443
            text = text[1:].partition("]")[0]
        elif text.count(":") == 1:  # 203.0.113.9:443
            text = text.partition(":")[0]
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        number = int(address)
        if all(number & mask != network for network, mask in _PRIVATE[address.version]):
            return str(address)
    return None


def _fbc(
    given: Raw,
    at: datetime,
    seen: datetime,
    contact: Mapping[str, Any] | None,
    notes: list[str],
) -> str | None:
    """The click as Meta's cookie has it; the time is when the click id was first seen.

    None where that is too long before the event.
    """
    text = _text(given.get("fbc")) or ""
    if in_seconds := _FBC_IN_SECONDS.fullmatch(text):
        text = f"{in_seconds[1]}000{in_seconds[2]}"
    found = [text] if _FBC.fullmatch(text) else []
    if fbclid := _matching(_FBCLID, given.get("fbclid")):
        found.append(contacts.fbc(contact, fbclid, seen))
    oldest = (at - _CLICK_LIVES).timestamp() * 1000
    for one in found:
        if int(one.split(".")[2]) >= oldest:
            return one
    if found:
        notes.append(_OLD_CLICK)
    return None


def clicks(raw: Raw, now: datetime, contact: Mapping[str, Any] | None) -> dict[str, str | None]:
    """What an event that is not taken says of its contact, checked: `contacts.CLICKS`."""
    names = ("event_source_url", *contacts.CLICKS)
    given = {name: raw[name] for name in names if raw.get(name)}
    _said(given)
    try:
        ad = _identifier("ad_id", given.get("ad_id"))
    except EventRefused:  # the rest is of use without it
        ad = None
    return {
        "fbclid": _matching(_FBCLID, given.get("fbclid")),
        "fbp": _matching(_FBP, given.get("fbp")),
        "fbc": _fbc(given, now, now, contact, []),
        "ad_id": ad,
        "gclid": _click(given.get("gclid")),
    }


def _click(value: Any) -> str | None:
    """A click id of Google's, which alone knows its form."""
    text = _text(value)
    return text if text and len(text) <= _MOST_CLICK and not personal_in(text) else None


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    text = _text(value)
    return text if text and pattern.fullmatch(text) else None


def _consent(brand: Brand, given: Raw) -> dict[str, Any]:
    said = given.get("country")
    said = said if isinstance(said, list | tuple) else [said]
    known = [code for one in said if (code := identity.country_alpha2(one))]
    answers = {key.removeprefix("consent_"): _flag(key, given.get(key)) for key in CONSENTS}
    # Of whom no country is known, the default one may ask for consent; it never does away with it.
    known = known or list(filter(None, [brand.settings.get("default_country")]))
    required = any(consent_required(one, brand.settings) for one in known)
    return {**answers, "required": required}


_YES, NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0"}


def _flag(field: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in _YES | NO:
        raise EventRefused(field, "must be true, false or empty")
    return text in _YES


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # what a spreadsheet makes of an id
    text = str(value).replace("\x00", "").encode(errors="replace").decode()
    return text.strip() or None


def _event_id(
    brand: Brand,
    row: Mapping[str, Any],
    event: _Given,
    at: datetime | None,
    contact: Mapping[str, Any] | None,
) -> str:
    """By the brand's template, else from brand, transaction and event name.

    An event without a transaction is told apart by its time, person and contents, so that the same
    file handed in twice is the same events.

    Args:
        at: the event's time; None where it says none.
    """
    fields = {**row, "brand": brand.slug}
    template = brand.settings.get("event_id_template")
    if template and all(fields.get(name) for _, name, _, _ in Formatter().parse(template) if name):
        return str(template.format_map(fields))
    if row["transaction_id"]:
        parts = [brand.slug, row["transaction_id"], row["event_name"]]
    else:
        parts = [brand.slug, row["event_name"], *_contents(brand, row, event, at, contact)]
    return str(uuid5(_NAMESPACE, "|".join(parts)))


def _contents(
    brand: Brand,
    row: Mapping[str, Any],
    event: _Given,
    at: datetime | None,
    contact: Mapping[str, Any] | None,
) -> tuple[str, str]:
    """The time and the contents of an event by rules that never change: the id is made of them.

    Neither settings nor what is left out, repaired or sent in a second form has a part in it: else
    a file that is handed in again after such a change would be other events.
    """
    given = event.fields
    moment = given.get("event_time")
    if at is not None and moment is not None:
        at = _moment("event_time", moment, at, "UTC")
    person = {key: given[key] for key in PERSON if key in given}
    is_by_rule = brand.settings.get("default_country") is None
    hashes = {
        platform: {key: found[:1] if key in ("ct", "st") else found for key, found in by.items()}
        for platform, by in (row["user_hashes"] if is_by_rule else _hashes(person, None)[0]).items()
    }
    fbc = _matching(_FBC, given.get("fbc"))
    fbclid = None if "fbclid" in event.of_url else _matching(_FBCLID, given.get("fbclid"))
    if fbc is None and fbclid:
        seen = at and _moment("fbclid_seen_at", given.get("fbclid_seen_at"), at, "UTC")
        fbc = contacts.fbc(contact, fbclid, seen) if seen else fbclid
    try:
        ip = str(ipaddress.ip_address(str(given.get("ip")).strip())) if given.get("ip") else None
    except ValueError:
        ip = None
    said = {
        **row,
        "user_hashes": given.get("user_hashes") or hashes,
        "fbc": fbc,
        "user_ip": ip,
        "event_source_url": _text(given.get("event_source_url")),
        **{name: None for name in event.of_url if name != "fbclid"},
    }
    about = (
        "contact_id", "user_hashes", "fbp", "fbc", "gclid", "user_ip", "user_agent",
        "event_source_url", "event_value", "currency", "custom_params",
    )  # fmt: skip
    content = orjson.dumps([said[name] for name in about], default=str).decode()
    return at.isoformat() if at else "", content


# Into the tables.

_COLUMNS = (
    "id", "brand_id", "event_name", "event_id", "kind", "adjusts", "revision", "event_time",
    "action_source", "event_source_url", "event_value", "currency", "transaction_id",
    "campaign_id", "contact_id", "source", "user_ip", "user_agent", "fbp", "fbc", "gclid",
    "gbraid", "wbraid", "ad_id", "user_hashes", "google_address", "consent", "custom_params",
    "is_test", "notes", "destinations", "created_at", "updated_at",
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
            state = destinations.first_state(cast(Event, row), target, now)
            deliveries.append(
                {
                    "event": row["id"],
                    "destination": target.name,
                    "sync_status": state.sync_status,
                    "outcome": state.outcome,
                    "deadline": state.deadline,
                    "batch_key": state.batch_key,
                    "due": state.due,
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
            "destination, sync_status, outcome, deadline, batch_key, due, now, now "
            "from jsonb_to_recordset(%s) as d (event uuid, destination text, sync_status text, "
            "outcome text, deadline timestamptz, batch_key text, due timestamptz, "
            "now timestamptz) "
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
        self._by_row: dict[str, dict[str, Any]] = {}
        if not rows:
            return
        for found in connection.execute(
            _KNOWN,
            {
                "brand": brand.id,
                "names": [row["event_name"] for row in rows],
                "ids": [row["event_id"] for row in rows],
                "transactions": [row["transaction_id"] for row in rows],
                "rows": [str(row["id"]) for row in rows],
            },
        ):
            self._by_row[str(found["id"])] = found
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
        first = self._by_row.get(str(row["id"])) or self._by_id.get(self._key(row))
        if first is None:
            first = self._by_transaction[row["event_name"], row["transaction_id"]]
        elif row["transaction_id"] and first["transaction_id"] not in (None, row["transaction_id"]):
            return Receipt("refused", None, TAKEN_ID, "event_id")
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
union
select e.id, e.event_name, e.event_id, e.kind, e.revision, e.transaction_id, e.event_value,
    e.currency
from ops.conversion_events as e where e.brand_id = %(brand)s and e.id = any(%(rows)s::uuid[])
"""


def erased_among(connection: Connection, brand: Brand, rows: list[dict[str, Any]]) -> set[int]:
    """Numbers of rows whose event or person was erased."""
    people = {row["number"]: erasure.hashes_of(row) for row in rows}
    events = {
        row["number"]: {
            (row["event_name"], row["event_id"]),
            (row["event_name"], erasure.tombstone(row["event_name"], row["event_id"])),
        }
        for row in rows
    }
    ids = [event_id for names in events.values() for _, event_id in names]
    found = connection.execute(
        "select hash, event_name, event_id from ops.erasures where brand_id = %s "
        "and (hash = any(%s) or event_id = any(%s))",
        [brand.id, list(set().union(*people.values())), ids],
    ).fetchall()
    erased = {(row["event_name"], row["event_id"]) for row in found}
    hashes = {row["hash"] for row in found}
    return {number for number in people if events[number] & erased or hashes & people[number]}
