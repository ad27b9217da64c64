"""A small world of two brands, of today and of long ago, and what may happen to it in a day.

All of it is drawn by a seeded generator: the same seed makes the same world and the same changes
(moments are relative to the present). A change returns what it did, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.support.marts import Row, Warehouse, ad

T = TypeVar("T")
BRANDS = ("acme", "lumen")
# Account: brand, currency, its campaigns and their ads. The last ad of each is described later.
ACCOUNTS: dict[str, tuple[str, str, dict[str, list[str]]]] = {
    "100": ("acme", "USD", {"c1": ["1", "2"], "c2": ["3", "4"]}),
    "101": ("acme", "EUR", {"c3": ["5", "6"]}),
    "200": ("lumen", "EUR", {"c4": ["7", "8"], "c5": ["9"]}),
}
CAMPAIGNS = {campaign: account for account, (_, _, held) in ACCOUNTS.items() for campaign in held}
ADS = {
    one: campaign for _, _, held in ACCOUNTS.values() for campaign, ads in held.items()
    for one in ads
}  # fmt: skip
NAMES = ["Spring", "Summer", "Autumn", "Winter", "Brand"]
PEOPLE = 16
MODELS = "[first_touch, last_touch, last_paid_touch, linear, position_based, time_decay]"
SETTINGS = {
    "TRIBUTARY_ATTRIBUTION_MODELS": [MODELS, "[first_touch, last_paid_touch, linear]"],
    "TRIBUTARY_ATTRIBUTION_LOOKBACK_DAYS": ["30", "7", "3"],
    "TRIBUTARY_ATTRIBUTION_DEFAULT_MODEL": ["last_paid_touch", "linear", "first_touch"],
    "TRIBUTARY_ATTRIBUTION_HALF_LIFE_DAYS": ["7", "2"],
    "TRIBUTARY_ATTRIBUTION_RESET_AFTER_PURCHASE": ["false", "true"],
}


class World(Warehouse):
    """The world, and which purchases had a change in their own row since `changed` was emptied."""

    def __init__(self, uri: str, seed: int) -> None:
        super().__init__(uri)
        self.random = Random(seed)
        self.now = datetime.now(UTC)
        self.number = 0
        self.changed: set[tuple[str, str]] = set()
        self.settings: dict[str, str] = {}
        self._accounts()
        for brand in BRANDS:
            self.execute(
                "insert into ops.destinations "
                "(name, brand_id, platform, conn_id, is_active, settings) "
                "select slug || '-meta', id, 'meta', 'c', true, '{}' from ops.brands "
                "where slug = %s",
                brand,
            )
            for number in range(PEOPLE):
                self._profile(brand, f"p{number}")
            for _ in range(70):
                self.add_touch(brand)
            for number in range(36):
                self.add_purchase(brand, is_old=number % 3 == 0)
            for _ in range(6):
                self.add_contact(brand)
                self.add_delivery(brand)
        for _ in range(6):
            self.add_google_click()

    def connect(self) -> None:
        """Connect, again after `connection` was closed."""
        self.connection = psycopg.connect(self.uri, autocommit=True, row_factory=dict_row)

    def _accounts(self) -> None:
        for account, (brand, currency, held) in ACCOUNTS.items():
            self.account(account, currency, brand=brand)
            for campaign, ads in held.items():
                self._describe("meta_campaigns", account, campaign, {"name": self.pick(NAMES)})
                for one in ads:
                    self._describe(
                        "meta_adsets", account, f"s{one}",
                        {"name": f"Set {one}", "campaign_id": campaign},
                    )  # fmt: skip
                    if one != ads[-1]:
                        self.describe_ad(one)
            for day in [*range(2, 12), 160, 161, 300]:
                self.load(account, str(self.day(day)), self._insights(account), currency=currency)
        for day in (3, 8, 160, 300):
            self.rate(str(self.day(day)), "EUR", str(self.random.randint(100, 130) / 100))
            self.rate(str(self.day(day)), "USD", str(self.random.randint(70, 95) / 100), "EUR")

    # What is drawn.

    def pick(self, of: Iterable[T]) -> T:
        """One of them."""
        return self.random.choice(list(of))

    def day(self, ago: int) -> date:
        """A day so many days ago."""
        return self.now.date() - timedelta(days=ago)

    def moment(self, is_old: bool = False) -> str:
        """A moment of the last 40 days, or of long ago."""
        back = self.random.uniform(200, 360) if is_old else self.random.uniform(0.5, 40)
        return (self.now - timedelta(days=back)).strftime("%Y-%m-%d %H:%M:%S")

    def _name(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def _insights(self, account: str) -> list[Row]:
        return [
            ad(one, f"{self.random.randint(1, 9000) / 100:.2f}", self.random.randint(1, 900),
               campaign_id=campaign, campaign_name=self.pick(NAMES))
            for campaign, ads in ACCOUNTS[account][2].items()
            for one in ads if self.random.random() < 0.8
        ]  # fmt: skip

    def _purchase(self) -> Row | None:
        found = self.rows(
            "select brand_slug, transaction_id from app.transactions "
            "where transaction_id like 'T%' group by 1, 2 order by 1, 2"
        )
        return self.pick(found) if found else None

    def _change_purchase(self, assignment: str, *values: Any) -> str:
        row = self._purchase()
        assert row is not None
        key = (row["brand_slug"], row["transaction_id"])
        self.execute(
            f"update app.transactions set {assignment}, updated_at = now() "
            "where (brand_slug, transaction_id) = (%s, %s)",
            *values, *key,
        )  # fmt: skip
        self.changed.add(key)
        return f"purchase {key}: {assignment} {values}"

    def _any(self, table: str, key: str) -> tuple[str, str]:
        row = self.pick(self.rows(
            f"select brand_slug, {key} as key from app.{table} group by 1, 2 order by 1, 2"
        ))  # fmt: skip
        return row["brand_slug"], row["key"]

    # Changes.

    def add_touch(self, brand: str | None = None) -> str:
        """A touch, of now or late; one in four is of long ago."""
        brand = brand or self.pick(BRANDS)
        name, url = self._name("t"), self._url()
        at = self.moment(is_old=self.random.random() < 0.25)
        profile = f"p{self.random.randrange(PEOPLE)}"
        self.touch(name, profile, at, brand=brand, **url)
        return f"touch {name} of {brand} {profile} at {at}: {url}"

    def _url(self) -> dict[str, str]:
        one = self.pick(ADS)
        paid = {"utm_source": "facebook", "utm_medium": "paid_social"}
        return dict(self.pick([
            {"ad_id": one}, {"ad_id": one}, {**paid, "utm_content": one},
            {**paid, "utm_campaign": self.pick(NAMES)},
            {**paid, "utm_campaign": self.pick(NAMES), "utm_content": f"Ad {one}"},
            {**paid, "utm_campaign": ADS[one]},
            {"gclid": f"g{self.random.randrange(12)}"},
            {"fbclid": f"f{self.random.randrange(12)}"},
            {"utm_source": "newsletter", "utm_medium": "email"}, {"utm_source": "facebook"},
        ]))  # fmt: skip

    def change_touch(self) -> str:
        """Another URL for a touch."""
        brand, key = self._any("touchpoints", "touchpoint_id")
        url = self._url()
        columns = ("ad_id", "utm_source", "utm_medium", "utm_campaign", "utm_content", "gclid")
        self.execute(
            f"update app.touchpoints set {', '.join(f'{one} = %s' for one in columns)} "
            "where (brand_slug, touchpoint_id) = (%s, %s)",
            *(url.get(one) for one in columns), brand, key,
        )  # fmt: skip
        return f"touch {key} of {brand}: {url}"

    def delete_touch(self) -> str:
        """A touch is gone."""
        key = self._any("touchpoints", "touchpoint_id")
        self.execute(
            "delete from app.touchpoints where (brand_slug, touchpoint_id) = (%s, %s)", *key
        )
        return f"touch {key} deleted"

    def add_purchase(self, brand: str | None = None, is_old: bool | None = None) -> str:
        """A purchase, of now or of long ago."""
        brand, name = brand or self.pick(BRANDS), self._name("T")
        at = self.moment(self.random.random() < 0.3 if is_old is None else is_old)
        profile = self.pick([None, *(f"p{number}" for number in range(PEOPLE))])
        self.purchase(
            name, profile, at, f"{self.random.randint(100, 30000) / 100:.2f}", brand=brand,
            currency=self.pick(["USD", "USD", "EUR"]),
        )  # fmt: skip
        self.changed.add((brand, name))
        return f"purchase {name} of {brand} {profile} at {at}"

    def delete_purchase(self) -> str:
        """A purchase is gone."""
        row = self._purchase()
        assert row is not None
        key = (row["brand_slug"], row["transaction_id"])
        self.execute(
            "delete from app.transactions where (brand_slug, transaction_id) = (%s, %s)", *key
        )
        self.changed.add(key)
        return f"purchase {key} deleted"

    def refund(self) -> str:
        """A refund, in part or in full."""
        part = self.pick([None, "1.25"])
        return self._change_purchase(
            "status = 'refunded', refunded_at = now(), refunded_amount = %s", part
        )

    def change_amount(self) -> str:
        """Another amount."""
        amount = f"{self.random.randint(100, 30000) / 100:.2f}"
        return self._change_purchase("amount = %s", amount)

    def change_status(self) -> str:
        """A purchase is none, or one again; or its status is unknown and its row is left out."""
        return self._change_purchase(
            "status = %s", self.pick(["completed", "cancelled", "pending", "strange"])
        )

    def change_profile(self) -> str:
        """A purchase of another profile."""
        return self._change_purchase("profile_id = %s", f"p{self.random.randrange(PEOPLE)}")

    def move_purchase(self) -> str:
        """A purchase at another time."""
        return self._change_purchase(
            "transacted_at = %s", f"{self.moment(self.pick([False, True]))}+00"
        )

    def _profile(self, brand: str, profile: str) -> None:
        self.execute(
            "insert into app.profiles (profile_id, brand_slug, email, phone, external_id, "
            "updated_at) values (%s, %s, %s, %s, %s, now())",
            profile, brand, self._address(profile), None, f"crm-{profile}",
        )  # fmt: skip

    def _address(self, profile: str) -> str | None:
        shared = f"shared{self.random.randrange(3)}@shop.example"
        return self.pick([None, f"{profile}@shop.example", f"{profile}@shop.example", shared])

    def change_link(self) -> str:
        """A profile gets the address of others, or loses it."""
        brand, profile = self._any("profiles", "profile_id")
        address = self._address(profile)
        self.execute(
            "update app.profiles set email = %s where (brand_slug, profile_id) = (%s, %s)",
            address, brand, profile,
        )  # fmt: skip
        return f"profile {profile} of {brand}: {address}"

    def double_key(self) -> str:
        """A second row of a key that differs: both are left out."""
        table, key, column = self.pick([
            ("transactions", "transaction_id", "amount = amount + 1"),
            ("touchpoints", "touchpoint_id", "touched_at = touched_at - interval '1 minute'"),
            ("profiles", "profile_id", "email = coalesce(email, '') || 'x'"),
        ])  # fmt: skip
        brand, value = self._any(table, key)
        self.execute("create temp table doubled as select * from app." + table + " limit 0")
        self.execute(
            f"insert into doubled select * from app.{table} where (brand_slug, {key}) = (%s, %s) "
            "limit 1", brand, value,
        )  # fmt: skip
        self.execute(f"update doubled set {column}")
        self.execute(f"insert into app.{table} select * from doubled")
        self.execute("drop table doubled")
        if table == "transactions":
            self.changed.add((brand, value))
        return f"{table} {value} of {brand} is there twice"

    def single_key(self) -> str:
        """Of a key that is there more than once, one row remains."""
        said = []
        for table, key in (("transactions", "transaction_id"), ("touchpoints", "touchpoint_id"),
                           ("profiles", "profile_id")):  # fmt: skip
            gone = self.rows(
                f"delete from app.{table} as t using app.{table} as other where t.brand_slug = "
                f"other.brand_slug and t.{key} = other.{key} and t.ctid > other.ctid "
                f"returning t.brand_slug, t.{key} as key"
            )
            said += [(table, row["brand_slug"], row["key"]) for row in gone]
        self.changed |= {(brand, key) for table, brand, key in said if table == "transactions"}
        return f"these are there once: {said}"

    def _describe(self, table: str, account: str, object_id: str, payload: Row) -> None:
        self.execute(
            f"insert into raw.{table} values (%s, %s, %s, clock_timestamp(), 'run') "
            "on conflict (account_id, id) do update set payload = excluded.payload, "
            "extracted_at = excluded.extracted_at",
            account, object_id, Jsonb(payload | {"id": object_id, "status": "ACTIVE"}),
        )  # fmt: skip

    def describe_ad(self, ad_id: str | None = None) -> str:
        """Meta describes an ad, for the first time or with another name."""
        ad_id = ad_id or self.pick(ADS)
        name = self.pick([f"Ad {ad_id}", f"Ad {ad_id}", "Ad 1", "Video"])
        campaign = ADS[ad_id]
        payload = {"name": name, "adset_id": f"s{ad_id}", "campaign_id": campaign}
        self._describe("meta_ads", CAMPAIGNS[campaign], ad_id, payload)
        return f"ad {ad_id} is named {name}"

    def rename_campaign(self) -> str:
        """A campaign has another name."""
        campaign, name = self.pick(CAMPAIGNS), self.pick(NAMES)
        self._describe("meta_campaigns", CAMPAIGNS[campaign], campaign, {"name": name})
        return f"campaign {campaign} is named {name}"

    def restate_day(self) -> str:
        """An account-day is loaded again with other rows, one in five with none."""
        account = self.pick(ACCOUNTS)
        row = self.pick(self.rows(
            "select date from ops.loads where account_id = %s order by date", account
        ))  # fmt: skip
        rows = [] if self.random.random() < 0.2 else self._insights(account)
        self.restate(account, str(row["date"]), rows, currency=ACCOUNTS[account][1])
        return f"account {account}, {row['date']}: {[row['ad_id'] for row in rows]}"

    def load_day(self) -> str:
        """An account-day is loaded for the first time, or again."""
        account, day = self.pick(ACCOUNTS), str(self.day(self.random.randint(1, 200)))
        self.load(account, day, self._insights(account), currency=ACCOUNTS[account][1])
        return f"account {account}, {day} loaded"

    def add_rate(self) -> str:
        """An exchange rate that comes late, or another one for a day that has one: left out."""
        day, base = str(self.day(self.random.randint(0, 310))), self.pick(["EUR", "USD"])
        quote = "USD" if base == "EUR" else "EUR"
        self.rate(day, base, str(self.random.randint(60, 130) / 100), quote)
        return f"rate of {base} on {day}"

    def add_google_click(self) -> str:
        """Google describes a click, maybe long after it."""
        gclid = f"g{self.random.randrange(12)}"
        payload = {
            "click_view": {"gclid": gclid, "ad_group_ad": "customers/1/adGroupAds/2~3"},
            "campaign": {"id": self.pick(["77", "78"])}, "ad_group": {"id": "2"},
        }  # fmt: skip
        self.execute(
            "insert into raw.google_click_view values ('1', %s, %s, %s, now(), 'run') "
            "on conflict do nothing", self.day(5), gclid, Jsonb(payload),
        )  # fmt: skip
        return f"click {gclid}"

    def add_contact(self, brand: str | None = None) -> str:
        """A webhook learns which ad a person or a click came from."""
        brand, name = brand or self.pick(BRANDS), f"crm-p{self.random.randrange(PEOPLE)}"
        click, ad_id = f"f{self.random.randrange(12)}", self.pick([None, *ADS])
        self.execute(
            "insert into ops.contacts "
            "(brand_id, contact_id, fbclid, ad_id, first_seen_at, last_seen_at) "
            "select id, %s, %s, %s, %s, now() from ops.brands where slug = %s "
            "on conflict (brand_id, contact_id) do update set fbclid = excluded.fbclid, "
            "ad_id = excluded.ad_id, last_seen_at = now()",
            name, click, ad_id, f"{self.moment()}+00", brand,
        )  # fmt: skip
        return f"contact {name} of {brand}: {click}, ad {ad_id}"

    def add_delivery(self, brand: str | None = None) -> str:
        """A purchase's conversion is taken in."""
        row = self._purchase()
        brand = brand or (row["brand_slug"] if row else "acme")
        key = row["transaction_id"] if row else "T1"
        self.execute(
            "with event as (insert into ops.conversion_events (brand_id, event_name, event_id, "
            "event_time, action_source, event_value, currency, transaction_id, source, "
            "destinations) select id, 'Purchase', %s, now(), 'website', 100, 'USD', %s, 'app', "
            "array[slug || '-meta'] from ops.brands where slug = %s on conflict do nothing "
            "returning id, destinations) "
            "insert into ops.conversion_deliveries "
            "(event, destination, sync_status, outcome, next_attempt_at, deadline) "
            "select id, destinations[1], 'pending', null, now(), now() from event",
            self._name("e"), key, brand,
        )  # fmt: skip
        return f"conversion of {brand} {key}"

    def deliver(self) -> str:
        """A conversion reaches another state."""
        event = self.pick(self.rows(
            "select event from ops.conversion_deliveries inner join ops.conversion_events "
            "on id = event order by event_id"
        ))["event"]  # fmt: skip
        state = self.pick([("sent", "accepted"), ("dead", "rejected"), ("skipped", "no_consent")])
        self.execute(
            "update ops.conversion_deliveries set (sync_status, outcome) = (%s, %s) "
            "where event = %s", *state, event,
        )  # fmt: skip
        return f"event {event}: {state}"

    def change_setting(self) -> str:
        """Another value for a setting of the attribution, as a variable of the environment."""
        name = self.pick(SETTINGS)
        self.settings[name] = self.pick(SETTINGS[name])
        return f"{name}={self.settings[name]}"

    def change(self) -> str:
        """One change, drawn from all kinds."""
        name = self.pick(CHANGES)
        method: Callable[[], str] = getattr(self, name)
        return f"{name}: {method()}"


# What is frequent is there twice.
CHANGES = [
    "add_touch", "add_touch", "change_touch", "delete_touch", "add_purchase", "add_purchase",
    "delete_purchase", "refund", "change_amount", "change_status", "change_profile",
    "move_purchase", "change_link", "change_link", "double_key", "single_key", "describe_ad",
    "rename_campaign", "restate_day", "restate_day", "load_day", "add_rate", "add_google_click",
    "add_contact", "add_delivery", "deliver", "change_setting",
]  # fmt: skip
