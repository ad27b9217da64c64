"""A Meta ad account, as `tributary.platforms.source` says what a source is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

from tributary.errors import TributaryError
from tributary.platforms.meta import hierarchy, reports, versions
from tributary.platforms.meta.client import Graph, Row
from tributary.platforms.meta.errors import (
    MetaForbidden,
    MetaRefused,
    MetaReportFailed,
    MetaTooMuchData,
    MetaTooOld,
    MetaTransient,
    MetaUnknown,
)
from tributary.platforms.meta.money import minor_unit
from tributary.platforms.meta.plan import Plan
from tributary.platforms.meta.reports import PAGES, REPORT, Ids, Insights
from tributary.platforms.source import Context, Described, Figures

log = logging.getLogger(__name__)

# Rows of one report run: they are read before anything of them is committed.
ROWS_OF_A_REPORT = 100_000


class MetaSource:
    """Reads one ad account; what was found to work for it is kept in its plan."""

    platform: ClassVar[str] = "meta"
    title: ClassVar[str] = "Meta"
    # https://developers.facebook.com/docs/marketing-api/insights/best-practices
    months_kept: ClassVar[int] = 37
    objects_optional: ClassVar[tuple[type[TributaryError], ...]] = (
        MetaForbidden, MetaRefused, MetaTooMuchData, MetaTransient, MetaUnknown,
    )  # fmt: skip
    too_old: ClassVar[type[TributaryError]] = MetaTooOld

    def __init__(self, graph: Graph, context: Context) -> None:
        self._graph, self._context = graph, context
        self._account = context.account
        self._plan = Plan.of(context.learned)
        self._objects = hierarchy.Reader(graph, self._account.account_id, self._plan)
        self._timed_out: set[tuple[str, int]] = set()

    @property
    def calls(self) -> int:
        """Requests so far."""
        return self._graph.calls

    @property
    def percent_used(self) -> float:
        """Of the limit that is nearest."""
        return self._graph.usage.percent

    @property
    def learned(self) -> Row:
        """The plan, for the next runs."""
        return deepcopy(vars(self._plan))

    @property
    def unreadable(self) -> Collection[str]:
        """Ids of objects that Meta names in insights and does not give."""
        return self._plan.unreadable

    def warnings(self) -> Iterator[str]:
        """That the version of the API ends."""
        ending = versions.warning(self._graph.version, datetime.now(UTC).date())
        if ending:
            yield ending

    def account(self, stored: Callable[[str], Row | None]) -> Described:
        """The account object; where it comes without currency or time zone, the one stored before.

        Raises:
            MetaTransient: it is incomplete, and none is stored.
            MetaError: as `Graph.get`.
        """
        found = hierarchy.account(self._graph, self._account.account_id, self._plan)
        missing = [name for name in ("currency", "timezone_name") if not found.get(name)]
        if missing:
            what = f"Meta describes the ad account {self._account.name} without {missing[0]}"
            known = stored(str(found.get("id")))
            if not known or not all(known.get(name) for name in missing):
                raise MetaTransient(
                    f"{what}, and its days cannot be loaded without that: check the account in "
                    "Meta's Business settings"
                )
            log.warning("%s; what it said before is kept", what)
            found = known
        return Described(
            found, str(found["currency"]), str(found["timezone_name"]), is_new=not missing
        )

    def objects(self, kind: str, after: str | None) -> Iterator[tuple[list[Row], str | None]]:
        """Pages of campaigns, adsets or ads, archived and deleted ones included."""
        return self._objects.pages(kind, after)

    def objects_by_id(self, kind: str, ids: list[str]) -> Iterator[list[Row]]:
        """An ad may be in insights and on no edge any more; by id Graph still gives it."""
        return self._objects.by_id(kind, ids)

    def unreadable_fields(self, row: Row) -> list[str]:
        """Fields that are null in the marts, with their values."""
        return hierarchy.unreadable_fields(row)

    def days_at_once(self, days: int, rows_per_day: int) -> int:
        """As many as one query may have, by its days and by its rows."""
        way = self.way(days, rows_per_day)
        rows = ROWS_OF_A_REPORT if way == REPORT else reports.SYNC_ROWS
        return max(1, min(self._plan.days, rows // rows_per_day))

    def way(self, days: int, rows_per_day: int) -> str:
        """Small queries are read in pages, large ones as report runs."""
        large = self._plan.asynchronous or rows_per_day * days > reports.SYNC_ROWS
        return REPORT if large and self._plan.reports else PAGES

    def way_after(self, way: str) -> str:
        """The other way."""
        return REPORT if way == PAGES and self._plan.reports else PAGES

    def way_instead(self, way: str, error: TributaryError) -> str | None:
        """In pages, where no report run came about."""
        if way == REPORT and isinstance(error, MetaRefused | MetaUnknown | MetaReportFailed):
            return PAGES
        return None

    def reading(self) -> Insights:
        """Begin a reading of insights."""
        return Insights(
            self._graph,
            self._account.account_id,
            self._account.attribution_windows,
            children=self._children,
            memory=self._context.memory,
            series=self._context.series,
            longest_wait=self._context.longest_wait,
            now=self._context.now,
            plan=self._plan,
            timed_out=self._timed_out,
        )

    def _children(self, level: str, ids: Ids | None) -> list[str]:
        below = None if ids is None else (f"{ids.level}_id", list(ids.values))
        return self._context.known_ids(f"{level}_id", below)

    def find_what_rows_lack(self) -> None:
        """Ads of a status that we do not ask for are missing in the rows: find such statuses."""
        try:
            found = hierarchy.statuses_in_use(self._graph, self._account.account_id)
        except self.objects_optional as error:
            log.warning("%s: the statuses of its ads are not known: %s", self._account.name, error)
            return
        more = sorted(found.difference(hierarchy.AD_STATUSES, self._plan.more_statuses))
        if more:
            log.warning("%s: ads have statuses that are new to us: %s", self._account.name, more)
            self._plan.more_statuses.extend(more)

    def figures(self, row: Row) -> Figures | None:
        """The figures of an account's own row; None where they are no numbers."""
        try:
            spend = Decimal(str(row.get("spend", "0")))
            impressions = Decimal(str(row.get("impressions", "0")))
        except ArithmeticError:
            return None
        if not spend.is_finite() or not impressions.is_finite():
            return None
        return Figures(spend, int(impressions))

    def comparable(self, row: Row | None) -> Row:
        """An account's own row, such that equal figures are equal: numbers may be texts, and lists
        of actions have no order.
        """
        figures: Row = {}
        for name, value in (row or {}).items():
            if name in ("actions", "action_values"):
                entries = value if isinstance(value, list) else [value]
                figures[name] = sorted(
                    repr(sorted(_numbers(one).items()) if isinstance(one, dict) else one)
                    for one in entries
                )
            elif name in ("spend", "impressions", "clicks"):
                figures[name] = _number(value)
        return figures

    def tolerance(self, currency: str, rows: int) -> Decimal:
        """One minor unit per ten ads: Meta rounds each ad's spend by itself."""
        return minor_unit(currency) * (rows // 10)


def _numbers(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if name == "action_type" else _number(value) for name, value in entry.items()
    }


def _number(value: object) -> object:
    try:
        return Decimal(str(value)).normalize()
    except ArithmeticError:
        return value
