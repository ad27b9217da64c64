"""Who calls: one of Airflow's users (`tributary.api.in_airflow`), or the holder of an API key.

Every route asks for a `Reader` or a `Writer`; what each of them needs is in
`tributary.api.permissions`, and what a caller may see in `Caller.brand_id`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItem, parse
from limits.errors import ConfigurationError, StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from tributary.api import audit, permissions
from tributary.api.bounds import address
from tributary.api.database import Database, database
from tributary.api.problems import ApiError
from tributary.api.shares import FAILED, UNKNOWN
from tributary.errors import SettingsError
from tributary.warehouse import api_keys, audit_log

log = logging.getLogger(__name__)

_REDIS_SECONDS = 0.5  # that it may take to connect and to answer
_REDIS_MEMORY = 5.0  # seconds that it is not asked again after it did not answer


@dataclass(frozen=True)
class Caller:
    """Somebody who may do what the route does."""

    brand_id: UUID | None  # the one brand whose rows they see; None: all
    brand: str | None
    writes: bool  # whether the route is one that changes something, by the table of permissions
    user: str | None = None  # name of a user of Airflow
    may: Callable[[permissions.Need], bool] = lambda need: True


_bearer = HTTPBearer(
    auto_error=False,
    description="An API key of `tributary api-keys create`; in Airflow, its own token.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
Access = Callable[[Request, HTTPAuthorizationCredentials | None], Awaitable[Caller]]


async def _asker(request: Request, credentials: Credentials) -> Caller:
    access: Access = request.app.state.access
    return await access(request, credentials)


async def _asking_writer(caller: Annotated[Caller, Depends(_asker)]) -> Caller:
    if not caller.writes:
        raise LookupError("tributary.api.permissions takes a route that writes for one that reads")
    return caller


async def _reader(
    request: Request, caller: Annotated[Caller, Depends(_asker)]
) -> AsyncIterator[Caller]:
    async with database(request).share(caller.brand):
        yield caller


async def _writer(
    request: Request, caller: Annotated[Caller, Depends(_asking_writer)]
) -> AsyncIterator[Caller]:
    async with database(request).share(caller.brand):
        yield caller


# The route has its place among the brand's requests until it has returned.
Reader = Annotated[Caller, Depends(_reader, scope="function")]
Writer = Annotated[Caller, Depends(_writer, scope="function")]
# The route asks for its place itself, where it needs the warehouse only now and then.
PatientWriter = Annotated[Caller, Depends(_asking_writer)]


class Counts:
    """How often something happened lately, in a storage that several processes may share.

    While the storage does not answer, each process counts by itself.
    """

    def __init__(self, limit: RateLimitItem, storage: str = "memory://") -> None:
        self.limit = limit
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._down_until: float | None = None  # of time.monotonic; None: it answered lately
        options: dict[str, Any] = {"wrap_exceptions": True}
        if "redis" in storage.partition("://")[0]:
            options |= {
                "socket_timeout": _REDIS_SECONDS,
                "socket_connect_timeout": _REDIS_SECONDS,
                "retry": Retry(NoBackoff(), 0),
            }
        if not storage.startswith("memory:"):
            found = storage_from_string(storage, **options)
            self._shared = SlidingWindowCounterRateLimiter(found)

    @property
    def is_alone(self) -> bool:
        """Whether the shared storage does not answer."""
        return self._down_until is not None

    def hit(self, key: str) -> int | None:
        """Count once more; the seconds to wait where that is too often, and is not counted."""
        down = self._down_until
        if self._shared is not None and (down is None or down <= time.monotonic()):
            if down is not None:  # one asks again, and no other meanwhile
                self._down_until = time.monotonic() + _REDIS_MEMORY
            try:
                wait = self._hit(self._shared, key)
            except StorageError as error:
                if self._down_until is None:
                    log.warning(
                        "TRIBUTARY_RATE_LIMIT_STORAGE does not answer (%s): each process of the "
                        "edge counts its own requests meanwhile.",
                        type(error.storage_error).__name__,
                    )
                self._down_until = time.monotonic() + _REDIS_MEMORY
            else:
                self._down_until = None
                return wait
        return self._hit(self._own, key)

    def is_over(self, key: str) -> bool:
        """Whether this process would count no more."""
        return not self._own.test(self.limit, key)

    def _hit(self, counter: SlidingWindowCounterRateLimiter, key: str) -> int | None:
        if counter.hit(self.limit, key):
            return None
        return max(1, round(counter.get_window_stats(self.limit, key).reset_time - time.time()))


class Failures:
    """Keys and signatures that prove nothing, counted by the client's address.

    Who shares an address with one who tries may still come in: what is limited is the answer 401,
    and how many are looked up at once. A webhook's plain secret, which may be a short one, is not
    even compared then: whoever sends it waits.
    """

    def __init__(self) -> None:
        self._counts = Counts(_limit("TRIBUTARY_FAILURE_LIMIT", "120/minute"))

    def is_over(self, request: Request) -> bool:
        """Whether so many came from the client's address that it may guess no more."""
        return self._counts.is_over(_client(request))

    @asynccontextmanager
    async def counted(
        self, request: Request, tried: str = ""
    ) -> AsyncIterator[AbstractAsyncContextManager[None]]:
        """Around what proves a caller; yields the place for what has to be looked up.

        Args:
            tried: what all addresses together are counted for, too, where it exists.

        Raises:
            ApiError: 429 in the place of the 401 or 404 of one failure too many.
        """
        client = _client(request)
        shares = database(request).shares
        if self._counts.is_over(client):
            place = shares.of(FAILED, most=1, status=429)
        else:
            place = shares.of(UNKNOWN)
        try:
            yield place
        except ApiError as error:
            if error.status not in (401, 404):
                raise
            # Names that do not exist are made up by the client, and would be kept.
            counted = (client, tried) if error.status == 401 and tried else (client,)
            waits = [self._counts.hit(key) for key in counted]
            wait = max((one for one in waits if one is not None), default=None)
            if wait is None:
                raise
            words = f"More than {self._counts.limit} that proved nothing came from there."
            raise ApiError(429, words, headers={"Retry-After": str(wait)}) from None


def _client(request: Request) -> str:
    return address(request.client.host) if request.client else ""


def _limit(variable: str, default: str) -> RateLimitItem:
    try:
        return parse(os.environ.get(variable) or default)
    except ValueError:
        raise SettingsError(f"{variable} must be such as {default}.") from None


def by_key(database: Database, requests: Counts, failures: Failures) -> Access:
    """Bearer keys, each for one brand, and so many requests a minute."""

    def check(
        request: Request, key: str, need: permissions.Need
    ) -> tuple[api_keys.Holder | None, int | None]:
        with database.connection() as connection:
            holder = api_keys.holder(connection, key)
            wait = None if holder is None else requests.hit(holder.key_id)
            if holder is not None and wait is None and need.changes:
                event = permissions.event(permissions.action(request.scope["endpoint"]))
                audit_log.record(
                    connection, event, holder.key_id, holder.brand, audit.about(request)
                )
        return holder, wait

    async def access(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
        need = permissions.need_of(request.scope["endpoint"])
        async with failures.counted(request) as place:
            holder = None
            if given is not None and api_keys.is_key(given.credentials):
                database.refuse_while_down()
                async with place:
                    holder, wait = await run_in_threadpool(check, request, given.credentials, need)
            if holder is None:
                words = "Give a valid API key: `Authorization: Bearer tk_…`."
                raise ApiError(401, words, headers={"WWW-Authenticate": "Bearer"})
        request.state.key_id = holder.key_id
        if wait is not None:
            raise ApiError(429, f"More than {requests.limit}.", headers={"Retry-After": str(wait)})
        return Caller(holder.brand_id, holder.brand, writes=need.changes)

    return access


def counts_of_requests() -> Counts:
    """Of each API key, as the environment says.

    Raises:
        SettingsError: a variable cannot be read.
    """
    limit = _limit("TRIBUTARY_RATE_LIMIT", "1200/minute")
    try:
        return Counts(limit, os.environ.get("TRIBUTARY_RATE_LIMIT_STORAGE") or "memory://")
    except ConfigurationError:
        words = "TRIBUTARY_RATE_LIMIT_STORAGE must be such as redis://host:6379/1."
        raise SettingsError(words) from None
