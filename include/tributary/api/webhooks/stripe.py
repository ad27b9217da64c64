"""Stripe: a purchase is its payment intent, whoever reports it.

https://docs.stripe.com/api/events
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tributary.api.webhooks.base import Invoice, Links, Parsed, Payload, Refund, Settings, Source
from tributary.api.webhooks.fields import (
    fields_of,
    get,
    key_of,
    name_contact,
    pixel_id,
    required,
    scalar,
)
from tributary.api.webhooks.signatures import Signature
from tributary.deliver import intake
from tributary.event import EventRefused


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


def _parse(payload: Payload, now: datetime, settings: Settings) -> Parsed:
    id_ = required("id", payload.get("id"))
    if payload.get("object") == "v2.core.event":
        # https://docs.stripe.com/event-destinations#thin-events
        return Parsed(id_, ignored="a thin event names no payment; let the endpoint send snapshots")
    kind, thing = str(payload.get("type")), get(payload, "data", "object")
    if not isinstance(thing, Mapping):
        raise EventRefused("data", "has no object")
    if handler := _PARSERS.get(kind):
        live = payload.get("livemode") is not False
        created = _epoch(payload.get("created"), now)
        return handler(_Event(id_, kind, thing, created, live, settings))
    return Parsed(id_, ignored="this type of event is not used")


def _id(value: Any) -> str | None:
    """The id of an object that may be expanded. https://docs.stripe.com/api/expanding_objects"""
    text = scalar(value.get("id") if isinstance(value, Mapping) else value)
    return text if text and len(text) <= 256 else None


_EXPANDED = ("latest_charge", "charge", "payment_method", "payment_intent", "invoice", "customer")


def _objects(thing: Payload) -> Iterator[Payload]:
    """The object itself and those that are expanded in it, of which each may name the person."""
    charges = get(thing, "charges", "data")  # before the API version 2022-11-15
    inner = charges[:1] if isinstance(charges, list) else []
    yield thing
    for one in (*inner, *(thing.get(name) for name in _EXPANDED)):
        if isinstance(one, Mapping):
            yield one


def _people(one: Payload) -> Iterator[Any]:
    yield one.get("customer_details")
    if one.get("object") == "customer":
        yield {name: one.get(name) for name in ("email", "name", "phone", "address")}
    if one.get("object") == "charge":
        yield one.get("billing_details")
    yield {"email": one.get("receipt_email")}
    yield {name: one.get(f"customer_{name}") for name in ("email", "name", "phone", "address")}
    yield one.get("billing_details")
    yield get(one, "collected_information", "shipping_details")
    yield one.get("shipping_details")  # before the API version 2025-03-31
    yield one.get("shipping")
    yield one.get("customer_shipping")


def _metadata(thing: Payload) -> Iterator[Payload]:
    """Of whatever was sold, and of its subscription; a `name` there is no person's."""
    for one in _objects(thing):
        for found in (
            one.get("metadata"),
            get(one, "parent", "subscription_details", "metadata"),
            get(one, "subscription_details", "metadata"),
        ):
            if isinstance(found, Mapping):
                yield {key: value for key, value in found.items() if key_of(str(key)) != "name"}


def _person_fields(post: _Event) -> dict[str, Any]:
    """Our fields: what the object says of the person, and what the shop has put into metadata."""
    thing = post.thing
    people = [part for one in _objects(thing) for part in _people(one)]
    addresses = (get(part, "address") for part in people)
    fields = fields_of(*people, *addresses, *_metadata(thing))
    if thing.get("object") == "customer":
        name_contact(fields, _id(thing))
        return fields if post.is_live else {**fields, "is_test": True}
    name_contact(fields, thing.get("client_reference_id"), _id(thing.get("customer")))
    # Of this payment alone: a subscription's would come again with each renewal.
    fields |= pixel_id(*(one.get("metadata") for one in _objects(thing)
                          if one.get("object") != "customer"))  # fmt: skip
    return fields if post.is_live else {**fields, "is_test": True}


def _links(thing: Payload, payment: str | None, *others: Any, **more: Any) -> Links:
    subscription = thing.get("subscription") or get(
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


def _payment(post: _Event, links: Links, amount: Any, fields: dict[str, Any]) -> Parsed:
    code = required("currency", post.thing.get("currency"))
    event = intake.purchase(
        _minor(amount, code), code, transaction_id=links.payment, event_time=post.created, **fields
    )
    return Parsed(post.id, event=event, contact=fields, links=links)


def _keep(post: _Event, links: Links, fields: dict[str, Any], why: str) -> Parsed:
    """What is no payment; it waits for one where it says something of it."""
    is_useful = bool(links.own or fields.keys() - {"contact_id", "is_test"})
    if is_useful:
        why += "; what it says is kept for its payment"
    return Parsed(post.id, contact=fields, links=links, ignored=why, waits=is_useful)


def _session(post: _Event) -> Parsed:
    thing, fields = post.thing, _person_fields(post)
    intent = _id(thing.get("payment_intent"))
    links = _links(thing, intent, thing.get("invoice"), is_one_off=thing.get("mode") == "payment")
    if intent is None or thing.get("payment_status") != "paid":
        # A subscription's payments, and one that arrives days later, come as payment intents.
        return _keep(post, links, fields, "nothing was paid in this session")
    return _payment(post, links, thing.get("amount_total"), fields)


def _is_one_off(thing: Payload) -> bool:
    """Invoices have a customer; before 2025-03-31 a payment named its invoice, or none."""
    return thing.get("customer") is None or ("invoice" in thing and thing["invoice"] is None)


def _intent(post: _Event) -> Parsed:
    thing = post.thing
    intent = required("id", thing.get("id"))
    links = _links(
        thing, intent, thing.get("latest_charge"), thing.get("invoice"),
        is_one_off=_is_one_off(thing),
    )  # fmt: skip
    amount = thing.get("amount_received") or thing.get("amount")
    return _payment(post, links, amount, _person_fields(post))


def _charge(post: _Event) -> Parsed:
    thing, intent = post.thing, _id(post.thing.get("payment_intent"))
    if intent is None:
        return Parsed(post.id, ignored="the charge belongs to no payment intent")
    links = _links(thing, intent, thing.get("invoice"), is_one_off=_is_one_off(thing))
    fields = _person_fields(post)
    if thing.get("captured") is False:
        return _keep(post, links, fields, "the charge is not captured")
    amount = thing.get("amount_captured") or thing.get("amount")
    return _payment(post, links, amount, fields)


def _invoice(post: _Event) -> Parsed:
    """Since the API version 2025-03-31 an invoice does not name its payment.

    https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices
    """
    thing, fields = post.thing, _person_fields(post)
    code = required("currency", thing.get("currency"))
    paid = _minor(thing.get("amount_paid"), code)
    reason = scalar(thing.get("billing_reason"))
    intent = _id(thing.get("payment_intent"))
    links = _links(
        thing,
        intent,
        thing.get("charge"),
        invoice=Invoice(reason, paid, code.upper(), post.created),
    )
    if intent is None or not paid or thing.get("paid_out_of_band"):
        return _keep(post, links, fields, "an invoice that names no payment")
    return _payment(post, links, thing.get("amount_paid"), fields)


def _invoice_payment(post: _Event) -> Parsed:
    """https://docs.stripe.com/api/invoice-payment/object: which payment an invoice has.

    One payment may be divided among invoices, so that its amount is not the purchase's.
    """
    thing = post.thing
    intent = _id(get(thing, "payment", "payment_intent"))
    links = _links(thing, intent, thing.get("invoice"), get(thing, "payment", "charge"))
    return _keep(post, links, _person_fields(post), "it says which invoice was paid")


def _customer(post: _Event) -> Parsed:
    customer = _id(post.thing)
    links = Links(shared=frozenset({customer} if customer else ()))
    return _keep(post, links, _person_fields(post), "a customer is no payment")


def _refund(post: _Event) -> Parsed:
    thing, intent = post.thing, _id(post.thing.get("payment_intent"))
    if intent is None:
        return Parsed(post.id, ignored="the charge belongs to no payment intent")
    currency = required("currency", thing.get("currency"))
    refund = Refund(
        intent,
        _minor(thing.get("amount_refunded"), currency),
        currency.upper(),
        post.created,
        _epoch(thing.get("created"), post.created),
    )
    links = _links(thing, intent, thing.get("invoice"), is_one_off=_is_one_off(thing))
    return Parsed(post.id, refund=refund, contact=_person_fields(post), links=links)


# https://docs.stripe.com/api/disputes/object: with these states the shop has the money (again).
_UNDISPUTED = {"won", "prevented", "warning_needs_response", "warning_under_review",
               "warning_closed"}  # fmt: skip
_ENDED = {"won", "lost", "prevented", "warning_closed"}


def _dispute(post: _Event) -> Parsed:
    thing, intent = post.thing, _id(post.thing.get("payment_intent"))
    if post.settings.get("disputes", "ignore") != "refund":
        return Parsed(post.id, ignored="the webhook's setting `disputes` is ignore")
    if intent is None:
        return Parsed(post.id, ignored="the charge belongs to no payment intent")
    currency = required("currency", thing.get("currency"))
    is_back = thing.get("status") in _UNDISPUTED or post.kind.endswith(".funds_reinstated")
    refund = Refund(
        intent,
        Decimal(0) if is_back else _minor(thing.get("amount"), currency),
        currency.upper(),
        post.created,
        None,
        dispute=required("id", thing.get("id")),
        is_final=is_back or thing.get("status") in _ENDED,
    )
    return Parsed(post.id, refund=refund, links=_links(thing, intent, thing.get("charge")))


_PARSERS: dict[str, Callable[[_Event], Parsed]] = {
    "checkout.session.completed": _session,
    "checkout.session.async_payment_succeeded": _session,
    "checkout.session.async_payment_failed": lambda post: Parsed(
        post.id, ignored="the payment failed"
    ),
    "payment_intent.succeeded": _intent,
    "charge.succeeded": _charge,
    "charge.captured": _charge,
    "charge.refunded": _refund,
    "invoice.paid": _invoice,
    "invoice.payment_succeeded": _invoice,
    "invoice_payment.paid": _invoice_payment,
    "customer.created": _customer,
    "customer.updated": _customer,
    **dict.fromkeys(
        ("charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
         "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated"),
        _dispute,
    ),
}  # fmt: skip


SOURCE = Source(
    "stripe",
    _parse,
    events=("Purchase",),
    signature=Signature("Stripe-Signature", "Stripe's own, for the source stripe."),
)
