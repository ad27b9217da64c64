"""Insights rows as Graph writes them: every metric a string, an absent metric no key at all."""

from collections.abc import Callable, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from sandbox.currencies import major, offset
from sandbox.delivery import Delivery
from sandbox.objects import Account, Ad, AdSet, Campaign, Node

WINDOWS = ("1d_click", "7d_click", "28d_click", "1d_view", "1d_ev")


class Piece(NamedTuple):
    """What one row is made of: an object, a period (both days included), and its deliveries."""

    since: date
    until: date
    node: Node
    deliveries: list[Delivery]


class _Sums(NamedTuple):
    currency: str
    offset: int
    spend: int
    impressions: int
    reach: int
    clicks: int
    link_clicks: int


def render(piece: Piece, fields: Sequence[str], windows: Sequence[str] = ()) -> dict[str, Any]:
    """The row with those fields, and `date_start` and `date_stop`, which are always there.

    It shares its lists with other rows: it is to be read, not changed.
    """
    fields, windows = tuple(fields), tuple(windows)
    row = _names(piece.node, piece.deliveries[0].ad.account, fields).copy()
    sums = _sum(piece)
    for name in fields:
        if row[name] is not None:
            continue
        if name in ("actions", "action_values"):
            value: Any = _actions(piece, windows, values=name == "action_values")
        else:
            value = _METRICS[name](sums) if name in _METRICS else None
        if value:
            row[name] = value
        else:
            del row[name]
    row["date_start"] = piece.since.isoformat()
    row["date_stop"] = piece.until.isoformat()
    return row


@lru_cache(maxsize=16_384)  # of the ads of a few queries: the names are the same on every day
def _names(node: Node, account: Account, fields: tuple[str, ...]) -> dict[str, Any]:
    """A row of which only what does not depend on the figures is filled in."""
    return {name: _NAMES[name](node, account) if name in _NAMES else None for name in fields}


def _sum(piece: Piece) -> _Sums:
    rows = piece.deliveries
    currency = rows[0].ad.account.currency
    if len(rows) == 1:
        one = rows[0]
        figures = one.spend, one.impressions, one.reach, one.clicks, one.link_clicks
        return _Sums(currency, offset(currency), *figures)
    reaches = [row.reach for row in rows]
    return _Sums(
        currency,
        offset(currency),
        sum(row.spend for row in rows),
        sum(row.impressions for row in rows),
        # People who saw several ads, or came back on several days, count once.
        max(max(reaches), sum(reaches) * 4 // 5),
        sum(row.clicks for row in rows),
        sum(row.link_clicks for row in rows),
    )


def _actions(piece: Piece, windows: tuple[str, ...], *, values: bool) -> list[dict[str, str]]:
    """The list of action types; with `values`, what they are worth in major units.

    `value` counts seven days after a click and one after a view, as an account does by default.
    """
    rows = piece.deliveries
    currency = rows[0].ad.account.currency if values else None
    if len(rows) == 1:
        return _of_one(_counts(rows[0], values=values), rows[0].omni, currency, windows)
    counted: dict[str, tuple[int, ...]] = {}
    for row in rows:
        for kind, numbers in _by_kind(_counts(row, values=values)).items():
            have = counted.get(kind)
            counted[kind] = numbers if have is None else tuple(map(int.__add__, have, numbers))
    return _listed(counted, any(row.omni for row in rows), currency, windows)


class _Counts(NamedTuple):
    """What the action lists of one ad's day follow from."""

    purchases: int
    link_clicks: int
    landing_page_views: int
    leads: int
    price: int  # of each purchase; 1 where they are only counted


def _counts(row: Delivery, *, values: bool) -> _Counts:
    if values:
        return _Counts(row.purchases, 0, 0, 0, row.price if row.purchases else 0)
    return _Counts(row.purchases, row.link_clicks, row.landing_page_views, row.leads, 1)


@lru_cache(maxsize=16_384)  # most ads do a handful of things on a day, the same ones as others
def _of_one(
    counts: _Counts, omni: bool, currency: str | None, windows: tuple[str, ...]
) -> list[dict[str, str]]:
    return _listed(_by_kind(counts), omni, currency, windows)


def _by_kind(counts: _Counts) -> dict[str, tuple[int, ...]]:
    """The numbers of each kind that there is: in all, then in each of WINDOWS.

    Conversions come late, clicks at once.
    """
    by_kind: dict[str, tuple[int, ...]] = {}
    if counts.purchases:
        by_kind["purchase"] = _spread(counts.purchases, counts.price)
    for kind, count in (
        ("link_click", counts.link_clicks),
        ("landing_page_view", counts.landing_page_views),
    ):
        if count:
            by_kind[kind] = count, count, count, count, 0, 0
    if counts.leads:
        by_kind["lead"] = _spread(counts.leads, 1)
    return by_kind


def _spread(count: int, unit: int) -> tuple[int, ...]:
    viewed = count // 4
    week = count - viewed
    return tuple(n * unit for n in (count, week - week // 3, week, count, viewed, 0))


def _listed(
    counted: dict[str, tuple[int, ...]],
    omni: bool,
    currency: str | None,
    windows: tuple[str, ...],
) -> list[dict[str, str]]:
    for kind, twins in _TWINS.items():
        if kind in counted:
            counted.update(dict.fromkeys(twins, counted[kind]))
    if omni and "purchase" in counted:
        counted["omni_purchase"] = counted["purchase"]
    items = []
    for kind, numbers in counted.items():
        texts = [str(n) if currency is None else major(n, currency) for n in numbers]
        item = {"action_type": kind, "value": texts[0]}
        for window in windows:
            place = 1 + WINDOWS.index(window)
            if numbers[place]:
                item[window] = texts[place]
        items.append(item)
    return items


# The pixel's own names for the same events.
_TWINS = {
    "lead": ("offsite_conversion.fb_pixel_lead",),
    "purchase": ("offsite_conversion.fb_pixel_purchase",),
}


def _campaign(node: Node) -> Campaign | None:
    if isinstance(node, Campaign):
        return node
    return node.campaign if isinstance(node, AdSet | Ad) else None


def _adset(node: Node) -> AdSet | None:
    if isinstance(node, AdSet):
        return node
    return node.adset if isinstance(node, Ad) else None


def _ad(node: Node) -> Ad | None:
    return node if isinstance(node, Ad) else None


_Namer = Callable[[Node, Account], str | None]


def _attribute(find: Callable[[Node], Campaign | AdSet | Ad | None], name: str) -> _Namer:
    def read(node: Node, account: Account) -> str | None:
        owner = find(node)
        return None if owner is None else str(getattr(owner, name))

    return read


def _ratio(part: float, whole: float) -> str | None:
    return f"{part / whole:.6f}" if whole else None


def _spend(sums: _Sums, per: float) -> str | None:
    return _ratio(sums.spend / sums.offset, per)


def _nothing(_: _Sums) -> None:
    """Fields that Meta knows and of which this world has none."""


_NAMES: dict[str, _Namer] = {
    "account_id": lambda node, account: account.id,
    "account_name": lambda node, account: account.name,
    "account_currency": lambda node, account: account.currency,
    "campaign_id": _attribute(_campaign, "id"),
    "campaign_name": _attribute(_campaign, "name"),
    "objective": _attribute(_campaign, "objective"),
    "buying_type": lambda node, account: "AUCTION" if _campaign(node) else None,
    "adset_id": _attribute(_adset, "id"),
    "adset_name": _attribute(_adset, "name"),
    "optimization_goal": _attribute(_adset, "optimization_goal"),
    "ad_id": _attribute(_ad, "id"),
    "ad_name": _attribute(_ad, "name"),
}
_METRICS: dict[str, Callable[[_Sums], str | None]] = {
    "impressions": lambda s: str(s.impressions),
    "spend": lambda s: major(s.spend, s.currency),
    "reach": lambda s: str(s.reach) if s.reach else None,
    "frequency": lambda s: _ratio(s.impressions, s.reach),
    "clicks": lambda s: str(s.clicks),
    "inline_link_clicks": lambda s: str(s.link_clicks) if s.link_clicks else None,
    "inline_link_click_ctr": lambda s: _ratio(s.link_clicks * 100, s.impressions),
    "cost_per_inline_link_click": lambda s: _spend(s, s.link_clicks),
    "ctr": lambda s: _ratio(s.clicks * 100, s.impressions),
    "cpc": lambda s: _spend(s, s.clicks),
    "cpm": lambda s: _spend(s, s.impressions / 1000),
    "cpp": lambda s: _spend(s, s.reach / 1000),
    "outbound_clicks": _nothing,
    "unique_clicks": _nothing,
    "conversions": _nothing,
    "conversion_values": _nothing,
    "video_play_actions": _nothing,
}
METRICS_AND_NAMES = (*_NAMES, *_METRICS, "actions", "action_values")
FIELDS = frozenset((*METRICS_AND_NAMES, "date_start", "date_stop"))
