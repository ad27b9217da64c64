"""The advertiser's own tables: profiles, the touches that led to them, their purchases, and rates.

A journey follows from (seed, brand, day, number) alone and is cut off at the last midnight (UTC)
before `until`. So two runs of a day write the same rows, and later runs only add to them: a row
that is already there changes by what happened since (a pending purchase settles, a refund is made),
never without `updated_at` moving.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import accumulate
from random import Random
from typing import Any, LiteralString, NamedTuple
from urllib.parse import urlencode

import psycopg
from psycopg import sql

from sandbox.currencies import from_usd_cents, offset
from sandbox.objects import Ad
from sandbox.people import invent
from sandbox.world import BRANDS, Brand, World

Row = tuple[Any, ...]

COLUMNS: dict[str, LiteralString] = {
    "profiles": (
        "profile_id, brand_slug, email, phone, first_name, last_name, city, state, zip, country, "
        "gender, date_of_birth, external_id, consent_ad_user_data, consent_ad_personalization, "
        "updated_at"
    ),
    "touchpoints": (
        "touchpoint_id, brand_slug, profile_id, touched_at, utm_source, utm_medium, utm_campaign, "
        "utm_content, utm_term, ad_id, fbclid, fbc, fbp, gclid, gbraid, wbraid, landing_url, ip, "
        "user_agent"
    ),
    "transactions": (
        "transaction_id, brand_slug, profile_id, status, amount, currency, transacted_at, "
        "refunded_amount, refunded_at, updated_at, event_id, action_source, event_source_url, ip, "
        "user_agent, fbp, fbc"
    ),
    "exchange_rates": "rate_date, base, quote, rate",
}

_PROFILES_PER_DAY = 13  # per brand
_SITES = {"acme": "https://www.acme-courses.example", "lumen": "https://www.lumen-skin.example"}
_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/19.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36",
)
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")  # reserved for documentation
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

# How a touch came about, and how often (of 100).
_CHANNELS = {
    "meta_ad_id": 45,  # the ad's URL carries {{ad.id}}
    "meta_utm": 14,  # only names, in utm_*
    "google": 11,
    "bare_fbclid": 10,  # a link shared on Facebook: not proof of an ad
    "email": 8,
    "direct": 12,
}
_RATE_PAIRS = {"USD": 1.0, "EUR": 0.92, "IDR": 15_600.0}  # units per US dollar, about


def app_rows(world: World, until: datetime) -> dict[str, list[Row]]:
    """The rows of each table in COLUMNS, as of the last midnight (UTC) before `until`."""
    end = datetime.combine(until.astimezone(UTC), time(), UTC)
    tables: dict[str, list[Row]] = {table: [] for table in COLUMNS}
    days = (end.date() - world.start).days
    for number in range(max(0, days)):
        day = world.start + timedelta(days=number)
        for brand in BRANDS:
            for index in range(_PROFILES_PER_DAY):
                journey = _Journey(world, brand, day, index)
                for table, rows in journey.rows(end).items():
                    tables[table] += rows
    tables["exchange_rates"] = list(_exchange_rates(world, end.date()))
    return tables


def fill_app(conn: psycopg.Connection[Any], world: World, until: datetime) -> dict[str, int]:
    """Replace the contents of the app tables in one transaction; returns rows per table."""
    tables = app_rows(world, until)
    with conn.transaction(), conn.cursor() as cursor:
        for table, rows in tables.items():
            name = sql.Identifier("app", table)
            cursor.execute(sql.SQL("TRUNCATE {}").format(name))
            columns = sql.SQL(COLUMNS[table])
            with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(name, columns)) as copy:
                for row in rows:
                    copy.write_row(row)
    return {table: len(rows) for table, rows in tables.items()}


def touches(world: World, brand: str, day: date) -> list[Row]:
    """The touchpoints, to their last, of all profiles of a brand that came on that day."""
    found = next(one for one in BRANDS if one.slug == brand)
    end = datetime.max.replace(tzinfo=UTC)
    return [
        row
        for index in range(_PROFILES_PER_DAY)
        for row in _Journey(world, found, day, index).rows(end)["touchpoints"]
    ]


class _Touch(NamedTuple):
    at: datetime
    row: Row
    fbc: str | None


class _Journey:
    """A profile, its touches and its purchases; some of it may lie in the future."""

    def __init__(self, world: World, brand: Brand, day: date, index: int) -> None:
        self.world, self.brand, self.day, self.index = world, brand, day, index
        self.random = random = Random(f"{world.seed}|{brand.slug}|{day}|{index}")
        self.profile_id = f"{brand.slug}-{day:%y%m%d}-{index:02d}"
        self.person = invent(brand.slug, self.profile_id, random)
        self.network = f"{random.choice(_NETWORKS)}.{random.randrange(1, 255)}"
        self.agent = random.choice(_AGENTS)
        evening = random.triangular(0, 86_399, 64_800)  # the busiest time of a day
        self.first = datetime.combine(day, time(), UTC) + timedelta(seconds=int(evening))
        self.fbp = f"fb.1.{_milliseconds(self.first)}.{random.randrange(10**9, 10**10)}"
        self.touches: list[_Touch] = []

    def rows(self, end: datetime) -> dict[str, list[Row]]:
        """What has happened of it before `end`."""
        random, at = self.random, self.first
        for number in range(random.choices(range(8), (8, 14, 18, 20, 17, 12, 7, 4))[0]):
            self.touches.append(self._touch(number, at))
            at += timedelta(hours=random.expovariate(1 / 60))
        last = self.touches[-1].at if self.touches else self.first
        purchases = []
        for number in range(random.choices(range(4), (42, 38, 14, 6))[0]):
            last += timedelta(hours=random.expovariate(1 / (6 if number == 0 else 240)))
            purchases.append(self._purchase(number, last, end))
        return {
            "profiles": [self._profile()] if self.first < end else [],
            "touchpoints": [touch.row for touch in self.touches if touch.at < end],
            "transactions": [row for row in purchases if row],
        }

    def _profile(self) -> Row:
        person = self.person
        return (
            self.profile_id,
            self.brand.slug,
            person.email,
            person.phone,
            person.first_name,
            person.last_name,
            person.city,
            person.state,
            person.zip,
            person.country,
            person.gender,
            person.date_of_birth,
            f"crm-{self.profile_id}" if self.random.random() < 0.6 else None,
            self._consent(),
            self._consent(),
            self.first,
        )

    def _consent(self) -> bool | None:
        return self.random.choices((True, False, None), (70, 12, 18))[0]

    def _touch(self, number: int, at: datetime) -> _Touch:
        random = self.random
        channel = random.choices(tuple(_CHANNELS), tuple(_CHANNELS.values()))[0]
        ad = _clicked_ad(self.world, self.brand.slug, at, random)
        if ad is None and channel.startswith("meta"):
            channel = "direct"
        utm = _utm(channel, ad, random)
        fbclid = f"IwAR{_word(random, 40)}" if "meta" in channel or "fbclid" in channel else None
        click = f"Cj0KCQ{_word(random, 50)}" if channel == "google" else None
        gclid, gbraid = (click, None) if random.random() < 0.9 else (None, click)
        ad_id = ad.id if ad and channel == "meta_ad_id" else None
        query = {**utm, "ad_id": ad_id, "fbclid": fbclid, "gclid": gclid, "gbraid": gbraid}
        query = {name: value for name, value in query.items() if value}
        fbc = f"fb.1.{_milliseconds(at)}.{fbclid}" if fbclid and random.random() < 0.8 else None
        row = (
            f"{self.profile_id}-t{number}",
            self.brand.slug,
            self.profile_id,
            at,
            *(
                utm.get(f"utm_{name}")
                for name in ("source", "medium", "campaign", "content", "term")
            ),
            ad_id,
            fbclid,
            fbc,
            self.fbp if random.random() < 0.9 else None,
            gclid,
            gbraid,
            None,
            f"{_SITES[self.brand.slug]}/{f'?{urlencode(query)}' if query else ''}",
            self.network,
            self.agent,
        )
        return _Touch(at, row, fbc)

    def _purchase(self, number: int, at: datetime, end: datetime) -> Row | None:
        """The purchase as it is at `end`; None when it happens later."""
        # Everything is drawn before anything is cut off, so that time changes no later draw.
        random = self.random
        currency = _currency(self.brand, self.person.country)
        cents = random.choice((2490, 3900, 4900, 7900, 9900, 14900, 29900)) + random.randrange(100)
        amount = Decimal(from_usd_cents(cents, currency)) / offset(currency)
        fate = random.choices(("completed", "refunded", "partly", "cancelled"), (84, 5, 4, 7))[0]
        waits = fate == "cancelled" or random.random() < 0.15
        paid_at = at + timedelta(hours=random.uniform(2, 60)) if waits else at
        refunded = paid_at + timedelta(days=random.uniform(1, 25))
        silent = random.random() < 0.5  # a full refund whose amount is not recorded
        browser = random.random() < 0.75
        event_id = f"evt_{random.getrandbits(64):016x}" if random.random() < 0.7 else None
        if at >= end:
            return None
        status, back, back_at, updated = "completed", None, None, paid_at
        if paid_at >= end:
            status, updated = "pending", at
        elif fate == "cancelled":
            status = "cancelled"
        elif fate in ("refunded", "partly") and refunded < end:
            status = "refunded"
            back_at = updated = refunded
            partial = (amount / 3).quantize(Decimal("0.01") if offset(currency) > 1 else Decimal(1))
            back = partial if fate == "partly" else None if silent else amount
        fbc = next((touch.fbc for touch in reversed(self.touches) if touch.fbc), None)
        seen = (
            event_id,
            "website",
            f"{_SITES[self.brand.slug]}/checkout/thank-you",
            self.network,
            self.agent,
            self.fbp,
            fbc,
        )
        return (
            f"{self.brand.slug.upper()}-{self.day:%y%m%d}{self.index:02d}-{number}",
            self.brand.slug,
            self.profile_id,
            status,
            amount,
            currency,
            at,
            back,
            back_at,
            updated,
            *(seen if browser else (None,) * len(seen)),
        )


def _clicked_ad(world: World, brand: str, at: datetime, random: Random) -> Ad | None:
    """One of the brand's ads that ran then, by its clicks; None when none did."""
    accounts = [account for account in world.accounts.values() if account.brand == brand]
    if not accounts:
        return None
    account = random.choice(accounts)
    deliveries = world.full_day(account.id, account.local(at).date())
    weights = list(accumulate(delivery.link_clicks for delivery in deliveries))
    if not weights or not weights[-1]:
        return None
    return random.choices(deliveries, cum_weights=weights)[0].ad


def _utm(channel: str, ad: Ad | None, random: Random) -> dict[str, str]:
    if channel.startswith("meta") and ad is not None:
        utm = {
            "utm_source": random.choice(("facebook", "fb", "ig")),
            "utm_medium": random.choice(("paid_social", "paid_social", "cpc")),
            "utm_campaign": ad.campaign.name,
        }
        if channel == "meta_utm" or random.random() < 0.5:
            utm |= {"utm_content": ad.name, "utm_term": ad.adset.name}
        return utm
    if channel == "google":
        return {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "search-brand"}
    if channel == "email":
        return {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "weekly"}
    return {}


def _currency(brand: Brand, country: str) -> str:
    return {"US": "USD", "ID": "IDR", "DE": "EUR", "FR": "EUR"}.get(country.upper(), brand.currency)


def _exchange_rates(world: World, end: date) -> Iterator[Row]:
    """Every day from the start to `end`, both included, and every pair in both directions."""
    for number in range((end - world.start).days + 1):
        day = world.start + timedelta(days=number)
        random = Random(f"{world.seed}|rates|{day}")
        per_usd = {
            currency: Decimal(str(round(units * random.uniform(0.985, 1.015), 6)))
            if currency != "USD"
            else Decimal(1)
            for currency, units in _RATE_PAIRS.items()
        }
        for base, base_units in per_usd.items():
            for quote, quote_units in per_usd.items():
                if base != quote:
                    yield day, base, quote, round(quote_units / base_units, 14)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _word(random: Random, length: int) -> str:
    return "".join(random.choices(_LETTERS, k=length))
