"""Insights rows as Graph writes them: every metric a string, an absent metric no key at all."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

from include.sandbox.currencies import major
from include.sandbox.delivery import Delivery
from include.sandbox.objects import Account, Ad, AdSet, Campaign, Node

WINDOWS = ("1d_click", "7d_click", "28d_click", "1d_view", "1d_ev")


class Piece(NamedTuple):
    """What one row is made of: an object, a period (both days included), and its deliveries."""

    since: date
    until: date
    node: Node
    deliveries: list[Delivery]


class _Sums(NamedTuple):
    piece: Piece
    account: Account
    spend: int
    impressions: int
    reach: int
    clicks: int
    link_clicks: int


def render(piece: Piece, fields: Iterable[str], windows: Sequence[str] = ()) -> dict[str, Any]:
    """The row with those fields, and `date_start` and `date_stop`, which are always there."""
    sums = _sum(piece)
    row: dict[str, Any] = {}
    for name in fields:
        if name in ("actions", "action_values"):
            value: Any = _actions(piece, windows, values=name == "action_values")
        else:
            value = _PLAIN[name](sums)
        if value:
            row[name] = value
    row["date_start"] = piece.since.isoformat()
    row["date_stop"] = piece.until.isoformat()
    return row


def _sum(piece: Piece) -> _Sums:
    rows = piece.deliveries
    account = rows[0].ad.account
    if len(rows) == 1:
        one = rows[0]
        return _Sums(
            piece, account, one.spend, one.impressions, one.reach, one.clicks, one.link_clicks
        )
    reaches = [row.reach for row in rows]
    return _Sums(
        piece,
        account,
        sum(row.spend for row in rows),
        sum(row.impressions for row in rows),
        # People who saw several ads, or came back on several days, count once.
        max(max(reaches), sum(reaches) * 4 // 5),
        sum(row.clicks for row in rows),
        sum(row.link_clicks for row in rows),
    )


def _actions(piece: Piece, windows: Sequence[str], *, values: bool) -> list[dict[str, str]]:
    """The list of action types; with `values`, what they are worth in major units.

    `value` counts seven days after a click and one after a view, as an account does by default.
    """
    counted: dict[str, list[int]] = {}
    for row in piece.deliveries:
        for kind, count in _counts(row, values=values):
            unit = row.price if values else 1
            numbers = [number * unit for number in _by_window(kind, count)]
            have = counted.get(kind)
            counted[kind] = numbers if have is None else [*map(int.__add__, have, numbers)]
    for kind, twins in _TWINS.items():
        if kind in counted:
            counted.update(dict.fromkeys(twins, counted[kind]))
    if "purchase" in counted and any(row.omni for row in piece.deliveries):
        counted["omni_purchase"] = counted["purchase"]
    currency = piece.deliveries[0].ad.account.currency
    shown: Callable[[int], str] = (lambda number: major(number, currency)) if values else str
    items = []
    for kind, numbers in counted.items():
        item = {"action_type": kind, "value": shown(numbers[0])}
        for window in windows:
            number = numbers[1 + WINDOWS.index(window)]
            if number:
                item[window] = shown(number)
        items.append(item)
    return items


# The pixel's own names for the same events.
_TWINS = {
    "lead": ("offsite_conversion.fb_pixel_lead",),
    "purchase": ("offsite_conversion.fb_pixel_purchase",),
}


def _counts(row: Delivery, *, values: bool) -> list[tuple[str, int]]:
    counts = [("purchase", row.purchases)]
    if not values:
        counts += [
            ("link_click", row.link_clicks),
            ("landing_page_view", row.landing_page_views),
            ("lead", row.leads),
        ]
    return [(kind, count) for kind, count in counts if count]


def _by_window(kind: str, count: int) -> list[int]:
    """The count, then its share in each of WINDOWS. Conversions come late, clicks at once."""
    if kind in ("link_click", "landing_page_view"):
        return [count, count, count, count, 0, 0]
    viewed = count // 4
    week = count - viewed
    return [count, week - week // 3, week, count, viewed, 0]


def _campaign(sums: _Sums) -> Campaign | None:
    node = sums.piece.node
    if isinstance(node, Campaign):
        return node
    return node.campaign if isinstance(node, AdSet | Ad) else None


def _adset(sums: _Sums) -> AdSet | None:
    node = sums.piece.node
    if isinstance(node, AdSet):
        return node
    return node.adset if isinstance(node, Ad) else None


def _ad(sums: _Sums) -> Ad | None:
    node = sums.piece.node
    return node if isinstance(node, Ad) else None


def _attribute(
    find: Callable[[_Sums], Campaign | AdSet | Ad | None], name: str
) -> Callable[[_Sums], str | None]:
    def read(sums: _Sums) -> str | None:
        node = find(sums)
        return None if node is None else str(getattr(node, name))

    return read


def _ratio(part: float, whole: float) -> str | None:
    return f"{part / whole:.6f}" if whole else None


def _spend(sums: _Sums, per: float) -> str | None:
    return _ratio(sums.spend / sums.account.offset, per)


def _nothing(_: _Sums) -> None:
    """Fields that Meta knows and of which this world has none."""


_PLAIN: dict[str, Callable[[_Sums], str | None]] = {
    "account_id": lambda s: s.account.id,
    "account_name": lambda s: s.account.name,
    "account_currency": lambda s: s.account.currency,
    "campaign_id": _attribute(_campaign, "id"),
    "campaign_name": _attribute(_campaign, "name"),
    "objective": _attribute(_campaign, "objective"),
    "buying_type": lambda s: "AUCTION" if _campaign(s) else None,
    "adset_id": _attribute(_adset, "id"),
    "adset_name": _attribute(_adset, "name"),
    "optimization_goal": _attribute(_adset, "optimization_goal"),
    "ad_id": _attribute(_ad, "id"),
    "ad_name": _attribute(_ad, "name"),
    "impressions": lambda s: str(s.impressions),
    "spend": lambda s: major(s.spend, s.account.currency),
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
METRICS_AND_NAMES = (*_PLAIN, "actions", "action_values")
FIELDS = frozenset((*METRICS_AND_NAMES, "date_start", "date_stop"))
