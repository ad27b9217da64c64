"""One ad account, from Graph into `raw`: hierarchy, insights by day, and proof that they add up.

A day is read between two readings of the account's own totals. It is
* `loaded` while it is still open in the account's time zone: no verdict yet;
* `reconciled` when the ad rows' impressions equal the account's and their spend is within the
  tolerance;
* read again when the totals moved in between (nobody is blamed), or once more, by the other way of
  asking, when they did not;
* `unreconciled` when it still differs: stored, recorded, and the task fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import psycopg
from dateutil.relativedelta import relativedelta

from include import warehouse
from include.errors import SettingsError, Unreconciled, WarehouseDown
from include.meta import hierarchy, reports, versions
from include.meta.client import Graph, Row
from include.meta.errors import MetaRefused, MetaReportFailed, MetaTransient, MetaUnknown
from include.meta.money import minor_unit
from include.meta.reports import AdReport, Ids, Memory, Plan
from include.warehouse import Connection, load
from include.warehouse.load import Fence, Run, Totals

log = logging.getLogger(__name__)

# Rows of one report run: they are read before anything of them is committed.
ROWS_OF_A_REPORT = 100_000
READS = 3
# https://developers.facebook.com/docs/marketing-api/insights/best-practices: what Meta keeps.
MONTHS_KEPT = 37

_RAW = {"campaigns": "meta_campaigns", "adsets": "meta_adsets", "ads": "meta_ads"}
_NOTHING = Totals(0, Decimal(0), 0)


@dataclass(frozen=True)
class Account:
    """An ad account of the settings.

    `tolerance` is in major units of its currency; None: one minor unit per ten ads with delivery.
    """

    account_id: str
    conn_id: str
    brand: str = ""
    name: str = ""
    lookback_days: int = 28
    reconcile: Literal["fail", "warn"] = "fail"
    tolerance: str | None = None
    attribution_windows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """Which days to load, in each account's own time zone.

    `since` and `until` (both included) win. Without them: the `days` days up to the last one that
    had ended in the account's time zone at `anchor`.
    """

    anchor: datetime
    since: date | None = None
    until: date | None = None
    days: int | None = None

    def dates(self, account: Account, zone: ZoneInfo, now: datetime) -> list[date]:
        """The days for an account, oldest first; days that have not begun there are left out."""
        today = now.astimezone(zone).date()
        last_ended = min(self.anchor, now).astimezone(zone).date() - timedelta(days=1)
        until = min(self.until or last_ended, today)
        if self.until is not None and until < self.until:
            log.warning("%s: days after %s have not begun there; left out", account.name, today)
        since = self.since or until - timedelta(days=(self.days or account.lookback_days) - 1)
        oldest = today - relativedelta(months=MONTHS_KEPT)
        if since < oldest <= until:
            log.warning(
                "%s: Meta keeps %d months; days before %s are left out",
                account.name, MONTHS_KEPT, oldest,
            )  # fmt: skip
            since = oldest
        if until < oldest:
            raise SettingsError(
                f"Nothing to load for {account.name}: Meta keeps {MONTHS_KEPT} months, back to "
                f"{oldest}, and {until} is before that."
            )
        if since > until:
            raise SettingsError(
                f"Nothing to load for {account.name}: {since} is after {until}, the last day that "
                f"could be asked for in {zone.key}. Give an earlier `since`."
            )
        return [since + timedelta(days=n) for n in range((until - since).days + 1)]


@dataclass
class Result:
    """What a load left: counts and dates only, fit for XCom."""

    account_id: str
    since: str = ""
    until: str = ""
    rows: int = 0
    calls: int = 0
    days: dict[str, int] = field(default_factory=lambda: {"loaded": 0, "reconciled": 0})
    skipped_days: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Task:
    """The Airflow task on whose behalf an account is loaded.

    Attributes:
        fence: called before each commit; raises when this try may not write any more.
        memory: survives the tries of the task.
    """

    run: Run
    fence: Fence
    memory: Memory


def extract_account(
    graph: Graph, warehouse_uri: str, account: Account, window: Window, task: Task
) -> Result:
    """Load an account's hierarchy and the window's days of insights.

    Raises:
        MetaError: Graph refused, or did not answer after several tries. Finished days stand.
        Unreconciled: some days do not add up; they are stored as such.
        WarehouseDown: the warehouse went away; a retry goes on behind the last finished day.
    """
    return _extract(graph, warehouse_uri, account, task, lambda work: work.days_of(window))


def reread_changed(
    graph: Graph, warehouse_uri: str, account: Account, window: Window, task: Task
) -> Result:
    """Compare the account's own totals of a long window with the stored ones, in one call, and
    load only the days that changed or were never reconciled.

    Raises:
        As `extract_account`.
    """
    return _extract(graph, warehouse_uri, account, task, lambda work: work.changed_days_of(window))


def _extract(
    graph: Graph,
    warehouse_uri: str,
    account: Account,
    task: Task,
    choose: Callable[[_Extraction], list[date]],
) -> Result:
    try:
        with warehouse.connect(warehouse_uri, autocommit=True) as connection:
            return _Extraction(graph, connection, account, task).load(choose)
    except psycopg.OperationalError as error:
        raise WarehouseDown(
            f"The warehouse at {warehouse.where(warehouse_uri)} went away in the middle of a load "
            f"({type(error).__name__}); finished days stand, a retry loads the rest."
        ) from error


class _Extraction:
    def __init__(self, graph: Graph, connection: Connection, account: Account, task: Task) -> None:
        self.graph, self.connection, self.account, self.task = graph, connection, account, task
        self.plan = Plan(**load.learned(connection, account.account_id))

    def load(self, choose: Callable[[_Extraction], list[date]]) -> Result:
        ending = versions.warning(self.graph.version, datetime.now(UTC).date())
        if ending:
            log.warning("%s", ending)
        self._load_hierarchy()
        days = choose(self)
        result = Result(self.account.account_id)
        if not days:
            log.info("%s: nothing changed", self.account.name)
            result.calls = self.graph.calls
            return result
        result.since, result.until = days[0].isoformat(), days[-1].isoformat()
        finished = load.finished_days(self.connection, self.account.account_id, self.task.run)
        result.skipped_days = len(finished.intersection(days))
        if result.skipped_days:
            log.info("%d days were finished by an earlier try", result.skipped_days)
        load.ensure_partitions(self.connection, days)
        known_plan = replace(self.plan)
        differing: list[str] = []
        pending = [day for day in days if day not in finished]
        while pending:
            chunk = self._chunk(pending)
            pending = pending[len(chunk) :]
            differing += self._load_days(chunk, result)
            log.info(
                "%s: %d of %d days, %d rows, %d calls, %.0f %% of the limits used",
                self.account.name, sum(result.days.values()) + result.skipped_days, len(days),
                result.rows, self.graph.calls, self.graph.usage.percent,
            )  # fmt: skip
            if self.plan != known_plan:
                load.learn(self.connection, self.account.account_id, vars(self.plan))
                known_plan = replace(self.plan)
        result.calls = self.graph.calls
        if differing:
            raise Unreconciled("; ".join(differing))
        return result

    def days_of(self, window: Window) -> list[date]:
        return window.dates(self.account, self.zone, datetime.now(UTC))

    def changed_days_of(self, window: Window) -> list[date]:
        days = self.days_of(window)
        stored = load.stored_totals(self.connection, self.account.account_id)
        now = reports.account_days(
            self.graph, self.account.account_id, days[0], days[-1], self.account.attribution_windows
        )
        changed = []
        for day in days:
            total = _totals(now[day]) if day in now else _NOTHING
            known = stored.get(day)
            if known is None or (known.spend, known.impressions) != (
                total.spend,
                total.impressions,
            ):
                changed.append(day)
        log.info("%s: %d of %d days changed", self.account.name, len(changed), len(days))
        return changed

    def _load_hierarchy(self) -> None:
        began = load.clock(self.connection)
        found = hierarchy.account(self.graph, self.account.account_id)
        self.currency = str(found["currency"])
        self.zone = ZoneInfo(str(found["timezone_name"]))
        self._objects("meta_ad_accounts", [[found]], began)
        for edge, table in _RAW.items():
            pages = hierarchy.objects(self.graph, self.account.account_id, edge)
            count = self._objects(table, pages, load.clock(self.connection))
            log.info("%s: %d %s", self.account.name, count, edge)

    def _objects(self, table: str, pages: Iterable[list[Row]], at: datetime) -> int:
        return load.upsert_objects(
            self.connection, table, self.account.account_id, pages, self.task.run, at
        )

    def _chunk(self, days: list[date]) -> list[date]:
        """The days from the first that are read and committed together: a run without a gap."""
        self.rows_per_day = max(1, load.rows_per_day(self.connection, self.account.account_id))
        span = [d for n, d in enumerate(days) if d - days[0] == timedelta(days=n)]
        rows = ROWS_OF_A_REPORT if self._by_report(len(span)) else reports.SYNC_ROWS
        return span[: max(1, min(self.plan.days, rows // self.rows_per_day))]

    def _by_report(self, days: int) -> bool:
        """Whether so many days are asked for as a report run rather than in pages."""
        return self.plan.asynchronous or self.rows_per_day * days > reports.SYNC_ROWS

    def _load_days(self, days: list[date], result: Result) -> list[str]:
        """Load days; returns a sentence for each that does not add up."""
        differing = []
        pending = days
        asynchronous: bool | None = None
        for attempt in range(1, READS + 1):
            again: list[date] = []
            for part in _contiguous(pending):
                read = self._read_somehow(part, asynchronous)
                for day in part:
                    verdict = self._verdict(day, read)
                    if (verdict == "moved" and attempt < READS) or (
                        verdict == "differs" and attempt == 1
                    ):
                        again.append(day)
                        continue
                    status = verdict if verdict in ("loaded", "reconciled") else "unreconciled"
                    self._replace(day, read, status)
                    result.rows += read.ads.get(day, _NOTHING).rows
                    result.days[status] = result.days.get(status, 0) + 1
                    if status == "unreconciled":
                        differing += self._unreconciled(day, read)
            if not again:
                break
            asynchronous = not read.asynchronous
            log.warning("%s: reading %s again: sums differ", self.account.name, _span(again))
            pending = again
        return differing

    def _read_somehow(self, days: list[date], asynchronous: bool | None) -> _Read:
        """`_read`; where the other way of asking is not to be had, the one that is."""
        try:
            return self._read(days, asynchronous)
        except (MetaRefused, MetaUnknown, MetaReportFailed) as error:
            if not asynchronous:
                raise
            log.warning("%s: no report run to be had: %s", self.account.name, error)
            return self._read(days, False)

    def _read(self, days: list[date], asynchronous: bool | None) -> _Read:
        since, until, windows = days[0], days[-1], self.account.attribution_windows
        account_id = self.account.account_id
        local_now = datetime.now(UTC)
        before = reports.account_days(self.graph, account_id, since, until, windows)
        report = AdReport(
            self.graph,
            account_id,
            windows,
            children=self._children,
            memory=self.task.memory,
            series=str(self.task.run.clear_number),
            now=lambda: load.clock(self.connection),
            plan=self.plan,
        )
        if asynchronous is None:
            asynchronous = self._by_report(len(days))
        load.stage_insights(self.connection, report.pages(since, until, asynchronous=asynchronous))
        after = reports.account_days(self.graph, account_id, since, until, windows)
        self._fetch_missing_parents()
        return _Read(
            began=report.began,
            at=local_now,
            asynchronous=asynchronous,
            before={day: _totals(row) for day, row in before.items()},
            after={day: _totals(row) for day, row in after.items()},
            rows=after,
            ads=load.staged_totals(self.connection),
        )

    def _children(self, level: str, ids: Ids | None) -> list[str]:
        table = load.PARENTS[f"{level}_id"]
        below = None if ids is None else (f"{ids.level}_id", list(ids.values))
        return load.object_ids(self.connection, self.account.account_id, table, below)

    def _fetch_missing_parents(self) -> None:
        """An ad may be in insights and on no edge any more; by id it is still to be had."""
        for column, table in load.PARENTS.items():
            ids = load.missing_parents(self.connection, self.account.account_id, column)
            if ids:
                edge = next(edge for edge, known in _RAW.items() if known == table)
                pages = hierarchy.objects_by_id(self.graph, edge, ids)
                count = self._objects(table, pages, load.clock(self.connection))
                log.info("%s: %d of %d missing %s by id", self.account.name, count, len(ids), edge)

    def _unreconciled(self, day: date, read: _Read) -> list[str]:
        """The sentence that fails the task, or (`reconcile: warn`) nothing, but for the one case
        that is never a success: spend, and not one row.
        """
        sentence = self._difference(day, read)
        ads, account = read.ads.get(day, _NOTHING), read.after.get(day, _NOTHING)
        if self.account.reconcile == "fail" or (ads.rows == 0 and account.spend > 0):
            return [sentence]
        log.warning("%s", sentence)
        return []

    def _verdict(
        self, day: date, read: _Read
    ) -> Literal["loaded", "reconciled", "moved", "differs"]:
        ended = datetime.combine(day + timedelta(days=1), time(), self.zone)
        if read.at < ended:
            return "loaded"
        ads = read.ads.get(day, _NOTHING)
        account = read.after.get(day, _NOTHING)
        if (
            ads.impressions == account.impressions
            and abs(ads.spend - account.spend) <= self._tolerance(ads.rows)
            and (ads.rows > 0 or account.spend == 0)
        ):
            return "reconciled"
        return "differs" if read.before.get(day, _NOTHING) == account else "moved"

    def _tolerance(self, ads: int) -> Decimal:
        if self.account.tolerance is not None:
            return Decimal(self.account.tolerance)
        return minor_unit(self.currency) * (ads // 10)

    def _replace(self, day: date, read: _Read, status: str) -> None:
        load.replace_day(
            self.connection,
            self.account.account_id,
            day,
            ads=read.ads.get(day, _NOTHING),
            account=read.after.get(day, _NOTHING),
            account_row=read.rows.get(day),
            status=status,
            run=self.task.run,
            read_began=read.began,
            fence=self.task.fence,
        )

    def _difference(self, day: date, read: _Read) -> str:
        ads, account = read.ads.get(day, _NOTHING), read.after.get(day, _NOTHING)
        return (
            f"{self.account.name} ({self.account.account_id}) on {day}: {ads.rows} ad rows have "
            f"spend {ads.spend} {self.currency} and {ads.impressions} impressions, the account "
            f"itself {account.spend} {self.currency} and {account.impressions}"
        )


@dataclass
class _Read:
    """One reading of some days: the account's totals before and after the ad rows."""

    began: datetime
    at: datetime
    asynchronous: bool
    before: dict[date, Totals]
    after: dict[date, Totals]
    rows: dict[date, Row]
    ads: dict[date, Totals]


def _totals(row: Row) -> Totals:
    try:
        return Totals(0, Decimal(row.get("spend", "0")), int(row.get("impressions", "0")))
    except (ArithmeticError, ValueError, TypeError):
        raise MetaTransient("Meta's account totals are not numbers") from None


def _contiguous(days: list[date]) -> list[list[date]]:
    parts: list[list[date]] = []
    for day in days:
        if parts and day - parts[-1][-1] == timedelta(days=1):
            parts[-1].append(day)
        else:
            parts.append([day])
    return parts


def _span(days: list[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} … {days[-1]} ({len(days)} days)"
