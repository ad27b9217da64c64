"""Click and browser ids: Meta's fbclid, fbc and fbp, Google's gclid, gbraid and wbraid.

https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/fbp-and-fbc
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from tributary.deliver import contacts, identity
from tributary.deliver.parse import click_id, identifier, text_of
from tributary.event import EventRefused

# What may follow the last dot is the mark of Meta's parameter builder.
_MARK = r"(\.[\w-]{2}|\.[\w-]{8})?"
_FBC = re.compile(rf"fb\.\d\.(\d{{13}})\.[\w-]{{1,1000}}{_MARK}", re.ASCII)
_FBC_IN_SECONDS = re.compile(rf"(fb\.\d\.\d{{10}})(\.[\w-]{{1,1000}}{_MARK})", re.ASCII)
_FBP = re.compile(rf"fb\.\d\.\d{{13}}\.\d{{1,20}}{_MARK}", re.ASCII)
_FBCLID = re.compile(r"[\w-]{5,1000}", re.ASCII)
# How click ids of Facebook and Instagram begin: any other text alone in fbc is not a click.
_BARE_FBC = re.compile(r"(?:Iw[A-Z]|PA[A-Za-z])[\w-]{3,1000}", re.ASCII)
# "keep fbc for 90 days": a click is attributed no longer than that.
_CLICK_LIVES = timedelta(days=90)
_OLD_CLICK = "fbc left out: its click is more than 90 days before the event"
_MOST_URL = 8_192  # characters
# In queries, fragments and addresses within addresses, once their percent-encoding is undone.
_IN_URL = re.compile(r"(?<![\w-])(fbclid|gclid|gbraid|wbraid)=([\w.~=-]{1,1000})", re.ASCII)


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    text = text_of(value)
    return text if text and pattern.fullmatch(text) else None


def fbp(value: object) -> str | None:
    """Meta's browser id; None where it has not the form of one."""
    return _matching(_FBP, value)


def fbclid(value: object) -> str | None:
    """Meta's click id; None where it has not the form of one."""
    return _matching(_FBCLID, value)


def is_bare_fbclid(value: object) -> bool:
    """Whether the text of fbc is a click id alone."""
    return _matching(_BARE_FBC, value) is not None


def fbc_as_given(value: object) -> str | None:
    """An fbc that has Meta's form already."""
    return _matching(_FBC, value)


def fbc(
    given: Mapping[str, object],
    at: datetime,
    seen: datetime,
    contact: Mapping[str, Any] | None,
    notes: list[str],
) -> str | None:
    """The click in the form of Meta's cookie; None, with a note, where it is too old.

    Args:
        given: the event's `fbc` and `fbclid`.
        at: when the event happened.
        seen: when the click id was first seen, unless the contact knows an earlier time.
    """
    text = text_of(given.get("fbc")) or ""
    if in_seconds := _FBC_IN_SECONDS.fullmatch(text):
        text = f"{in_seconds[1]}000{in_seconds[2]}"
    found = [text] if _FBC.fullmatch(text) else []
    if bare := fbclid(given.get("fbclid")):
        found.append(contacts.fbc(contact, bare, seen))
    oldest = (at - _CLICK_LIVES).timestamp() * 1000
    for one in found:
        if int(one.split(".")[2]) >= oldest:
            return one
    if found:
        notes.append(_OLD_CLICK)
    return None


def in_url(url: object) -> dict[str, str]:
    """The click ids in a page's address, by field."""
    text = str(url or "")[:_MOST_URL]
    if "clid" not in text and "braid" not in text:
        return {}
    found: dict[str, str] = {}
    for _ in range(3):  # addresses within addresses
        for name, value in _IN_URL.findall(text):
            if identity.why_absent(value) is None:
                found.setdefault(name, value)
        if "%" not in text:
            break
        text = unquote(text)
    return found


def with_clicks(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event with the click ids that only its page's address has; a field of its own wins."""
    lacking = {
        name: value
        for name, value in in_url(raw.get("event_source_url")).items()
        if not raw.get(name) or identity.why_absent(str(raw[name]).strip())
    }
    return {**raw, **lacking} if lacking else raw


def take_from_url(given: dict[str, object]) -> set[str]:
    """Add the click ids of the page's address, and read a bare click id in fbc as fbclid.

    Returns:
        The click ids that only the address had.
    """
    if is_bare_fbclid(given.get("fbc")):
        given.setdefault("fbclid", given["fbc"])
        del given["fbc"]
    found = in_url(given.get("event_source_url"))
    of_url = found.keys() - given.keys()
    given.update((name, found[name]) for name in of_url)
    return of_url


def of_contact(
    given: Mapping[str, object], now: datetime, contact: Mapping[str, Any] | None
) -> dict[str, str | None]:
    """The clicks of an event that is not stored, checked: `contacts.CLICKS`.

    Args:
        given: the event's fields, `take_from_url` among them.
    """
    try:
        ad = identifier("ad_id", given.get("ad_id"))
    except EventRefused:  # the rest is of use without it
        ad = None
    return {
        "fbclid": fbclid(given.get("fbclid")),
        "fbp": fbp(given.get("fbp")),
        "fbc": fbc(given, now, now, contact, []),
        "ad_id": ad,
        "gclid": click_id("gclid", given.get("gclid")),
    }
