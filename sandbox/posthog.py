"""PostHog's `/batch/` and `/flags/`, as far as conversions need them.

As PostHog itself it takes a batch whole or not at all, answers yes to keys of no project and drops
what they send, and keeps one event per uuid, name, distinct id and day. It is stricter in this:
a key of an event that it does not know, a time without an offset, a uuid that is none are refused.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.wire import Travelling, Wire

PROJECTS = frozenset({"phc_sandbox_acme", "phc_sandbox_lumen"})
_MOST_BYTES = 20 * 2**20
_OF_BATCH = {"api_key", "batch", "sent_at", "historical_migration"}
_OF_EVENT = {"uuid", "event", "distinct_id", "timestamp", "properties"}
KINDS = ("failure", "lost_answer", "hang", "throttle", "quota", "refuse")

Key = tuple[str, str, str, str]  # uuid, name, distinct id, day


@dataclass
class PosthogFault:
    """Something that goes wrong with `/batch/`, `times` times, after `after` of them have passed.

    | kind | |
    |---|---|
    | failure | 500 (`status`); nothing is taken |
    | lost_answer | taken, and the connection breaks before the answer |
    | hang | taken, and the answer takes `seconds` (real ones) |
    | throttle | 429, with `Retry-After` of `seconds` unless that is 0 |
    | quota | the answer is yes, and nothing is taken: the quota is used up |
    | refuse | 400 while an event of `transaction_id` is in the batch |
    """

    kind: str
    times: int | None = 1
    after: int = 0
    status: int = 500
    seconds: float = 0.0
    transaction_id: str | None = None
    id: int = field(default_factory=count(1).__next__)
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; there are {', '.join(KINDS)}")

    def meets(self, events: list[dict[str, Any]]) -> bool:
        """Whether it strikes this batch."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.kind == "refuse" and not any(
            event["properties"].get("transaction_id") == self.transaction_id for event in events
        ):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.hits += 1
        return True


class Refusal(Exception):
    """An answer that refuses the batch."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"type": "validation_error", "code": code, "detail": detail, "attr": None}


class Posthog:
    """What PostHog has taken: `ledger` says of each project's events how often they came."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As if it had just started."""
        self.projects = set(PROJECTS)
        self.faults: list[PosthogFault] = []
        self.ledger: dict[str, dict[Key, int]] = {}
        self.events: list[dict[str, Any]] = []  # as they came, the latest last
        self.requests = 0

    def counted(self, project: str) -> int:
        """Events that the project has."""
        return len(self.ledger.get(project, {}))

    def routes(self, stopping: Callable[[], bool]) -> list[Route]:
        """The API's own paths, and those that drive it from another process.

        Args:
            stopping: whether the server is about to end, which ends an answer that hangs.
        """

        async def batch(request: Request) -> Response:
            try:
                raw = await request.body()
            except ClientDisconnect:
                return Response(status_code=400)
            return self._batch(raw, dict(request.headers), stopping)

        async def flags(request: Request) -> Response:
            try:
                key = orjson.loads(await request.body())["api_key"]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                key = None
            if key not in self.projects:
                return _json({"type": "authentication_error", "code": "invalid_api_key"}, 401)
            return _json({"flags": {}, "errorsWhileComputingFlags": False})

        async def control(request: Request) -> Response:
            if request.method == "POST":
                try:
                    fault = PosthogFault(**orjson.loads(await request.body()))
                except (ValueError, TypeError) as error:
                    return _json({"error": str(error)}, 400)
                self.faults.append(fault)
            elif request.method == "DELETE":
                self.reset()
            return _json(
                {
                    "requests": self.requests,
                    "events": {project: len(book) for project, book in self.ledger.items()},
                    "received": {project: sum(b.values()) for project, b in self.ledger.items()},
                    "faults": [vars(fault) for fault in self.faults],
                }
            )

        return [
            Route("/batch/", batch, methods=["POST"]),
            Route("/flags/", flags, methods=["POST"]),
            Route("/_sandbox/posthog", control, methods=["GET", "POST", "DELETE"]),
        ]

    def _batch(self, raw: bytes, headers: dict[str, str], stopping: Callable[[], bool]) -> Response:
        self.requests += 1
        yes = _json({"status": "Ok"})
        try:
            project, events = self._read(raw, headers)
        except Refusal as refusal:
            return _json(refusal.body, refusal.status)
        fault = next((one for one in self.faults if one.meets(events)), None)
        match fault.kind if fault else None:
            case "failure":
                return Response("upstream failure", fault.status)  # type: ignore[union-attr]
            case "throttle":
                wait = {"Retry-After": f"{fault.seconds:g}"} if fault.seconds else {}  # type: ignore[union-attr]
                return Response("rate limited", 429, wait)
            case "quota":
                return _json({"status": "Ok", "quota_limited": ["events"]})
            case "refuse":
                return _json(Refusal(400, "invalid_payload", "an event is malformed").body, 400)
        self._take(project, events)
        if fault is None:
            return yes
        wire = Wire(end="dropped") if fault.kind == "lost_answer" else Wire(hang=fault.seconds)
        return Travelling(yes, wire, stopping)

    def _read(self, raw: bytes, headers: dict[str, str]) -> tuple[str, list[dict[str, Any]]]:
        if len(raw) > _MOST_BYTES:
            raise Refusal(413, "payload_too_large", "the body is larger than 20 MB")
        try:
            if headers.get("content-encoding") == "gzip":
                raw = gzip.decompress(raw)
            body = orjson.loads(raw)
        except (OSError, EOFError, zlib.error, orjson.JSONDecodeError):
            raise Refusal(400, "invalid_payload", "the body is no JSON") from None
        if not isinstance(body, dict) or body.keys() - _OF_BATCH:
            raise Refusal(400, "invalid_payload", "the body is no batch")
        project = body.get("api_key")
        if not isinstance(project, str) or not project or not project.isascii():
            raise Refusal(401, "missing_api_key", "no api_key in the request")
        if project.startswith("phx_"):
            raise Refusal(401, "invalid_api_key", "this is a personal key, not a project's")
        events = body.get("batch")
        if not isinstance(events, list) or not events:
            raise Refusal(400, "invalid_payload", "empty batch")
        for event in events:
            _check(event)
        return project, events

    def _take(self, project: str, events: list[dict[str, Any]]) -> None:
        if project not in self.projects:
            return  # as PostHog: the answer is yes, and the events are dropped
        self.events = [*self.events, *events][-10_000:]
        book = self.ledger.setdefault(project, {})
        for event in events:
            day = event["timestamp"][:10]
            key = (event["uuid"], event["event"], event["distinct_id"], day)
            book[key] = book.get(key, 0) + 1


def _check(event: Any) -> None:
    if not isinstance(event, dict) or event.keys() != _OF_EVENT:
        raise Refusal(400, "invalid_payload", "an event has other keys than it should")
    for key in ("event", "distinct_id"):
        if not isinstance(event[key], str) or not 0 < len(event[key]) <= 200:
            raise Refusal(400, "invalid_payload", f"event submitted without a {key}")
    try:
        UUID(event["uuid"])
        moment = datetime.fromisoformat(event["timestamp"])
    except (ValueError, TypeError, AttributeError):
        raise Refusal(400, "invalid_payload", "uuid or timestamp is malformed") from None
    if moment.tzinfo is None or not isinstance(event["properties"], dict):
        raise Refusal(400, "invalid_payload", "timestamp without offset, or no properties")


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
