"""GoHighLevel: a booked call is an AddToCart. Takes workflow and marketplace payloads.

Other types become the event that the webhook's setting `events` names, else none.
https://marketplace.gohighlevel.com/docs/category/webhook
https://marketplace.gohighlevel.com/docs/webhook/AppointmentCreate
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from tributary.api.webhooks.base import Parsed, Payload, Settings, Source
from tributary.api.webhooks.fields import (
    NAMES,
    contact_of,
    fields_of,
    first_of,
    get,
    in_an_id,
    key_of,
    kind_in_words,
    name_contact,
    pixel_id,
    required,
    scalar,
    time_of,
)
from tributary.deliver import intake

_APPOINTMENTS = {"appointmentcreate", "appointmentupdate", "appointmentdelete"}


def _parse(payload: Payload, now: datetime, settings: Settings) -> Parsed:
    booked = first_of(payload, "appointment", "calendar")
    contact = payload.get("contact")
    # The last click led to the booking, the first one only to the contact.
    attribution = [get(place, name) for place in (payload, contact)
                   for name in ("lastAttributionSource", "attributionSource")]  # fmt: skip
    custom, billed = payload.get("customData"), payload.get("contactDetails")
    kind = scalar(payload.get("type"))
    is_call = kind is None or kind.lower() in _APPOINTMENTS
    is_contact = kind is not None and kind.startswith("Contact")
    # Of an invoice or an opportunity the name is its own.
    plain = payload if is_call or is_contact else {
        key: value for key, value in payload.items() if key_of(str(key)) not in NAMES["name"]
    }  # fmt: skip
    fields = fields_of(custom, contact, booked if is_call else None, billed, plain, *attribution)
    name = settings.get("events", {}).get(kind)
    fields.setdefault("contact_id", scalar(payload.get("id") if is_contact else
                                            get(billed, "id")))  # fmt: skip
    name_contact(fields)
    fields |= pixel_id(custom)
    if name and not is_call:
        return _mapped(str(kind), str(name), payload, fields, now)
    if not is_call or not (kind or booked is not payload or payload.get("appointmentId")):
        id_ = required("id", payload.get("webhookId"), payload.get("id"),
                        fields.get("contact_id"), "ignored")  # fmt: skip
        return Parsed(
            id_, contact=contact_of(fields), ignored=f"no appointment:{kind_in_words(kind)}"
        )
    appointment = required(  # a calendar's own id is that of all its calls
        "appointment.id", booked.get("appointmentId"), payload.get("appointmentId"),
        get(payload, "appointment", "id"), payload.get("id"),
    )  # fmt: skip
    id_ = required("id", payload.get("webhookId"), payload.get("id"), appointment)
    status = str(
        booked.get("appointmentStatus") or booked.get("appoinmentStatus") or booked.get("status")
        or "booked"
    ).lower()  # fmt: skip
    if "delete" in (kind or "").lower() or status in (
        "cancelled", "canceled", "noshow", "no-show", "invalid",
    ):  # fmt: skip
        return Parsed(id_, contact=contact_of(fields), ignored="the call is not booked")
    calendar = scalar(booked.get("calendarId")) or scalar(booked.get("calendarName"))
    own = f"ghl-{in_an_id(appointment)}"
    at = time_of(now, booked.get("dateAdded"))
    event = intake.add_to_cart(
        [calendar or "call"], **{"event_id": own, **fields, "event_time": at}
    )
    if name:
        event = {**event, "event_name": name}
    return Parsed(id_, event=event, contact=contact_of(fields), own_id=own)


def _mapped(
    kind: str, name: str, payload: Payload, fields: dict[str, Any], now: datetime
) -> Parsed:
    thing = required("id", payload.get("id"), payload.get("_id"), payload.get("messageId"),
                      payload.get("webhookId"), fields.get("contact_id"))  # fmt: skip
    id_ = scalar(payload.get("webhookId")) or f"{kind}-{thing}"
    # The id of a contact is a person's: only its hash becomes part of what is stored for good.
    own = f"ghl-{hashlib.sha256(f'{kind}|{thing}'.encode()).hexdigest()[:32]}"
    at = time_of(now, payload.get("dateAdded"), payload.get("createdAt"))
    said = {"event_id": own, **fields, "event_name": name, "event_time": at}
    value = next((v for key in ("amountPaid", "total", "monetaryValue", "amount")
                  if (v := scalar(payload.get(key)))), None)  # fmt: skip
    currency = scalar(payload.get("currency"))
    if value and currency:
        said |= {"value": value, "currency": currency}
    return Parsed(id_, event=said, contact=contact_of(fields), own_id=own)


SOURCE = Source("ghl", _parse, events=("AddToCart",))
