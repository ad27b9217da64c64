"""A chat bot: a chat partner is a Lead once the bot calls them qualified.

Takes ManyChat's contact data, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tributary.api.webhooks.base import Parsed, Payload, Settings, Source
from tributary.api.webhooks.fields import (
    NAMES,
    contact_of,
    fields_of,
    get,
    in_an_id,
    key_of,
    name_contact,
    pixel_id,
    required,
    scalar,
    time_of,
)
from tributary.deliver import intake


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


def _parse(payload: Payload, now: datetime, settings: Settings) -> Parsed:
    custom = _custom_fields(payload.get("custom_fields"))
    # An id that the bot's owner keeps there is of something else.
    plain = {k: v for k, v in custom.items() if key_of(k) not in NAMES["contact_id"]}
    fields = fields_of(payload.get("metadata"), payload.get("contact"), payload.get("lead"),
                     payload.get("attribution"), payload, plain)  # fmt: skip
    subscriber = payload.get("id") if "custom_fields" in payload else None
    others = (get(payload, "contact", "id"), payload.get("conversation_id"),
              payload.get("conversationId"), subscriber)  # fmt: skip
    named = next(filter(None, (fields.get("contact_id"), *map(scalar, others))), None)
    name_contact(fields, *others)
    fields |= pixel_id(payload.get("metadata"), custom)
    known = fields.get("contact_id")
    whom = in_an_id(
        required("contact_id", known, named, payload.get("event_id"), payload.get("id"))
    )
    # The word itself decides where it is said; else the state or the kind of the post.
    words = {key_of(name): value for name, value in custom.items()}
    word = scalar(payload.get("qualified")) or scalar(words.get("qualified"))
    said = {str(payload.get(name)).lower() for name in ("status", "stage", "event")}
    qualified = word.lower() in _SAID_YES | _QUALIFIED if word else bool(said & _QUALIFIED)
    id_ = required("id", payload.get("event_id"), payload.get("id"),
                    f"{whom}-{'qualified' if qualified else 'seen'}")  # fmt: skip
    if not qualified:
        return Parsed(id_, contact=contact_of(fields), ignored="not qualified")
    own, at = f"chatbot-{whom}", time_of(now, payload.get("timestamp"))
    event = intake.lead(action_source="chat", **{"event_id": own, **fields, "event_time": at})
    return Parsed(id_, event=event, contact=contact_of(fields), own_id=own)


SOURCE = Source("chatbot", _parse, events=("Lead",))
