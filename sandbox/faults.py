"""What goes wrong, when, and for whom: the switchboard of faults.

    fault = sandbox.faults.add(Fault("throttle_80004", minutes=3, edge="results", after=2))
    ...
    assert fault.hits == 1

A fault waits for calls that match it, lets the first `after` of them pass, then strikes `times`
times. Faults are tried in the order in which they were added; one that refuses the call ends the
round, so the later ones do not see it. `presets.KINDS` lists the kinds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from itertools import count
from typing import Any, Literal, NamedTuple

import orjson

from sandbox.errors import GraphError, bad_parameter
from sandbox.presets import EDGES, KINDS, Kind, check_detail
from sandbox.restate import restatement
from sandbox.usage import usage_headers
from sandbox.wire import Wire


class Target(NamedTuple):
    """A call, as far as faults care."""

    method: str
    edge: str  # one of EDGES
    account_id: str | None
    params: Mapping[str, str]  # with its level and pixel, on result pages with the report's own
    page: int | None  # of a listing, 0 first
    inner: bool = False  # part of a batch


class Fault:
    """Something that goes wrong. `hits` counts how often it did.

    Args:
        kind: a name in `presets.KINDS`.
        times: how often at most; None: without end. The default is once, unless the kind or
            `until` says otherwise.
        after: how many matching calls pass first.
        method, edge, account_id, page, level: only calls with these.
        pixel: only calls to this pixel.
        params: only calls with these parameters: exactly this text, True: any, None: absent.
        until: not from this moment of the clock on. A throttle says how long that still is.
        details: what the kind takes; its defaults are beside it in `presets.KINDS`.
    """

    _numbers = count(1)

    def __init__(
        self,
        kind: str,
        *,
        times: int | Literal["default"] | None = "default",
        after: int = 0,
        method: str | None = None,
        edge: str | None = None,
        account_id: str | None = None,
        page: int | None = None,
        level: str | None = None,
        pixel: str | None = None,
        params: Mapping[str, str | bool | None] | None = None,
        until: datetime | str | None = None,
        **details: Any,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
        self.known: Kind = KINDS[kind]
        if unknown := details.keys() - self.known.details.keys():
            raise ValueError(f"{kind} takes no {', '.join(sorted(unknown))}")
        if edge is not None and edge not in (self.known.edges or EDGES):
            raise ValueError(f"{kind} is for {', '.join(self.known.edges or EDGES)}, not {edge!r}")
        if method is not None and self.known.method not in (None, method):
            raise ValueError(f"{kind} is for {self.known.method} only")
        if isinstance(until, str):
            until = datetime.fromisoformat(until)
        if until is not None and until.tzinfo is None:
            raise ValueError("until must have a time zone")
        if times == "default":
            times = None if until is not None else self.known.times
        self.kind, self.effect = kind, self.known.effect
        self.times = None if times is None else _whole("times", times, 1)
        self.after = _whole("after", after, 0)
        self.method, self.edge, self.account_id = method or self.known.method, edge, account_id
        self.page = None if page is None else _whole("page", page, 0)
        self.params = dict(params or {})
        if level or self.known.level:
            self.params["level"] = level or self.known.level
        if pixel is not None:
            self.params["pixel"] = pixel
        self.until = until
        self.details = {**self.known.details, **details}
        if missing := [name for name, value in self.details.items() if value is ...]:
            raise ValueError(f"{kind} needs {', '.join(missing)}")
        for name in details:
            check_detail(name, details[name])
        if kind == "restate":
            restatement(**self.details)
        if self.details.get("taken") and edge != "events":
            raise ValueError(f"{kind} with taken needs the edge events")
        if self.known.of_one_account and account_id is None:
            raise ValueError(f"{kind} needs account_id")
        self.id = next(self._numbers)
        self.seen = self.hits = 0

    def matches(self, target: Target) -> bool:
        """Whether the call is one it waits for."""
        return (
            self.method in (None, target.method)
            and self.edge in (None, target.edge)
            and (not self.known.edges or target.edge in self.known.edges)
            and self.account_id in (None, target.account_id)
            and self.page in (None, target.page)
            and (not self.known.later_pages or bool(target.page))
            and (not self.known.inner or target.inner)
            and all(_meets(target.params.get(name), want) for name, want in self.params.items())
            and self._concerns(target.params)
        )

    def _concerns(self, params: Mapping[str, str]) -> bool:
        """Whether the call asks for what this kind is about."""
        match self.effect:
            case "field" | "object":
                return bool(re.search(rf"\b{self.details['field']}\b", params.get("fields", "")))
            case "status":
                asked = params.get("effective_status", "") + params.get("filtering", "")
                return f'"{self.details["value"]}"' in asked
            case "span":
                asked = orjson.loads(params.get("time_range", "{}"))
                days = [date.fromisoformat(asked[end]) for end in ("since", "until") if asked]
                return bool(days) and (days[1] - days[0]).days >= int(self.details["days"])
        return True

    def due(self, now: datetime) -> bool:
        """Whether it still strikes."""
        return (self.times is None or self.hits < self.times) and (
            self.until is None or now < self.until
        )

    @property
    def waits_for_events(self) -> bool:
        """Whether it strikes when the events of the call have been read, not before."""
        return self.effect == "events" or bool(self.details.get("taken"))

    @property
    def before_taking(self) -> bool:
        """Whether the connection fails it before the events are taken."""
        return self.kind in ("hang", "dropped")

    def wire(self) -> Wire:
        """For those that break connections."""
        if "seconds" in self.details:
            return Wire(hang=self.details["seconds"])
        return Wire(end=_ENDS[self.kind], chunked=self.details.get("chunked", False))

    def answer(self, trace_id: str) -> tuple[int, bytes, str]:
        """Status, body and content type, for those that answer instead of Graph."""
        said = self.details
        if self.effect == "raw":
            return said["status"], said["body"].encode(), said["content_type"]
        if self.effect in ("span", "field", "status"):
            return self._refusal(trace_id)
        error = GraphError(
            said["message"],
            said["code"],
            said["subcode"],
            status=said["status"],
            kind=said["type"],
            transient=said["is_transient"],
            bare=said["bare"],
            user_title=said["user_title"],
            user_message=said["user_message"],
        )
        return error.status, orjson.dumps(error.body(trace_id)), "application/json; charset=UTF-8"

    def _refusal(self, trace_id: str) -> tuple[int, bytes, str]:
        said = self.details
        match self.effect:
            case "status":
                error = bad_parameter(
                    "Param effective_status[0] must be one of {ACTIVE, PAUSED, DELETED, ARCHIVED} "
                    f'- got "{said["value"]}".'
                )
            case "field" if said["status"] == 400:
                error = bad_parameter(f"Tried accessing nonexisting field ({said['field']})")
            case "span" if said["code"] is not None:
                error = GraphError(said["message"], said["code"], status=said["status"])
            case _:
                return said["status"], b"", "text/html"
        return error.status, orjson.dumps(error.body(trace_id)), "application/json; charset=UTF-8"

    def headers(self, account_id: str | None, kind: str, now: datetime) -> dict[str, str | None]:
        """Headers that it sets or (None) takes away: the hint how long to wait, and any given."""
        said: dict[str, str | None] = {}
        minutes = self.details.get("minutes")
        if minutes is None and self.until is not None and self.known.is_throttle:
            minutes = math.ceil((self.until - now).total_seconds() / 60)
        if minutes:
            hints = usage_headers(account_id or "0", kind, 100, minutes=minutes, reset=60 * minutes)
            names = ["x-business-use-case-usage"]
            if self.details["code"] == 17:
                names.append("x-ad-account-usage")
            said |= {name: orjson.dumps(hints[name]).decode() for name in names}
        return said | dict(self.details.get("headers") or {})

    def shown(self) -> dict[str, Any]:
        """As JSON, with its hits."""
        return {
            "id": self.id,
            "kind": self.kind,
            "times": self.times,
            "after": self.after,
            "method": self.method,
            "edge": self.edge,
            "account_id": self.account_id,
            "page": self.page,
            "params": self.params,
            "until": self.until.isoformat() if self.until else None,
            **self.details,
            "seen": self.seen,
            "hits": self.hits,
        }


class Faults:
    """The faults that wait, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(list(self._faults))

    def add(self, fault: Fault) -> Fault:
        """From the next call on."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Not any more."""
        self._faults.remove(fault)

    def clear(self) -> None:
        """None any more."""
        self._faults.clear()

    def meeting(self, target: Target, now: datetime) -> Iterator[Fault]:
        """Those whose turn it is. Whoever lets one strike counts its hit."""
        for fault in self:
            if fault.due(now) and fault.matches(target):
                fault.seen += 1
                if fault.seen > fault.after:
                    yield fault


class Struck(Exception):
    """A fault answers in Graph's place."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


_ENDS: dict[str, Literal["reset", "closed", "dropped"]] = {
    "reset_in_body": "reset",
    "closed_in_body": "closed",
    "dropped": "dropped",
    "dropped_after": "dropped",
}


def _meets(value: str | None, want: str | bool | None) -> bool:
    return value is not None if want is True else value == want


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}")
    return value
