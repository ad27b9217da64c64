"""Pages of a listing, by opaque cursors.

A cursor names the last item of its page, so a caller may change `limit` on the way. It belongs to
its query and lives for a day; any other is refused as Meta does, with code 2642.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from sandbox.errors import invalid_cursor
from sandbox.faults import Fault
from sandbox.params import limit

_LIFETIME_SECONDS = 86_400
_NOT_THE_QUERY = frozenset({"limit", "after", "access_token", "appsecret_proof", "pretty"})
_START = ""  # sorts before every key

Item = TypeVar("Item")


class Listing(NamedTuple):
    """Whose pages are asked for. `url` and `token` go into the `next` link, as at Meta."""

    url: str
    token: str
    params: Mapping[str, str]
    now: int  # unix time
    gap_after: int | None  # an empty page follows page 0 or 1 ... ; None: nowhere
    faults: Sequence[Fault] = ()  # that strike pages


def page(
    items: Sequence[Item],
    key: Callable[[Item], str],
    listing: Listing,
    show: Callable[[Item], dict[str, Any]],
) -> dict[str, Any]:
    """The page asked for, of items sorted by a key that no two share."""
    query = _query(listing)
    place = _Place.read(listing, query)
    size = limit(listing.params)
    begin = bisect_right(items, place.key, key=key)
    at_gap = place.number == listing.gap_after and begin < len(items)
    for fault in listing.faults:
        if fault.kind == "empty_page":
            fault.hits += 1
            at_gap = True
    shown = [] if at_gap else items[begin : begin + size]
    leads = _astray(listing, begin + len(shown) >= len(items) and not at_gap)
    if not shown and not at_gap and not leads:
        return {"data": []}
    first, last = (key(shown[0]), key(shown[-1])) if shown else (place.key, place.key)
    after = _Place(last, place.number + 1).write(listing, query)
    cursors = {"before": _Place(first, place.number).write(listing, query), "after": after}
    paging: dict[str, Any] = {"cursors": cursors}
    if at_gap or leads == "further" or begin + len(shown) < len(items):
        paging["next"] = _next(listing, after)
    elif leads == "itself":
        paging["next"] = _next(listing, listing.params.get("after"))
    elif leads == "first":
        paging["next"] = _next(listing, None)
    rows = [show(item) for item in _spoilt(items, begin, shown, listing.faults)]
    return {"data": _rewritten(rows, listing.faults), "paging": paging}


def _astray(listing: Listing, last: bool) -> str | None:
    """Where the last page's `next` leads, if a fault says that it has one."""
    for fault in listing.faults:
        if last and fault.kind in ("circle", "endless"):
            fault.hits += 1
            return "further" if fault.kind == "endless" else str(fault.details["to"])
    return None


def _rewritten(rows: list[dict[str, Any]], faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """The rows of a page with fields that faults change or leave out."""
    for fault in faults:
        if fault.kind == "changed_rows" and rows:
            count, without = fault.details["rows"], fault.details["without"]
            rows = [
                {k: v for k, v in row.items() if k not in without} | fault.details["set"]
                for row in rows[:count]
            ] + rows[count:]
        elif fault.kind == "json_numbers":
            rows = [{name: _as_number(value) for name, value in row.items()} for row in rows]
        else:
            continue
        fault.hits += 1
    return rows


def _as_number(value: Any) -> Any:
    numeric = isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d+)?", value)
    return float(value) if numeric else value


def number_of(params: Mapping[str, str]) -> int | None:
    """Which page of its listing a call asks for, 0 first; None when its cursor makes no sense."""
    if "after" not in params:
        return 0
    try:
        text = base64.urlsafe_b64decode(params["after"]).decode()
        return int(text.split(",", 2)[1])
    except (ValueError, IndexError):
        return None


def _spoilt(
    items: Sequence[Item], begin: int, shown: Sequence[Item], faults: Sequence[Fault]
) -> Sequence[Item]:
    """The page as it is answered: rows left out at its end, or repeated from the page before.

    The cursors know nothing of it, so what is left out here comes nowhere else.
    """
    for fault in faults:
        if fault.kind == "drop_rows" and shown:
            shown = shown[: max(0, len(shown) - fault.details["rows"])]
        elif fault.kind == "duplicate_rows" and shown and begin:
            shown = [*items[max(0, begin - fault.details["rows"]) : begin], *shown]
        else:
            continue
        fault.hits += 1
    return shown


class _Place(NamedTuple):
    key: str  # of the last item before this place
    number: int  # of the page, empty ones counted

    def write(self, listing: Listing, query: str) -> str:
        text = f"{self.number},{listing.now},{self.key}"
        return base64.urlsafe_b64encode(f"{_seal(text, query)},{text}".encode()).decode()

    @classmethod
    def read(cls, listing: Listing, query: str) -> _Place:
        if "after" not in listing.params:
            return cls(_START, 0)
        try:
            text = base64.urlsafe_b64decode(listing.params["after"]).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise invalid_cursor() from error
        seal, _, text = text.partition(",")
        if seal != _seal(text, query):
            raise invalid_cursor()
        number, issued, key = text.split(",", 2)
        if listing.now - int(issued) > _LIFETIME_SECONDS:
            raise invalid_cursor()
        return cls(key, int(number))


def _query(listing: Listing) -> str:
    path = listing.url.partition("://")[2].partition("/")[2]
    rest = sorted(item for item in listing.params.items() if item[0] not in _NOT_THE_QUERY)
    return f"{path} {rest}"


def _seal(text: str, query: str) -> str:
    return blake2b(f"{query} {text}".encode(), digest_size=6).hexdigest()


def _next(listing: Listing, after: str | None) -> str:
    gone = ("access_token", "appsecret_proof", "after")
    kept = {k: v for k, v in listing.params.items() if k not in gone}
    place = {} if after is None else {"after": after}
    return f"{listing.url}?{urlencode({'access_token': listing.token, **kept, **place})}"
