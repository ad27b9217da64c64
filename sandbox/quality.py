"""The Dataset Quality API, as far as its event match quality goes: of a website's events only.

Meta does not publish how it weighs the keys; here each has its points, and a score is their mean.
https://developers.facebook.com/docs/marketing-api/conversions-api/dataset-quality-api
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sandbox.errors import no_such_field
from sandbox.events import Taken
from sandbox.params import Fields

MOST_EVENTS = 10_000
_WINDOW = timedelta(days=7)
_POINTS = {
    "em": 2.9, "ph": 1.7, "fbc": 1.6, "external_id": 1.2, "fbp": 0.9, "client_ip_address": 0.7,
    "client_user_agent": 0.4, "fn": 0.2, "ln": 0.2, "zp": 0.2,
}  # fmt: skip
_NAMES = {"em": "email", "ph": "phone", "zp": "zip", "client_ip_address": "ip_address",
          "client_user_agent": "user_agent", "fn": "first_name", "ln": "last_name"}  # fmt: skip
_TYPES = {
    "web": "DatasetQualityWeb",
    "event_match_quality": "AdsPixelCAPIEMQ",
    "match_key_feedback": "AdsPixelCAPIEMQMatchKeyFeedback",
    "coverage": "AdsPixelCAPICoverage",
}


def show(received: Iterable[Taken], fields: Fields, now: datetime) -> dict[str, Any]:
    """The answer to `fields`; without any it is empty, as there is nothing by default."""
    by_name: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for taken in received:
        if taken.event["action_source"] == "website" and taken.when > now - _WINDOW:
            by_name[taken.event["event_name"]].append(taken.event["user_data"])
    web = [
        {"event_name": name, "event_match_quality": _score(people)}
        for name, people in sorted(by_name.items())
    ]
    shown: dict[str, Any] = _only({"web": web}, fields, "DatasetQuality")
    return shown


def _score(people: list[dict[str, Any]]) -> dict[str, Any]:
    shares = {key: sum(key in one for one in people) / len(people) for key in _POINTS}
    return {
        "composite_score": round(sum(_POINTS[key] * share for key, share in shares.items()), 1),
        "match_key_feedback": [
            {"identifier": _NAMES.get(key, key), "coverage": {"percentage": round(100 * share)}}
            for key, share in shares.items()
            if share
        ],
    }


def _only(thing: Any, fields: Fields | None, kind: str) -> Any:
    """The fields that are asked for; where none are, all."""
    if isinstance(thing, list):
        return [_only(one, fields, kind) for one in thing]
    if not isinstance(thing, dict) or (fields is None and kind != "DatasetQuality"):
        return thing
    shown = {}
    for name, inner in (fields or {}).items():
        if name not in thing:
            raise no_such_field(name, kind)
        shown[name] = _only(thing[name], inner, _TYPES.get(name, kind))
    return shown
