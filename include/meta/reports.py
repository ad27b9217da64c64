"""Daily insights: one row per ad and day, and the account's own totals to hold them against.

Dates are days of the ad account's time zone, both ends included. Metrics are strings in Graph's
answer, spend in major units of the account's currency; a metric that does not apply is absent.

Small queries are read synchronously in pages; large ones as asynchronous report runs, whose id is
remembered, so that a retry or another worker goes on with the same run. What Graph finds too much,
and a report that fails twice, is split: page size, then dates, then ids (campaigns, ad sets, ads),
then fields. The status filter stays on at every level: without it the ads that are archived or
deleted by now leave the rows, and their spend with them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from include.meta.client import Graph, Row
from include.meta.errors import (
    MetaCursorExpired,
    MetaError,
    MetaForbidden,
    MetaReportFailed,
    MetaReportHangs,
    MetaTooMuchData,
    MetaTransient,
)
from include.meta.hierarchy import AD_STATUSES

log = logging.getLogger(__name__)

PAGE_SIZES = (500, 200, 50, 25)
# Rows of one synchronous query; above, Graph computes the same on each page again and times out.
SYNC_ROWS = 25_000
# Polls without any progress before a report counts as hanging: about 20 minutes at the growing
# intervals below.
PATIENCE = 50
_FIRST_POLL, _GROWTH, _LONGEST_POLL = 1.0, 1.5, 30.0
_SYNC_TIMED_OUT = {(100, 1504018), (2, 1504038)}

KEY_FIELDS = ("account_id", "campaign_id", "adset_id", "ad_id", "date_start", "date_stop")
AD_FIELDS = (
    "account_name", "account_currency", "campaign_name", "adset_name", "ad_name",
    "impressions", "reach", "frequency", "clicks", "inline_link_clicks", "spend",
    "actions", "action_values",
)  # fmt: skip
_ACCOUNT_FIELDS = (
    "account_id,account_currency,impressions,clicks,spend,actions,action_values,"
    "date_start,date_stop"
)
_ANY_STATUS = {"field": "ad.effective_status", "operator": "IN", "value": list(AD_STATUSES)}


class Memory(Protocol):
    """What outlives a try of the task: the ids of report runs that are under way.

    Airflow's task state store is one.
    """

    def get(self, key: str) -> Any: ...
    def set(self, key: str, value: Any) -> None: ...
    def delete(self, key: str) -> None: ...


class Notes(dict[str, Any]):
    """A memory that lasts as long as the process."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class Plan:
    """What was found to work for an account; kept from run to run."""

    page_size: int = PAGE_SIZES[0]
    days: int = 92
    asynchronous: bool = False


class Page(NamedTuple):
    """Rows of one query, or (None) the word that all its rows so far are void."""

    query: int
    rows: list[Row] | None


class Ids(NamedTuple):
    """A query's restriction: a level of the hierarchy and the ids on it."""

    level: str
    values: tuple[str, ...]


# Names the objects of a level ("campaign", "adset", "ad") below those of an `Ids`, or all of them.
Children = Callable[[str, Ids | None], list[str]]


@dataclass(frozen=True)
class _Query:
    since: date
    until: date
    page_size: int
    asynchronous: bool
    fields: tuple[str, ...] = AD_FIELDS
    ids: Ids | None = None
    hung: bool = False

    def __str__(self) -> str:
        how = "report" if self.asynchronous else f"pages of {self.page_size}"
        which = f", {len(self.ids.values)} {self.ids.level}s" if self.ids else ""
        return f"{self.since} … {self.until}{which}, {len(self.fields)} fields ({how})"


@dataclass
class AdReport:
    """Reads ad insights of one account.

    Args:
        windows: attribution windows to break actions down by; Graph's default only, when empty.
        children: names the objects that a query can be split by.
        memory: where the ids of report runs are kept.
        series: report runs of another series (say, before the task was cleared) are not gone on
            with.
        now: the clock by which reads are ordered.
        plan: what is known to work; changed where something else was found to.

    Attributes:
        began: when the oldest figures were computed; earlier than this object's own beginning
            where a report run of an earlier try was read.
    """

    graph: Graph
    account_id: str
    windows: Sequence[str]
    children: Children
    memory: Memory
    series: str
    now: Callable[[], datetime]
    plan: Plan = field(default_factory=Plan)
    began: datetime = field(init=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.began = self.now()

    def pages(self, since: date, until: date, *, asynchronous: bool = False) -> Iterator[Page]:
        """All rows of some days, of all ads whatever their status.

        Raises:
            MetaError: what could not be helped by splitting.
        """
        yield from self._pages(_Query(since, until, self.plan.page_size, asynchronous))

    def _pages(self, query: _Query) -> Iterator[Page]:
        for attempt in itertools.count(1):
            number = next(self._numbers)
            try:
                for rows in self._rows(query):
                    yield Page(number, [_checked(row, query) for row in rows])
            except (MetaTooMuchData, MetaReportFailed) as error:
                yield Page(number, None)
                parts = self._smaller(query, error)
                if not parts:
                    raise
                log.warning("%s failed: %s; asking for %s", query, error, parts[0])
                for part in parts:
                    yield from self._pages(part)
                self._learn(query, parts)
            except MetaCursorExpired:
                yield Page(number, None)
                if attempt == 2:
                    raise
                log.warning("%s: the cursor expired; from the first page again", query)
                continue
            return

    def _rows(self, query: _Query) -> Iterator[list[Row]]:
        if not query.asynchronous:
            yield from self.graph.pages(f"act_{self.account_id}/insights", **self._asked(query))
            return
        key = f"report {self._digest(query)}"
        run = self._finished_run(query, key)
        try:
            yield from self.graph.pages(f"{run}/insights", limit=query.page_size)
        except MetaForbidden as error:
            self.memory.delete(key)
            raise _as_failed(error) from error
        self.memory.delete(key)

    def _digest(self, query: _Query) -> str:
        """A short name of a report, the same in every process, however large its pages are."""
        asked = {**self._asked(query), "limit": None}
        named = json.dumps([self.account_id, self.series, asked], sort_keys=True)
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    def _asked(self, query: _Query) -> dict[str, Any]:
        filtering = [_ANY_STATUS]
        if query.ids:
            filtering.append(
                {
                    "field": f"{query.ids.level}.id",
                    "operator": "IN",
                    "value": list(query.ids.values),
                }
            )
        return {
            "level": "ad",
            "fields": ",".join((*KEY_FIELDS, *query.fields)),
            "time_increment": 1,
            "time_range": {"since": query.since.isoformat(), "until": query.until.isoformat()},
            "action_attribution_windows": list(self.windows) or None,
            "filtering": filtering,
            "limit": query.page_size,
        }

    def _finished_run(self, query: _Query, key: str) -> str:
        """The id of a report run that has completed; one that fails is started once more."""
        for attempt in (1, 2):
            known = self.memory.get(key)
            if known:
                log.info("%s: going on with the report run of an earlier try", query)
            else:
                known = {"at": self.now().isoformat()}
                try:
                    made = self.graph.post(f"act_{self.account_id}/insights", **self._asked(query))
                except MetaTooMuchData as error:  # the size of its pages is not what is too much
                    raise MetaReportFailed(
                        f"Meta would not begin the report: {error}",
                        code=error.code,
                        subcode=error.subcode,
                    ) from error
                if not made.get("report_run_id"):
                    raise MetaTransient("Meta began a report without telling its id")
                known["run"] = str(made["report_run_id"])
                self.memory.set(key, known)
            run: str = known["run"]
            self.began = min(self.began, datetime.fromisoformat(known["at"]))
            try:
                self._await(run)
            except (MetaReportFailed, MetaForbidden) as error:
                self.memory.delete(key)
                if attempt == 2:
                    raise _as_failed(error) from error
                log.warning("%s: %s; starting the report again", query, error)
            else:
                return run
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _await(self, run: str) -> None:
        interval, seen, unmoved, unseen = _FIRST_POLL, None, 0, 0
        while True:
            try:
                state = self.graph.get(
                    run, fields="id,async_status,async_percent_completion,error_code,error_subcode"
                )
            except MetaForbidden:
                # Right after its creation a run may not be visible yet.
                unseen += 1
                if unseen > 3:
                    raise
                state = {}
            status = state.get("async_status")
            if status == "Job Completed":
                return
            if status in ("Job Failed", "Job Skipped"):
                raise MetaReportFailed(
                    f"Meta's report ended as {status}",
                    code=state.get("error_code"),
                    subcode=state.get("error_subcode"),
                )
            progress = (status, state.get("async_percent_completion"))
            unmoved, seen = (unmoved + 1 if progress == seen else 0), progress
            if unmoved >= PATIENCE:
                raise MetaReportHangs(f"Meta's report hangs at {progress[1]} %")
            self.graph.wait(interval)
            interval = min(interval * _GROWTH, _LONGEST_POLL)

    def _smaller(self, query: _Query, error: MetaError) -> list[_Query]:
        """The next rung of the ladder; none when nothing is left to split.

        A report that hangs is split once only: each further rung would cost an hour of waiting.
        """
        if isinstance(error, MetaReportHangs):
            if query.hung:
                return []
            query = replace(query, hung=True)
        timed_out = (error.code, error.subcode) in _SYNC_TIMED_OUT
        if timed_out and not query.asynchronous:
            return [replace(query, asynchronous=True)]
        smaller_pages = [size for size in PAGE_SIZES if size < query.page_size]
        if isinstance(error, MetaTooMuchData) and not timed_out and smaller_pages:
            return [replace(query, page_size=smaller_pages[0])]
        if query.since < query.until:
            middle = query.since + (query.until - query.since) / 2
            return [
                replace(query, until=middle),
                replace(query, since=middle + timedelta(days=1)),
            ]
        for ids in self._finer_ids(query.ids):
            half = (len(ids.values) + 1) // 2
            parts = [ids.values[:half], ids.values[half:]]
            return [replace(query, ids=Ids(ids.level, part)) for part in parts if part]
        if len(query.fields) > 1:
            half = len(query.fields) // 2
            return [
                replace(query, fields=query.fields[:half]),
                replace(query, fields=query.fields[half:]),
            ]
        return []

    def _finer_ids(self, ids: Ids | None) -> Iterator[Ids]:
        """The ids to halve: the query's own while there are several, else those a level below."""
        if ids and len(ids.values) > 1:
            yield ids
            return
        levels = ("campaign", "adset", "ad")
        for level in levels[levels.index(ids.level) + 1 if ids else 0 :]:
            below = self.children(level, ids)
            if len(below) > 1:
                yield Ids(level, tuple(below))
                return

    def _learn(self, failed: _Query, parts: list[_Query]) -> None:
        """Begin next time where this time succeeded in the end."""
        part = parts[0]
        if part.page_size < failed.page_size:
            self.plan.page_size = min(self.plan.page_size, part.page_size)
        elif part.asynchronous and not failed.asynchronous:
            self.plan.asynchronous = True
        elif part.until < failed.until:
            self.plan.days = min(self.plan.days, (part.until - part.since).days + 1)


def _as_failed(error: MetaError) -> MetaReportFailed:
    if isinstance(error, MetaReportFailed):
        return error
    return MetaReportFailed("Meta's report cannot be found", code=error.code, subcode=error.subcode)


def _checked(row: Row, query: _Query) -> Row:
    day = row.get("date_start")
    if not row.get("ad_id") or day != row.get("date_stop") or not _within(day, query):
        raise MetaTransient("Meta answered with an insights row that was not asked for")
    return row


def account_days(
    graph: Graph, account_id: str, since: date, until: date, windows: Sequence[str] = ()
) -> dict[date, Row]:
    """The account's own totals by day; a day without delivery is absent."""
    pages = graph.pages(
        f"act_{account_id}/insights",
        least=PAGE_SIZES[-1],
        level="account",
        fields=_ACCOUNT_FIELDS,
        time_increment=1,
        time_range={"since": since.isoformat(), "until": until.isoformat()},
        action_attribution_windows=list(windows) or None,
        limit=PAGE_SIZES[0],
    )
    rows = [row for page in pages for row in page]
    return {
        date.fromisoformat(row["date_start"]): row
        for row in rows
        if isinstance(row.get("date_start"), str)
        and since.isoformat() <= row["date_start"] <= until.isoformat()
    }


def _within(day: object, query: _Query) -> bool:
    return isinstance(day, str) and query.since.isoformat() <= day <= query.until.isoformat()
