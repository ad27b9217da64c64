"""What a platform is whose ad accounts are read: the protocol behind which each differs.

`extract/account.py` reads an account, verifies its days and stores them, the same way for every
platform. What it asks of the platform is a `Source`: one account, read in one try of a task. A
source knows no database; what it must know of the warehouse comes with its `Context`.
`registry.source` finds a platform's class, and `warehouse/load.py` says in a `Layout` where `raw`
stores what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from tributary.errors import TributaryError

Row = dict[str, Any]  # as the platform gives it


@dataclass(frozen=True)
class Account:
    """An ad account of the settings.

    `tolerance` is in major units of its currency; None: the platform's own, `Source.tolerance`.
    """

    account_id: str
    conn_id: str
    brand: str = ""
    name: str = ""
    lookback_days: int = 28
    reconcile: Literal["fail", "warn"] = "fail"
    tolerance: str | None = None
    attribution_windows: tuple[str, ...] = ()


class Memory(Protocol):
    """What outlives a try of the task: how far it came, the ids of reports that are under way.

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


@dataclass(frozen=True)
class Context:
    """What a source is given by the load that it reads for.

    Attributes:
        account: its settings.
        learned: what an earlier run's source had in `learned`, at most a week ago.
        memory: survives the tries of the task.
        series: another one after the task was cleared: what is remembered of a report that was
            asked for before is void then.
        now: the clock by which reads are ordered.
        known_ids: stored ids of the objects that a field of rows names, such as `ad_id`: all, or
            those below others, such as ("campaign_id", ids).
        longest_wait: seconds to wait for a report before `StillRunning`; None: until it ends.
    """

    account: Account
    learned: Row
    memory: Memory
    series: str
    now: Callable[[], datetime]
    known_ids: Callable[[str, tuple[str, list[str]] | None], list[str]]
    longest_wait: float | None = None


class Described(NamedTuple):
    """The account object, and what the load needs of it."""

    row: Row
    currency: str
    time_zone: str
    is_new: bool = True  # False: it is what was stored before


class Page(NamedTuple):
    """Rows of one query, or (None) that all its rows so far are void."""

    query: int
    rows: list[Row] | None


class Figures(NamedTuple):
    """The account's own figures of a day; spend in major units of its currency."""

    spend: Decimal
    impressions: int


class Reading(Protocol):
    """One reading of some days.

    Attributes:
        began: when the oldest figures were computed; earlier than the reading's own beginning where
            a report of an earlier try was read.
        left_out: day → what is wrong with rows of that day that were left out, in sentences.
    """

    began: datetime
    left_out: dict[date, list[str]]

    def totals(self, since: date, until: date) -> dict[date, Row]:
        """The account's own figures by day; a day without delivery is absent."""
        ...

    def rows(self, since: date, until: date, way: str) -> Iterator[Page]:
        """All rows of some days, whatever the status of their ads.

        Args:
            way: one of the source's ways of asking.
        """
        ...


class Source(Protocol):
    """One ad account of a platform, read in one try of a task; made of a client and a `Context`.

    All that asks the platform raises the platform's errors, throttles among them.

    Attributes:
        platform: its name in the settings file and in `warehouse.load.LAYOUTS`.
        title: its name for people.
        months_kept: how far back it has figures.
        objects_optional: errors with which objects cannot be read; the days are loaded all the
            same, and the task fails in the end.
        too_old: the error of a query whose first day the platform has no longer.
        calls: requests so far.
        percent_used: of the limit that is nearest.
        learned: what was found to work, as JSON; the sources of the next runs are given it.
        unreadable: ids of objects that rows name and the platform does not give.
    """

    platform: ClassVar[str]
    title: ClassVar[str]
    months_kept: ClassVar[int]
    objects_optional: ClassVar[tuple[type[TributaryError], ...]]
    too_old: ClassVar[type[TributaryError]]

    def __init__(self, client: Any, context: Context) -> None: ...
    @property
    def calls(self) -> int: ...
    @property
    def percent_used(self) -> float: ...
    @property
    def learned(self) -> Row: ...
    @property
    def unreadable(self) -> Collection[str]: ...

    def warnings(self) -> Iterator[str]:
        """What a person should know before it fails, such as the end of the API's version."""
        ...

    def account(self, stored: Callable[[str], Row | None]) -> Described:
        """The account object.

        Args:
            stored: the object of that id as it was stored before, for one that comes incomplete.
        """
        ...

    def objects(self, kind: str, after: str | None) -> Iterator[tuple[list[Row], str | None]]:
        """Pages of all objects of a kind, each with the cursor of the next (None: it was the last).

        Args:
            after: the cursor to go on from.
        """
        ...

    def objects_by_id(self, kind: str, ids: list[str]) -> Iterator[list[Row]]:
        """Objects that rows name and `objects` did not give."""
        ...

    def unreadable_fields(self, row: Row) -> list[str]:
        """Fields of an object with no time or number where one should be, and their values."""
        ...

    def days_at_once(self, days: int, rows_per_day: int) -> int:
        """How many of so many days in a row are read and committed together."""
        ...

    def way(self, days: int, rows_per_day: int) -> str:
        """How so many days are asked for first."""
        ...

    def way_after(self, way: str) -> str:
        """How days are asked for again whose sums differ after they were asked for in this way."""
        ...

    def way_instead(self, way: str, error: TributaryError) -> str | None:
        """How to ask again at once after a second reading failed; None: not at all."""
        ...

    def reading(self) -> Reading:
        """Begin a reading."""
        ...

    def find_what_rows_lack(self) -> None:
        """Called before the first second reading: look for what the queries leave out."""
        ...

    def figures(self, row: Row) -> Figures | None:
        """The figures of an account's own row, none of an empty one; None: they are no numbers."""
        ...

    def comparable(self, row: Row | None) -> Row:
        """An account's own row such that equal figures are equal, however they are written."""
        ...

    def tolerance(self, currency: str, rows: int) -> Decimal:
        """By how much the spend of so many rows may differ from the account's own."""
        ...
