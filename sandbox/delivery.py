"""What one ad delivered on one account-local day, in integers.

Integers only, so that the figures are the same on every machine and sums are exact.
"""

from datetime import date
from typing import NamedTuple

from sandbox.noise import between, draws
from sandbox.objects import Ad

# All factors are per mille of an ordinary day.
_RAMP_UP = (350, 550, 720, 860, 950)
_WEEKDAY = (1020, 1050, 1040, 1010, 960, 780, 830)  # Monday first
_MONTH = (880, 900, 950, 970, 1000, 980, 940, 960, 1020, 1060, 1280, 1180)
_FRESH_DAYS = 14  # before a creative tires
_WORN_OUT = 450

# Conversions per million landing page views: (leads, purchases).
_CONVERTING = {
    "OUTCOME_SALES": (0, 45_000),
    "OUTCOME_LEADS": (90_000, 9_000),
    "OUTCOME_TRAFFIC": (8_000, 15_000),
    "OUTCOME_AWARENESS": (0, 6_000),
}


class Delivery(NamedTuple):
    """One ad's day. Money in minor units of the account currency."""

    ad: Ad
    spend: int
    impressions: int
    reach: int
    clicks: int
    link_clicks: int
    landing_page_views: int
    leads: int
    purchases: int
    price: int  # of each purchase on that day
    omni: bool  # whether Meta also lists the purchases as omni_purchase


def full_day(ad: Ad, day: date, seed: int) -> Delivery:
    """The figures of a day that has ended, for an ad that delivers on it."""
    draw = draws(seed, ad.id, day.toordinal())
    age = (day - ad.first_day).days
    fatigue = max(_WORN_OUT, 60_000 // (60 + max(0, age - _FRESH_DAYS)))
    spend = ad.daily_spend * _WEEKDAY[day.weekday()] * _MONTH[day.month - 1] * fatigue
    spend = spend * between(draw[0], 750, 1250) // 10**12
    if age < len(_RAMP_UP):
        spend = spend * _RAMP_UP[age] // 1000
    impressions = max(1, spend * 1_000_000 // (ad.cpm * between(draw[1], 850, 1150)))
    clicks = impressions * between(draw[2], 9_000, 18_000) * fatigue // 10**9
    link_clicks = clicks * between(draw[3], 600, 850) // 1000
    views = link_clicks * between(draw[4], 700, 900) // 1000
    leads, purchases = _CONVERTING[ad.campaign.objective]
    return Delivery(
        ad=ad,
        spend=spend,
        impressions=impressions,
        reach=max(1, impressions * 1000 // between(draw[5], 1050, 1900)),
        clicks=clicks,
        link_clicks=link_clicks,
        landing_page_views=views,
        # The draw carries the fraction: half a purchase expected is one every other day.
        leads=(views * leads + draw[6] * 15) // 1_000_000,
        purchases=(views * purchases + draw[7] * 15) // 1_000_000,
        price=ad.price * between(draw[6], 700, 1300) // 1000,
        omni=draw[5] % 5 != 0,
    )


def part_of(whole: Delivery, elapsed: int, total: int) -> Delivery | None:
    """The same day while it is still open; None before the first impression.

    Every figure only grows as `elapsed` goes up to `total` (any unit), where it is the whole.
    """
    impressions = whole.impressions * elapsed // total
    if not impressions:
        return None
    return whole._replace(
        impressions=impressions,
        **{name: getattr(whole, name) * elapsed // total for name in GROWING},
    )


GROWING = (
    "spend",
    "reach",
    "clicks",
    "link_clicks",
    "landing_page_views",
    "leads",
    "purchases",
)
