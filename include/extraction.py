"""One ad account, from Graph into `raw`: hierarchy, insights by day, and proof that they add up.

A day is read between two readings of the account's own totals. It is
* `loaded` while it is still open in the account's time zone: no verdict yet;
* `reconciled` when the ad rows' impressions equal the account's and their spend is within the
  tolerance;
* read again when the totals moved in between (nobody is blamed), or once more when they did not;
* `unreconciled` when it still differs: stored, recorded, and the task fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import psycopg

from include import warehouse
from include.errors import SettingsError, Unreconciled, WarehouseDown
from include.meta import hierarchy, reports
from include.meta.client import Graph, Row
from include.meta.errors import MetaTransient
from include.meta.money import minor_unit
from include.warehouse import Connection, load
from include.warehouse.load import Fence, Run, Totals

log = logging.getLogger(__name__)

DAYS_AT_ONCE = 7
READS = 3

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


def extract_account(
    graph: Graph, warehouse_uri: str, account: Account, window: Window, run: Run, fence: Fence
) -> Result:
    """Load an account's hierarchy and the window's days of insights.

    Raises:
        MetaError: Graph refused, or did not answer after several tries. Finished days stand.
        Unreconciled: some days do not add up; they are stored as such.
        WarehouseDown: the warehouse went away; a retry goes on behind the last finished day.
    """
    try:
        with warehouse.connect(warehouse_uri, autocommit=True) as connection:
            return _Extraction(graph, connection, account, run, fence).run_window(window)
    except psycopg.OperationalError as error:
        raise WarehouseDown(
            f"The warehouse at {warehouse.where(warehouse_uri)} went away in the middle of a load "
            f"({type(error).__name__}); finished days stand, a retry loads the rest."
        ) from error


@dataclass
class _Extraction:
    graph: Graph
    connection: Connection
    account: Account
    run: Run
    fence: Fence

    def run_window(self, window: Window) -> Result:
        began = load.clock(self.connection)
        found = hierarchy.account(self.graph, self.account.account_id)
        self.currency = str(found["currency"])
        self.zone = ZoneInfo(str(found["timezone_name"]))
        days = window.dates(self.account, self.zone, datetime.now(UTC))
        self._objects("meta_ad_accounts", [[found]], began)
        for edge, table in _RAW.items():
            pages = hierarchy.objects(self.graph, self.account.account_id, edge)
            count = self._objects(table, pages, load.clock(self.connection))
            log.info("%s: %d %s", self.account.name, count, edge)
        finished = load.finished_days(self.connection, self.account.account_id, self.run)
        result = Result(self.account.account_id, days[0].isoformat(), days[-1].isoformat())
        result.skipped_days = len(finished.intersection(days))
        if result.skipped_days:
            log.info("%d days were finished by an earlier try", result.skipped_days)
        load.ensure_partitions(self.connection, days)
        differing: list[str] = []
        for chunk in _chunks([day for day in days if day not in finished], DAYS_AT_ONCE):
            differing += self._days(chunk, result)
            done = sum(result.days.values()) + result.skipped_days
            log.info(
                "%s: %d of %d days, %d rows, %d calls",
                self.account.name, done, len(days), result.rows, self.graph.calls,
            )  # fmt: skip
        result.calls = self.graph.calls
        if differing and self.account.reconcile == "fail":
            raise Unreconciled("; ".join(differing))
        for sentence in differing:
            log.warning("%s", sentence)
        return result

    def _objects(self, table: str, pages: Iterable[list[Row]], at: datetime) -> int:
        return load.upsert_objects(
            self.connection, table, self.account.account_id, pages, self.run, at
        )

    def _days(self, days: list[date], result: Result) -> list[str]:
        """Load days; returns a sentence for each that does not add up."""
        differing = []
        pending = days
        for attempt in range(1, READS + 1):
            again: list[date] = []
            for part in _contiguous(pending):
                read = self._read(part)
                for day in part:
                    verdict = self._verdict(day, read)
                    if verdict == "moved" and attempt < READS:
                        again.append(day)
                        continue
                    if verdict == "differs" and attempt == 1:
                        again.append(day)
                        continue
                    status = verdict if verdict in ("loaded", "reconciled") else "unreconciled"
                    self._replace(day, read, status)
                    result.rows += read.ads.get(day, _NOTHING).rows
                    result.days[status] = result.days.get(status, 0) + 1
                    if status == "unreconciled":
                        differing.append(self._difference(day, read))
            if not again:
                break
            log.warning("%s: reading %s again: sums differ", self.account.name, _span(again))
            pending = again
        return differing

    def _read(self, days: list[date]) -> _Read:
        since, until, windows = days[0], days[-1], self.account.attribution_windows
        account_id = self.account.account_id
        began = load.clock(self.connection)
        local_now = datetime.now(UTC)
        before = reports.account_days(self.graph, account_id, since, until, windows)
        load.stage_insights(
            self.connection, reports.ad_days(self.graph, account_id, since, until, windows)
        )
        after = reports.account_days(self.graph, account_id, since, until, windows)
        return _Read(
            began=began,
            at=local_now,
            before={day: _totals(row) for day, row in before.items()},
            after={day: _totals(row) for day, row in after.items()},
            rows=after,
            ads=load.staged_totals(self.connection),
        )

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
            run=self.run,
            read_began=read.began,
            fence=self.fence,
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
    before: dict[date, Totals]
    after: dict[date, Totals]
    rows: dict[date, Row]
    ads: dict[date, Totals]


def _totals(row: Row) -> Totals:
    try:
        return Totals(0, Decimal(row.get("spend", "0")), int(row.get("impressions", "0")))
    except (ArithmeticError, ValueError, TypeError):
        raise MetaTransient("Meta's account totals are not numbers") from None


def _chunks(days: list[date], size: int) -> Iterator[list[date]]:
    for part in _contiguous(days):
        for start in range(0, len(part), size):
            yield part[start : start + size]


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
