"""One ad account, from Graph into `raw`: hierarchy, insights by day, and proof that they add up.

Spend comes first: what Graph does not give of the hierarchy fails the task in the end, when the
days are stored.

A day is read between two readings of the account's own totals. It is
* `loaded` while it is still open in the account's time zone: no verdict yet;
* `reconciled` when the ad rows' impressions equal the account's and their spend is within the
  tolerance;
* read again when the totals moved in between (nobody is blamed), or once more, by the other way of
  asking, when they did not;
* `unreconciled` when it still differs: stored, recorded, and the task fails.

A day that had spend and is empty now at both levels stays as it is stored, and the task fails,
until Meta has given this answer for three days.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import psycopg
from dateutil.relativedelta import relativedelta

from tributary import warehouse
from tributary.errors import DaysVanished, SettingsError, Unreconciled, WarehouseDown
from tributary.platforms.meta import hierarchy, reports, versions
from tributary.platforms.meta.client import Graph, Row
from tributary.platforms.meta.errors import (
    MetaError,
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
from tributary.platforms.meta.reports import Ids, Insights, Memory
from tributary.warehouse import Connection, load
from tributary.warehouse.load import Fence, Run, Totals

log = logging.getLogger(__name__)

# Rows of one report run: they are read before anything of them is committed.
ROWS_OF_A_REPORT = 100_000
READS = 3
# https://developers.facebook.com/docs/marketing-api/insights/best-practices: what Meta keeps.
MONTHS_KEPT = 37
# By how many days Meta's own count of these months may differ from ours.
_DAYS_TOO_OLD = 3

_RAW = {"campaigns": "meta_campaigns", "adsets": "meta_adsets", "ads": "meta_ads"}
# What fails in these ways fails the task in the end, and the days are loaded all the same.
_DAYS_CAN_DO_WITHOUT = (MetaForbidden, MetaRefused, MetaTooMuchData, MetaTransient, MetaUnknown)
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
        DaysVanished: some days had spend and are empty now; they are kept as they were.
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
        self.plan = Plan.of(load.learned(connection, account.account_id))
        self.known_plan = deepcopy(self.plan)
        self.objects = hierarchy.Reader(graph, account.account_id, self.plan)
        self.troubles: list[MetaError] = []
        self.differing: list[str] = []
        self.vanished: list[str] = []
        self.asked_for_statuses = False
        self.days_too_old = 0
        self.timed_out: set[tuple[str, int]] = set()
        self.hierarchy_key = f"hierarchy {task.run.clear_number}"

    def load(self, choose: Callable[[_Extraction], list[date]]) -> Result:
        ending = versions.warning(self.graph.version, datetime.now(UTC).date())
        if ending:
            log.warning("%s", ending)
        self._load_account()
        self._load_hierarchy()
        self._learn()
        days = choose(self)
        result = Result(self.account.account_id)
        if days:
            self._load_all(days, result)
        else:
            log.info("%s: nothing changed", self.account.name)
        self._learn()
        result.calls = self.graph.calls
        self._raise_what_failed()
        self.task.memory.delete(self.hierarchy_key)
        return result

    def _raise_what_failed(self) -> None:
        if self.differing:
            raise Unreconciled("; ".join(self.differing + self.vanished))
        if self.vanished:
            raise DaysVanished("; ".join(self.vanished))
        if self.troubles:
            raise self.troubles[0]

    def _load_all(self, days: list[date], result: Result) -> None:
        result.since, result.until = days[0].isoformat(), days[-1].isoformat()
        finished = load.finished_days(self.connection, self.account.account_id, self.task.run)
        result.skipped_days = len(finished.intersection(days))
        if result.skipped_days:
            log.info("%d days were finished by an earlier try", result.skipped_days)
        load.ensure_partitions(self.connection, days)
        pending = [day for day in days if day not in finished]
        while pending:
            chunk = self._chunk(pending)
            try:
                self._load_days(chunk, result)
            except MetaTooOld as error:
                pending = self._without_oldest(pending, error)
                continue
            pending = pending[len(chunk) :]
            log.info(
                "%s: %d of %d days, %d rows, %d calls, %.0f %% of the limits used",
                self.account.name, sum(result.days.values()) + result.skipped_days, len(days),
                result.rows, self.graph.calls, self.graph.usage.percent,
            )  # fmt: skip
            self._learn()

    def _without_oldest(self, days: list[date], error: MetaTooOld) -> list[date]:
        """The days but the first, where Meta's 37 months end a little later than ours.

        Raises:
            MetaTooOld: the error itself, when it was the only day, or one of too many.
        """
        self.days_too_old += 1
        if len(days) == 1 or self.days_too_old > _DAYS_TOO_OLD:
            raise error
        log.warning("%s: %s is left out: %s", self.account.name, days[0], error)
        return days[1:]

    def _learn(self) -> None:
        if self.plan != self.known_plan:
            load.learn(self.connection, self.account.account_id, vars(self.plan))
            self.known_plan = deepcopy(self.plan)

    def days_of(self, window: Window) -> list[date]:
        return window.dates(self.account, self.zone, datetime.now(UTC))

    def changed_days_of(self, window: Window) -> list[date]:
        days = self.days_of(window)
        stored = load.stored_account_rows(self.connection, self.account.account_id)
        now: dict[date, Row] | None = None
        while now is None:
            try:
                now = self._insights().account_days(days[0], days[-1])
            except MetaTooOld as error:
                days = self._without_oldest(days, error)
        changed = [
            day
            for day in days
            if day not in stored or _figures(stored[day]) != _figures(now.get(day))
        ]
        log.info("%s: %d of %d days changed", self.account.name, len(changed), len(days))
        return changed

    def _load_account(self) -> None:
        """The account object. One without currency or time zone is stored only if none is yet."""
        began = load.clock(self.connection)
        found = hierarchy.account(self.graph, self.account.account_id, self.plan)
        missing = [name for name in ("currency", "timezone_name") if not found.get(name)]
        if missing:
            what = f"Meta describes the ad account {self.account.name} without {missing[0]}"
            known = load.stored_object(
                self.connection, "meta_ad_accounts", self.account.account_id, str(found.get("id"))
            )
            if not known or not all(known.get(name) for name in missing):
                raise MetaTransient(
                    f"{what}, and its days cannot be loaded without that: check the account in "
                    "Meta's Business settings"
                )
            log.warning("%s; what it said before is kept", what)
            found = known
        else:
            self._write_objects("meta_ad_accounts", [found], began)
        self.currency = str(found["currency"])
        try:
            self.zone = ZoneInfo(str(found["timezone_name"]))
        except (KeyError, ValueError, OSError):
            raise SettingsError(
                f"Meta gives the ad account {self.account.name} the time zone "
                f"{found['timezone_name']!r}, which is not known here: update the package tzdata"
            ) from None

    def _load_hierarchy(self) -> None:
        """Campaigns, ad sets and ads; a retry of the run goes on behind the last page that it has.

        Raises:
            MetaError: a throttle, say; what the days can do without is raised in the end.
        """
        read: dict[str, Any] = self.task.memory.get(self.hierarchy_key) or {}
        for edge, table in _RAW.items():
            if read.get(edge) == "read":
                log.info("%s: %s were read by an earlier try", self.account.name, edge)
                continue
            count = 0
            try:
                began = load.clock(self.connection)
                for rows, after in self.objects.pages(edge, read.get(edge)):
                    self._write_objects(table, rows, began)
                    began = load.clock(self.connection)
                    count += len(rows)
                    if after:
                        read[edge] = after
                        self.task.memory.set(self.hierarchy_key, read)
            except _DAYS_CAN_DO_WITHOUT as error:
                log.warning("%s: some %s could not be read: %s", self.account.name, edge, error)
                self.troubles.append(error)
                continue
            read[edge] = "read"
            self.task.memory.set(self.hierarchy_key, read)
            log.info("%s: %d %s", self.account.name, count, edge)

    def _write_objects(self, table: str, rows: list[Row], at: datetime) -> None:
        for row in rows:
            wrong = hierarchy.unreadable_fields(row)
            if wrong:
                log.warning("%s %s: %s; null in the marts", table, row["id"], ", ".join(wrong))
        load.upsert_objects(
            self.connection, table, self.account.account_id, [rows], self.task.run, at
        )

    def _chunk(self, days: list[date]) -> list[date]:
        """The days from the first that are read and committed together: a run without a gap."""
        self.rows_per_day = max(1, load.rows_per_day(self.connection, self.account.account_id))
        span = [d for n, d in enumerate(days) if d - days[0] == timedelta(days=n)]
        rows = ROWS_OF_A_REPORT if self._by_report(len(span)) else reports.SYNC_ROWS
        return span[: max(1, min(self.plan.days, rows // self.rows_per_day))]

    def _by_report(self, days: int) -> bool:
        """Whether so many days are asked for as a report run rather than in pages."""
        large = self.plan.asynchronous or self.rows_per_day * days > reports.SYNC_ROWS
        return large and self.plan.reports

    def _load_days(self, days: list[date], result: Result) -> None:
        """Load days; keeps a sentence for each that does not add up."""
        pending = days
        asynchronous: bool | None = None
        for attempt in range(1, READS + 1):
            again: list[date] = []
            for part in _contiguous(pending):
                read = self._read_somehow(part, asynchronous)
                self._fetch_missing_parents()
                for day in part:
                    verdict = self._verdict(day, read)
                    if (verdict == "moved" and attempt < READS) or (
                        verdict == "differs" and attempt == 1
                    ):
                        again.append(day)
                    elif not self._vanishes(day, read):
                        self._settle(day, read, verdict, result)
            if not again:
                break
            self._learn_statuses()
            asynchronous = not read.asynchronous and self.plan.reports
            log.warning("%s: reading %s again: sums differ", self.account.name, _span(again))
            pending = again

    def _settle(self, day: date, read: _Read, verdict: str, result: Result) -> None:
        """Store a day with its verdict."""
        account = read.after.get(day, _NOTHING)
        if account is None:
            self.differing.append(
                f"{self._named(day)}: Meta's own totals hold no numbers: {read.rows[day]}"
            )
            return
        status = verdict if verdict in ("loaded", "reconciled") else "unreconciled"
        self._replace(day, read, account, status)
        result.rows += read.ads.get(day, _NOTHING).rows
        result.days[status] = result.days.get(status, 0) + 1
        if status == "unreconciled":
            self._complain(day, read, account)

    def _vanishes(self, day: date, read: _Read) -> bool:
        """Whether a closed day that had spend is empty now, so that its rows are kept for now."""
        account, ads = read.after.get(day, _NOTHING), read.ads.get(day, _NOTHING)
        if account is None or account.spend or ads.spend or not self._has_ended(day, read.at):
            return False
        since = load.keep_empty_day(self.connection, self.account.account_id, day, self.task.fence)
        if since is None:
            return False
        self.vanished.append(
            f"{self._named(day)} had spend, and Meta answers with none since "
            f"{since.astimezone(UTC):%Y-%m-%d %H:%M} UTC: the stored rows are kept until this "
            f"answer has lasted for {load.EMPTY_DAYS_KEPT.days} days"
        )
        return True

    def _learn_statuses(self) -> None:
        """Ads of a status that we do not ask for are missing in the rows: find such statuses."""
        if self.asked_for_statuses:
            return
        self.asked_for_statuses = True
        try:
            found = hierarchy.statuses_in_use(self.graph, self.account.account_id)
        except _DAYS_CAN_DO_WITHOUT as error:
            log.warning("%s: the statuses of its ads are not known: %s", self.account.name, error)
            return
        more = sorted(found.difference(hierarchy.AD_STATUSES, self.plan.more_statuses))
        if more:
            log.warning("%s: ads have statuses that are new to us: %s", self.account.name, more)
            self.plan.more_statuses.extend(more)

    def _read_somehow(self, days: list[date], asynchronous: bool | None) -> _Read:
        """`_read`; where the other way of asking fails, in pages."""
        try:
            return self._read(days, asynchronous)
        except (MetaRefused, MetaUnknown, MetaReportFailed) as error:
            if not asynchronous:
                raise
            log.warning("%s: no report run came about: %s", self.account.name, error)
            return self._read(days, False)

    def _read(self, days: list[date], asynchronous: bool | None) -> _Read:
        since, until = days[0], days[-1]
        local_now = datetime.now(UTC)
        insights = self._insights()
        before = insights.account_days(since, until)
        if asynchronous is None:
            asynchronous = self._by_report(len(days))
        pages = insights.ad_pages(since, until, asynchronous=asynchronous)
        load.stage_insights(self.connection, pages)
        after = insights.account_days(since, until)
        ads, unreadable = load.staged_totals(self.connection)
        for day, sentences in unreadable.items():
            insights.left_out.setdefault(day, []).extend(sentences)
        return _Read(
            began=insights.began,
            at=local_now,
            asynchronous=asynchronous,
            before={day: _totals(row) for day, row in before.items()},
            after={day: _totals(row) for day, row in after.items()},
            rows=after,
            ads=ads,
            left_out=insights.left_out,
        )

    def _insights(self) -> Insights:
        return Insights(
            self.graph,
            self.account.account_id,
            self.account.attribution_windows,
            children=self._children,
            memory=self.task.memory,
            series=str(self.task.run.clear_number),
            now=lambda: load.clock(self.connection),
            plan=self.plan,
            timed_out=self.timed_out,
        )

    def _children(self, level: str, ids: Ids | None) -> list[str]:
        table = load.PARENTS[f"{level}_id"]
        below = None if ids is None else (f"{ids.level}_id", list(ids.values))
        return load.object_ids(self.connection, self.account.account_id, table, below)

    def _fetch_missing_parents(self) -> None:
        """An ad may be in insights and on no edge any more; by id Graph still gives it."""
        for column, table in load.PARENTS.items():
            ids = load.missing_parents(self.connection, self.account.account_id, column)
            ids = [one for one in ids if one not in self.plan.unreadable]
            if not ids:
                continue
            edge = next(edge for edge, known in _RAW.items() if known == table)
            count = 0
            try:
                began = load.clock(self.connection)
                for rows in self.objects.by_id(edge, ids):
                    self._write_objects(table, rows, began)
                    began = load.clock(self.connection)
                    count += len(rows)
            except _DAYS_CAN_DO_WITHOUT as error:
                log.warning(
                    "%s: some %s could not be read by id: %s", self.account.name, edge, error
                )
                self.troubles.append(error)
            log.info("%s: %d of %d missing %s by id", self.account.name, count, len(ids), edge)

    def _complain(self, day: date, read: _Read, account: Totals) -> None:
        """Keep the sentence that fails the task, or (`reconcile: warn`) only log it, but for what
        is never a success: spend and not one row, or rows that cannot be stored.
        """
        ads, left_out = read.ads.get(day, _NOTHING), read.left_out.get(day, [])
        sentence = "; ".join(
            [
                f"{self._named(day)}: {ads.rows} ad rows have spend {ads.spend} {self.currency} "
                f"and {ads.impressions} impressions, the account itself {account.spend} "
                f"{self.currency} and {account.impressions}",
                *left_out,
            ]
        )
        if self.account.reconcile == "fail" or left_out or (ads.rows == 0 and account.spend > 0):
            self.differing.append(sentence)
        else:
            log.warning("%s", sentence)

    def _named(self, day: date) -> str:
        return f"{self.account.name} ({self.account.account_id}) on {day}"

    def _verdict(
        self, day: date, read: _Read
    ) -> Literal["loaded", "reconciled", "moved", "differs"]:
        if not self._has_ended(day, read.at):
            return "loaded"
        ads = read.ads.get(day, _NOTHING)
        account = read.after.get(day, _NOTHING)
        if (
            account is not None
            and day not in read.left_out
            and ads.impressions == account.impressions
            and abs(ads.spend - account.spend) <= self._tolerance(ads.rows)
            and (ads.rows > 0 or account.spend == 0)
        ):
            return "reconciled"
        return "differs" if read.before.get(day, _NOTHING) == account else "moved"

    def _has_ended(self, day: date, at: datetime) -> bool:
        return at >= datetime.combine(day + timedelta(days=1), time(), self.zone)

    def _tolerance(self, ads: int) -> Decimal:
        if self.account.tolerance is not None:
            return Decimal(self.account.tolerance)
        return minor_unit(self.currency) * (ads // 10)

    def _replace(self, day: date, read: _Read, account: Totals, status: str) -> None:
        load.replace_day(
            self.connection,
            self.account.account_id,
            day,
            ads=read.ads.get(day, _NOTHING),
            account=account,
            account_row=read.rows.get(day),
            status=status,
            run=self.task.run,
            read_began=read.began,
            fence=self.task.fence,
        )


@dataclass
class _Read:
    """One reading of some days: the account's totals before and after the ad rows."""

    began: datetime
    at: datetime
    asynchronous: bool
    before: dict[date, Totals | None]
    after: dict[date, Totals | None]
    rows: dict[date, Row]
    ads: dict[date, Totals]
    left_out: dict[date, list[str]]


def _totals(row: Row) -> Totals | None:
    """The figures of an account's own row; None where they are no numbers."""
    try:
        spend = Decimal(str(row.get("spend", "0")))
        impressions = Decimal(str(row.get("impressions", "0")))
    except ArithmeticError:
        return None
    if not spend.is_finite() or not impressions.is_finite():
        return None
    return Totals(0, spend, int(impressions))


def _figures(row: Row | None) -> dict[str, Any]:
    """What an account's own row says, such that equal figures are equal: numbers may be texts, and
    lists of actions have no order.
    """
    figures: dict[str, Any] = {}
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


def _numbers(entry: Row) -> Row:
    return {
        name: value if name == "action_type" else _number(value) for name, value in entry.items()
    }


def _number(value: object) -> object:
    try:
        return Decimal(str(value)).normalize()
    except ArithmeticError:
        return value


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
