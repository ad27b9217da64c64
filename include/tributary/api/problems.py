"""Errors as RFC 9457 problem details: what is wrong and with which field, never what was sent."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tributary.errors import SettingsError, WarehouseBusy, WarehouseDown, WarehouseError
from tributary.event import EventRefused

log = logging.getLogger(__name__)
access_log = logging.getLogger("tributary.access")

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
MEDIA_TYPE = "application/problem+json"
_MOST_BYTES = 4 * 2**20
_OURS = "Something went wrong here; the log of the server says where."
_NAME = re.compile(r"[A-Za-z_][\w.\[\]-]{0,99}", re.ASCII)


class Fault(BaseModel):
    """One wrong field."""

    field: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="What is wrong, and how to repair it.")
    errors: list[Fault] | None = Field(None, description="The wrong fields, where there are any.")


class ApiError(Exception):
    """An error that the API answers with, as problem details."""

    def __init__(
        self,
        status: int,
        detail: str,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.faults, self.headers = status, detail, faults, headers


class WarehouseStillDown(WarehouseDown):
    """The warehouse did not answer a moment ago; the log has it from then."""


def faults_of_event(error: EventRefused) -> list[Fault]:
    """Fields and reasons of a refused event."""
    return [fault(field, text) for field, text in error.faults]


def fault(field: str, detail: str) -> Fault:
    """A sender's own key may be an e-mail address: only what looks like a name is repeated."""
    return Fault(field=field if _NAME.fullmatch(field) else "an unknown field", detail=detail)


def faults_of(errors: Sequence[Mapping[str, Any]]) -> list[Fault]:
    """Pydantic's errors without the values that they quote."""
    faults = []
    for error in errors:
        place = [str(part) for part in error["loc"]]
        field = ".".join(place[1:] if place[:1] in (["body"], ["query"], ["path"]) else place)
        faults.append(fault(field or "body", str(error["msg"])))
    return faults


def unprocessable(faults: Sequence[Fault]) -> ApiError:
    """422 that names its fields."""
    return ApiError(422, "; ".join(f"{f.field}: {f.detail}" for f in faults[:10]), faults)


def answer(
    status: int,
    detail: str,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem as a response."""
    problem = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(faults) or None
    )
    body = orjson.dumps(problem.model_dump(exclude_none=True))
    return Response(body, status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI, *, inside: bool = False) -> None:
    """Answer every error of an app in this form.

    Args:
        inside: callers are users of Airflow, who may know where the warehouse is.
    """

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return answer(error.status, error.detail, error.faults, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await refused(request, unprocessable(faults_of(error.errors())))

    @app.exception_handler(EventRefused)
    async def event_refused(request: Request, error: EventRefused) -> Response:
        return await refused(request, unprocessable(faults_of_event(error)))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(SettingsError)
    async def not_set_up(request: Request, error: SettingsError) -> Response:
        log.error("%s", error)
        return answer(503, str(error))

    @app.exception_handler(WarehouseError)
    async def refused_by_warehouse(request: Request, error: WarehouseError) -> Response:
        log.error("%s", error)
        return answer(500, _OURS)

    @app.exception_handler(psycopg.errors.UndefinedTable)
    @app.exception_handler(psycopg.errors.UndefinedColumn)
    async def of_another_version(request: Request, error: psycopg.Error) -> Response:
        log.error("The warehouse lacks a table or column: %s", type(error).__name__)
        words = "The warehouse is not of this version yet: run `tributary prepare`."
        return answer(503, words)

    @app.exception_handler(psycopg.DataError)
    async def not_storable(request: Request, error: psycopg.DataError) -> Response:
        log.error("Postgres refuses a value: %s", type(error).__name__)
        return answer(422, "A value holds what Postgres cannot store, such as the character NUL.")

    @app.exception_handler(psycopg.errors.LockNotAvailable)
    @app.exception_handler(psycopg.errors.QueryCanceled)
    @app.exception_handler(psycopg.errors.DeadlockDetected)
    @app.exception_handler(WarehouseBusy)
    async def busy(request: Request, error: Exception) -> Response:
        log.warning("The warehouse was too slow: %s", type(error).__name__)
        words = "Other work, such as an erasure or `configure`, holds what this needs, or it is "
        return answer(503, words + "too much at once; try again.", (), {"Retry-After": "5"})

    @app.exception_handler(WarehouseDown)
    @app.exception_handler(PoolTimeout)
    @app.exception_handler(psycopg.OperationalError)
    async def down(request: Request, error: Exception) -> Response:
        if not isinstance(error, WarehouseStillDown):
            log.error("The warehouse does not answer: %s", type(error).__name__)
        words = "The warehouse does not answer; try again."
        if inside and isinstance(error, WarehouseDown):
            words = str(error)
        return answer(503, words, (), {"Retry-After": "5"})

    app.add_middleware(_LogAndLimit)


class _LogAndLimit:
    """Limits bodies, logs requests, and answers 500 to unforeseen errors; logs no personal data.

    The words of unforeseen errors, which may quote people, stay out; so do addresses, paths and
    queries: the route says what was asked for, the key's id who asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, size = time.perf_counter(), 0, 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def receiving() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > _MOST_BYTES:
                words = f"A request may have {_MOST_BYTES:,} bytes at most."
                raise HTTPException(413, words, {"Connection": "close"})
            return message

        try:
            await self._app(scope, receiving, sending)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 -- logged without its text
            trace, where = error.__traceback__, "?"
            while trace is not None:
                where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
                trace = trace.tb_next
            state = getattr(error, "sqlstate", None)
            log.error("%s %s at %s", type(error).__name__, state or "", where)
            if status:
                raise RuntimeError("an answer broke off") from None
            await answer(500, _OURS)(scope, receive, sending)
        finally:
            route, state = scope.get("route"), scope.get("state", {})
            access_log.info(
                "%s %s %s %.0f ms key %s",
                scope["method"] if scope["method"] in _METHODS else "-",
                state.get("route") or getattr(route, "path", "-"),
                status or "-",  # who asked has gone
                (time.perf_counter() - began) * 1000,
                state.get("key_id", "-"),
            )
