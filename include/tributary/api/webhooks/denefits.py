"""Denefits: a new payment plan is a Purchase of its full amount; a payment of it later is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from tributary.api.webhooks.base import Parsed, Payload, Settings, Source
from tributary.api.webhooks.fields import (
    contact_of,
    fields_of,
    first_of,
    key_of,
    kind_in_words,
    name_contact,
    pixel_id,
    required,
    scalar,
    time_of,
)
from tributary.deliver import intake

_GROUPED = re.compile(r"\$?\s?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)")
_NEW_PLAN = re.compile(r"creat|(?<!re)new|activ|approv|sign|accept|start|enrol|sold|taken")
_NO_PLAN = re.compile(
    r"cancel|refund|declin|fail|draft|test|updat|inactiv|deactiv|reactiv|delet|expir|overdue|"
    r"payment|instal?lment|recurring|charge|payout|payback|transaction|invoice|receipt|paid"
)
_OF_PAYMENT = re.compile(r"(payment|instal?lment)(id|number|no)")
_PAYMENT = re.compile(r"payment|instal?lment")


def _is_payment(*places: Payload) -> bool:
    """Whether one payment is named; the amount of each alone is part of the plan's terms."""
    said = [
        (key_of(str(name)), value) for place in places for name, value in place.items() if value
    ]
    inner = [
        (key_of(str(name)), part)
        for key, value in said
        if _PAYMENT.fullmatch(key) and isinstance(value, Mapping)
        for name, part in value.items()
        if part
    ]
    return any(_OF_PAYMENT.fullmatch(key) for key, _ in said) or any(
        key in ("id", "number") or _OF_PAYMENT.fullmatch(key) for key, _ in inner
    )


def _parse(payload: Payload, now: datetime, settings: Settings) -> Parsed:
    plan = first_of(payload, "data", "contract", "payment_plan", "plan")
    metadata = payload.get("metadata")
    fields = fields_of(metadata, first_of(plan, "customer", "patient"), plan,
                     payload.get("customer"), payload)  # fmt: skip
    fields |= pixel_id(metadata, plan.get("metadata"))
    name_contact(fields)
    transaction = required(
        "transaction_id",
        *(place.get(name) for place in (plan, payload)
          for name in ("contract_id", "transaction_id", "payment_plan_id", "plan_id", "id")),
    )  # fmt: skip
    id_ = required("id", payload.get("event_id"), payload.get("webhook_id"), payload.get("id"),
                    transaction)  # fmt: skip
    said = str(payload.get("event") or payload.get("type") or "").lower()
    kind = re.sub(r"(payment|instal?lment|recurring)[ ._-]?plan", "plan", said)
    kind = "" if kind in ("plan", "contract") else kind  # the kind of object, not of event
    status = str(plan.get("status") or "").lower()
    if (
        _NO_PLAN.search(kind)
        or re.search(r"cancel|refund|declin|fail|draft|test", status)
        or (kind and not _NEW_PLAN.search(kind))
        or (not kind and _is_payment(payload, plan))
    ):
        return Parsed(
            id_,
            contact=contact_of(fields),
            ignored=f"no new payment plan:{kind_in_words(said or status)}",
        )
    amount = required(
        "value",
        *(place.get(name) for place in (plan, payload)
          for name in ("amount", "contract_amount", "total_amount", "total", "value")),
    )  # fmt: skip
    if grouped := _GROUPED.fullmatch(amount):
        amount = grouped[1].replace(",", "")
    currency = scalar(plan.get("currency")) or scalar(payload.get("currency")) or "USD"
    event = intake.purchase(
        amount, currency, transaction_id=transaction,
        event_time=time_of(now, plan.get("created_at"), payload.get("created_at")), **fields,
    )  # fmt: skip
    return Parsed(id_, event=event, contact=contact_of(fields))


SOURCE = Source("denefits", _parse, events=("Purchase",))
