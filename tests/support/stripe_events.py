"""Stripe's events as its endpoints get them, by the number of the payment that they are about.

Of the shape of https://docs.stripe.com/api/events and the objects that it links to. `OLD` is the
last API version in which invoices and payments name each other.
"""

from __future__ import annotations

import time
from typing import Any

OLD = "2025-02-24.acacia"


def stripe_event(kind: str, thing: dict[str, Any], number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"evt_1{kind.replace('.', '')}{number}",
        "object": "event",
        "api_version": "2026-10-29.clover",
        "created": int(time.time()),
        "data": {"object": thing},
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
        **more,
    }


def session(number: int = 1, **changes: Any) -> dict[str, Any]:
    thing = {
        "id": f"cs_test_a1{number}",
        "object": "checkout.session",
        "amount_subtotal": 1990,
        "amount_total": 1990,
        "client_reference_id": f"contact-{number}",
        "currency": "usd",
        "customer": "cus_QbKv" if number == 1 else f"cus_QbKv{number}",
        "customer_details": {
            "address": {"city": "Austin", "country": "US", "line1": "1 Main St", "line2": None,
                        "postal_code": "78701", "state": "TX"},
            "email": f"jane.{number}@example.com",
            "name": "Jane Roe",
            "phone": None,
            "tax_exempt": "none",
        },
        "customer_email": None,
        "metadata": {},
        "mode": "payment",
        "payment_intent": f"pi_3N{number}",
        "payment_status": "paid",
        "status": "complete",
        **changes,
    }  # fmt: skip
    return stripe_event("checkout.session.completed", thing, number)


def intent(number: int = 1, **changes: Any) -> dict[str, Any]:
    thing = {
        "id": f"pi_3N{number}",
        "object": "payment_intent",
        "amount": 1990,
        "amount_received": 1990,
        "currency": "usd",
        "customer": None,
        "latest_charge": f"ch_3N{number}",
        "metadata": {},
        "receipt_email": None,
        "shipping": None,
        "status": "succeeded",
        **changes,
    }
    return stripe_event("payment_intent.succeeded", thing, number)


def refund(refunded: int, number: int = 1, event: int = 1, **changes: Any) -> dict[str, Any]:
    thing = {
        "id": f"ch_3N{number}",
        "object": "charge",
        "amount": 1990,
        "amount_captured": 1990,
        "amount_refunded": refunded,
        "created": int(time.time()) - 60,
        "currency": "usd",
        "payment_intent": f"pi_3N{number}",
        "refunded": refunded == 1990,
        **changes,
    }
    return stripe_event("charge.refunded", thing, event)


def charge(number: int = 1, kind: str = "charge.succeeded", **changes: Any) -> dict[str, Any]:
    thing = {
        "id": f"ch_3N{number}",
        "object": "charge",
        "amount": 1990,
        "amount_captured": 1990,
        "amount_refunded": 0,
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "captured": True,
        "currency": "usd",
        "customer": None,
        "metadata": {},
        "paid": True,
        "payment_intent": f"pi_3N{number}",
        "receipt_email": None,
        "status": "succeeded",
        **changes,
    }
    return stripe_event(kind, thing, number)


def invoice(
    number: int = 1, reason: str = "subscription_create", version: str = "new", **changes: Any
) -> dict[str, Any]:
    """Paid; only in the old API does it name its payment."""
    names: dict[str, Any] = {
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"metadata": {}, "subscription": f"sub_1{number}"},
        }
    }
    if version == OLD:
        names = {"payment_intent": f"pi_3N{number}", "charge": f"ch_3N{number}",
                 "subscription": f"sub_1{number}"}  # fmt: skip
    thing = {
        "id": f"in_1{number}",
        "object": "invoice",
        "amount_due": 1990,
        "amount_paid": 1990,
        "billing_reason": reason,
        "currency": "usd",
        "customer": f"cus_Q{number}",
        "customer_address": None,
        "customer_email": f"jane.{number}@example.com",
        "customer_name": None,
        "customer_phone": None,
        "metadata": {},
        "status": "paid",
        **names,
        **changes,
    }
    return stripe_event("invoice.paid", thing, number)


def invoice_payment(number: int = 1, **changes: Any) -> dict[str, Any]:
    thing = {
        "id": f"inpay_1{number}",
        "object": "invoice_payment",
        "amount_paid": 1990,
        "amount_requested": 1990,
        "currency": "usd",
        "invoice": f"in_1{number}",
        "is_default": True,
        "payment": {"type": "payment_intent", "payment_intent": f"pi_3N{number}"},
        "status": "paid",
        **changes,
    }
    return stripe_event("invoice_payment.paid", thing, number)


def customer(number: int = 1, kind: str = "customer.created", **changes: Any) -> dict[str, Any]:
    thing = {
        "id": f"cus_Q{number}",
        "object": "customer",
        "address": None,
        "email": f"jane.{number}@example.com",
        "metadata": {},
        "name": None,
        "phone": None,
        "shipping": None,
        **changes,
    }
    return stripe_event(kind, thing, number)


def dispute(
    what: str, status: str, number: int = 1, amount: int = 1990, at: int = 0
) -> dict[str, Any]:
    thing = {
        "id": f"du_1{number}",
        "object": "dispute",
        "amount": amount,
        "charge": f"ch_3N{number}",
        "created": int(time.time()) - 86_400,
        "currency": "usd",
        "payment_intent": f"pi_3N{number}",
        "reason": "fraudulent",
        "status": status,
    }
    created = int(time.time()) - 3600 + at
    return {**stripe_event(f"charge.dispute.{what}", thing, number), "created": created}
