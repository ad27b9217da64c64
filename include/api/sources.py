"""Who posts webhooks, and how their payloads become events: one small adapter each.

An adapter reads a payload (already proven to be the provider's) and says what it means; it knows
no HTTP and no database. Fields are looked up under the names that the providers use (`_NAMES`);
any of these may also come along in the provider's own custom data (Stripe's `metadata`,
GoHighLevel's `customData`, hidden fields of a funnel), such as fbc, gclid, consent_ad_user_data.
An `event_id` may not: a Stripe payment link copies its metadata to each of its purchases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from include.conversions import intake
from include.conversions.contacts import CLICKS
from include.conversions.intake import EventRefused, Raw

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Refund:
    """So much of a purchase was given back, all refunds of it together."""

    transaction_id: str
    refunded: Decimal
    currency: str
    at: datetime  # of the refund
    bought_at: datetime


@dataclass(frozen=True)
class Meaning:
    """What a payload says."""

    id: str  # the provider's own event id
    event: Raw | None = None  # for intake
    refund: Refund | None = None
    contact: Raw = field(default_factory=dict)  # whom it is about; also where there is no event
    ignored: str | None = None  # why there is neither event nor refund


# Under which names providers send our fields; letters and digits only, in lower case.
_NAMES: dict[str, tuple[str, ...]] = {
    "email": ("email", "emailaddress", "customeremail", "useremail"),
    "phone": ("phone", "phonenumber", "mobile", "mobilenumber", "customerphone", "tel"),
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
_GROUPED = re.compile(r"\$?\s?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)")


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
    flat = [{_key(str(k)): v for k, v in place.items()} for place in places
            if isinstance(place, Mapping)]  # fmt: skip
    for name, aliases in _NAMES.items():
        for place in flat:
            value = next((v for a in aliases if (v := _scalar(place.get(a)))), None)
            if value:
                found.setdefault(name, value)
    whole = found.pop("name", None)
    if whole and "first_name" not in found:
        first, _, last = whole.partition(" ")
        found["first_name"] = first
        if last:
            found.setdefault("last_name", last)
    return found


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
        if intake.holds_email(text):
            fields.setdefault("email", unquote(text))
        else:
            fields.setdefault("contact_id", text)


def _contact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The contact, what it clicked, and by what it would be erased."""
    kept = ("contact_id", "email", "phone", "country", *CLICKS)
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
    if not isinstance(value, int) or not 946_684_800 <= value <= 4_102_444_800:
        return now
    return datetime.fromtimestamp(value, UTC)


def stripe(payload: Payload, now: datetime) -> Meaning:
    """https://docs.stripe.com/api/events. A purchase is its payment intent, whoever reports it."""
    id_ = _required("id", payload.get("id"))
    kind, thing = payload.get("type"), _get(payload, "data", "object")
    if not isinstance(thing, Mapping):
        raise EventRefused("data", "has no object")
    handler = _STRIPE.get(str(kind))
    if handler is None:
        return Meaning(id_, ignored="this type of event is not used")
    return handler(id_, thing, payload, now)


def _stripe_common(thing: Payload, payload: Payload, *people: Any) -> dict[str, Any]:
    metadata = thing.get("metadata")
    if isinstance(metadata, Mapping):  # of whatever was sold; a `name` there is no person's
        metadata = {key: value for key, value in metadata.items() if _key(key) != "name"}
    fields = _fields(*people, *(_get(one, "address") for one in people), metadata)
    _name_contact(fields, thing.get("client_reference_id"), thing.get("customer"))
    if payload.get("livemode") is False:
        fields["is_test"] = True
    return fields


def _stripe_purchase(
    intent: str, amount: Any, currency: Any, at: datetime, fields: dict[str, Any], id_: str
) -> Meaning:
    code = _required("currency", currency)
    event = intake.purchase(
        _minor(amount, code), code, transaction_id=intent, event_time=at, **fields
    )
    return Meaning(id_, event=event, contact=_contact(fields))


def _stripe_session(id_: str, thing: Payload, payload: Payload, now: datetime) -> Meaning:
    fields = _stripe_common(
        thing, payload, thing.get("customer_details"), {"email": thing.get("customer_email")},
        _get(thing, "shipping_details"),
    )  # fmt: skip
    intent = thing.get("payment_intent")
    intent = _scalar(intent.get("id") if isinstance(intent, Mapping) else intent)
    if intent is None or thing.get("payment_status") != "paid":
        # A subscription's payments, and one that arrives days later, come as payment intents.
        return Meaning(id_, contact=_contact(fields), ignored="nothing was paid in this session")
    at = _epoch(payload.get("created"), now)
    return _stripe_purchase(
        intent, thing.get("amount_total"), thing.get("currency"), at, fields, id_
    )


def _stripe_intent(id_: str, thing: Payload, payload: Payload, now: datetime) -> Meaning:
    charges = _get(thing, "charges", "data")
    charge = charges[0] if isinstance(charges, list) and charges else thing.get("latest_charge")
    fields = _stripe_common(
        thing, payload, {"email": thing.get("receipt_email")}, _get(charge, "billing_details"),
        thing.get("shipping"),
    )  # fmt: skip
    intent = _required("id", thing.get("id"))
    amount = thing.get("amount_received") or thing.get("amount")
    at = _epoch(payload.get("created"), now)
    return _stripe_purchase(intent, amount, thing.get("currency"), at, fields, id_)


def _stripe_refund(id_: str, thing: Payload, payload: Payload, now: datetime) -> Meaning:
    intent = thing.get("payment_intent")
    intent = _scalar(intent.get("id") if isinstance(intent, Mapping) else intent)
    if intent is None:
        return Meaning(id_, ignored="the charge belongs to no payment intent")
    currency = _required("currency", thing.get("currency"))
    refund = Refund(
        intent,
        _minor(thing.get("amount_refunded"), currency),
        currency.upper(),
        min(_epoch(payload.get("created"), now), now),
        _epoch(thing.get("created"), now),
    )
    person = _stripe_common(
        thing, payload, thing.get("billing_details"), {"email": thing.get("receipt_email")}
    )
    return Meaning(id_, refund=refund, contact=person)


_STRIPE: dict[str, Callable[[str, Payload, Payload, datetime], Meaning]] = {
    "checkout.session.completed": _stripe_session,
    "payment_intent.succeeded": _stripe_intent,
    "charge.refunded": _stripe_refund,
}


def denefits(payload: Payload, now: datetime) -> Meaning:
    """A payment plan that was taken is a Purchase of its whole amount."""
    plan = _first(payload, "data", "contract", "payment_plan", "plan")
    fields = _fields(payload.get("metadata"), _first(plan, "customer", "patient"), plan,
                     payload.get("customer"), payload)  # fmt: skip
    _name_contact(fields)
    transaction = _required(
        "transaction_id",
        *(place.get(name) for place in (plan, payload)
          for name in ("contract_id", "transaction_id", "payment_plan_id", "plan_id", "id")),
    )  # fmt: skip
    id_ = _required("id", payload.get("event_id"), payload.get("webhook_id"), payload.get("id"),
                    transaction)  # fmt: skip
    kind = f"{payload.get('event') or payload.get('type') or ''} {plan.get('status') or ''}".lower()
    if any(word in kind for word in ("cancel", "refund", "declin", "fail", "draft", "test")):
        return Meaning(id_, contact=_contact(fields), ignored="it is no purchase")
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


def ghl(payload: Payload, now: datetime) -> Meaning:
    """GoHighLevel: a booked call is an AddToCart. Takes workflow and marketplace payloads.

    https://marketplace.gohighlevel.com/docs/webhook/AppointmentCreate
    """
    booked = _first(payload, "appointment", "calendar")
    contact = payload.get("contact")
    # The last click led to the booking, the first one only to the contact.
    attribution = [_get(place, name) for place in (payload, contact)
                   for name in ("lastAttributionSource", "attributionSource")]  # fmt: skip
    fields = _fields(payload.get("customData"), contact, booked, payload, *attribution)
    _name_contact(fields)
    appointment = _required(  # a calendar's own id is that of all its calls
        "appointment.id", booked.get("appointmentId"), payload.get("appointmentId"),
        _get(payload, "appointment", "id"), payload.get("id"),
    )  # fmt: skip
    id_ = _required("id", payload.get("webhookId"), payload.get("id"), appointment)
    status = str(
        booked.get("appointmentStatus") or booked.get("appoinmentStatus") or booked.get("status")
        or "booked"
    ).lower()  # fmt: skip
    kind = str(payload.get("type") or "AppointmentCreate").lower()
    if "delete" in kind or status in ("cancelled", "canceled", "noshow", "no-show", "invalid"):
        return Meaning(id_, contact=_contact(fields), ignored="the call is not booked")
    calendar = _scalar(booked.get("calendarId")) or _scalar(booked.get("calendarName"))
    event = intake.add_to_cart(
        [calendar or "call"], event_id=f"ghl-{appointment}",
        event_time=_time(now, booked.get("dateAdded")), **fields,
    )  # fmt: skip
    return Meaning(id_, event=event, contact=_contact(fields))


def perspective(payload: Payload, now: datetime) -> Meaning:
    """Perspective: a submitted form is an InitiateCheckout.

    https://intercom.help/perspective-funnels/en/articles/5199389
    """
    meta = _first(payload, "meta")
    fields = _fields(payload.get("profile"), payload.get("values"), payload.get("tracking"),
                     payload.get("utm"), meta, payload)  # fmt: skip
    contact = _required("id", payload.get("id"), payload.get("contactId"))
    _name_contact(fields, contact)
    funnel = _scalar(payload.get("funnelId")) or _scalar(payload.get("funnelName")) or "funnel"
    submitted = meta.get("converted")
    if submitted is None:
        submitted = bool(meta.get("convertedAt") or fields.get("email") or fields.get("phone"))
    if not submitted:
        return Meaning(f"{contact}-{funnel}-visit", contact=_contact(fields),
                       ignored="no form was submitted")  # fmt: skip
    id_ = f"{contact}-{funnel}"
    event = intake.initiate_checkout(
        event_id=f"perspective-{id_}", event_time=_time(now, meta.get("convertedAt")),
        custom_params={"content_name": _scalar(payload.get("funnelName")) or funnel}, **fields,
    )  # fmt: skip
    return Meaning(id_, event=event, contact=_contact(fields))


def chatbot(payload: Payload, now: datetime) -> Meaning:
    """A chat partner is a Lead once the bot calls them qualified."""
    fields = _fields(payload.get("metadata"), payload.get("contact"), payload.get("lead"),
                     payload.get("attribution"), payload)  # fmt: skip
    _name_contact(
        fields, _get(payload, "contact", "id"), payload.get("conversation_id"),
        payload.get("conversationId"),
    )  # fmt: skip
    known = fields.get("contact_id")
    whom = _required("contact_id", known, payload.get("event_id"), payload.get("id"))
    said = {str(payload.get(name)).lower() for name in ("qualified", "status", "stage", "event")}
    qualified = bool(said & {"true", "1", "yes", "qualified", "lead.qualified", "lead_qualified"})
    id_ = _required("id", payload.get("event_id"), payload.get("id"),
                    f"{whom}-{'qualified' if qualified else 'seen'}")  # fmt: skip
    if not qualified:
        return Meaning(id_, contact=_contact(fields), ignored="not qualified")
    event = intake.lead(
        event_id=f"chatbot-{whom}", event_time=_time(now, payload.get("timestamp")),
        action_source="chat", **fields,
    )  # fmt: skip
    return Meaning(id_, event=event, contact=_contact(fields))


ADAPTERS: dict[str, Callable[[Payload, datetime], Meaning]] = {
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
