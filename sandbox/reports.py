"""Insights queries: checked when they are made, answered as pieces that `rows` can render."""

from __future__ import annotations

import calendar
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sandbox import filters, rows
from sandbox.delivery import Delivery
from sandbox.errors import GraphError, bad_parameter, not_one_of
from sandbox.objects import HIDDEN, Account, Ad, Node, ancestors, effective_status
from sandbox.params import Params, each_in, fields, json_list, json_value, only
from sandbox.rows import FIELDS, WINDOWS, Piece
from sandbox.world import World

LEVELS = ("ad", "adset", "campaign", "account")
RETENTION_MONTHS = 37

_DEFAULT_FIELDS = ("account_id", "impressions", "spend")
# Still taken, but nothing comes back for them: Meta withdrew the first two on 2026-01-12.
_SILENT_WINDOWS = ("7d_view", "28d_view", "default", "dda", "incrementality")
_LAST_DAYS = {f"last_{n}d": n for n in (3, 7, 14, 28, 30, 90)}
_PRESETS = ("today", "yesterday", *_LAST_DAYS, "this_month", "maximum")
_PARAMETERS = (
    "fields",
    "level",
    "time_increment",
    "time_range",
    "time_ranges",
    "date_preset",
    "filtering",
    "action_attribution_windows",
    "action_breakdowns",
    "limit",
    "after",
    # Meta takes these and goes its own way since 2025-06-10.
    "action_report_time",
    "use_account_attribution_setting",
    "use_unified_attribution_setting",
)


class Query(NamedTuple):
    """A checked insights request; days are account-local, both included."""

    node: Node
    level: str
    fields: tuple[str, ...]
    since: date
    until: date
    increment: str  # a number of days, "monthly" or "all_days"
    filters: tuple[filters.Filter, ...]
    windows: tuple[str, ...]

    def days(self) -> list[date]:
        """All of them."""
        return [self.since + timedelta(days=n) for n in range((self.until - self.since).days + 1)]

    def show(self, piece: Piece) -> dict[str, Any]:
        """The JSON row of a piece."""
        return rows.render(piece, self.fields, self.windows)


def parse(params: Params, node: Node, now: datetime, retention_days_less: int = 0) -> Query:
    """The query, or Graph's refusal of it."""
    only(params, *_PARAMETERS)
    account = node if isinstance(node, Account) else node.account
    today = account.local(now).date()
    earliest = _months_before(today, RETENTION_MONTHS) + timedelta(days=retention_days_less)
    since, until = _time_range(params, today, earliest)
    if json_list(params, "action_breakdowns") not in ([], ["action_type"]):
        raise bad_parameter("The sandbox breaks actions down by action_type only.")
    windows = json_list(params, "action_attribution_windows")
    each_in("action_attribution_windows", windows, WINDOWS + _SILENT_WINDOWS)
    return Query(
        node=node,
        level=_level(params, node),
        fields=_fields(params),
        since=since,
        until=until,
        increment=_increment(params),
        filters=tuple(filters.parse(params, ("campaign", "adset", "ad"))),
        windows=tuple(window for window in WINDOWS if window in windows),
    )


@lru_cache(maxsize=4)  # all pages of a query, and the next query, without computing it twice
def pieces(world: World, query: Query, now: datetime, revision: int) -> list[Piece]:
    """One piece per period and object with delivery, in the order of `key`.

    `revision` is the world's: what has been restated is computed again.
    """
    account = query.node if isinstance(query.node, Account) else query.node.account
    shown = _shown(world, query, account, now)
    found = []
    for since, until in _periods(query):
        groups: dict[Node, list[Delivery]] = defaultdict(list)
        for number in range((until - since).days + 1):
            day = since + timedelta(days=number)
            for delivery in world.deliveries(account.id, day, now):
                if (node := shown.get(delivery.ad)) is not None:
                    groups[node].append(delivery)
        found += [
            Piece(since, until, node, group)
            for node, group in sorted(groups.items(), key=lambda item: item[0].id)
        ]
    return found


def key(piece: Piece) -> str:
    """Orders pieces by period, then by object id."""
    return f"{piece.since}:{piece.node.id}"


def _shown(world: World, query: Query, account: Account, now: datetime) -> dict[Ad, Node]:
    """The ads that count, each with the object whose row they count in.

    Archived and deleted objects have no row of their own unless the caller filters by their status
    or asks the object itself; in the rows of what is above them they always count.
    """
    asked = filters.asks_for_status(list(query.filters), query.level)
    shown: dict[Ad, Node] = {}
    hidden: dict[Node, bool] = {}
    for ad in world.ads[account.id]:
        line = {node.kind: node for node in ancestors(ad)}
        if query.node is not account and query.node not in line.values():
            continue
        if not all(one.accepts(ad, now) for one in query.filters):
            continue
        owner = line.get(query.level)
        if owner is None:
            shown[ad] = account
            continue
        if owner not in hidden:
            named = asked or owner is query.node
            hidden[owner] = not named and effective_status(owner, now) in HIDDEN
        if not hidden[owner]:
            shown[ad] = owner
    return shown


def _level(params: Params, node: Node) -> str:
    level = params.get("level", node.kind)
    if level not in LEVELS:
        raise not_one_of("level", LEVELS, level)
    if LEVELS.index(level) > LEVELS.index(node.kind):
        raise bad_parameter(f"Param level cannot be {level} for an object of level {node.kind}.")
    return level


def _fields(params: Params) -> tuple[str, ...]:
    asked = fields(params)
    for name, inner in asked.items():
        if name not in FIELDS or inner is not None:
            raise bad_parameter(
                f"{name} is not valid for fields param. please check "
                "https://developers.facebook.com/docs/marketing-api/reference/ads-insights/ "
                "for all valid values"
            )
    return tuple(name for name in asked or _DEFAULT_FIELDS if not name.startswith("date_"))


def _increment(params: Params) -> str:
    text = params.get("time_increment", "all_days")
    if text in ("all_days", "monthly") or (text.isdecimal() and 1 <= int(text) <= 90):
        return text
    raise bad_parameter(
        "Param time_increment must be an integer between 1 and 90, monthly or all_days."
    )


def _time_range(params: Params, today: date, earliest: date) -> tuple[date, date]:
    if "time_ranges" in params:
        if "time_range" in params:
            raise bad_parameter("Only one of time_range and time_ranges may be given.")
        raise bad_parameter("The parameter time_ranges is not supported here.")
    if "time_range" not in params:
        return _preset(params.get("date_preset", "last_30d"), today, earliest)
    value = json_value(params, "time_range")
    if not isinstance(value, dict) or set(value) != {"since", "until"}:
        raise bad_parameter("Param time_range must be an object with since and until.")
    since, until = _day(value["since"], "since"), _day(value["until"], "until")
    if since > until:
        raise bad_parameter("since must be before or equal to until in time_range.")
    if since > today:
        raise bad_parameter("The start date of the time range cannot be in the future.")
    if since < earliest:
        # Meta lists this as a separate code.
        raise GraphError(
            "(#3018) The start date of the time range cannot be beyond 37 months from the current "
            "date",
            code=3018,
        )
    return since, until


def _preset(name: str, today: date, earliest: date) -> tuple[date, date]:
    each_in("date_preset", [name], _PRESETS)
    yesterday = today - timedelta(days=1)
    if name in _LAST_DAYS:
        return today - timedelta(days=_LAST_DAYS[name]), yesterday
    return {
        "today": (today, today),
        "yesterday": (yesterday, yesterday),
        "this_month": (today.replace(day=1), today),
        "maximum": (earliest, today),
    }[name]


def _day(text: Any, name: str) -> date:
    if isinstance(text, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise bad_parameter(f"Param time_range[{name}] must be a date of the form YYYY-MM-DD.")


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _periods(query: Query) -> list[tuple[date, date]]:
    """The query's days cut by its increment, both ends included."""
    if query.increment == "all_days":
        return [(query.since, query.until)]
    end: Callable[[date], date]
    if query.increment == "monthly":
        end = lambda day: day.replace(day=calendar.monthrange(day.year, day.month)[1])  # noqa: E731
    else:
        end = lambda day: day + timedelta(days=int(query.increment) - 1)  # noqa: E731
    cut = []
    since = query.since
    while since <= query.until:
        until = min(end(since), query.until)
        cut.append((since, until))
        since = until + timedelta(days=1)
    return cut
