"""Drives a sandbox from another process: the paths below `/_sandbox/`, all JSON.

| call | does |
|---|---|
| `GET health` | says that it is up, and its time |
| `GET`, `POST`, `DELETE faults` | lists them; adds one (`kind` ...); ends one, `?id=`, or all |
| `POST clock` | `set` (ISO 8601; null: real), `advance_seconds`, `advance_per_request_seconds` |
| `GET`, `POST limits` | any of the names of `limits.Limits` |
| `POST usage` | `account_id`, `percent` (null: as it really is), `minutes` |
| `POST restate` | `account_id`, `days`, `ads`, `percent`, `vanish`, as `Sandbox.restate` |
| `GET`, `POST hidden` | `ids`: the objects that are in no listing |
| `POST reset` | all of it, save the time, as if it had just started |
| `GET`, `DELETE requests` | what came in, the `?last=100`, and counts of all; forgets it |
| `GET`, `POST latency` | `seconds` that each call takes |
| `POST`, `DELETE tokens` | makes or replaces a `token` (`accounts`, `pixels` ...); revokes it |
| `GET`, `DELETE events` | what was taken, newest first, and totals by pixel; forgets it |
| `POST events` | `pixel`, `event_name`, `event_id`: the pixel in a browser sends this event |
| `GET events/ledger` | of `?pixel=`: totals, all [event_name, event_id, counted, received] |
| `GET`, `POST google` | counts; `unmatched_percent`, `allowlisted`, `must_log_in`, `per_minute`,
  `processing_seconds`, and `refuse`, `becomes`: order id → code |
| `GET`, `POST`, `DELETE google/faults` | lists them; adds one (`kind` ...); ends them all |
| `GET google/ledger` | all [action, order id, counted, received, value] |
| `POST google/tag` | `action`, `order_id`, `value`, `currency`: a tag reports a conversion |
| `POST`, `DELETE google/tokens` | allows or revokes a `refresh_token`; revoking without one ends
  all access tokens |
| `GET`, `POST`, `DELETE posthog` | what PostHog has; adds a `posthog.PosthogFault`; forgets all |
| `GET`, `POST website` | `strict`: whether a website's events need all that Meta documents |

`events` takes `?pixel=`, `?test_event_code=` and `?last=100`. A token has `accounts`, `pixels`,
`app_secret` and `expires`; revoking it answers what makes it anew.
What makes no sense is refused with 400 and `{"error": ...}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.faults import Fault
from sandbox.google import GoogleFault
from sandbox.graph import Token
from sandbox.state import State

_SHOWN_CHARACTERS = 1_000  # of a parameter of a request

Serve = Callable[[State, Request, dict[str, Any]], Any]


def routes(sandbox: State) -> list[Route]:
    """The routes that drive this sandbox."""
    return [
        Route(f"/_sandbox/{name}", _endpoint(sandbox, methods), methods=list(methods))
        for name, methods in _PATHS.items()
    ]


def _endpoint(
    sandbox: State, methods: dict[str, Serve]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        try:
            given = orjson.loads(body) if body else {}
            if not isinstance(given, dict):
                raise ValueError("the body must be a JSON object")
            serve = methods[request.method if request.method != "HEAD" else "GET"]
            return _json(serve(sandbox, request, given))
        except (ValueError, TypeError) as error:
            return _json({"error": str(error)}, 400)

    return endpoint


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _health(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return {"status": "ok", "now": sandbox.clock.now().isoformat()}


def _faults(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return [fault.shown() for fault in sandbox.faults]


def _add_fault(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return sandbox.faults.add(Fault(**given)).shown()


def _end_faults(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    if "id" not in request.query_params:
        sandbox.faults.clear()
        return []
    number = int(request.query_params["id"])
    found = [fault for fault in sandbox.faults if fault.id == number]
    if not found:
        raise ValueError(f"there is no fault {number}")
    sandbox.faults.remove(found[0])
    return _faults(sandbox, request, given)


def _set_clock(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    steps = ("advance_seconds", "advance_per_request_seconds")
    _only(given, "set", *steps)
    moment = datetime.fromisoformat(given["set"]) if given.get("set") is not None else None
    seconds = {name: timedelta(seconds=given[name]) for name in steps if name in given}
    clock = sandbox.clock
    if moment is not None:
        clock.set(moment)
    elif "set" in given:
        clock.follow()
    if "advance_seconds" in seconds:
        clock.advance(seconds["advance_seconds"])
    if "advance_per_request_seconds" in seconds:
        clock.advance_per_request = seconds["advance_per_request_seconds"]
    return {
        "now": clock.now().isoformat(),
        "advance_per_request_seconds": clock.advance_per_request.total_seconds(),
    }


def _limits(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return asdict(sandbox.limits)


def _set_limits(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    sandbox.limits.change(**given)
    return asdict(sandbox.limits)


def _set_usage(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    sandbox.set_usage(**given)
    return given


def _restate(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    sandbox.restate(**given)
    return {"revision": sandbox.world.revision}


def _hidden(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return {"ids": sorted(sandbox.world.hidden_from_edges)}


def _hide(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "ids")
    sandbox.world.hide(given.get("ids", ()))
    return _hidden(sandbox, request, given)


def _requests(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    last = int(request.query_params.get("last", 100))
    received = list(sandbox.requests)[-last:] if last > 0 else []
    tally = sandbox.graph.tally
    return {
        "total": sum(tally.values()),
        "counts": [
            {"method": method, "edge": edge, "account_id": account_id, "calls": calls}
            for (method, edge, account_id), calls in tally.items()
        ],
        "last": [
            {"method": one.method, "path": one.path, "params": _shortened(one.shown_params())}
            for one in received
        ],
    }


def _shortened(params: dict[str, str]) -> dict[str, str]:
    return {name: value[:_SHOWN_CHARACTERS] for name, value in params.items()}


def _forget_requests(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    sandbox.requests.clear()
    sandbox.graph.tally.clear()
    return _requests(sandbox, request, given)


def _reset(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given)
    sandbox.reset()
    return _health(sandbox, request, given)


def _latency(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return {"seconds": sandbox.latency}


def _set_latency(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "seconds")
    seconds = given.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise ValueError("seconds must be a number of at least 0")
    sandbox.latency = seconds
    return _latency(sandbox, request, given)


def _set_token(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "token", "accounts", "pixels", "app_secret", "expires")
    expires = given.get("expires")
    token = Token(
        _texts(given, "accounts"),
        _text_or_none(given, "app_secret"),
        datetime.fromisoformat(expires) if expires is not None else None,
        _texts(given, "pixels"),
    )
    if token.expires is not None and token.expires.tzinfo is None:
        raise ValueError("expires must have a time zone")
    sandbox.tokens[_text(given, "token")] = token
    return given


def _revoke_token(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "token")
    name = _text(given, "token")
    token = sandbox.tokens.pop(name, None)
    if token is None:
        raise ValueError("there is no such token")
    return {
        "token": name,
        "accounts": sorted(token.accounts),
        "pixels": sorted(token.pixels),
        "app_secret": token.app_secret,
        "expires": token.expires.isoformat() if token.expires else None,
    }


def _events(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    query, events = request.query_params, sandbox.events
    pixel = query.get("pixel")
    found = events.latest(int(query.get("last", 100)), pixel, query.get("test_event_code"))
    pixels = events.pixels() if pixel is None else [pixel]
    return {
        "totals": {pixel: events.totals(pixel) for pixel in pixels},
        "events": [{**taken._asdict(), "when": taken.when.isoformat()} for taken in found],
    }


def _forget_events(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    sandbox.events.clear()
    return _events(sandbox, request, given)


def _send_from_browser(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    names = ("pixel", "event_name", "event_id")
    _only(given, *names)
    pixel, event_name, event_id = (_text(given, name) for name in names)
    sandbox.pixel_sent(pixel, event_name, event_id)
    return sandbox.events.totals(pixel)


def _ledger(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    pixel = request.query_params.get("pixel")
    if pixel is None:
        raise ValueError("pixel is required")
    return {
        "totals": sandbox.events.totals(pixel),
        "ledger": [(*key, *counts) for key, counts in sandbox.events.ledger(pixel).items()],
    }


def _website(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return {"strict": sandbox.graph.strict_website}


def _set_website(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "strict")
    if not isinstance(given.get("strict"), bool):
        raise ValueError("strict must be true or false")
    sandbox.graph.strict_website = given["strict"]
    return _website(sandbox, request, given)


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a text")
    return value


def _text_or_none(given: dict[str, Any], name: str) -> str | None:
    return None if given.get(name) is None else _text(given, name)


def _texts(given: dict[str, Any], name: str) -> frozenset[str]:
    values = given.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} must be a list of texts")
    return frozenset(values)


def _only(given: dict[str, Any], *known: str) -> None:
    if unknown := given.keys() - set(known):
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")


def _google(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return dict(sandbox.google.shown())


def _set_google(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    plain = ("unmatched_percent", "allowlisted", "must_log_in", "per_minute")
    _only(given, *plain, "processing_seconds", "refuse", "becomes")
    google = sandbox.google
    for name in plain:
        if name in given:
            if type(given[name]) is not type(getattr(google, name)):
                raise ValueError(f"{name} is of another type")
            setattr(google, name, given[name])
    if "processing_seconds" in given:
        google.processing = timedelta(seconds=given["processing_seconds"])
    google.refuse.update(given.get("refuse", {}))
    google.becomes.update(given.get("becomes", {}))
    return _google(sandbox, request, given)


def _google_faults(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    return [fault.shown() for fault in sandbox.google.faults]


def _add_google_fault(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    fault = GoogleFault(**given)
    sandbox.google.faults.append(fault)
    return fault.shown()


def _end_google_faults(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    sandbox.google.faults.clear()
    return []


def _google_ledger(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    with sandbox.google.lock:
        return [
            [action, order, one.counted, one.received, one.value]
            for (action, order), one in sandbox.google.conversions.items()
        ]


def _google_tag(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "action", "order_id", "value", "currency")
    action, order = _text(given, "action"), _text(given, "order_id")
    sandbox.google.tag_sent(action, order, float(given["value"]), _text(given, "currency"))
    return given


def _allow_google_token(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "refresh_token")
    sandbox.google.refresh_tokens.add(_text(given, "refresh_token"))
    return {}


def _revoke_google_token(sandbox: State, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "refresh_token")
    if given:
        sandbox.google.refresh_tokens.discard(_text(given, "refresh_token"))
    sandbox.google.revoke_access()
    return {}


_PATHS: dict[str, dict[str, Serve]] = {
    "google": {"GET": _google, "POST": _set_google},
    "google/faults": {
        "GET": _google_faults,
        "POST": _add_google_fault,
        "DELETE": _end_google_faults,
    },
    "google/ledger": {"GET": _google_ledger},
    "google/tag": {"POST": _google_tag},
    "google/tokens": {"POST": _allow_google_token, "DELETE": _revoke_google_token},
    "health": {"GET": _health},
    "faults": {"GET": _faults, "POST": _add_fault, "DELETE": _end_faults},
    "clock": {"POST": _set_clock},
    "limits": {"GET": _limits, "POST": _set_limits},
    "usage": {"POST": _set_usage},
    "restate": {"POST": _restate},
    "hidden": {"GET": _hidden, "POST": _hide},
    "reset": {"POST": _reset},
    "requests": {"GET": _requests, "DELETE": _forget_requests},
    "latency": {"GET": _latency, "POST": _set_latency},
    "tokens": {"POST": _set_token, "DELETE": _revoke_token},
    "events": {"GET": _events, "POST": _send_from_browser, "DELETE": _forget_events},
    "events/ledger": {"GET": _ledger},
    "website": {"GET": _website, "POST": _set_website},
}
