"""The clicks on Google's ads: those that the demo's touchpoints carry, and any a test adds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sandbox import app_data
from sandbox.google import CUSTOMERS, Google
from sandbox.world import World

_ZONES = {CUSTOMERS["acme"]: "America/New_York", CUSTOMERS["lumen"]: "Europe/Berlin"}
_LONGEST_JOURNEY = timedelta(days=60)
_CAMPAIGNS = ("search-brand", "search-generic", "performance-max")
_TOUCH = app_data.COLUMNS["touchpoints"].split(", ")


def clicks_of(world: World, google: Google, customer: str, day: date) -> Iterator[dict[str, Any]]:
    """The rows of `click_view` of an account's day, in its own time zone.

    Only what has happened by now, as in reality.
    """
    zone, now = ZoneInfo(_ZONES.get(customer, "UTC")), google.clock.now()
    found = list(_of_demo(world, customer, day))
    found += [
        (gclid, click.at) for gclid, click in google.clicks.items() if click.customer == customer
    ]
    for gclid, at in found:
        if at <= now and at.astimezone(zone).date() == day:
            yield _row(customer, day, gclid)


def _of_demo(world: World, customer: str, day: date) -> Iterator[tuple[str, datetime]]:
    brand = next((slug for slug, one in CUSTOMERS.items() if one == customer), None)
    for offset in range(_LONGEST_JOURNEY.days + 2):
        born = day + timedelta(days=1 - offset)
        if brand is not None and born >= world.start:
            yield from _of_journeys(world, brand, born)


@lru_cache(maxsize=400)
def _of_journeys(world: World, brand: str, born: date) -> tuple[tuple[str, datetime], ...]:
    """The gclids of all touches of people who came on that day."""
    return tuple(
        (row["gclid"], row["touched_at"])
        for touch in app_data.touches(world, brand, born)
        if (row := dict(zip(_TOUCH, touch, strict=True)))["gclid"]
    )


def _row(customer: str, day: date, gclid: str) -> dict[str, Any]:
    number = int.from_bytes(hashlib.sha256(gclid.encode()).digest()[:4], "big")
    campaign, group, ad = number % 3, number % 7, number % 19
    return {
        "click_view": {
            "gclid": gclid,
            "ad_group_ad": f"customers/{customer}/adGroupAds/{9100 + group}~{9900 + ad}",
            "keyword": f"customers/{customer}/adGroupCriteria/{9100 + group}~{9500 + group}",
            "page_number": 1,
        },
        "campaign": {"id": 9000 + campaign, "name": _CAMPAIGNS[campaign]},
        "ad_group": {"id": 9100 + group, "name": f"ad-group-{group}"},
        "customer": {"id": int(customer)},
        "segments": {"date": day.isoformat(), "ad_network_type": 2},
    }
