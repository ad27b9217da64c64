"""Meta's Conversions API: the form of an event, what Meta would refuse, and the request.

Rules: https://developers.facebook.com/docs/marketing-api/conversions-api/parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tributary.event import Event
from tributary.platforms.meta.errors import MetaShortfall

if TYPE_CHECKING:
    from tributary.platforms.meta.client import Graph

MAX_BATCH = 1000
# "event_time can be up to 7 days before you send an event", "physical_store: up to 62 days".
_AGE = timedelta(days=7)
LONGEST_AGE = timedelta(days=62)
# Meta drops a repeated event_name + event_id within 48 hours; half an hour for the way there.
DEDUP_WINDOW = timedelta(hours=47, minutes=30)
ACTION_SOURCES = (
    "email", "website", "app", "phone_call", "chat", "physical_store", "system_generated",
    "business_messaging", "other",
)  # fmt: skip
_MARGIN = timedelta(minutes=5)
_PARTNER_AGENT = "tributary-1"
_RAW: tuple[tuple[Literal["user_ip", "user_agent", "fbp", "fbc"], str], ...] = (
    ("user_ip", "client_ip_address"),
    ("user_agent", "client_user_agent"),
    ("fbp", "fbp"),
    ("fbc", "fbc"),
)
# What does not identify a person: user data within one of these sets is refused (100/2804050).
_TOO_LITTLE = (
    {"ct", "country", "st", "zp", "ge", "client_user_agent"},
    {"db", "client_user_agent"},
    {"fn", "ge"},
    {"ln", "ge"},
)


def deadline(event: Event) -> datetime:
    """The moment after which Meta refuses the event, less a margin for the way there."""
    age = LONGEST_AGE if event["action_source"] == "physical_store" else _AGE
    return event["event_time"] + age - _MARGIN


def addressable(event: Event) -> bool:
    """Whether the user data can identify somebody."""
    keys = _user_data(event).keys()
    return not any(keys <= few for few in _TOO_LITTLE)


def flaw(event: Event) -> str | None:
    """The code with which Meta would refuse the event, and its whole batch; None when sound."""
    if not addressable(event):
        return "100/2804050"
    if event["event_name"] == "Purchase" and (
        event["event_value"] is None or event["currency"] is None
    ):
        return "100/2804009"
    if event["action_source"] == "website" and not (
        event["event_source_url"] and event["user_agent"]
    ):
        return "website_fields"
    if event["action_source"] == "app" and not event["custom_params"].get("app_data"):
        return "100/2804043"
    return None


def payload(event: Event, *, limited_data_use: bool, opt_out: bool) -> dict[str, Any]:
    """The event as Meta takes it; `event_id` is what it is deduplicated by, with the name.

    Args:
        event: a row of `ops.conversion_events`; value in major units.
        limited_data_use: for people in US states with such laws; Meta finds out where they are.
        opt_out: Meta uses the event for attribution only.
    """
    custom = dict(event["custom_params"])
    app_data = custom.pop("app_data", None)
    if event["event_value"] is not None:
        custom["value"] = float(event["event_value"])
    if event["currency"]:
        custom["currency"] = event["currency"]
    if event["transaction_id"]:
        custom.setdefault("order_id", event["transaction_id"])
    body: dict[str, Any] = {
        "event_name": event["event_name"],
        "event_time": int(event["event_time"].timestamp()),
        "event_id": event["event_id"],
        "action_source": event["action_source"],
        "user_data": _user_data(event),
    }
    if event["event_source_url"]:
        body["event_source_url"] = event["event_source_url"]
    if custom:
        body["custom_data"] = custom
    if app_data:
        body["app_data"] = app_data
    if opt_out:
        body["opt_out"] = True
    if limited_data_use:
        body |= {
            "data_processing_options": ["LDU"],
            "data_processing_options_country": 0,
            "data_processing_options_state": 0,
        }
    return body


def _user_data(event: Event) -> dict[str, Any]:
    data = dict(event["user_hashes"].get("meta", {}))
    return data | {key: event[name] for name, key in _RAW if event[name]}


class Received(NamedTuple):
    """Meta's answer to a batch that it took."""

    trace_id: str | None


def send(
    graph: Graph,
    pixel_id: str,
    events: Sequence[Mapping[str, Any]],
    test_event_code: str | None = None,
) -> Received:
    """One request with at most 1000 payloads; Meta takes all of them or none.

    Raises:
        MetaShortfall: Meta received fewer than were sent, and does not say which.
        MetaError: as `tributary.platforms.meta.client`.
    """
    body: dict[str, Any] = {"data": events, "partner_agent": _PARTNER_AGENT}
    if test_event_code:
        body["test_event_code"] = test_event_code
    answer = graph.post_json(f"{pixel_id}/events", body)
    received = answer.get("events_received")
    if received != len(events):
        raise MetaShortfall(
            f"Meta says that it received {received} of {len(events)} events",
            http_status=200,
            trace_id=str(answer.get("fbtrace_id") or "") or None,
        )
    return Received(str(answer.get("fbtrace_id") or "") or None)
