"""Perspective: a submitted form is an InitiateCheckout.

https://intercom.help/perspective-funnels/en/articles/5199389
"""

from __future__ import annotations

import re
from datetime import datetime

from tributary.api.webhooks.base import Parsed, Payload, Settings, Source
from tributary.api.webhooks.fields import (
    contact_of,
    fields_of,
    first_of,
    in_an_id,
    kind_in_words,
    name_contact,
    pixel_id,
    required,
    scalar,
    time_of,
)
from tributary.deliver import intake

_SUBMITTED = re.compile(r"submi|conver|complet|lead|opt[ ._-]?in|new|creat")


def _parse(payload: Payload, now: datetime, settings: Settings) -> Parsed:
    meta = first_of(payload, "meta")
    custom = (payload.get("values"), payload.get("tracking"))
    fields = fields_of(payload.get("profile"), *custom, payload.get("utm"), meta, payload)
    contact = required("id", payload.get("id"), payload.get("contactId"))
    name_contact(fields, contact)
    fields |= pixel_id(*custom)
    funnel = scalar(payload.get("funnelId")) or scalar(payload.get("funnelName")) or "funnel"
    kind = scalar(payload.get("event")) or scalar(payload.get("type")) or ""
    converted = meta.get("converted") or meta.get("convertedAt")
    if "delet" in kind.lower() or (
        kind and not converted and not _SUBMITTED.search(kind.lower())
    ):  # fmt: skip
        return Parsed(f"{contact}-{funnel}-other", contact=contact_of(fields),
                       ignored=f"no form was submitted:{kind_in_words(kind)}")  # fmt: skip
    submitted = meta.get("converted")
    if submitted is None:
        submitted = bool(meta.get("convertedAt") or fields.get("email") or fields.get("phone"))
    if not submitted:
        return Parsed(f"{contact}-{funnel}-visit", contact=contact_of(fields),
                       ignored="no form was submitted")  # fmt: skip
    id_ = f"{contact}-{funnel}"
    own, at = f"perspective-{in_an_id(id_)}", time_of(now, meta.get("convertedAt"))
    event = intake.initiate_checkout(
        custom_params={"content_name": scalar(payload.get("funnelName")) or funnel},
        **{"event_id": own, **fields, "event_time": at},
    )
    return Parsed(id_, event=event, contact=contact_of(fields), own_id=own)


SOURCE = Source("perspective", _parse, events=("InitiateCheckout",))
