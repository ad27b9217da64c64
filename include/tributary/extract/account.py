"""One ad account, from its platform into `raw`: objects, daily figures, and proof that they add up.

The same for every platform; what differs is the `Source` (`tributary.platforms.source`).

Spend comes first: where the platform does not give some objects of the hierarchy, the task fails in
the end, when the days are stored.

A day is read between two readings of the account's own totals. It is
* `loaded` while it is still open in the account's time zone: no verdict yet;
* `reconciled` when the rows' impressions equal the account's and their spend is within the
  tolerance;
* read again when the totals moved in between, or once more, by the other way of asking, when they
  did not;
* `unreconciled` when it still differs: stored, recorded, and the task fails.

A day that had spend and is empty now at both levels stays as it is stored, and the task fails,
until the platform has given this answer for three days.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

import psycopg

from tributary import warehouse
from tributary.errors import (
    DaysVanished,
    SettingsError,
    TributaryError,
    Unreconciled,
    WarehouseBusy,
    WarehouseDown,
)
from tributary.extract.window import Window
from tributary.platforms.source import Account, Context, Figures, Memory, Row, Source
from tributary.warehouse import Connection, ad_accounts, load, objects
from tributary.warehouse.load import Fence, Run, Totals

log = logging.getLogger(__name__)

READS = 3
# By how many days a platform's own count of the months that it keeps may differ from ours.
_DAYS_TOO_OLD = 3

_NOTHING = Totals(0, Decimal(0), 0)
_NO_FIGURES = Figures(Decimal(0), 0)


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
        longest_wait: seconds to wait for a report before `StillRunning`, so that the task can leave
            its worker slot; None: until the report ends.
    """

    run: Run
    fence: Fence
    memory: Memory
    longest_wait: float | None = None


def extract_account(
    source: type[Source],
    client: object,
    warehouse_uri: str,
    account: Account,
    window: Window,
    task: Task,
) -> Result:
    """Load an account's objects and the window's days of figures.

    Args:
        source: what the platform's accounts are read by (`platforms.registry.source`).
        client: of the platform, with the account's credentials.

    Raises:
        TributaryError: the platform refused, or did not answer after several tries. Finished days
            are kept.
        StillRunning: a report takes longer than the task's `longest_wait`.
        Unreconciled: some days do not add up; they are stored as such.
        DaysVanished: some days had spend and are empty now; they are kept as they were.
        WarehouseBusy: other work held a lock; a retry goes on behind the last finished day.
        WarehouseDown: the warehouse went away; likewise.
    """
    return _extract(source, client, warehouse_uri, account, task, lambda work: work.days_of(window))


def reread_changed(
    source: type[Source],
    client: object,
    warehouse_uri: str,
    account: Account,
    window: Window,
    task: Task,
) -> Result:
    """Compare the account's own totals of a long window with the stored ones, in one call, and
    load only the days that changed or were never reconciled.

    Raises:
        As `extract_account`.
    """
    return _extract(
        source, client, warehouse_uri, account, task, lambda work: work.changed_days_of(window)
    )


def _extract(
    source: type[Source],
    client: object,
    warehouse_uri: str,
    account: Account,
    task: Task,
    choose: Callable[[_Extraction], list[date]],
) -> Result:
    try:
        with warehouse.connect(warehouse_uri, autocommit=True) as connection:
            return _Extraction(source, client, connection, account, task).load(choose)
    except psycopg.OperationalError as error:
        where, kept = warehouse.where(warehouse_uri), "finished days are kept, a retry loads the"
        if isinstance(error, warehouse.LOCK_ERRORS):
            raise WarehouseBusy(
                f"The warehouse at {where} was busy with other work ({type(error).__name__}): "
                f"{kept} rest."
            ) from error
        raise WarehouseDown(
            f"The warehouse at {where} went away in the middle of a load "
            f"({type(error).__name__}): {kept} rest."
        ) from error


class _Extraction:
    def __init__(
        self,
        source: type[Source],
        client: object,
        connection: Connection,
        account: Account,
        task: Task,
    ) -> None:
        self.connection, self.account, self.task = connection, account, task
        self.layout = load.LAYOUTS[source.platform]
        self.source = source(
            client,
            Context(
                account,
                ad_accounts.learned(connection, source.platform, account.account_id),
                task.memory,
                series=str(task.run.clear_number),
                now=lambda: load.clock(connection),
                known_ids=self._known_ids,
                longest_wait=task.longest_wait,
            ),
        )
        self.learned = self.source.learned
        self.troubles: list[TributaryError] = []
        self.differing: list[str] = []
        self.vanished: list[str] = []
        self.looked_for_causes = False
        self.days_too_old = 0
        self.hierarchy_key = f"hierarchy {task.run.clear_number}"

    def load(self, choose: Callable[[_Extraction], list[date]]) -> Result:
        for warning in self.source.warnings():
            log.warning("%s", warning)
        self._load_account()
        self._load_objects()
        self._learn()
        days = choose(self)
        result = Result(self.account.account_id)
        if days:
            self._load_all(days, result)
        else:
            log.info("%s: nothing changed", self.account.name)
        self._learn()
        result.calls = self.source.calls
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
        finished = load.finished_days(
            self.connection, self.layout, self.account.account_id, self.task.run
        )
        result.skipped_days = len(finished.intersection(days))
        if result.skipped_days:
            log.info("%d days were finished by an earlier try", result.skipped_days)
        load.ensure_partitions(self.connection, self.layout, days)
        pending = [day for day in days if day not in finished]
        while pending:
            chunk = self._chunk(pending)
            try:
                self._load_days(chunk, result)
            except self.source.too_old as error:
                pending = self._without_oldest(pending, error)
                continue
            pending = pending[len(chunk) :]
            log.info(
                "%s: %d of %d days, %d rows, %d calls, %.0f %% of the limits used",
                self.account.name, sum(result.days.values()) + result.skipped_days, len(days),
                result.rows, self.source.calls, self.source.percent_used,
            )  # fmt: skip
            self._learn()

    def _without_oldest(self, days: list[date], error: TributaryError) -> list[date]:
        """The days but the first, where the platform's months end a little later than ours.

        Raises:
            TributaryError: the error itself, when it was the only day, or one of too many.
        """
        self.days_too_old += 1
        if len(days) == 1 or self.days_too_old > _DAYS_TOO_OLD:
            raise error
        log.warning("%s: %s is left out: %s", self.account.name, days[0], error)
        return days[1:]

    def _learn(self) -> None:
        found = self.source.learned
        if found != self.learned:
            ad_accounts.learn(self.connection, self.source.platform, self.account.account_id, found)
            self.learned = found

    def days_of(self, window: Window) -> list[date]:
        return window.dates(self.account, self.zone, datetime.now(UTC), self.source)

    def changed_days_of(self, window: Window) -> list[date]:
        days = self.days_of(window)
        stored = load.stored_totals(self.connection, self.layout, self.account.account_id)
        now: dict[date, Row] | None = None
        while now is None:
            try:
                now = self.source.reading().totals(days[0], days[-1])
            except self.source.too_old as error:
                days = self._without_oldest(days, error)
        figures = self.source.comparable
        changed = [
            day
            for day in days
            if day not in stored or figures(stored[day]) != figures(now.get(day))
        ]
        log.info("%s: %d of %d days changed", self.account.name, len(changed), len(days))
        return changed

    def _load_account(self) -> None:
        began = load.clock(self.connection)
        stored = partial(
            objects.stored_object, self.connection, self.layout.account, self.account.account_id
        )
        described = self.source.account(stored)
        if described.is_new:
            self._write_objects(self.layout.account, [described.row], began)
        self.currency = described.currency
        try:
            self.zone = ZoneInfo(described.time_zone)
        except (KeyError, ValueError, OSError):
            raise SettingsError(
                f"{self.source.title} gives the ad account {self.account.name} the time zone "
                f"{described.time_zone!r}, which is not known here: update the package tzdata"
            ) from None

    def _load_objects(self) -> None:
        """Campaigns, ads and what is between; a retry goes on behind the last page that it has.

        Raises:
            TributaryError: a throttle, say; what the days can do without is raised in the end.
        """
        read: dict[str, Any] = self.task.memory.get(self.hierarchy_key) or {}
        for kind, table in self.layout.objects.items():
            if read.get(kind) == "read":
                log.info("%s: %s were read by an earlier try", self.account.name, kind)
                continue
            count = 0
            try:
                began = load.clock(self.connection)
                for rows, after in self.source.objects(kind, read.get(kind)):
                    self._write_objects(table, rows, began)
                    began = load.clock(self.connection)
                    count += len(rows)
                    if after:
                        read[kind] = after
                        self.task.memory.set(self.hierarchy_key, read)
            except self.source.objects_optional as error:
                log.warning("%s: some %s could not be read: %s", self.account.name, kind, error)
                self.troubles.append(error)
                continue
            read[kind] = "read"
            self.task.memory.set(self.hierarchy_key, read)
            log.info("%s: %d %s", self.account.name, count, kind)

    def _write_objects(self, table: str, rows: list[Row], at: datetime) -> None:
        for row in rows:
            wrong = self.source.unreadable_fields(row)
            if wrong:
                log.warning("%s %s: %s; null in the marts", table, row["id"], ", ".join(wrong))
        objects.upsert_objects(
            self.connection, table, self.account.account_id, [rows], self.task.run, at
        )

    def _chunk(self, days: list[date]) -> list[date]:
        """The days from the first that are read and committed together: a run without a gap."""
        rows = load.rows_per_day(self.connection, self.layout, self.account.account_id)
        self.rows_per_day = max(1, rows)
        span = [d for n, d in enumerate(days) if d - days[0] == timedelta(days=n)]
        return span[: self.source.days_at_once(len(span), self.rows_per_day)]

    def _load_days(self, days: list[date], result: Result) -> None:
        """Load days; keeps a sentence for each that does not add up."""
        pending = days
        way: str | None = None
        for attempt in range(1, READS + 1):
            again: list[date] = []
            for part in _contiguous(pending):
                read = self._read(part) if way is None else self._read_again(part, way)
                self._fetch_missing_parents()
                for day in part:
                    verdict = self._verdict(day, read)
                    if (verdict == "moved" and attempt < READS) or (
                        verdict == "differs" and attempt == 1
                    ):
                        again.append(day)
                    elif not self._vanishes(day, read):
                        self._store(day, read, verdict, result)
            if not again:
                break
            if not self.looked_for_causes:
                self.looked_for_causes = True
                self.source.find_what_rows_lack()
            way = self.source.way_after(read.way)
            log.warning("%s: reading %s again: sums differ", self.account.name, _span(again))
            pending = again

    def _store(self, day: date, read: _Read, verdict: str, result: Result) -> None:
        """Store a day with its verdict."""
        account = read.after.get(day, _NO_FIGURES)
        if account is None:
            self.differing.append(
                f"{self._named(day)}: {self.source.title}'s own totals hold no numbers: "
                f"{read.account_rows[day]}"
            )
            return
        status = verdict if verdict in ("loaded", "reconciled") else "unreconciled"
        self._replace(day, read, account, status)
        result.rows += read.rows.get(day, _NOTHING).rows
        result.days[status] = result.days.get(status, 0) + 1
        if status == "unreconciled":
            self._report_difference(day, read, account)

    def _vanishes(self, day: date, read: _Read) -> bool:
        """Whether a closed day that had spend is empty now, so that its rows are kept for now."""
        account, rows = read.after.get(day, _NO_FIGURES), read.rows.get(day, _NOTHING)
        if account is None or account.spend or rows.spend or not self._has_ended(day, read.at):
            return False
        since = load.keep_empty_day(
            self.connection, self.layout, self.account.account_id, day, self.task.fence
        )
        if since is None:
            return False
        self.vanished.append(
            f"{self._named(day)} had spend, and {self.source.title} answers with none since "
            f"{since.astimezone(UTC):%Y-%m-%d %H:%M} UTC: the stored rows are kept until this "
            f"answer has lasted for {load.EMPTY_DAYS_KEPT.days} days"
        )
        return True

    def _read_again(self, days: list[date], way: str) -> _Read:
        """`_read` in another way; where that fails, in the way that the source has instead."""
        try:
            return self._read(days, way)
        except TributaryError as error:
            instead = self.source.way_instead(way, error)
            if instead is None:
                raise
            log.warning("%s: asking for %s instead: %s", self.account.name, instead, error)
            return self._read(days, instead)

    def _read(self, days: list[date], way: str | None = None) -> _Read:
        since, until = days[0], days[-1]
        local_now = datetime.now(UTC)
        reading = self.source.reading()
        before = reading.totals(since, until)
        way = way or self.source.way(len(days), self.rows_per_day)
        load.stage_rows(self.connection, self.layout, reading.rows(since, until, way))
        after = reading.totals(since, until)
        rows, unreadable = load.staged_totals(self.connection, self.layout)
        for day, sentences in unreadable.items():
            reading.left_out.setdefault(day, []).extend(sentences)
        return _Read(
            began=reading.began,
            at=local_now,
            way=way,
            before={day: self.source.figures(row) for day, row in before.items()},
            after={day: self.source.figures(row) for day, row in after.items()},
            account_rows=after,
            rows=rows,
            left_out=reading.left_out,
        )

    def _known_ids(self, field: str, below: tuple[str, list[str]] | None) -> list[str]:
        table = self.layout.objects[self.layout.parents[field]]
        return objects.object_ids(self.connection, self.account.account_id, table, below)

    def _fetch_missing_parents(self) -> None:
        """Rows may name objects that no listing has any more; by id the platform may give them."""
        for column, kind in self.layout.parents.items():
            ids = objects.missing_parents(
                self.connection, self.layout, self.account.account_id, column
            )
            ids = [one for one in ids if one not in self.source.unreadable]
            if not ids:
                continue
            count = 0
            try:
                began = load.clock(self.connection)
                for rows in self.source.objects_by_id(kind, ids):
                    self._write_objects(self.layout.objects[kind], rows, began)
                    began = load.clock(self.connection)
                    count += len(rows)
            except self.source.objects_optional as error:
                log.warning(
                    "%s: some %s could not be read by id: %s", self.account.name, kind, error
                )
                self.troubles.append(error)
            log.info("%s: %d of %d missing %s by id", self.account.name, count, len(ids), kind)

    def _report_difference(self, day: date, read: _Read, account: Figures) -> None:
        """Keep the sentence that fails the task, or (`reconcile: warn`) only log it, but for what
        is never a success: spend and not one row, or rows that cannot be stored.
        """
        rows, left_out = read.rows.get(day, _NOTHING), read.left_out.get(day, [])
        sentence = "; ".join(
            [
                f"{self._named(day)}: {rows.rows} ad rows have spend {rows.spend} {self.currency} "
                f"and {rows.impressions} impressions, the account itself {account.spend} "
                f"{self.currency} and {account.impressions}",
                *left_out,
            ]
        )
        if self.account.reconcile == "fail" or left_out or (rows.rows == 0 and account.spend > 0):
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
        rows = read.rows.get(day, _NOTHING)
        account = read.after.get(day, _NO_FIGURES)
        if (
            account is not None
            and day not in read.left_out
            and rows.impressions == account.impressions
            and abs(rows.spend - account.spend) <= self._tolerance(rows.rows)
            and (rows.rows > 0 or account.spend == 0)
        ):
            return "reconciled"
        return "differs" if read.before.get(day, _NO_FIGURES) == account else "moved"

    def _has_ended(self, day: date, at: datetime) -> bool:
        return at >= datetime.combine(day + timedelta(days=1), time(), self.zone)

    def _tolerance(self, rows: int) -> Decimal:
        if self.account.tolerance is not None:
            return Decimal(self.account.tolerance)
        return self.source.tolerance(self.currency, rows)

    def _replace(self, day: date, read: _Read, account: Figures, status: str) -> None:
        load.replace_day(
            self.connection,
            self.layout,
            self.account.account_id,
            day,
            rows=read.rows.get(day, _NOTHING),
            account=Totals(0, account.spend, account.impressions),
            account_row=read.account_rows.get(day),
            status=status,
            run=self.task.run,
            read_began=read.began,
            fence=self.task.fence,
        )


@dataclass
class _Read:
    """One reading of some days: the account's own figures before and after the rows."""

    began: datetime
    at: datetime
    way: str
    before: dict[date, Figures | None]
    after: dict[date, Figures | None]
    account_rows: dict[date, Row]
    rows: dict[date, Totals]
    left_out: dict[date, list[str]]


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
