"""The deterministic world: accounts and their objects, and what every ad delivered on every day.

Nothing is stored: a day's figures follow from (seed, ad, date), so the past never changes, unless
`restate` says so, and the world goes on for as long as the clock does.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from sandbox.catalogue import build_account
from sandbox.clock import Clock
from sandbox.delivery import Delivery, full_day, part_of
from sandbox.objects import Account, AccountSpec, Ad, AdObject, Node, ancestors
from sandbox.restate import Restatement
from sandbox.rows import METRICS_AND_NAMES, Piece, render

__all__ = ["BRANDS", "DEFAULT_ACCOUNTS", "AccountSpec", "Brand", "Clock", "DayTotal", "World"]

_STEP_SECONDS = 300
_DAYS_KEPT = 128  # account-days held in memory; a day of 5,000 ads takes about 2 MB


class Brand(NamedTuple):
    """An advertiser."""

    slug: str
    name: str
    currency: str
    time_zone: str


class DayTotal(NamedTuple):
    """An account's own figures of one day; money in major units of its currency."""

    spend: Decimal
    impressions: int
    clicks: int
    purchases: int
    purchase_value: Decimal


BRANDS = (
    Brand("acme", "Acme Courses", "USD", "America/New_York"),
    Brand("lumen", "Lumen Skincare", "EUR", "Europe/Berlin"),
)
DEFAULT_ACCOUNTS = (
    AccountSpec("1000000001", "acme", "Acme US", "USD", "America/Los_Angeles", campaigns=8),
    AccountSpec("1000000002", "acme", "Acme Indonesia", "IDR", "Asia/Jakarta", campaigns=6),
    AccountSpec("1000000003", "lumen", "Lumen Europe", "EUR", "Europe/Berlin", campaigns=7),
)


class World:
    """Everything there is to know; data begins on `start` (account-local).

    `days` is the stretch over which launches, pauses and deletions are spread: what is still
    running after it runs without end. The objects in `hidden_from_edges` are in no listing, though
    they answer to their ids and have their rows in insights; `hide` changes which.
    """

    def __init__(
        self,
        start: date,
        days: int = 120,
        seed: int = 7,
        accounts: Sequence[AccountSpec] = DEFAULT_ACCOUNTS,
        hidden_from_edges: Collection[str] = (),
    ) -> None:
        self.start, self.days, self.seed = start, days, seed
        self.revision = 0  # how often the past has been restated
        self._restated: defaultdict[str, list[Restatement]] = defaultdict(list)
        self.accounts = {
            spec.account_id: build_account(spec, start, days, seed) for spec in accounts
        }
        self.ads: dict[str, list[Ad]] = {}
        self.objects: dict[str, AdObject] = {}
        for account in self.accounts.values():
            ads = [ad for c in account.campaigns for adset in c.adsets for ad in adset.ads]
            self.ads[account.id] = sorted(ads, key=lambda ad: ad.id)
            for campaign in account.campaigns:
                self._register(campaign, *campaign.adsets)
            self._register(*ads)
        self._full_day = lru_cache(maxsize=_DAYS_KEPT)(self._compute_day)
        self.hide(hidden_from_edges)

    def hide(self, ids: Collection[str]) -> None:
        """Leave these objects, and no others, out of every listing."""
        if not isinstance(ids, Collection) or isinstance(ids, str):
            raise ValueError("ids must be a list")
        if strangers := set(ids) - self.objects.keys():
            raise ValueError(f"no such objects: {', '.join(sorted(strangers))}")
        self.hidden_from_edges = frozenset(ids)

    def full_day(self, account_id: str, day: date) -> list[Delivery]:
        """What the account's ads will have delivered when that day has ended, by ad id."""
        rows = self._full_day(account_id, day)
        for change in self._restated.get(account_id, ()):
            rows = change.retell(day, rows)
        return rows

    def restate(self, account_id: str, change: Restatement) -> None:
        """From now on the account's days are like this, on top of what was restated before."""
        known = {ad.id for ad in self.ads[account_id]}
        if strangers := ((change.ads or frozenset()) | change.vanish) - known:
            raise ValueError(f"not ads of account {account_id}: {', '.join(sorted(strangers))}")
        if change.percent <= -100:
            raise ValueError("percent must be above -100")
        self._restated[account_id].append(change)
        self.revision += 1

    def forget_restatements(self) -> None:
        """The past is again what it was at first."""
        self._restated.clear()
        self.revision += 1

    def deliveries(self, account_id: str, day: date, now: datetime) -> list[Delivery]:
        """What they have delivered on that day until now: nothing of the future."""
        account, now = self.accounts[account_id], known_at(now)
        today = account.local(now).date()
        if day != today:
            return self.full_day(account_id, day) if day < today else []
        elapsed, total = _progress(account, now)
        parts = (part_of(whole, elapsed, total) for whole in self.full_day(account_id, day))
        return [part for part in parts if part]

    def insight_rows(
        self, account_id: str, since: date, until: date, now: datetime
    ) -> list[dict[str, Any]]:
        """One row per day and ad as Graph shows them, deleted and archived ads included."""
        return [
            render(Piece(day, day, delivery.ad, [delivery]), METRICS_AND_NAMES)
            for day in _days(since, until)
            for delivery in self.deliveries(account_id, day, now)
        ]

    def account_totals(
        self, account_id: str, since: date, until: date, now: datetime
    ) -> dict[date, DayTotal]:
        """The account's own totals; a day without delivery is absent."""
        scale = self.accounts[account_id].offset
        totals = {}
        for day in _days(since, until):
            if rows := self.deliveries(account_id, day, now):
                totals[day] = DayTotal(
                    spend=Decimal(sum(row.spend for row in rows)) / scale,
                    impressions=sum(row.impressions for row in rows),
                    clicks=sum(row.clicks for row in rows),
                    purchases=sum(row.purchases for row in rows),
                    purchase_value=Decimal(sum(row.purchases * row.price for row in rows)) / scale,
                )
        return totals

    def spent(self, node: Node, since: date, until: date, now: datetime) -> int:
        """What an account or an object has spent, in minor units."""
        account = node if isinstance(node, Account) else node.account
        return sum(
            delivery.spend
            for day in _days(since, until)
            for delivery in self.deliveries(account.id, day, now)
            if node is account or node in ancestors(delivery.ad)
        )

    def _compute_day(self, account_id: str, day: date) -> list[Delivery]:
        return [full_day(ad, day, self.seed) for ad in self.ads[account_id] if ad.delivers(day)]

    def _register(self, *nodes: AdObject) -> None:
        for node in nodes:
            if node.id in self.objects:
                raise ValueError(f"id {node.id} was drawn twice: choose another seed")
            self.objects[node.id] = node


def known_at(now: datetime) -> datetime:
    """The moment up to which figures are known: they move in steps, as they do at Meta."""
    return datetime.fromtimestamp(int(now.timestamp()) // _STEP_SECONDS * _STEP_SECONDS, UTC)


def _days(since: date, until: date) -> Iterator[date]:
    for number in range((until - since).days + 1):
        yield since + timedelta(days=number)


def _progress(account: Account, now: datetime) -> tuple[int, int]:
    """Seconds gone and seconds in all of the account's day, which has 23 to 25 hours."""
    today = account.local(now).date()
    begin = datetime.combine(today, time(), account.zone).timestamp()
    end = datetime.combine(today + timedelta(days=1), time(), account.zone).timestamp()
    return int(now.timestamp() - begin), int(end - begin)
