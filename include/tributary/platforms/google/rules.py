"""Which events Google takes as conversions, until when, and how it recognises a repeat.

Sources: https://support.google.com/google-ads/answer/7014069 (a conversion later than 90 days after
its click is not imported) and https://support.google.com/google-ads/answer/13258081 (63 days where
only user-provided data identify it); adjustments:
https://developers.google.com/google-ads/api/docs/conversions/upload-adjustments (54 days after the
conversion, not within its first 24 hours; enhancements within 24 hours).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from tributary.event import Event

CLICK_IDS: tuple[Literal["gclid", "gbraid", "wbraid"], ...] = ("gclid", "gbraid", "wbraid")
LONGEST_AGE = timedelta(days=90)
_AGE_WITHOUT_CLICK = timedelta(days=63)
_AGE_OF_ADJUSTED = timedelta(days=54)
_AGE_OF_ENHANCED = timedelta(hours=24)
_MARGIN = timedelta(hours=1)  # for the way there, and a clock that differs
_MARGIN_OF_ENHANCED = timedelta(minutes=5)
# Sooner after its conversion the Ads API refuses an adjustment (TOO_RECENT_CONVERSION).
FIRST_ADJUSTMENT = timedelta(hours=24)


def deadline(event: Event) -> datetime:
    """The moment after which Google refuses the event.

    A click id does not say when the click was; the conversion came after it, so that its own age
    is the bound that can be known.
    """
    at = event["event_time"]
    if event["kind"] == "enhancement":
        return at + _AGE_OF_ENHANCED - _MARGIN_OF_ENHANCED
    if event["kind"] == "adjustment":
        return (event.get("adjusts_time") or at) + _AGE_OF_ADJUSTED - _MARGIN
    return at + (LONGEST_AGE if has_click(event) else _AGE_WITHOUT_CLICK) - _MARGIN


def has_click(event: Event) -> bool:
    """Whether the event has the id of a click."""
    return any(event[name] for name in CLICK_IDS)


def has_contact(event: Event) -> bool:
    """Whether an e-mail or a phone number identifies the person."""
    hashes = event["user_hashes"].get("google", {})
    return bool(hashes.get("email") or hashes.get("phone"))


def addressable(event: Event) -> bool:
    """Whether Google can find a click by it: the Ads API, which knows no addresses here."""
    return has_click(event) or has_contact(event)


def addressable_by_address(event: Event) -> bool:
    """Whether Google can find a click by it: Data Manager."""
    return addressable(event) or address(event) is not None


def address(event: Event) -> dict[str, str] | None:
    """The four parts of an address, names hashed; None where one is missing (it would be
    refused)."""
    hashes, clear = event["user_hashes"].get("google", {}), event["google_address"]
    names = {key: hashes[key][0] for key in ("given_name", "family_name") if hashes.get(key)}
    found = names | {key: clear[key] for key in ("region_code", "postal_code") if clear.get(key)}
    return found if len(found) == 4 else None


def dedup_key(event: Event) -> str:
    """By what Google recognises an event that comes again: the same in every try."""
    return str(event["transaction_id"] or event["event_id"])


def identifier_kind(event: Event) -> str:
    """What identifies the person, for requests of one kind each."""
    kinds: list[str] = [name for name in CLICK_IDS if event[name]]
    if has_contact(event) or address(event):
        kinds.append("user")
    return "+".join(kinds)


def data_manager_batch(event: Event) -> str:
    """Events of one request: one action, day and identifier kind.

    Its status only counts what went wrong; the more alike the events, the more a count says.
    """
    day = event["event_time"].astimezone(UTC).date()
    return f"{event['kind']}|{event['event_name']}|{day}|{identifier_kind(event)}"


def ads_batch(event: Event) -> str:
    """Events of one request: each kind has a method of its own; errors name their row."""
    return str(event["kind"])
