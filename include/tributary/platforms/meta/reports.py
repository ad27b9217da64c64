"""Daily insights: one row per ad and day, and the account's own totals to compare them with.

Dates are days of the ad account's time zone, both ends included. Metrics are strings in Graph's
answer, spend in major units of the account's currency; a metric that does not apply is absent.

Small queries are read synchronously in pages; large ones as asynchronous report runs, whose id is
remembered, so that a retry or another worker goes on with the same run. What Graph finds too much
is asked for in smaller pages; what fails in one of the two ways is asked for in the other, and what
fails in both is split: dates, then ids (campaigns, ad sets, ads), then fields. A query that only
times out or fails without a reason is split by dates alone. The status filter is part of every
query for ads: without it the ads that are archived or deleted by now leave the rows, and their
spend with them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any, Literal, NamedTuple

from tributary.errors import StillRunning
from tributary.platforms.meta.client import Graph, Row
from tributary.platforms.meta.errors import (
    MetaCursorExpired,
    MetaError,
    MetaForbidden,
    MetaReportFailed,
    MetaReportHangs,
    MetaTooMuchData,
    MetaTransient,
    redacted,
    said_to_people,
)
from tributary.platforms.meta.hierarchy import AD_STATUSES, leave_out, refuse_status
from tributary.platforms.meta.plan import Plan
from tributary.platforms.source import Memory, Page

log = logging.getLogger(__name__)

PAGE_SIZES = (500, 200, 50, 25)
# Rows of one synchronous query; above, Graph computes the same on each page again and times out.
SYNC_ROWS = 25_000
# Polls without any progress before a report counts as hanging: about 20 minutes at the growing
# intervals below, more where the task leaves its worker slot in between.
PATIENCE = 50
_FIRST_POLL, _GROWTH, _LONGEST_POLL = 1.0, 1.5, 30.0
_SYNC_TIMED_OUT = {(100, 1504018), (2, 1504038)}

KEY_FIELDS = ("account_id", "campaign_id", "adset_id", "ad_id", "date_start", "date_stop")
AD_FIELDS = (
    "account_name", "account_currency", "campaign_name", "adset_name", "ad_name",
    "impressions", "reach", "frequency", "clicks", "inline_link_clicks", "spend",
    "actions", "action_values",
)  # fmt: skip
ACCOUNT_FIELDS = ("account_currency", "impressions", "clicks", "spend", "actions", "action_values")
_ACCOUNT_KEY = ("account_id", "date_start", "date_stop")
_ACTIONS = ("actions", "action_values")
# No mart needs these: they are left out with a warning where Graph does not give them.
_OPTIONAL = ("account_name", "reach", "frequency")
_RUN_FIELDS = (
    "id,async_status,async_percent_completion,error_code,error_subcode,error_user_title,"
    "error_user_msg"
)

# The two ways of asking.
PAGES, REPORT = "pages", "report"

Level = Literal["ad", "account"]


class Ids(NamedTuple):
    """A query's restriction: a level of the hierarchy and the ids on it."""

    level: str
    values: tuple[str, ...]


# Names the objects of a level ("campaign", "adset", "ad") below those of an `Ids`, or all of them.
Children = Callable[[str, Ids | None], list[str]]


@dataclass(frozen=True)
class _Query:
    level: Level
    since: date
    until: date
    page_size: int
    asynchronous: bool
    fields: tuple[str, ...]
    ids: Ids | None = None
    other_way_failed: bool = False

    @property
    def limit(self) -> int:
        """Rows of a page: a row a day is all that an account has."""
        days = (self.until - self.since).days + 1
        return min(days, PAGE_SIZES[0]) if self.level == "account" else self.page_size

    def __str__(self) -> str:
        how = "report" if self.asynchronous else f"pages of {self.limit}"
        which = f", {len(self.ids.values)} {self.ids.level}s" if self.ids else ""
        return (
            f"{self.level}s, {self.since} … {self.until}{which}, {len(self.fields)} fields ({how})"
        )


@dataclass
class Insights:
    """Reads insights of one account.

    Args:
        windows: attribution windows to break actions down by; Graph's default only, when empty.
        children: names the objects that a query can be split by.
        memory: where the ids of report runs are kept.
        series: report runs of another series (say, before the task was cleared) are not gone on
            with.
        longest_wait: seconds to wait for a report run before `StillRunning`; None: until it ends.
        now: the clock by which reads are ordered.
        plan: what is known to work; changed where something else was found to.
        timed_out: level and number of days of queries that timed out in this load.

    Attributes:
        began: when the oldest figures were computed; earlier than this object's own beginning
            where a report run of an earlier try was read.
        left_out: day → what is wrong with rows of that day that are no ad's row of one day.
    """

    graph: Graph
    account_id: str
    windows: Sequence[str]
    children: Children
    memory: Memory
    series: str
    now: Callable[[], datetime]
    plan: Plan = field(default_factory=Plan)
    timed_out: set[tuple[str, int]] = field(default_factory=set)
    longest_wait: float | None = None
    began: datetime = field(init=False)
    left_out: dict[date, list[str]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.began = self.now()

    def rows(self, since: date, until: date, way: str = PAGES) -> Iterator[Page]:
        """All rows of some days, of all ads whatever their status.

        Raises:
            StillRunning: a report run takes long; it is remembered.
            MetaError: what could not be helped by splitting.
        """
        fields = self.plan.given("ad insights", AD_FIELDS)
        query = _Query("ad", since, until, self.plan.page_size, way == REPORT, fields)
        for number, rows in self._pages(query):
            yield Page(number, None if rows is None else self._checked(rows, query))

    def totals(self, since: date, until: date) -> dict[date, Row]:
        """The account's own totals by day; a day without delivery is absent.

        Raises:
            MetaError: as `rows`.
        """
        found: dict[date, dict[int, Row]] = {}
        fields = self.plan.given("account insights", ACCOUNT_FIELDS)
        first = since
        while first <= until:
            last = min(until, first + timedelta(days=self.plan.account_days - 1))
            query = _Query("account", first, last, 0, False, fields)
            for number, rows in self._pages(query):
                if rows is None:
                    for of_day in found.values():
                        of_day.pop(number, None)
                for row in rows or ():
                    if _within(row.get("date_start"), query):
                        day = date.fromisoformat(row["date_start"])
                        found.setdefault(day, {})[number] = row
            first = last + timedelta(days=1)
        merged = {}
        for day, of_day in found.items():
            whole: Row = {}
            for part in of_day.values():
                whole |= part
            if whole:
                merged[day] = whole
        return merged

    def _checked(self, rows: list[Row], query: _Query) -> list[Row]:
        """The rows that are an ad's row of one of the days, and of which the actions are numbers.

        What is left out is named.
        """
        since, until = query.since.isoformat(), query.until.isoformat()
        checked = []
        for row in rows:
            day, ad_id = row.get("date_start"), row.get("ad_id")
            if not (
                isinstance(day, str)
                and since <= day <= until
                and len(day) == len(since)
                and day == row.get("date_stop")
                and isinstance(ad_id, str)
                and ad_id
            ):
                named = ad_id if str(ad_id).isdigit() else redacted(repr(ad_id))
                wrong = (
                    f"a row of ad {named} from {redacted(repr(day))} to "
                    f"{redacted(repr(row.get('date_stop')))} is no ad's row of one of the days "
                    "asked for"
                )
            elif (name := self._wrong_actions(row)) is not None:
                wrong = f"the row of ad {ad_id} has no number in {name} {redacted(str(row[name]))}"
            else:
                checked.append(row)
                continue
            log.warning("%s: %s; it is left out", query, wrong)
            if _within(day, query):
                self.left_out.setdefault(date.fromisoformat(str(day)), []).append(wrong)
        return checked

    def _wrong_actions(self, row: Row) -> str | None:
        """The list of actions in which a value is no number; None when all are.

        Of two entries of one action type the marts count the first, and a warning says so: we ask
        for no breakdown that separates them, and where Meta cannot break an action down, it
        repeats the same figure in each entry, so that their sum would double it
        (https://developers.facebook.com/docs/marketing-api/insights/breakdowns).
        """
        for name in _ACTIONS:
            entries = row.get(name)
            if not entries:
                continue
            try:
                values = {one["action_type"]: float(one["value"]) for one in entries}
                total = sum(values.values())
                for window in self.windows:
                    total += sum(float(one.get(window, 0)) for one in entries)
                if not isfinite(total):
                    return name
            except (ValueError, TypeError, KeyError, AttributeError):
                return name
            if len(values) < len(entries):
                log.warning(
                    "ad %s on %s has several entries of one action type in %s, and the marts count "
                    "the first: %s",
                    row["ad_id"], row["date_start"], name, entries,
                )  # fmt: skip
        return None

    def _pages(self, query: _Query) -> Generator[Page, None, bool]:
        """Returns whether the query was answered as it was asked."""
        for attempt in itertools.count(1):
            number = next(self._numbers)
            try:
                for rows in self._rows(query):
                    yield Page(number, rows)
            except MetaError as error:
                yield Page(number, None)
                if isinstance(error, MetaCursorExpired) and attempt == 1:
                    log.warning("%s: the cursor expired; from the first page again", query)
                    continue
                parts = self._otherwise(query, error)
                if not parts:
                    raise
                log.warning("%s failed: %s; asking for %s", query, error, parts[0])
                answered = []
                for part in parts:
                    answered.append((yield from self._pages(part)))
                self._learn(query, parts, answered[0], error)
                return False
            return True
        raise AssertionError("unreachable")

    def _rows(self, query: _Query) -> Iterator[list[Row]]:
        if not query.asynchronous:
            yield from self.graph.pages(f"act_{self.account_id}/insights", **self._asked(query))
            return
        key = f"report {self._digest(query)}"
        run = self._finished_run(query, key)
        try:
            yield from self.graph.pages(f"{run}/insights", limit=query.limit)
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
        keys = KEY_FIELDS if query.level == "ad" else _ACCOUNT_KEY
        return {
            "level": query.level,
            "fields": ",".join((*keys, *query.fields)),
            "time_increment": 1,
            "time_range": {"since": query.since.isoformat(), "until": query.until.isoformat()},
            "action_attribution_windows": list(self.windows) or None,
            "filtering": self._filtering(query),
            "limit": query.limit,
        }

    def _filtering(self, query: _Query) -> list[dict[str, Any]] | None:
        if query.level == "account":
            return None
        filters: dict[str, list[str]] = {
            "ad.effective_status": self.plan.statuses("ad insights", AD_STATUSES)
        }
        if query.ids:
            filters[f"{query.ids.level}.id"] = list(query.ids.values)
        return [
            {"field": name, "operator": "IN", "value": values} for name, values in filters.items()
        ]

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
                self._await(run, key, known)
            except (MetaReportFailed, MetaForbidden) as error:
                self.memory.delete(key)
                if attempt == 2:
                    raise _as_failed(error) from error
                log.warning("%s: %s; starting the report again", query, error)
            else:
                return run
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _await(self, run: str, key: str, known: dict[str, Any]) -> None:
        """Wait for a report run to complete.

        Args:
            known: what is remembered of it; how often it was seen not to move, too, when the task
                leaves it for a while.
        """
        interval, waited, unseen = _FIRST_POLL, 0.0, 0
        seen, unmoved = known.get("progress"), known.get("unmoved", 0)
        while True:
            try:
                state = self.graph.get(run, fields=_RUN_FIELDS)
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
                why = said_to_people(state)
                raise MetaReportFailed(
                    f"Meta's report ended as {status}" + (f": {why}" if why else ""),
                    code=state.get("error_code"),
                    subcode=state.get("error_subcode"),
                )
            progress = [status, state.get("async_percent_completion")]
            unmoved, seen = (unmoved + 1 if progress == seen else 0), progress
            if unmoved >= PATIENCE:
                raise MetaReportHangs(f"Meta's report does not progress beyond {progress[1]} %")
            if self.longest_wait is not None and waited >= self.longest_wait:
                self.memory.set(key, {**known, "progress": seen, "unmoved": unmoved})
                raise StillRunning(f"Meta still computes the report {run}: {progress[1]} %.")
            self.graph.log_each_minute("report run %s: %s, %s %%", run, *progress)
            self.graph.wait(interval)
            waited += interval
            interval = min(interval * _GROWTH, _LONGEST_POLL)

    def _otherwise(self, query: _Query, error: MetaError) -> list[_Query]:
        """What to ask for in place of a query that failed; nothing when nothing else is left."""
        if error.named in self.plan.statuses("ad insights", AD_STATUSES):
            refuse_status(self.plan, "ad insights", error)
            return [query]
        if isinstance(error, MetaReportHangs):
            self.plan.reports = False  # each further one would cost 40 minutes of waiting
        timed_out = (error.code, error.subcode) in _SYNC_TIMED_OUT
        other_way = []
        if not query.other_way_failed and (query.asynchronous or self.plan.reports):
            other_way = [replace(query, asynchronous=not query.asynchronous, other_way_failed=True)]
        if other_way and (timed_out or isinstance(error, MetaReportFailed)):
            return other_way
        if isinstance(error, MetaTooMuchData) and not timed_out:
            smaller = [size for size in PAGE_SIZES if size < query.page_size]
            if smaller:
                return [replace(query, page_size=smaller[0])]
        if isinstance(error, MetaTooMuchData | MetaReportFailed | MetaCursorExpired):
            return self._parts(query) or other_way
        if error.may_be_size:
            return self._days_halved(query) or other_way
        return self._without_refused_fields(query, error) if error.may_be_field else []

    def _parts(self, query: _Query) -> list[_Query]:
        """The next rung of the ladder."""
        query = replace(
            query,
            asynchronous=self.plan.reports and (query.asynchronous or query.other_way_failed),
            other_way_failed=False,
        )
        days = self._days_halved(query)
        if days:
            return days
        for ids in self._finer_ids(query.ids) if query.level == "ad" else ():
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

    @staticmethod
    def _days_halved(query: _Query) -> list[_Query]:
        if query.since == query.until:
            return []
        middle = query.since + (query.until - query.since) / 2
        return [replace(query, until=middle), replace(query, since=middle + timedelta(days=1))]

    def _without_refused_fields(self, query: _Query, error: MetaError) -> list[_Query]:
        """The query without those of its optional fields that Graph refuses by themselves."""
        optional = [name for name in query.fields if name in _OPTIONAL]
        others = tuple(name for name in query.fields if name not in _OPTIONAL)
        if not optional or self._refusal(query, others) is not None:
            return []
        refused = {name: self._refusal(query, (name,)) for name in optional}
        for name, refusal in refused.items():
            if refusal is not None:
                leave_out(self.plan, f"{query.level} insights", name, refusal)
        fields = tuple(name for name in query.fields if refused.get(name) is None)
        return [replace(query, fields=fields)] if fields != query.fields else []

    def _refusal(self, query: _Query, fields: tuple[str, ...]) -> MetaError | None:
        """Why one row of one day with these fields is not to be had; None when it is."""
        asked = replace(query, until=query.since, page_size=1, fields=fields)
        try:
            self.graph.get(f"act_{self.account_id}/insights", **self._asked(asked))
        except MetaError as error:
            if not error.may_be_field:
                raise
            return error
        return None

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

    def _learn(self, failed: _Query, parts: list[_Query], answered: bool, error: MetaError) -> None:
        """Begin next time where this time succeeded in the end.

        Args:
            answered: whether the first of the parts was answered as it was asked.
        """
        part, plan = parts[0], self.plan
        if part.until < failed.until:
            size = (failed.level, (failed.until - failed.since).days + 1)
            if error.may_be_size and size not in self.timed_out:
                self.timed_out.add(size)  # an outage may be the cause: only the second time counts
                return
            days = (part.until - part.since).days + 1
            if part.level == "account":
                plan.account_days = min(plan.account_days, days)
            else:
                plan.days = min(plan.days, days)
        elif part.level == "account" or part.ids != failed.ids:
            return
        elif part.page_size < failed.page_size and answered:
            plan.page_size = min(plan.page_size, part.page_size)
        elif part.asynchronous and not failed.asynchronous:
            plan.asynchronous = True
        elif failed.asynchronous and not part.asynchronous and answered:
            plan.asynchronous = plan.reports = False


def _as_failed(error: MetaError) -> MetaReportFailed:
    if isinstance(error, MetaReportFailed):
        return error
    return MetaReportFailed("Meta's report cannot be found", code=error.code, subcode=error.subcode)


def _within(day: object, query: _Query) -> bool:
    since, until = query.since.isoformat(), query.until.isoformat()
    return isinstance(day, str) and len(day) == len(since) and since <= day <= until
