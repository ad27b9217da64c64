"""The id of an event that brings none: stable, so that the same event handed in twice is one."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from string import Formatter
from typing import Any
from uuid import UUID, uuid5

import orjson

from tributary.deliver import clicks, contacts, identity, parse
from tributary.deliver.brands import Brand
from tributary.event import PERSON, Event

_NAMESPACE = UUID("9d7f3f2e-6c0b-5d5e-9d63-9f4f6f0c7a11")
_CONTENTS = (
    "contact_id", "user_hashes", "fbp", "fbc", "gclid", "user_ip", "user_agent",
    "event_source_url", "event_value", "currency", "custom_params",
)  # fmt: skip


def made(
    brand: Brand,
    event: Event,
    given: Mapping[str, object],
    of_url: set[str],
    at: datetime | None,
    contact: Mapping[str, Any] | None,
) -> str:
    """By the brand's template, else a uuid5 of brand, transaction and event name.

    The id of an event without a transaction is made of its time, person and contents.

    Args:
        event: the row, complete but for its id.
        given: the fields as they were handed in.
        of_url: the click ids that only the page's address had.
        at: the event's time; None where it was handed in without one.
    """
    fields = {**event, "brand": brand.slug}
    template = brand.settings.event_id_template
    if template and all(fields.get(name) for _, name, _, _ in Formatter().parse(template) if name):
        return str(template.format_map(fields))
    if event["transaction_id"]:
        parts = [brand.slug, event["transaction_id"], event["event_name"]]
    else:
        contents = _contents(brand, event, given, of_url, at, contact)
        parts = [brand.slug, event["event_name"], *contents]
    return str(uuid5(_NAMESPACE, "|".join(parts)))


def _contents(
    brand: Brand,
    event: Event,
    given: Mapping[str, object],
    of_url: set[str],
    at: datetime | None,
    contact: Mapping[str, Any] | None,
) -> tuple[str, str]:
    """The time and the contents of an event by rules that never change.

    Neither settings nor a value that intake leaves out or repairs is part of it: otherwise a file
    that is handed in again after such a change would be other events. A new field is not part of
    it either.
    """
    if at is not None and given.get("event_time") is not None:
        at = parse.moment("event_time", given["event_time"], at, "UTC")
    person = {key: given[key] for key in PERSON if key in given}
    is_by_rule = brand.settings.default_country is None
    stored = event["user_hashes"] if is_by_rule else identity.user_hashes(person, None)[0]
    hashes = {
        platform: {key: found[:1] if key in ("ct", "st") else found for key, found in by.items()}
        for platform, by in stored.items()
    }
    fbc = clicks.fbc_as_given(given.get("fbc"))
    fbclid = None if "fbclid" in of_url else clicks.fbclid(given.get("fbclid"))
    if fbc is None and fbclid:
        seen = at and parse.moment("fbclid_seen_at", given.get("fbclid_seen_at"), at, "UTC")
        fbc = contacts.fbc(contact, fbclid, seen) if seen else fbclid
    try:
        ip = str(ipaddress.ip_address(str(given.get("ip")).strip())) if given.get("ip") else None
    except ValueError:
        ip = None
    contents: dict[str, object] = {
        **event,
        "user_hashes": given.get("user_hashes") or hashes,
        "fbc": fbc,
        "user_ip": ip,
        "event_source_url": parse.text_of(given.get("event_source_url")),
        **{name: None for name in of_url if name != "fbclid"},
    }
    content = orjson.dumps([contents[name] for name in _CONTENTS], default=str).decode()
    return at.isoformat() if at else "", content
