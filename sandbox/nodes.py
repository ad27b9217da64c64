"""Single objects as Graph writes them: the fields asked for, nested ones too, and no nulls."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Any

from sandbox.errors import no_such_field
from sandbox.objects import Account, AdObject, AdSet, Campaign, Node, Pixel, effective_status
from sandbox.params import Fields
from sandbox.world import World

NODE_TYPES = {
    "account": "AdAccount",
    "campaign": "Campaign",
    "adset": "AdSet",
    "ad": "Ad",
    "pixel": "AdsPixel",
}

Reader = Callable[[Any, World, datetime], Any]


def show(node: Node | Pixel, fields: Fields, world: World, now: datetime) -> dict[str, Any]:
    """The object with those fields, and `id`, which is always there."""
    return _show(node, NODE_TYPES[node.kind], fields or {"id": None}, world, now)


def _show(node: Any, node_type: str, fields: Fields, world: World, now: datetime) -> dict[str, Any]:
    readers = _READERS[node_type]
    shown: dict[str, Any] = {}
    for name, inner in fields.items():
        if name not in readers:
            if name in _known_fields(node_type):
                continue  # Graph has it; the objects of this world do not
            raise no_such_field(name, node_type)
        value = readers[name](node, world, now)
        if name in _OBJECT_FIELDS:
            value = _show(value, _OBJECT_FIELDS[name], inner or {"id": None}, world, now)
        elif inner is not None:
            raise no_such_field(next(iter(inner)), name)
        if value is not None:
            shown[name] = value
    shown.setdefault("id", readers["id"](node, world, now))
    return shown


@cache
def _known_fields(node_type: str) -> frozenset[str]:
    """Every field of a node type, as the SDK that is generated from Graph lists them."""
    module = import_module(f"facebook_business.adobjects.{node_type.lower()}")
    fields = vars(getattr(module, node_type).Field)
    return frozenset(v for k, v in fields.items() if not k.startswith("_") and isinstance(v, str))


def graph_id(node: Node) -> str:
    """The id in a path and in the `id` field: accounts carry a prefix."""
    return f"act_{node.id}" if isinstance(node, Account) else node.id


def _stamp(moment: datetime | None, node: Node) -> str | None:
    """Meta's form, "2026-01-02T03:04:05-0800", on the account's clock."""
    if moment is None:
        return None
    account = node if isinstance(node, Account) else node.account
    return account.local(moment).strftime("%Y-%m-%dT%H:%M:%S%z")


def _minor(budget: int | None) -> str | None:
    return None if budget is None else str(budget)


def _budget_remaining(node: Campaign | AdSet, world: World, now: datetime) -> str:
    """Of today for a daily budget, of all time for one over the lifetime; "0" without a budget."""
    budget = node.daily_budget or node.lifetime_budget or 0
    today = node.account.local(now).date()
    since = today if node.daily_budget else node.start.date()
    spent = world.spent(node, since, today, now) if budget else 0
    return str(max(0, budget - spent))


def _utc_offset(account: Account, _: World, now: datetime) -> float:
    offset = account.local(now).utcoffset()
    return offset.total_seconds() / 3600 if offset else 0.0


def _item(name: str) -> Reader:
    return lambda creative, w, now: creative[name]


_ACCOUNT: dict[str, Reader] = {
    "id": lambda a, w, now: graph_id(a),
    "account_id": lambda a, w, now: a.id,
    "name": lambda a, w, now: a.name,
    "currency": lambda a, w, now: a.currency,
    "timezone_name": lambda a, w, now: a.zone.key,
    "timezone_offset_hours_utc": _utc_offset,
    "account_status": lambda a, w, now: 1,
    "disable_reason": lambda a, w, now: 0,
    "amount_spent": lambda a, w, now: str(w.spent(a, w.start, a.local(now).date(), now)),
    "balance": lambda a, w, now: "0",
    "spend_cap": lambda a, w, now: "0",
    "created_time": lambda a, w, now: _stamp(a.created, a),
}
_SHARED: dict[str, Reader] = {
    "id": lambda n, w, now: n.id,
    "account_id": lambda n, w, now: n.account.id,
    "name": lambda n, w, now: n.name,
    "status": lambda n, w, now: n.life.status(now),
    "configured_status": lambda n, w, now: n.life.status(now),
    "effective_status": lambda n, w, now: effective_status(n, now),
    "created_time": lambda n, w, now: _stamp(n.life.created, n),
    "updated_time": lambda n, w, now: _stamp(n.life.updated(now), n),
}
_BUDGETED: dict[str, Reader] = {
    "start_time": lambda n, w, now: _stamp(n.start, n),
    "daily_budget": lambda n, w, now: _minor(n.daily_budget),
    "lifetime_budget": lambda n, w, now: _minor(n.lifetime_budget),
    "budget_remaining": _budget_remaining,
}
_IN_CAMPAIGN: dict[str, Reader] = {
    "campaign_id": lambda n, w, now: n.campaign.id,
    "campaign": lambda n, w, now: n.campaign,
    "bid_strategy": lambda n, w, now: n.campaign.bid_strategy,
}
_READERS: Mapping[str, Mapping[str, Reader]] = {
    "AdAccount": _ACCOUNT,
    "Campaign": {
        **_SHARED,
        **_BUDGETED,
        "objective": lambda n, w, now: n.objective,
        "buying_type": lambda n, w, now: "AUCTION",
        "bid_strategy": lambda n, w, now: n.bid_strategy,
        "special_ad_categories": lambda n, w, now: [],
        "stop_time": lambda n, w, now: _stamp(n.stop, n),
    },
    "AdSet": {
        **_SHARED,
        **_BUDGETED,
        **_IN_CAMPAIGN,
        "optimization_goal": lambda n, w, now: n.optimization_goal,
        "billing_event": lambda n, w, now: "IMPRESSIONS",
        "targeting": lambda n, w, now: n.targeting,
        "end_time": lambda n, w, now: _stamp(n.stop, n),
    },
    "Ad": {
        **_SHARED,
        **{name: _IN_CAMPAIGN[name] for name in ("campaign_id", "campaign")},
        "adset_id": lambda n, w, now: n.adset.id,
        "adset": lambda n, w, now: n.adset,
        "creative": lambda n, w, now: n.creative,
    },
    "AdCreative": {
        name: _item(name)
        for name in ("id", "name", "title", "body", "object_type", "call_to_action_type")
    },
    "AdsPixel": {"id": lambda p, w, now: p.id, "name": lambda p, w, now: p.name},
}
_OBJECT_FIELDS = {"creative": "AdCreative", "campaign": "Campaign", "adset": "AdSet"}


def children(node: Node, kind: str) -> list[AdObject] | None:
    """All objects of a kind below an object; None if such objects are not below it."""
    kinds = list(NODE_TYPES)
    if kinds.index(kind) <= kinds.index(node.kind):
        return None
    level: list[Node] = [node]
    while level and level[0].kind != kind:
        level = [child for parent in level for child in _below(parent)]
    return [child for child in level if not isinstance(child, Account)]


def _below(node: Node) -> Sequence[AdObject]:
    if isinstance(node, Account):
        return node.campaigns
    if isinstance(node, Campaign):
        return node.adsets
    return node.ads if isinstance(node, AdSet) else []
