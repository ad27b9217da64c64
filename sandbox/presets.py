"""The kinds of faults, each with what it does, where it may strike, and its details' defaults.

| effect | |
|---|---|
| error | Graph refuses: status, code, subcode, message ..., `minutes`: a hint how long to wait |
| raw | something else answers in Graph's place |
| truncated | the answer is 200, and its JSON breaks off |
| wire | the connection: see `wire.Wire` |
| report | how a report ends, decided when it is asked for |
| page | what a page shows, and what its `next` leads to |
| object | Graph refuses what holds one broken object |
| world | the figures themselves change |
| null | an inner call of a batch has timed out |
| events | what is taken of the events of a request |

On the edge `events` there is also when it strikes. `hang` and `dropped` do before the events are
taken: a client that waits for the end of `hang` has them taken then, one that does not has not.
`hang_after`, `dropped_after`, and answers that break off, do after. What answers in Graph's place
(error and raw) does before, or with `taken` after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sandbox.errors import (
    GraphError,
    blocked,
    cursor_too_far,
    forbidden,
    invalid_cursor,
    no_such_object,
    page_too_big,
    sync_timeout,
    throttled,
    token_expired,
    token_revoked,
    too_much_data,
)

# What a call is for: an object by its id, several by `ids`, a batch; `report` is the state of a
# report, `results` its pages; the others are named as in the path.
EDGES = (
    "object",
    "ids",
    "batch",
    "me",
    "adaccounts",
    "campaigns",
    "adsets",
    "ads",
    "insights",
    "report",
    "results",
    "events",
    "quality",
)
_LISTINGS = ("adaccounts", "campaigns", "adsets", "ads", "insights", "results")
_EDGES_OF_OBJECTS = ("campaigns", "adsets", "ads")
_ROWS = ("insights", "results")


class Kind(NamedTuple):
    """A kind of fault."""

    effect: str
    details: Mapping[str, Any] = MappingProxyType({})  # ...: has no default
    edges: tuple[str, ...] = ()  # where it can strike; (): everywhere
    method: str | None = None
    level: str | None = None
    times: int | None = 1
    later_pages: bool = False  # only where a cursor was given
    inner: bool = False  # only inside a batch
    of_one_account: bool = False

    @property
    def is_throttle(self) -> bool:
        """Whether it makes clients wait."""
        return self.details.get("code") in (4, 17, 613, 80000, 80004)


def _error(error: GraphError, **matching: Any) -> Kind:
    details: dict[str, Any] = {
        "status": error.status,
        "code": error.code,
        "subcode": error.subcode,
        "message": error.message,
        "is_transient": error.transient,
        "type": error.kind,
        "user_title": error.user_title,
        "user_message": error.user_message,
        "bare": error.bare,
        "minutes": None,
        "headers": {},
        "taken": False,
    }
    return Kind("error", details, **matching)


def _raw(
    status: int, content_type: str, body: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Kind:
    details = {
        "status": status,
        "content_type": content_type,
        "body": body,
        "headers": dict(headers),
        "taken": False,
    }
    return Kind("raw", details)


def _busy(subcode: int | None = None, **more: Any) -> GraphError:
    return GraphError("Service temporarily unavailable", 2, subcode, **{"status": 500, **more})


KINDS: dict[str, Kind] = {
    "error": _error(GraphError("An unknown error occurred", 1, status=500)),
    # Not Graph's own answers.
    "empty_json_200": _raw(200, "application/json; charset=UTF-8", "{}"),
    "html_200": _raw(200, "text/html", "<html><body><h1>Welcome</h1></body></html>\n"),
    "html_500": _raw(500, "text/html", "<html><body><h1>Sorry</h1></body></html>\n"),
    "json_502": _raw(502, "application/json", '{"status":"Bad Gateway"}'),
    "html_502": _raw(502, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>\n"),
    "empty_500": _raw(500, "text/html", ""),
    "html_504": _raw(504, "text/html", "<html><body><h1>504 Gateway Time-out</h1></body></html>\n"),
    "login_page": _raw(302, "text/html", "", {"location": "https://login.example/?next=graph"}),
    "error_text": _raw(400, "application/json", '{"error": "invalid_request"}'),
    "truncated_json": Kind("truncated"),
    "reset_in_body": Kind("wire", {"chunked": False}),
    "closed_in_body": Kind("wire", {"chunked": False}),
    "dropped": Kind("wire"),
    "dropped_after": Kind("wire", edges=("events",), method="POST"),
    "hang": Kind("wire", {"seconds": ...}),
    "hang_after": Kind("wire", {"seconds": ...}, edges=("events",), method="POST"),
    # Too much asked for at a time.
    "page_too_big": _error(page_too_big()),
    "too_much_data": _error(too_much_data()),
    "sync_timeout_100": _error(sync_timeout(100)),
    "sync_timeout_2": _error(sync_timeout(2)),
    # Queries of more than `days` days: a gateway times out (code null), or Graph says 1 or 2.
    "above_days": Kind(
        "span",
        {"days": 1, "status": 504, "code": None, "message": "An unknown error occurred"},
        edges=("insights",),
        times=None,
    ),
    # A field that makes every call for it fail, an object that makes its page fail, a status that
    # is no longer one.
    "field_refused": Kind("field", {"field": ..., "status": 400}, times=None),
    "broken_object": Kind(
        "object", {"id": ..., "field": "creative"}, edges=("ads", "adsets", "ids"), times=None
    ),
    "status_refused": Kind(
        "status", {"value": ...}, edges=(*_EDGES_OF_OBJECTS, "insights"), times=None
    ),
    # Rate limits; without `minutes` (or `until`) there is no hint.
    "throttle_4": _error(throttled(4, 1504022)),
    "throttle_17": _error(throttled(17, 2446079)),
    "throttle_613": _error(throttled(613)),
    "throttle_613_1487742": _error(throttled(613, 1487742)),
    "throttle_80000": _error(throttled(80000)),
    "throttle_80004": _error(throttled(80004, 2446079)),
    # Failures of Meta's own.
    "unknown_1_99": _error(GraphError("An unknown error occurred", 1, 99, status=500)),
    "busy": _error(_busy(transient=True)),
    "busy_unflagged": _error(_busy()),
    "busy_1504043": _error(_busy(1504043)),
    "fatal_1504042": _error(
        GraphError("(#2) Invalid custom metrics in the request", 2, 1504042, status=400)
    ),
    # The token, the account, the object, the place in a listing.
    "token_expired": _error(token_expired()),
    "token_revoked": _error(token_revoked()),
    "permission_10": _error(
        GraphError("(#10) Application does not have permission for this action", 10, status=403)
    ),
    "forbidden": _error(forbidden()),
    "blocked_368": _error(blocked()),
    "object_missing": _error(no_such_object("of the call")),
    "cursor_expired": _error(invalid_cursor(), edges=_LISTINGS, method="GET", later_pages=True),
    "cursor_too_far": _error(cursor_too_far(), edges=_LISTINGS, method="GET", later_pages=True),
    # Reports.
    "not_there_yet": _error(no_such_object("of the report"), edges=("report", "results")),
    "report_failed": Kind("report", edges=("insights",), method="POST"),
    "report_skipped": Kind("report", edges=("insights",), method="POST"),
    "report_stuck": Kind("report", {"percent": 50}, edges=("insights",), method="POST"),
    # Pages that are not what they should be.
    "empty_page": Kind("page", edges=_LISTINGS, method="GET"),
    "drop_rows": Kind("page", {"rows": 1}, edges=_LISTINGS, method="GET"),
    "duplicate_rows": Kind("page", {"rows": 1}, edges=_LISTINGS, method="GET", later_pages=True),
    "circle": Kind("page", {"to": "first"}, edges=_LISTINGS, method="GET", times=None),
    "endless": Kind("page", edges=_LISTINGS, method="GET", times=None),
    "no_data": Kind("page", {"days": None}, edges=_ROWS, method="GET", times=None),
    "changed_rows": Kind(
        "page", {"set": {}, "without": [], "rows": 1}, edges=_LISTINGS, method="GET", times=None
    ),
    "json_numbers": Kind("page", edges=_ROWS, method="GET", times=None),
    "drop_ads": Kind("page", {"ads": ...}, edges=_ROWS, method="GET", times=None),
    # Figures that change: after an account's own totals were read, or before a call is answered.
    "moving": Kind(
        "world", {"spend": 100, "impressions": 10}, edges=("insights",), level="account"
    ),
    "restate": Kind(
        "world",
        {"days": None, "ads": None, "percent": 7, "vanish": []},
        of_one_account=True,
    ),
    "batch_null": Kind("null", inner=True),
    # Conversions: a request is refused while one of these events is in it, for no reason that its
    # sender could know; the last of its events are lost, and the answer says how many are not.
    "refuse_event": Kind(
        "events",
        {"event_id": ..., "subcode": 2804050},
        edges=("events",),
        method="POST",
        times=None,
    ),
    "events_received_short": Kind("events", {"missing": 1}, edges=("events",), method="POST"),
}


def check_detail(name: str, value: Any) -> None:
    """Refuse what a detail cannot be."""
    says, fits = _DETAILS[name]
    if not fits(value):
        raise ValueError(f"{name} must be {says}, not {value!r}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _bool(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(map(_text, value))


def _headers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _text(name) and (text is None or _text(text)) for name, text in value.items()
    )


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_DETAILS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "status": ("an HTTP status", lambda value: _whole(value) and 200 <= value <= 599),
    "code": ("a whole number or null", _or_none(_whole)),
    "subcode": ("a whole number or null", _or_none(_whole)),
    "message": ("a text", _text),
    "is_transient": ("true or false", _bool),
    "type": ("a text", _text),
    "user_title": ("a text or null", _or_none(_text)),
    "user_message": ("a text or null", _or_none(_text)),
    "bare": ("true or false", _bool),
    "minutes": ("a number of at least 0", _or_none(lambda v: _number(v) and v >= 0)),
    "headers": ("an object of texts; null takes a header away", _headers),
    "content_type": ("a text", _text),
    "body": ("a text", _text),
    "chunked": ("true or false", _bool),
    "seconds": ("a number of at least 0", lambda value: _number(value) and value >= 0),
    "percent": ("a whole number", _whole),
    "taken": ("true or false", _bool),
    "event_id": ("an event_id or a list of them", lambda value: _text(value) or _texts(value)),
    "missing": ("a whole number above 0", lambda value: _whole(value) and value > 0),
    "rows": ("a whole number above 0", lambda value: _whole(value) and value > 0),
    "ads": ("a list of ids", _texts),
    "vanish": ("a list of ids", _texts),
    "days": (
        "a list of days, or a number of them",
        _or_none(lambda value: isinstance(value, list | tuple) or _whole(value)),
    ),
    "field": ("a text", _text),
    "id": ("a text", _text),
    "value": ("a text", _text),
    "to": ("first or itself", lambda value: value in ("first", "itself")),
    "set": ("an object", lambda value: isinstance(value, dict)),
    "without": ("a list of fields", _texts),
    "spend": ("minor units of at least 0", lambda value: _whole(value) and value >= 0),
    "impressions": ("a number of at least 0", lambda value: _whole(value) and value >= 0),
}
