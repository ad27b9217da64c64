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

What makes no sense is refused with 400 and `{"error": ...}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from include.sandbox.faults import Fault

if TYPE_CHECKING:
    from include.sandbox.server import Sandbox

Serve = Callable[["Sandbox", Request, dict[str, Any]], Any]


def routes(sandbox: Sandbox) -> list[Route]:
    """The routes that drive this sandbox."""
    return [
        Route(f"/_sandbox/{name}", _endpoint(sandbox, methods), methods=list(methods))
        for name, methods in _PATHS.items()
    ]


def _endpoint(
    sandbox: Sandbox, methods: dict[str, Serve]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        try:
            given = orjson.loads(body) if body else {}
            if not isinstance(given, dict):
                raise ValueError("the body must be a JSON object")
            serve = methods[request.method if request.method != "HEAD" else "GET"]
            return JSONResponse(serve(sandbox, request, given))
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint


def _health(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    return {"status": "ok", "now": sandbox.clock.now().isoformat()}


def _faults(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    return [fault.shown() for fault in sandbox.faults]


def _add_fault(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    return sandbox.faults.add(Fault(**given)).shown()


def _end_faults(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    if "id" not in request.query_params:
        sandbox.faults.clear()
        return []
    number = int(request.query_params["id"])
    found = [fault for fault in sandbox.faults if fault.id == number]
    if not found:
        raise ValueError(f"there is no fault {number}")
    sandbox.faults.remove(found[0])
    return _faults(sandbox, request, given)


def _set_clock(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
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


def _limits(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    return asdict(sandbox.limits)


def _set_limits(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    sandbox.limits.change(**given)
    return asdict(sandbox.limits)


def _set_usage(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    sandbox.set_usage(**given)
    return given


def _restate(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    sandbox.restate(**given)
    return {"revision": sandbox.world.revision}


def _hidden(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    return {"ids": sorted(sandbox.world.hidden_from_edges)}


def _hide(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    _only(given, "ids")
    sandbox.world.hide(given.get("ids", ()))
    return _hidden(sandbox, request, given)


def _requests(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
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
            {"method": one.method, "path": one.path, "params": one.shown_params()}
            for one in received
        ],
    }


def _forget_requests(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    sandbox.requests.clear()
    sandbox.graph.tally.clear()
    return _requests(sandbox, request, given)


def _reset(sandbox: Sandbox, request: Request, given: dict[str, Any]) -> Any:
    _only(given)
    sandbox.reset()
    return _health(sandbox, request, given)


def _only(given: dict[str, Any], *known: str) -> None:
    if unknown := given.keys() - set(known):
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")


_PATHS: dict[str, dict[str, Serve]] = {
    "health": {"GET": _health},
    "faults": {"GET": _faults, "POST": _add_fault, "DELETE": _end_faults},
    "clock": {"POST": _set_clock},
    "limits": {"GET": _limits, "POST": _set_limits},
    "usage": {"POST": _set_usage},
    "restate": {"POST": _restate},
    "hidden": {"GET": _hidden, "POST": _hide},
    "reset": {"POST": _reset},
    "requests": {"GET": _requests, "DELETE": _forget_requests},
}
