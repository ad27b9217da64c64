"""Conversions as product-analytics events.

PostHog keeps one event per uuid, name, distinct id and day, without a time limit: the uuid is made
of name and event id, so that every try is the same event.

No person is named: an event belongs to its contact id, else to the hash of its external id. Neither
addresses nor their hashes leave, nor IP, user agent, and the query of a URL.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid5

from tributary.event import Event

LONGEST_AGE = timedelta(days=62)  # PostHog takes any; older ones are for its own importers
_MARGIN = timedelta(minutes=5)
_LONGEST_ID = 200  # PostHog cuts off the rest
_NAMESPACE = UUID("0f6f5b5e-8f43-5c0a-9a0e-6a7d4f8d2b31")
_KEYS: tuple[Literal["action_source", "transaction_id", "gclid", "gbraid", "wbraid"], ...] = (
    "action_source", "transaction_id", "gclid", "gbraid", "wbraid",
)  # fmt: skip


def deadline(event: Event) -> datetime:
    """The moment after which the event is not sent any more."""
    return event["event_time"] + LONGEST_AGE - _MARGIN


def distinct_id(event: Event) -> str | None:
    """Whom the event belongs to: the contact id, else the hash of the external id.

    Intake refuses a contact id that is an e-mail; an external id that is one is not used here.
    """
    if event["contact_id"]:
        return str(event["contact_id"])[:_LONGEST_ID]
    hashes = event["user_hashes"].get("meta", {})
    return next((h for h in hashes.get("external_id", ()) if h not in hashes.get("em", ())), None)


def payload(event: Event) -> dict[str, Any]:
    """The event as PostHog takes it.

    Args:
        event: a row of `ops.conversion_events`; value in major units.
    """
    properties: dict[str, Any] = {key: event[key] for key in _KEYS if event[key]}
    if event["event_value"] is not None:
        properties |= {"value": float(event["event_value"]), "currency": event["currency"]}
    if event["event_source_url"]:
        properties["$current_url"] = _without_query(event["event_source_url"])
    return {
        "uuid": str(uuid5(_NAMESPACE, f"{event['event_name']}\n{event['event_id']}")),
        "event": event["event_name"],
        "distinct_id": distinct_id(event),
        "timestamp": event["event_time"].isoformat(),
        "properties": {
            **event["custom_params"],
            **properties,
            "$lib": "tributary",
            "$geoip_disable": True,  # the address is our server's
            # Else PostHog moves the time by what it takes for our clock's error, anew in each try.
            "$ignore_sent_at": True,
        },
    }


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
