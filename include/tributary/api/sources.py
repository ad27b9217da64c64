"""Who posts webhooks, and how their payloads become events: one small adapter each.

An adapter reads a payload (already proven to be the provider's) and says what it means; it knows
no HTTP and no database. What it does not know becomes no event, with a reason. Fields are looked up
under the names that the providers use (`_NAMES`); any of these may also come along in the
provider's own custom data (Stripe's `metadata`, GoHighLevel's `customData`, hidden fields of a
funnel, ManyChat's `custom_fields`), such as fbc, gclid, consent_ad_user_data. So may `event_id`,
there alone: the id that the browser's pixel sends with the same event.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from tributary.deliver import intake
from tributary.deliver.contacts import CLICKS
from tributary.deliver.personal import EMAIL, PHONE, personal_in
from tributary.deliver.reading import Raw
from tributary.event import EventRefused

Payload = Mapping[str, Any]
Settings = Mapping[str, Any]  # of the webhook, as in the settings file


@dataclass(frozen=True)
class Refund:
    """So much of a purchase was given back: all refunds of it together, or one dispute."""

    transaction_id: str
    refunded: Decimal
    currency: str
    at: datetime  # of the refund
    bought_at: datetime | None  # None: not said; the purchase is not waited for
    dispute: str | None = None  # its id
    is_final: bool = False  # whether the dispute has ended


class Invoice(NamedTuple):
    """What an invoice says of the payment that it asks for."""

    reason: str | None  # Stripe's `billing_reason`
    paid: Decimal
    currency: str
    at: datetime


@dataclass(frozen=True)
class Links:
    """By which ids the reports of one payment, and of one person, find each other."""

    payment: str | None = None  # the payment intent
    own: frozenset[str] = frozenset()  # of one payment alone: session, intent, charge, invoice
    shared: frozenset[str] = frozenset()  # of the person: customer, subscription
    invoice: Invoice | None = None
    is_one_off: bool = False  # no invoice asks for it

    @property
    def all(self) -> list[str]:
        """In an order that is the same for everybody who locks them."""
        return sorted(self.own | self.shared)


@dataclass(frozen=True)
class Meaning:
    """What a payload says."""

    id: str  # the provider's own event id
    event: Raw | None = None  # for intake
    refund: Refund | None = None
    contact: Raw = field(default_factory=dict)  # whom it is about; also where there is no event
    ignored: str | None = None  # why there is neither event nor refund
    own_id: str | None = None  # the event's id where the browser's belongs to another one
    links: Links | None = None
    waits: bool = False  # whether it is kept for the payment that it belongs to


# Under which names providers send our fields; letters and digits only, in lower case.
_NAMES: dict[str, tuple[str, ...]] = {
    "email": ("email", "emailaddress", "customeremail", "useremail"),
    "phone": ("phone", "phonenumber", "mobile", "mobilenumber", "customerphone", "phoneno", "tel"),
    "first_name": ("firstname", "givenname", "customerfirstname"),
    "last_name": ("lastname", "familyname", "surname", "customerlastname"),
    "name": ("fullname", "name", "customername"),
    "city": ("city",),
    "state": ("state", "region"),
    "zip": ("zip", "postalcode", "zipcode", "postcode"),
    "country": ("country", "countrycode"),
    "gender": ("gender",),
    "date_of_birth": ("dateofbirth", "dob", "birthday"),
    "external_id": ("externalid", "userid"),
    "contact_id": ("contactid", "subscriberid", "customerid", "leadid"),
    "event_source_url": ("eventsourceurl", "pageurl", "sourceurl", "landingurl"),
    "ip": ("ip", "ipaddress", "clientip"),
    "user_agent": ("useragent", "browseruseragent"),
    "fbclid": ("fbclid",),
    "fbp": ("fbp",),
    "fbc": ("fbc",),
    "gclid": ("gclid",),
    "gbraid": ("gbraid",),
    "wbraid": ("wbraid",),
    "ad_id": ("adid", "utmadid", "fbadid"),
    "campaign_id": ("campaignid", "utmcampaignid"),
    "consent_ad_user_data": ("consentaduserdata",),
    "consent_ad_personalization": ("consentadpersonalization",),
}
_ALIASES = {
    alias: (name, rank) for name, aliases in _NAMES.items() for rank, alias in enumerate(aliases)
}
_GROUPED = re.compile(r"\$?\s?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)")


@lru_cache(maxsize=4096)  # the same few names in every payload
def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _get(payload: Any, *path: str) -> Any:
    """A nested value; None where any part is missing."""
    for part in path:
        payload = payload.get(part) if isinstance(payload, Mapping) else None
    return payload


def _scalar(value: Any) -> str | None:
    """Text of a value, also of a form's `{"value": …}`; nothing of a structure."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if value is None or isinstance(value, Mapping | list):
        return None
    return str(value).replace("\x00", "").strip() or None


def _fields(*places: Any) -> dict[str, Any]:
    """Our fields out of a payload's parts; the first part that has one wins."""
    found: dict[str, Any] = {}
    for place in places:
        here: dict[str, tuple[int, str]] = {}
        for key, value in place.items() if isinstance(place, Mapping) else ():
            name, rank = _ALIASES.get(_key(str(key)), (None, 0))
            text = _scalar(value) if name else None
            if name and text:
                here[name] = min(here.get(name, (rank, text)), (rank, text))
        for name, (_, text) in here.items():
            found.setdefault(name, text)
    whole = found.pop("name", None)
    if whole and "first_name" not in found:
        first, _, last = whole.partition(" ")
        found["first_name"] = first
        if last:
            found.setdefault("last_name", last)
    return found


def _pixel_id(*places: Any) -> dict[str, str]:
    """The `event_id` of custom data, for which the browser's pixel is asked to send the same."""
    for place in places:
        for key, value in place.items() if isinstance(place, Mapping) else ():
            text = _scalar(value) if _key(str(key)) == "eventid" else None
            if text:
                return {"event_id": text}
    return {}


def _word(kind: Any) -> str:
    """A provider's name of a kind, for a reason; nothing where it is no plain name."""
    text = str(kind)
    return f" {text}" if re.fullmatch(r"[\w.:/ -]{1,64}", text, re.ASCII) else ""


def _required(field_name: str, *values: Any) -> str:
    for value in values:
        if text := _scalar(value):
            return text
    raise EventRefused(field_name, "is missing in the payload")


def _name_contact(fields: dict[str, Any], *others: Any) -> None:
    """Make the first that is an id the contact's; an e-mail address among them is an e-mail.

    Ids are stored in clear, and shops put addresses where Stripe wants an id.
    """
    for text in (fields.pop("contact_id", None), *map(_scalar, others)):
        if not text or len(text) > 256:
            continue
        personal = personal_in(text)
        if personal == EMAIL:
            fields.setdefault("email", unquote(text))
        elif personal == PHONE:  # a chat bot's id of a WhatsApp user
            fields.setdefault("phone", unquote(text))
        elif personal is None:
            fields.setdefault("contact_id", text)


def _in_an_id(text: str) -> str:
    """A part of an event's id, which is kept in clear: hashed where it names a person."""
    return hashlib.sha256(text.encode()).hexdigest()[:32] if personal_in(text) else text


def _contact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The contact, what it clicked, and by what it would be erased."""
    kept = ("contact_id", "email", "phone", "country", "event_source_url", *CLICKS)
    return {name: fields[name] for name in kept if name in fields}


def _minor(amount: Any, currency: str) -> Decimal:
    """Major units of a Stripe amount. https://docs.stripe.com/currencies#special-cases"""
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise EventRefused("value", "is missing in the payload, or no whole number")
    code = currency.upper()
    return Decimal(amount).scaleb(0 if code in _ZERO else -3 if code in _THREE else -2)


_ZERO = {
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
    "XOF", "XPF",
}  # fmt: skip
_THREE = {"BHD", "JOD", "KWD", "OMR", "TND"}


def _epoch(value: Any, now: datetime) -> datetime:
    """A moment of the provider's clock; the receipt's where it says none, or one ahead of it."""
    if not isinstance(value, int) or not 946_684_800 <= value <= 4_102_444_800:
        return now
    return min(datetime.fromtimestamp(value, UTC), now)


@dataclass(frozen=True)
class _Event:
    """A Stripe event. https://docs.stripe.com/api/events/object"""

    id: str
    kind: str
    thing: Payload  # the object that it is about
    created: datetime
    is_live: bool
    settings: Settings


def stripe(payload: Payload, now: datetime, settings: Settings) -> Meaning:
    """https://docs.stripe.com/api/events. A purchase is its payment intent, whoever reports it."""
    id_ = _required("id", payload.get("id"))
    if payload.get("object") == "v2.core.event":
        # https://docs.stripe.com/event-destinations#thin-events
        return Meaning(
            id_, ignored="a thin event names no payment; let the endpoint send snapshots"
        )
    kind, thing = str(payload.get("type")), _get(payload, "data", "object")
    if not isinstance(thing, Mapping):
        raise EventRefused("data", "has no object")
    if handler := _STRIPE.get(kind):
        live = payload.get("livemode") is not False
        created = _epoch(payload.get("created"), now)
        return handler(_Event(id_, kind, thing, created, live, settings))
    return Meaning(id_, ignored="this type of event is not used")


def _id(value: Any) -> str | None:
    """The id of an object that may be expanded. https://docs.stripe.com/api/expanding_objects"""
    text = _scalar(value.get("id") if isinstance(value, Mapping) else value)
    return text if text and len(text) <= 256 else None


_EXPANDED = ("latest_charge", "charge", "payment_method", "payment_intent", "invoice", "customer")


def _stripe_objects(thing: Payload) -> Iterator[Payload]:
    """The object itself and those that are expanded in it, of which each may name the person."""
    charges = _get(thing, "charges", "data")  # before the API version 2022-11-15
    inner = charges[:1] if isinstance(charges, list) else []
    yield thing
    for one in (*inner, *(thing.get(name) for name in _EXPANDED)):
        if isinstance(one, Mapping):
            yield one


def _stripe_people(one: Payload) -> Iterator[Any]:
    yield one.get("customer_details")
    if one.get("object") == "customer":
        yield {name: one.get(name) for name in ("email", "name", "phone", "address")}
    if one.get("object") == "charge":
        yield one.get("billing_details")
    yield {"email": one.get("receipt_email")}
    yield {name: one.get(f"customer_{name}") for name in ("email", "name", "phone", "address")}
    yield one.get("billing_details")
    yield _get(one, "collected_information", "shipping_details")
    yield one.get("shipping_details")  # before the API version 2025-03-31
    yield one.get("shipping")
    yield one.get("customer_shipping")


def _stripe_metadata(thing: Payload) -> Iterator[Payload]:
    """Of whatever was sold, and of its subscription; a `name` there is no person's."""
    for one in _stripe_objects(thing):
        for found in (
            one.get("metadata"),
            _get(one, "parent", "subscription_details", "metadata"),
            _get(one, "subscription_details", "metadata"),
        ):
            if isinstance(found, Mapping):
                yield {key: value for key, value in found.items() if _key(str(key)) != "name"}


def _stripe_fields(post: _Event) -> dict[str, Any]:
    """Our fields: what the object says of the person, and what the shop has put into metadata."""
    thing = post.thing
    people = [part for one in _stripe_objects(thing) for part in _stripe_people(one)]
    addresses = (_get(part, "address") for part in people)
    fields = _fields(*people, *addresses, *_stripe_metadata(thing))
    if thing.get("object") == "customer":
        _name_contact(fields, _id(thing))
        return fields if post.is_live else {**fields, "is_test": True}
    _name_contact(fields, thing.get("client_reference_id"), _id(thing.get("customer")))
    # Of this payment alone: a subscription's would come again with each renewal.
    fields |= _pixel_id(*(one.get("metadata") for one in _stripe_objects(thing)
                          if one.get("object") != "customer"))  # fmt: skip
    return fields if post.is_live else {**fields, "is_test": True}


def _stripe_links(thing: Payload, payment: str | None, *others: Any, **more: Any) -> Links:
    subscription = thing.get("subscription") or _get(
        thing, "parent", "subscription_details", "subscription"
    )
    shared = (_id(thing.get("customer")), _id(subscription))
    own = (_id(thing), payment, *map(_id, others))
    return Links(
        payment,
        frozenset(one for one in own if one),
        frozenset(one for one in shared if one),
        **more,
    )


def _stripe_payment(post: _Event, links: Links, amount: Any, fields: dict[str, Any]) -> Meaning:
    code = _required("currency", post.thing.get("currency"))
    event = intake.purchase(
        _minor(amount, code), code, transaction_id=links.payment, event_time=post.created, **fields
    )
    return Meaning(post.id, event=event, contact=fields, links=links)


def _stripe_kept(post: _Event, links: Links, fields: dict[str, Any], why: str) -> Meaning:
    """What is no payment; it waits for one where it says something of it."""
    tells = bool(links.own or fields.keys() - {"contact_id", "is_test"})
    if tells:
        why += "; what it says is kept for its payment"
    return Meaning(post.id, contact=fields, links=links, ignored=why, waits=tells)


def _stripe_session(post: _Event) -> Meaning:
    thing, fields = post.thing, _stripe_fields(post)
    intent = _id(thing.get("payment_intent"))
    links = _stripe_links(
        thing, intent, thing.get("invoice"), is_one_off=thing.get("mode") == "payment"
    )
    if intent is None or thing.get("payment_status") != "paid":
        # A subscription's payments, and one that arrives days later, come as payment intents.
        return _stripe_kept(post, links, fields, "nothing was paid in this session")
    return _stripe_payment(post, links, thing.get("amount_total"), fields)


def _is_one_off(thing: Payload) -> bool:
    """Invoices have a customer; before 2025-03-31 a payment named its invoice, or none."""
    return thing.get("customer") is None or ("invoice" in thing and thing["invoice"] is None)


def _stripe_intent(post: _Event) -> Meaning:
    thing = post.thing
    intent = _required("id", thing.get("id"))
    links = _stripe_links(
        thing, intent, thing.get("latest_charge"), thing.get("invoice"),
        is_one_off=_is_one_off(thing),
    )  # fmt: skip
    amount = thing.get("amount_received") or thing.get("amount")
    return _stripe_payment(post, links, amount, _stripe_fields(post))


def _stripe_charge(post: _Event) -> Meaning:
    thing, intent = post.thing, _id(post.thing.get("payment_intent"))
    if intent is None:
        return Meaning(post.id, ignored="the charge belongs to no payment intent")
    links = _stripe_links(thing, intent, thing.get("invoice"), is_one_off=_is_one_off(thing))
    fields = _stripe_fields(post)
    if thing.get("captured") is False:
        return _stripe_kept(post, links, fields, "the charge is not captured")
    amount = thing.get("amount_captured") or thing.get("amount")
    return _stripe_payment(post, links, amount, fields)


def _stripe_invoice(post: _Event) -> Meaning:
    """Since the API version 2025-03-31 an invoice does not name its payment.

    https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices
    """
    thing, fields = post.thing, _stripe_fields(post)
    code = _required("currency", thing.get("currency"))
    paid = _minor(thing.get("amount_paid"), code)
    reason = _scalar(thing.get("billing_reason"))
    intent = _id(thing.get("payment_intent"))
    links = _stripe_links(
        thing,
        intent,
        thing.get("charge"),
        invoice=Invoice(reason, paid, code.upper(), post.created),
    )
    if intent is None or not paid or thing.get("paid_out_of_band"):
        return _stripe_kept(post, links, fields, "an invoice that names no payment")
    return _stripe_payment(post, links, thing.get("amount_paid"), fields)


def _stripe_invoice_payment(post: _Event) -> Meaning:
    """https://docs.stripe.com/api/invoice-payment/object: which payment an invoice has.

    One payment may be divided among invoices, so that its amount is not the purchase's.
    """
    thing = post.thing
    intent = _id(_get(thing, "payment", "payment_intent"))
    links = _stripe_links(thing, intent, thing.get("invoice"), _get(thing, "payment", "charge"))
    return _stripe_kept(post, links, _stripe_fields(post), "it says which invoice was paid")


def _stripe_customer(post: _Event) -> Meaning:
    customer = _id(post.thing)
    links = Links(shared=frozenset({customer} if customer else ()))
    return _stripe_kept(post, links, _stripe_fields(post), "a customer is no payment")


def _stripe_refund(post: _Event) -> Meaning:
    thing, intent = post.thing, _id(post.thing.get("payment_intent"))
    if intent is None:
        return Meaning(post.id, ignored="the charge belongs to no payment intent")
    currency = _required("currency", thing.get("currency"))
    refund = Refund(
        intent,
        _minor(thing.get("amount_refunded"), currency),
        currency.upper(),
        post.created,
        _epoch(thing.get("created"), post.created),
    )
    links = _stripe_links(thing, intent, thing.get("invoice"), is_one_off=_is_one_off(thing))
    return Meaning(post.id, refund=refund, contact=_stripe_fields(post), links=links)


# https://docs.stripe.com/api/disputes/object: with these states the shop has the money (again).
_UNDISPUTED = {"won", "prevented", "warning_needs_response", "warning_under_review",
               "warning_closed"}  # fmt: skip
_ENDED = {"won", "lost", "prevented", "warning_closed"}


def _stripe_dispute(post: _Event) -> Meaning:
    thing, intent = post.thing, _id(post.thing.get("payment_intent"))
    if post.settings.get("disputes", "ignore") != "refund":
        return Meaning(post.id, ignored="the webhook's setting `disputes` is ignore")
    if intent is None:
        return Meaning(post.id, ignored="the charge belongs to no payment intent")
    currency = _required("currency", thing.get("currency"))
    is_back = thing.get("status") in _UNDISPUTED or post.kind.endswith(".funds_reinstated")
    refund = Refund(
        intent,
        Decimal(0) if is_back else _minor(thing.get("amount"), currency),
        currency.upper(),
        post.created,
        None,
        dispute=_required("id", thing.get("id")),
        is_final=is_back or thing.get("status") in _ENDED,
    )
    return Meaning(post.id, refund=refund, links=_stripe_links(thing, intent, thing.get("charge")))


_STRIPE: dict[str, Callable[[_Event], Meaning]] = {
    "checkout.session.completed": _stripe_session,
    "checkout.session.async_payment_succeeded": _stripe_session,
    "checkout.session.async_payment_failed": lambda post: Meaning(
        post.id, ignored="the payment failed"
    ),
    "payment_intent.succeeded": _stripe_intent,
    "charge.succeeded": _stripe_charge,
    "charge.captured": _stripe_charge,
    "charge.refunded": _stripe_refund,
    "invoice.paid": _stripe_invoice,
    "invoice.payment_succeeded": _stripe_invoice,
    "invoice_payment.paid": _stripe_invoice_payment,
    "customer.created": _stripe_customer,
    "customer.updated": _stripe_customer,
    **dict.fromkeys(
        ("charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
         "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated"),
        _stripe_dispute,
    ),
}  # fmt: skip


_NEW_PLAN = re.compile(r"creat|(?<!re)new|activ|approv|sign|accept|start|enrol|sold|taken")
_NO_PLAN = re.compile(
    r"cancel|refund|declin|fail|draft|test|updat|inactiv|deactiv|reactiv|delet|expir|overdue|"
    r"payment|instal?lment|recurring|charge|payout|payback|transaction|invoice|receipt|paid"
)
_OF_PAYMENT = re.compile(r"(payment|instal?lment)(id|number|no)")
_PAYMENT = re.compile(r"payment|instal?lment")


def _is_payment(*places: Payload) -> bool:
    """Whether one payment is named; the amount of each alone is part of the plan's terms."""
    said = [(_key(str(name)), value) for place in places for name, value in place.items() if value]
    inner = [
        (_key(str(name)), part)
        for key, value in said
        if _PAYMENT.fullmatch(key) and isinstance(value, Mapping)
        for name, part in value.items()
        if part
    ]
    return any(_OF_PAYMENT.fullmatch(key) for key, _ in said) or any(
        key in ("id", "number") or _OF_PAYMENT.fullmatch(key) for key, _ in inner
    )


def denefits(payload: Payload, now: datetime, settings: Settings) -> Meaning:
    """A new payment plan is a Purchase of its whole amount; what is paid of it later is none."""
    plan = _first(payload, "data", "contract", "payment_plan", "plan")
    metadata = payload.get("metadata")
    fields = _fields(metadata, _first(plan, "customer", "patient"), plan,
                     payload.get("customer"), payload)  # fmt: skip
    fields |= _pixel_id(metadata, plan.get("metadata"))
    _name_contact(fields)
    transaction = _required(
        "transaction_id",
        *(place.get(name) for place in (plan, payload)
          for name in ("contract_id", "transaction_id", "payment_plan_id", "plan_id", "id")),
    )  # fmt: skip
    id_ = _required("id", payload.get("event_id"), payload.get("webhook_id"), payload.get("id"),
                    transaction)  # fmt: skip
    said = str(payload.get("event") or payload.get("type") or "").lower()
    kind = re.sub(r"(payment|instal?lment|recurring)[ ._-]?plan", "plan", said)
    kind = "" if kind in ("plan", "contract") else kind  # what it is, not what became of it
    status = str(plan.get("status") or "").lower()
    if (
        _NO_PLAN.search(kind)
        or re.search(r"cancel|refund|declin|fail|draft|test", status)
        or (kind and not _NEW_PLAN.search(kind))
        or (not kind and _is_payment(payload, plan))
    ):
        return Meaning(
            id_, contact=_contact(fields), ignored=f"no new payment plan:{_word(said or status)}"
        )
    amount = _required(
        "value",
        *(place.get(name) for place in (plan, payload)
          for name in ("amount", "contract_amount", "total_amount", "total", "value")),
    )  # fmt: skip
    if grouped := _GROUPED.fullmatch(amount):
        amount = grouped[1].replace(",", "")
    currency = _scalar(plan.get("currency")) or _scalar(payload.get("currency")) or "USD"
    event = intake.purchase(
        amount, currency, transaction_id=transaction,
        event_time=_time(now, plan.get("created_at"), payload.get("created_at")), **fields,
    )  # fmt: skip
    return Meaning(id_, event=event, contact=_contact(fields))


_APPOINTMENTS = {"appointmentcreate", "appointmentupdate", "appointmentdelete"}


def ghl(payload: Payload, now: datetime, settings: Settings) -> Meaning:
    """GoHighLevel: a booked call is an AddToCart. Takes workflow and marketplace payloads.

    Other types (https://marketplace.gohighlevel.com/docs/category/webhook) become what the
    webhook's setting `events` says, else nothing.
    https://marketplace.gohighlevel.com/docs/webhook/AppointmentCreate
    """
    booked = _first(payload, "appointment", "calendar")
    contact = payload.get("contact")
    # The last click led to the booking, the first one only to the contact.
    attribution = [_get(place, name) for place in (payload, contact)
                   for name in ("lastAttributionSource", "attributionSource")]  # fmt: skip
    custom, billed = payload.get("customData"), payload.get("contactDetails")
    kind = _scalar(payload.get("type"))
    is_call = kind is None or kind.lower() in _APPOINTMENTS
    is_contact = kind is not None and kind.startswith("Contact")
    # Of an invoice or an opportunity the name is its own.
    plain = payload if is_call or is_contact else {
        key: value for key, value in payload.items() if _key(str(key)) not in _NAMES["name"]
    }  # fmt: skip
    fields = _fields(custom, contact, booked if is_call else None, billed, plain, *attribution)
    name = settings.get("events", {}).get(kind)
    fields.setdefault("contact_id", _scalar(payload.get("id") if is_contact else
                                            _get(billed, "id")))  # fmt: skip
    _name_contact(fields)
    fields |= _pixel_id(custom)
    if name and not is_call:
        return _ghl_mapped(str(kind), str(name), payload, fields, now)
    if not is_call or not (kind or booked is not payload or payload.get("appointmentId")):
        id_ = _required("id", payload.get("webhookId"), payload.get("id"),
                        fields.get("contact_id"), "ignored")  # fmt: skip
        return Meaning(id_, contact=_contact(fields), ignored=f"no appointment:{_word(kind)}")
    appointment = _required(  # a calendar's own id is that of all its calls
        "appointment.id", booked.get("appointmentId"), payload.get("appointmentId"),
        _get(payload, "appointment", "id"), payload.get("id"),
    )  # fmt: skip
    id_ = _required("id", payload.get("webhookId"), payload.get("id"), appointment)
    status = str(
        booked.get("appointmentStatus") or booked.get("appoinmentStatus") or booked.get("status")
        or "booked"
    ).lower()  # fmt: skip
    if "delete" in (kind or "").lower() or status in (
        "cancelled", "canceled", "noshow", "no-show", "invalid",
    ):  # fmt: skip
        return Meaning(id_, contact=_contact(fields), ignored="the call is not booked")
    calendar = _scalar(booked.get("calendarId")) or _scalar(booked.get("calendarName"))
    own = f"ghl-{_in_an_id(appointment)}"
    at = _time(now, booked.get("dateAdded"))
    event = intake.add_to_cart(
        [calendar or "call"], **{"event_id": own, **fields, "event_time": at}
    )
    if name:
        event = {**event, "event_name": name}
    return Meaning(id_, event=event, contact=_contact(fields), own_id=own)


def _ghl_mapped(
    kind: str, name: str, payload: Payload, fields: dict[str, Any], now: datetime
) -> Meaning:
    thing = _required("id", payload.get("id"), payload.get("_id"), payload.get("messageId"),
                      payload.get("webhookId"), fields.get("contact_id"))  # fmt: skip
    id_ = _scalar(payload.get("webhookId")) or f"{kind}-{thing}"
    # The id of a contact is a person's: only its hash becomes part of what is stored for good.
    own = f"ghl-{hashlib.sha256(f'{kind}|{thing}'.encode()).hexdigest()[:32]}"
    at = _time(now, payload.get("dateAdded"), payload.get("createdAt"))
    said = {"event_id": own, **fields, "event_name": name, "event_time": at}
    value = next((v for key in ("amountPaid", "total", "monetaryValue", "amount")
                  if (v := _scalar(payload.get(key)))), None)  # fmt: skip
    currency = _scalar(payload.get("currency"))
    if value and currency:
        said |= {"value": value, "currency": currency}
    return Meaning(id_, event=said, contact=_contact(fields), own_id=own)


_SUBMITTED = re.compile(r"submi|conver|complet|lead|opt[ ._-]?in|new|creat")


def perspective(payload: Payload, now: datetime, settings: Settings) -> Meaning:
    """Perspective: a submitted form is an InitiateCheckout.

    https://intercom.help/perspective-funnels/en/articles/5199389
    """
    meta = _first(payload, "meta")
    custom = (payload.get("values"), payload.get("tracking"))
    fields = _fields(payload.get("profile"), *custom, payload.get("utm"), meta, payload)
    contact = _required("id", payload.get("id"), payload.get("contactId"))
    _name_contact(fields, contact)
    fields |= _pixel_id(*custom)
    funnel = _scalar(payload.get("funnelId")) or _scalar(payload.get("funnelName")) or "funnel"
    kind = _scalar(payload.get("event")) or _scalar(payload.get("type")) or ""
    converted = meta.get("converted") or meta.get("convertedAt")
    if "delet" in kind.lower() or (
        kind and not converted and not _SUBMITTED.search(kind.lower())
    ):  # fmt: skip
        return Meaning(f"{contact}-{funnel}-other", contact=_contact(fields),
                       ignored=f"no form was submitted:{_word(kind)}")  # fmt: skip
    submitted = meta.get("converted")
    if submitted is None:
        submitted = bool(meta.get("convertedAt") or fields.get("email") or fields.get("phone"))
    if not submitted:
        return Meaning(f"{contact}-{funnel}-visit", contact=_contact(fields),
                       ignored="no form was submitted")  # fmt: skip
    id_ = f"{contact}-{funnel}"
    own, at = f"perspective-{_in_an_id(id_)}", _time(now, meta.get("convertedAt"))
    event = intake.initiate_checkout(
        custom_params={"content_name": _scalar(payload.get("funnelName")) or funnel},
        **{"event_id": own, **fields, "event_time": at},
    )
    return Meaning(id_, event=event, contact=_contact(fields), own_id=own)


def _custom_fields(value: Any) -> dict[str, Any]:
    """ManyChat's custom fields: by name, or a list of `{id, name, value}`.

    https://api.manychat.com/swagger#/Subscriber/get_fb_subscriber_getInfo
    """
    if isinstance(value, Mapping):
        return dict(value)
    found = [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
    return {str(one.get("name") or one.get("id")): one.get("value") for one in found}


_SAID_YES = {"true", "1", "yes"}
_QUALIFIED = {"qualified", "lead.qualified", "lead_qualified"}


def chatbot(payload: Payload, now: datetime, settings: Settings) -> Meaning:
    """A chat partner is a Lead once the bot calls them qualified. Takes ManyChat's contact data."""
    custom = _custom_fields(payload.get("custom_fields"))
    # An id that the bot's owner keeps there is of something else.
    plain = {k: v for k, v in custom.items() if _key(k) not in _NAMES["contact_id"]}
    fields = _fields(payload.get("metadata"), payload.get("contact"), payload.get("lead"),
                     payload.get("attribution"), payload, plain)  # fmt: skip
    subscriber = payload.get("id") if "custom_fields" in payload else None
    others = (_get(payload, "contact", "id"), payload.get("conversation_id"),
              payload.get("conversationId"), subscriber)  # fmt: skip
    named = next(filter(None, (fields.get("contact_id"), *map(_scalar, others))), None)
    _name_contact(fields, *others)
    fields |= _pixel_id(payload.get("metadata"), custom)
    known = fields.get("contact_id")
    whom = _in_an_id(
        _required("contact_id", known, named, payload.get("event_id"), payload.get("id"))
    )
    # The word itself decides where it is said; else the state or the kind of the post.
    words = {_key(name): value for name, value in custom.items()}
    word = _scalar(payload.get("qualified")) or _scalar(words.get("qualified"))
    said = {str(payload.get(name)).lower() for name in ("status", "stage", "event")}
    qualified = word.lower() in _SAID_YES | _QUALIFIED if word else bool(said & _QUALIFIED)
    id_ = _required("id", payload.get("event_id"), payload.get("id"),
                    f"{whom}-{'qualified' if qualified else 'seen'}")  # fmt: skip
    if not qualified:
        return Meaning(id_, contact=_contact(fields), ignored="not qualified")
    own, at = f"chatbot-{whom}", _time(now, payload.get("timestamp"))
    event = intake.lead(action_source="chat", **{"event_id": own, **fields, "event_time": at})
    return Meaning(id_, event=event, contact=_contact(fields), own_id=own)


Adapter = Callable[[Payload, datetime, Settings], Meaning]
ADAPTERS: dict[str, Adapter] = {
    "stripe": stripe,
    "denefits": denefits,
    "ghl": ghl,
    "perspective": perspective,
    "chatbot": chatbot,
}


def _first(payload: Payload, *names: str) -> Payload:
    """The first of these parts that is there, else the payload itself."""
    for name in names:
        if isinstance(payload.get(name), Mapping):
            found: Payload = payload[name]
            return found
    return payload


def _time(now: datetime, *values: Any) -> Any:
    """The first time that is said; intake judges whether it is one."""
    texts: Iterable[str | None] = map(_scalar, values)
    return next((text for text in texts if text), now)
