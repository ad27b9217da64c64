"""The objects of an ad account: what they are, and what they are at a given moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.currencies import offset

HIDDEN = frozenset({"ARCHIVED", "DELETED"})  # left out of listings unless asked for

_EVERYWHERE = ("ACTIVE", "PAUSED", "DELETED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES")
EFFECTIVE_STATUSES: dict[str, tuple[str, ...]] = {
    "campaign": _EVERYWHERE,
    "adset": (*_EVERYWHERE, "CAMPAIGN_PAUSED"),
    "ad": (
        *_EVERYWHERE,
        "CAMPAIGN_PAUSED",
        "ADSET_PAUSED",
        "DISAPPROVED",
        "PENDING_BILLING_INFO",
        "PENDING_REVIEW",
        "PREAPPROVED",
        "IN_APPEAL",  # not in the SDK's list: such as Meta may add at any time
    ),
}


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """What to build: an account of `campaigns` x `adsets` x `ads` objects."""

    account_id: str  # digits, without "act_"
    brand: str  # slug
    name: str
    currency: str
    time_zone: str
    campaigns: int = 4
    adsets: int = 3  # per campaign
    ads: int = 4  # per ad set


@dataclass(slots=True, eq=False)
class Account:
    """An ad account; `id` is the bare number, Graph's id is `act_<id>`."""

    id: str
    brand: str
    name: str
    currency: str
    zone: ZoneInfo
    created: datetime
    campaigns: list[Campaign] = field(default_factory=list)
    kind = "account"

    @property
    def offset(self) -> int:
        """Minor units per major unit, by Meta's table."""
        return offset(self.currency)

    def local(self, now: datetime) -> datetime:
        """The moment on the account's own clock."""
        return now.astimezone(self.zone)


@dataclass(slots=True, eq=False)
class Life:
    """When an object came into being, and the one change of status in its life, if any."""

    created: datetime
    changed: datetime | None = None
    last_status: str = "ACTIVE"

    def status(self, now: datetime) -> str:
        """The object's own (configured) status."""
        return self.last_status if self.changed and self.changed <= now else "ACTIVE"

    def updated(self, now: datetime) -> datetime:
        """When the object last changed."""
        return self.changed if self.changed and self.changed <= now else self.created


@dataclass(slots=True, eq=False)
class Campaign:
    """A campaign. Budgets in minor units; None where the ad sets carry them."""

    id: str
    name: str
    account: Account
    life: Life
    start: datetime
    objective: str
    bid_strategy: str
    stop: datetime | None = None
    daily_budget: int | None = None
    lifetime_budget: int | None = None
    adsets: list[AdSet] = field(default_factory=list)
    kind = "campaign"


@dataclass(slots=True, eq=False)
class AdSet:
    """An ad set. Budgets in minor units; None where the campaign carries them."""

    id: str
    name: str
    account: Account
    campaign: Campaign
    life: Life
    start: datetime
    optimization_goal: str
    targeting: dict[str, Any]
    stop: datetime | None = None
    daily_budget: int | None = None
    lifetime_budget: int | None = None
    ads: list[Ad] = field(default_factory=list)
    kind = "adset"


@dataclass(slots=True, eq=False)
class Ad:
    """An ad; it delivers from `first_day` to `last_day` (account-local, None: without end)."""

    id: str
    name: str
    account: Account
    campaign: Campaign
    adset: AdSet
    life: Life
    creative: dict[str, str]
    daily_spend: int  # minor units on an ordinary day
    cpm: int  # minor units per thousand impressions
    price: int  # minor units of an ordinary purchase
    first_day: date
    last_day: date | None = None
    rejected: bool = False  # disapproved in review: never delivers
    held: str | None = None  # a status of the ad alone, such as IN_APPEAL
    kind = "ad"

    def delivers(self, day: date) -> bool:
        """Whether the ad runs on that account-local day."""
        return (
            not self.rejected
            and self.first_day <= day
            and (self.last_day is None or day <= self.last_day)
        )


@dataclass(frozen=True, slots=True)
class Pixel:
    """A dataset that takes conversions."""

    id: str
    name: str
    account: Account | None  # whose quota its calls count against
    kind = "pixel"


AdObject = Campaign | AdSet | Ad
Node = Account | AdObject


def ancestors(node: AdObject) -> list[AdObject]:
    """The object itself, then what it belongs to, campaign last."""
    if isinstance(node, Ad):
        return [node, node.adset, node.campaign]
    return [node, node.campaign] if isinstance(node, AdSet) else [node]


def effective_status(node: AdObject, now: datetime) -> str:
    """The status that counts, which a parent's status overrides.

    A deleted or archived parent takes its children along; a paused one pauses them.
    """
    line = ancestors(node)
    statuses = [member.life.status(now) for member in line]
    for gone in ("DELETED", "ARCHIVED"):
        if gone in statuses:
            return gone
    if isinstance(node, Ad) and node.held:
        return node.held
    if statuses[0] == "PAUSED":
        return "PAUSED"
    for member, status in zip(line[1:], statuses[1:], strict=True):
        if status == "PAUSED":
            return f"{member.kind.upper()}_PAUSED"
    return "DISAPPROVED" if isinstance(node, Ad) and node.rejected else "ACTIVE"
