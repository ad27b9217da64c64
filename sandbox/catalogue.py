"""Builds an account's objects: names, statuses, budgets, flights; all from the seed alone.

Statuses follow fixed patterns by position, not chance, so that an account of four campaigns already
holds every case: paused, archived and deleted objects at each level, and ads that died spending.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.currencies import from_usd_cents
from sandbox.noise import between, draws
from sandbox.objects import Account, AccountSpec, Ad, AdSet, Campaign, Life

_CAMPAIGN_STATUSES = ("ACTIVE", "ACTIVE", "PAUSED", "ARCHIVED", "ACTIVE", "DELETED", "ACTIVE")
_ADSET_STATUSES = (
    "ACTIVE",
    "ACTIVE",
    "PAUSED",
    "ACTIVE",
    "DELETED",
    "ACTIVE",
    "ACTIVE",
    "ARCHIVED",
)
_AD_STATUSES = ("ACTIVE",) * 3 + ("PAUSED", "ACTIVE", "DELETED", "ACTIVE", "ACTIVE", "ARCHIVED")
_REJECTED_EVERY = 19  # the second ad of an account, and each n-th after it, fails review

_THEMES = ("Prospecting", "Retargeting", "Launch", "Always On", "Seasonal Sale", "Leads", "Brand")
_OBJECTIVES = {"Leads": "OUTCOME_LEADS", "Brand": "OUTCOME_AWARENESS", "Launch": "OUTCOME_TRAFFIC"}
_GOALS = {
    "OUTCOME_SALES": "OFFSITE_CONVERSIONS",
    "OUTCOME_LEADS": "LEAD_GENERATION",
    "OUTCOME_AWARENESS": "REACH",
    "OUTCOME_TRAFFIC": "LANDING_PAGE_VIEWS",
}
_AUDIENCES = (
    "Lookalike 2%",
    "Broad 25-54",
    "Website Visitors 30d",
    "Interest: Online Learning",
    "Cart Abandoners 14d",
    "Engaged Shoppers",
)
_FORMATS = (("Video", "VIDEO"), ("Carousel", "SHARE"), ("Static", "PHOTO"), ("UGC", "VIDEO"))
_HOOKS = (
    "Testimonial",
    "Founder Story",
    "20% Off",
    "How It Works",
    "Before / After",
    "New Arrival",
)
_CALLS = ("SHOP_NOW", "LEARN_MORE", "SIGN_UP")
_COUNTRIES = {
    "America/Los_Angeles": ["US", "CA"],
    "Asia/Jakarta": ["ID"],
    "Europe/Berlin": ["DE", "FR"],
}


def object_id(seed: int, *place: object) -> str:
    """An 18 digit number as Meta's are: too long for a float, always a string in JSON."""
    name = "|".join(map(str, (seed, *place)))
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
    return f"1202{number % 10**14:014d}"


def build_account(spec: AccountSpec, start: date, days: int, seed: int) -> Account:
    """The account with all it will ever hold; most of it is launched within `days` of start."""
    return _Builder(spec, start, days, seed).account


class _Builder:
    def __init__(self, spec: AccountSpec, start: date, days: int, seed: int) -> None:
        self.spec, self.start, self.days, self.seed = spec, start, days, seed
        zone = ZoneInfo(spec.time_zone)
        self.account = Account(
            id=spec.account_id,
            brand=spec.brand,
            name=spec.name,
            currency=spec.currency,
            zone=zone,
            created=datetime.combine(start - timedelta(days=400), time(9, 30), zone),
        )
        self.ads_built = 0
        for index in range(spec.campaigns):
            self._campaign(index)

    def _campaign(self, index: int) -> None:
        draw = self._draws("campaign", index)
        theme = _THEMES[index % len(_THEMES)]
        objective = _OBJECTIVES.get(theme, "OUTCOME_SALES")
        launch = self.start + timedelta(
            days=0 if index < 2 else between(draw[0], 0, self.days // 3)
        )
        budget = "campaign" if index % 2 == 0 else "adset"
        campaign = Campaign(
            id=self._id("campaign", index),
            name=f"{self.spec.brand.upper()} | {theme} | {objective[8:].title()} {index + 1:02d}",
            account=self.account,
            life=self._life(launch, _CAMPAIGN_STATUSES[index % len(_CAMPAIGN_STATUSES)], draw[1]),
            start=self._at(launch, time()),
            objective=objective,
            bid_strategy=("LOWEST_COST_WITHOUT_CAP", "COST_CAP")[draw[2] % 2],
        )
        if budget == "campaign" and index % 4 == 2:
            campaign.stop = self._at(launch + timedelta(days=max(10, self.days // 2)), time())
        self.account.campaigns.append(campaign)
        for position in range(self.spec.adsets):
            self._adset(campaign, index, position, launch, own_budget=budget == "adset")
        if budget == "campaign":
            ads = [ad for adset in campaign.adsets for ad in adset.ads]
            _set_budget(campaign, ads)

    def _adset(
        self, campaign: Campaign, index: int, position: int, launch: date, *, own_budget: bool
    ) -> None:
        draw = self._draws("adset", index, position)
        number = index * self.spec.adsets + position
        launch += timedelta(days=between(draw[0], 0, self.days // 12) if position else 0)
        audience = _AUDIENCES[number % len(_AUDIENCES)]
        theme = _THEMES[index % len(_THEMES)]
        adset = AdSet(
            id=self._id("adset", index, position),
            name=f"{self.spec.brand.upper()} | {theme} | {audience}",
            account=self.account,
            campaign=campaign,
            life=self._life(launch, _ADSET_STATUSES[number % len(_ADSET_STATUSES)], draw[1]),
            start=self._at(launch, time()),
            optimization_goal=_GOALS[campaign.objective],
            targeting=self._targeting(audience, draw[2]),
        )
        if own_budget and position % 3 == 2:
            adset.stop = self._at(launch + timedelta(days=max(10, self.days // 2)), time())
        campaign.adsets.append(adset)
        for rank in range(self.spec.ads):
            self._ad(adset, (index, position, rank), launch)
        if own_budget:
            _set_budget(adset, adset.ads)

    def _ad(self, adset: AdSet, place: tuple[int, int, int], launch: date) -> None:
        draw = self._draws("ad", *place)
        number = self.ads_built
        self.ads_built += 1
        launch += timedelta(days=between(draw[0], 0, self.days // 4) if place[2] else 0)
        life = self._life(launch, _AD_STATUSES[number % len(_AD_STATUSES)], draw[1])
        kind, object_type = _FORMATS[draw[2] % len(_FORMATS)]
        hook = _HOOKS[draw[3] % len(_HOOKS)]
        currency = self.spec.currency
        ad = Ad(
            id=self._id("ad", *place),
            name=f"{kind} | {hook} | v{place[2] + 1}",
            account=self.account,
            campaign=adset.campaign,
            adset=adset,
            life=life,
            creative={
                "id": self._id("creative", *place),
                "name": f"{hook} {kind} {place[2] + 1}",
                "title": hook,
                "body": f"{hook}: see what {self.spec.name} can do for you.",
                "object_type": object_type,
                "call_to_action_type": _CALLS[draw[4] % len(_CALLS)],
            },
            daily_spend=from_usd_cents(between(draw[5], 1500, 7500), currency),
            cpm=from_usd_cents(between(draw[6], 800, 1600), currency),
            price=from_usd_cents(between(draw[7], 3900, 12900), currency),
            first_day=launch,
            last_day=_last_day(adset, life),
            rejected=number % _REJECTED_EVERY == 1,
        )
        adset.ads.append(ad)

    def _life(self, launch: date, last_status: str, draw: int) -> Life:
        created = self._at(launch - timedelta(days=1), time(9 + draw % 9, draw % 60))
        if last_status == "ACTIVE":
            return Life(created)
        # Just after midnight: a day is then either delivered whole or not at all.
        change = launch + timedelta(days=between(draw, 10, 10 + self.days // 2))
        return Life(created, self._at(change, time(0, 10)), last_status)

    def _targeting(self, audience: str, draw: int) -> dict[str, Any]:
        targeting: dict[str, Any] = {
            "age_min": 18 + draw % 3 * 7,
            "age_max": (45, 54, 65)[draw % 3],
            "geo_locations": {
                "countries": _COUNTRIES.get(self.spec.time_zone, ["US"]),
                "location_types": ["home", "recent"],
            },
            "publisher_platforms": ["facebook", "instagram"],
        }
        if audience.startswith("Interest"):
            interest = {"id": "6003327060545", "name": audience.partition(": ")[2]}
            targeting["flexible_spec"] = [{"interests": [interest]}]
        elif not audience.startswith("Broad"):
            audience_id = self._id("audience", audience)
            targeting["custom_audiences"] = [{"id": audience_id, "name": audience}]
        return targeting

    def _at(self, day: date, clock: time) -> datetime:
        return datetime.combine(day, clock, self.account.zone)

    def _id(self, *place: object) -> str:
        return object_id(self.seed, self.spec.account_id, *place)

    def _draws(self, *place: object) -> tuple[int, ...]:
        return draws(self.seed, self.spec.account_id, *place)


def _last_day(adset: AdSet, life: Life) -> date | None:
    """The day before the ad, or anything it belongs to, was switched off or ran out."""
    ends = [life.changed, adset.life.changed, adset.campaign.life.changed]
    ends += [adset.stop, adset.campaign.stop]
    days = [end.date() - timedelta(days=1) for end in ends if end]
    return min(days, default=None)


def _set_budget(holder: Campaign | AdSet, ads: list[Ad]) -> None:
    daily = sum(ad.daily_spend for ad in ads) * 6 // 5
    if holder.stop is None:
        holder.daily_budget = daily
    else:
        holder.lifetime_budget = daily * (holder.stop - holder.start).days
