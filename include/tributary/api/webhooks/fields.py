"""Reads our fields out of a provider's payload.

Fields are looked up under the names that providers use (`NAMES`). Any of these may also come along
in the provider's own custom data (Stripe's `metadata`, GoHighLevel's `customData`, hidden fields of
a funnel, ManyChat's `custom_fields`), such as fbc, gclid, consent_ad_user_data. So may `event_id`,
there alone: the id that the browser's pixel sends with the same event.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from tributary.api.webhooks.base import Payload
from tributary.deliver.contacts import CLICKS
from tributary.deliver.personal import EMAIL, PHONE, personal_in
from tributary.event import EventRefused

# Under which names providers send our fields; letters and digits only, in lower case.
NAMES: dict[str, tuple[str, ...]] = {
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
    alias: (name, rank) for name, aliases in NAMES.items() for rank, alias in enumerate(aliases)
}


@lru_cache(maxsize=4096)  # the same few names in every payload
def key_of(name: str) -> str:
    """Letters and digits of a field's name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def get(payload: Any, *path: str) -> Any:
    """A nested value; None where any part is missing."""
    for part in path:
        payload = payload.get(part) if isinstance(payload, Mapping) else None
    return payload


def scalar(value: Any) -> str | None:
    """Text of a value, also of a form's `{"value": …}`; nothing of a structure."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if value is None or isinstance(value, Mapping | list):
        return None
    return str(value).replace("\x00", "").strip() or None


def fields_of(*places: Any) -> dict[str, Any]:
    """Our fields out of a payload's parts; the first part that has one wins."""
    found: dict[str, Any] = {}
    for place in places:
        here: dict[str, tuple[int, str]] = {}
        for key, value in place.items() if isinstance(place, Mapping) else ():
            name, rank = _ALIASES.get(key_of(str(key)), (None, 0))
            text = scalar(value) if name else None
            if name and text:
                here[name] = min(here.get(name, (rank, text)), (rank, text))
        for name, (_, text) in here.items():
            found.setdefault(name, text)
    full_name = found.pop("name", None)
    if full_name and "first_name" not in found:
        first, _, last = full_name.partition(" ")
        found["first_name"] = first
        if last:
            found.setdefault("last_name", last)
    return found


def pixel_id(*places: Any) -> dict[str, str]:
    """The `event_id` of custom data, for which the browser's pixel is asked to send the same."""
    for place in places:
        for key, value in place.items() if isinstance(place, Mapping) else ():
            text = scalar(value) if key_of(str(key)) == "eventid" else None
            if text:
                return {"event_id": text}
    return {}


def kind_in_words(kind: Any) -> str:
    """A provider's name of a kind, for a reason; nothing where it is no plain name."""
    text = str(kind)
    return f" {text}" if re.fullmatch(r"[\w.:/ -]{1,64}", text, re.ASCII) else ""


def required(field_name: str, *values: Any) -> str:
    """The first value that is there, as text.

    Raises:
        EventRefused: none is.
    """
    for value in values:
        if text := scalar(value):
            return text
    raise EventRefused(field_name, "is missing in the payload")


def name_contact(fields: dict[str, Any], *others: Any) -> None:
    """Make the first that is an id the contact's; an e-mail address among them is an e-mail.

    Ids are stored in clear, and shops put addresses where Stripe wants an id.
    """
    for text in (fields.pop("contact_id", None), *map(scalar, others)):
        if not text or len(text) > 256:
            continue
        personal = personal_in(text)
        if personal == EMAIL:
            fields.setdefault("email", unquote(text))
        elif personal == PHONE:  # a chat bot's id of a WhatsApp user
            fields.setdefault("phone", unquote(text))
        elif personal is None:
            fields.setdefault("contact_id", text)


def in_an_id(text: str) -> str:
    """A part of an event's id, which is kept in clear: hashed where it names a person."""
    return hashlib.sha256(text.encode()).hexdigest()[:32] if personal_in(text) else text


def contact_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The contact, what it clicked, and by what it would be erased."""
    kept = ("contact_id", "email", "phone", "country", "event_source_url", *CLICKS)
    return {name: fields[name] for name in kept if name in fields}


def first_of(payload: Payload, *names: str) -> Payload:
    """The first of these parts that is there, else the payload itself."""
    for name in names:
        if isinstance(payload.get(name), Mapping):
            found: Payload = payload[name]
            return found
    return payload


def time_of(now: datetime, *values: Any) -> Any:
    """The first time that is said; intake judges whether it is one."""
    texts: Iterable[str | None] = map(scalar, values)
    return next((text for text in texts if text), now)
