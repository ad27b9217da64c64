"""What the Conversions API has taken: every pixel's ledger, and which events it counts.

An event that comes again with its name and `event_id` is a duplicate while 48 hours have not gone
by since it was last counted; then it counts again. One without `event_id` always counts.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

WINDOW_SECONDS = 48 * 3600
_BODIES_KEPT = 10_000

Event = dict[str, Any]
Key = tuple[str, str]  # event_name, event_id


class Taken(NamedTuple):
    """An event as it came in from a server."""

    pixel: str
    event: Event
    when: datetime
    counted: bool  # False: a duplicate
    test_event_code: str | None  # which changes nothing: such events count like others


@dataclass
class Totals:
    """Of one pixel."""

    events: int = 0  # that count, the browser's included
    duplicates: int = 0  # that came from servers, and do not
    received: int = 0  # that came from servers at all
    requests: int = 0  # that brought them


class _Seen(NamedTuple):
    counted: int
    received: int  # from servers
    when: float  # it was last counted


# Most keys come once: those of one request share a `_Seen`, which makes a million of them cheap.
_Book = defaultdict[str, dict[str, _Seen]]  # by event_name, then event_id


class Events:
    """The ledgers of all pixels. `received`: the latest events with their contents, oldest first.

    The ledgers themselves forget nothing until they are cleared.
    """

    def __init__(self, bodies_kept: int = _BODIES_KEPT) -> None:
        self.received: deque[Taken] = deque(maxlen=bodies_kept)
        self._books: defaultdict[str, _Book] = defaultdict(lambda: defaultdict(dict))
        self._totals: defaultdict[str, Totals] = defaultdict(Totals)
        self._lock = threading.Lock()  # the server's thread writes, a test's reads

    def take(
        self, pixel: str, events: Iterable[Event], now: datetime, test_event_code: str | None = None
    ) -> None:
        """Enter what one request brought."""
        when = now.timestamp()
        first = _Seen(1, 1, when)
        with self._lock:
            book, totals = self._books[pixel], self._totals[pixel]
            totals.requests += 1
            for event in events:
                event_id, counted = event.get("event_id"), True
                if event_id is not None:
                    named = book[event["event_name"]]
                    seen = named.get(event_id)
                    if seen is None:
                        named[event_id] = first
                    else:
                        counted = _counts_again(seen, when)
                        named[event_id] = _again(seen, when, counted, received=1)
                totals.received += 1
                totals.events += counted
                totals.duplicates += not counted
                self.received.append(Taken(pixel, event, now, counted, test_event_code))

    def pixel_sent(self, pixel: str, event_name: str, event_id: str, now: datetime) -> None:
        """Count an event that the pixel in a browser sent; a server's is a duplicate then."""
        when = now.timestamp()
        with self._lock:
            named = self._books[pixel][event_name]
            seen = named.get(event_id, _Seen(0, 0, float("-inf")))
            counted = _counts_again(seen, when)
            named[event_id] = _again(seen, when, counted, received=0)
            self._totals[pixel].events += counted

    def counted(self, pixel: str, event_name: str, event_id: str) -> int:
        """How many times the platform counts this event."""
        with self._lock:
            seen = self._books[pixel][event_name].get(event_id)
        return seen.counted if seen else 0

    def ledger(self, pixel: str) -> dict[Key, tuple[int, int]]:
        """Of every event with an `event_id`: how often it counts, how often a server sent it."""
        with self._lock:
            return {
                (name, event_id): (seen.counted, seen.received)
                for name, named in self._books.get(pixel, {}).items()
                for event_id, seen in named.items()
            }

    def totals(self, pixel: str) -> dict[str, int]:
        """`events` (counted), `duplicates`, `received`, `requests`."""
        with self._lock:
            return asdict(self._totals.get(pixel, Totals()))

    def pixels(self) -> list[str]:
        """The pixels that anything was sent to."""
        with self._lock:
            return sorted(self._totals)

    def latest(
        self, last: int, pixel: str | None = None, test_event_code: str | None = None
    ) -> list[Taken]:
        """The newest events, of this pixel and with this code where one is given, newest first."""
        with self._lock:
            found = (
                taken
                for taken in reversed(self.received)
                if pixel in (None, taken.pixel) and test_event_code in (None, taken.test_event_code)
            )
            return list(islice(found, last))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.received.clear()
            self._books.clear()
            self._totals.clear()


def _counts_again(seen: _Seen, when: float) -> bool:
    return abs(when - seen.when) >= WINDOW_SECONDS


def _again(seen: _Seen, when: float, counted: bool, received: int) -> _Seen:
    return _Seen(seen.counted + counted, seen.received + received, when if counted else seen.when)
