"""Who calls: one of Airflow's users (`include.api.in_airflow`), or the holder of an API key.

Every route asks for a `Reader` or a `Writer`; what each of them needs is in
`include.api.permissions`, and what a caller may see in `Caller.brand_id`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from include.api import audit, keys, permissions
from include.api.database import Database
from include.api.problems import Refused
from include.errors import SettingsError


@dataclass(frozen=True)
class Caller:
    """Somebody who may do what the route does."""

    brand_id: UUID | None  # the one brand whose rows there are for them; None: all
    brand: str | None
    writes: bool  # whether the route is one that changes something, by the table of permissions


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
        raise LookupError("include.api.permissions takes a route that writes for one that reads")
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

    def check(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
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
        need = permissions.NEEDS[permissions.action(request.scope["endpoint"])]
        if not need.by_key:
            raise Refused(403, "This is for users of Airflow alone.")
        if need.changes:
            with database.connection() as connection:
                audit.in_warehouse(connection, request, holder.key_id, holder.brand)
        return Caller(holder.brand_id, holder.brand, writes=need.changes)

    async def access(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
        return await run_in_threadpool(check, request, given)

    return access
