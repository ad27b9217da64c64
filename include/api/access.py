"""Who may: Airflow's users by their roles, or the holders of a brand's API key.

Every route asks for a `Reader` or a `Writer`; what a caller may see is in `Caller.brand_id`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.exceptions import HTTPException

from include.api import keys
from include.api.database import Database
from include.api.problems import Refused
from include.errors import SettingsError

UPLOAD_DAG = "upload_conversions"


@dataclass(frozen=True)
class Caller:
    """Somebody who may at least read."""

    brand_id: UUID | None  # the one brand whose rows there are for them; None: all
    brand: str | None
    writes: bool


_bearer = HTTPBearer(
    auto_error=False,
    description="An API key of `python -m include.cli api-keys create`; in Airflow, its own token.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
Access = Callable[[Request, HTTPAuthorizationCredentials | None], Awaitable[Caller]]


async def _reader(request: Request, credentials: Credentials) -> Caller:
    access: Access = request.app.state.access
    return await access(request, credentials)


async def _writer(caller: Annotated[Caller, Depends(_reader)]) -> Caller:
    if not caller.writes:
        raise Refused(403, f"Your role in Airflow may not trigger {UPLOAD_DAG}, so it only reads.")
    return caller


Reader = Annotated[Caller, Depends(_reader)]
Writer = Annotated[Caller, Depends(_writer)]


def by_key(database: Database) -> Access:
    """Bearer keys, each for one brand, and so many requests a minute."""
    try:
        limit = parse(os.environ.get("TRIBUTARY_RATE_LIMIT") or "1200/minute")
    except ValueError:
        raise SettingsError("TRIBUTARY_RATE_LIMIT must be such as 1200/minute.") from None
    storage = storage_from_string(os.environ.get("TRIBUTARY_RATE_LIMIT_STORAGE") or "memory://")
    limiter = SlidingWindowCounterRateLimiter(storage)

    def check(given: HTTPAuthorizationCredentials | None) -> Caller:
        holder = None
        if given is not None:
            with database.connection() as connection:
                holder = keys.holder(connection, given.credentials)
        if holder is None:
            words = "Give a valid API key: `Authorization: Bearer tk_…`."
            raise Refused(401, words, headers={"WWW-Authenticate": "Bearer"})
        if not limiter.hit(limit, holder.key_id):
            reset = limiter.get_window_stats(limit, holder.key_id).reset_time
            wait = max(1, round(reset - time.time()))
            raise Refused(429, f"More than {limit}.", headers={"Retry-After": str(wait)})
        return Caller(holder.brand_id, holder.brand, writes=True)

    async def access(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
        return await run_in_threadpool(check, given)

    return access


def from_another_site(request: Request) -> bool:
    """Whether a browser sends it for a page of another site; who is no browser does not say."""
    return request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


async def by_airflow(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
    """Airflow's roles: who may see the upload DAG's runs reads, who may trigger it writes."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import (
        DagAccessEntity,
        DagDetails,
    )
    from airflow.api_fastapi.core_api.security import get_user

    try:
        user = await get_user(request, None, given)
    except HTTPException as error:
        # Airflow says 403 of a token that is none of its own; to us that is nobody, too.
        raise Refused(401, str(error.detail), headers={"WWW-Authenticate": "Bearer"}) from None

    def may(method: Literal["GET", "POST"]) -> bool:
        allowed: bool = get_auth_manager().is_authorized_dag(
            method=method,
            access_entity=DagAccessEntity.RUN,
            details=DagDetails(id=UPLOAD_DAG),
            user=user,
        )
        return allowed

    if given is None and from_another_site(request) and request.method not in ("GET", "HEAD"):
        raise Refused(403, "Another site asked for this, with a cookie that it did not set.")
    reads = await run_in_threadpool(may, "GET")
    if not reads:
        raise Refused(403, f"Your role in Airflow may not see the runs of {UPLOAD_DAG}.")
    writes = await run_in_threadpool(may, "POST")
    if writes and request.method not in ("GET", "HEAD"):
        await run_in_threadpool(_audit, request, user.get_name())
    return Caller(None, None, writes=writes)


def _audit(request: Request, user: str) -> None:
    """Write what is asked for into Airflow's audit log, before it is done.

    Airflow's own `action_logging` keeps the body of a request: there are people in it.
    """
    from airflow.models import Log
    from airflow.utils.session import create_session

    endpoint = request.scope["endpoint"]
    about = {"method": request.method, **_named(request.path_params)}
    with create_session() as session:
        session.add(
            Log(
                event=f"tributary_{endpoint.__module__.rpartition('.')[2]}_{endpoint.__name__}",
                owner=user,
                owner_display_name=user,
                extra=json.dumps(about),
                dag_id=UPLOAD_DAG,
            )
        )


def _named(path: Mapping[str, Any]) -> dict[str, str]:
    """What a path names: a conversion by its id, a destination by its name; nothing else."""
    named = {key: str(value) for key, value in path.items() if key == "name"}
    with suppress(KeyError, ValueError):
        named["id"] = str(UUID(path["id"]))
    return named
