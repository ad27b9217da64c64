"""The warehouse for requests: a small pool of connections, opened when the first one is needed."""

from __future__ import annotations

import asyncio
import logging
import select
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import orjson
import psycopg
from fastapi import Request
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from tributary.api.problems import WarehouseStillDown
from tributary.api.shares import Shares
from tributary.errors import WarehouseDown
from tributary.warehouse import Connection, connect

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 16  # of which one brand alone gets half
_FOR_LOOK_UPS = 2  # beside these
_CONNECTING = 2  # seconds; what libpq takes for the least
_DOUBT = 1.0  # seconds after which a request without a connection asks whether there is a server
_QUICK = 0.5  # seconds within which a refusal costs nothing
_SILENCE = 1.0  # seconds that the server is not asked again
_CONNECT: dict[str, Any] = {
    "connect_timeout": _CONNECTING,
    "tcp_user_timeout": 10_000,  # milliseconds that what was sent may stay unacknowledged
    "application_name": "tributary-api",
}
# Who waits for a lock holds a connection that others need, and so does who reads too much.
_OPTIONS = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"


def _check(connection: Connection) -> None:
    """Ask the server only where it has spoken unasked: to say, as a rule, that it goes away."""
    spoken = select.poll()
    spoken.register(connection.fileno(), select.POLLIN)
    if spoken.poll(0):
        ConnectionPool.check_connection(connection)


class Database:
    """Connections by the pool, and whether the warehouse answers at all.

    Where it does not, every request is refused at once, but for one at a time that asks again.
    """

    def __init__(self, uri: Callable[[], str]) -> None:
        self.shares = Shares(_MOST_CONNECTIONS, _FOR_LOOK_UPS)
        self.patience = 10.0  # seconds that a request waits for a connection while others have all
        self._uri = uri
        self._pool: ConnectionPool[Connection] | None = None
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._at: str | None = None  # where the pool connects to
        self._is_down = False
        self._why = ""  # it does not answer, for who may know where it is
        self._not_before = 0.0  # of time.monotonic
        self._health = asyncio.Lock()
        self._healthy_until = self._ill_until = 0.0

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit; it goes back into the pool afterwards.

        Raises:
            WarehouseDown: nothing answers.
            PoolTimeout: the warehouse answers, and all connections are in use.
        """
        if self._is_down:
            self._ask(known=True)
        with ExitStack() as stack:
            try:
                try:
                    doubt = min(_DOUBT, self.patience)
                    lent = stack.enter_context(self._opened().connection(doubt))
                except PoolTimeout:
                    self._ask(known=False)
                    lent = stack.enter_context(self._opened().connection(self.patience))
            except PoolClosed:  # by who asked meanwhile
                raise self._down() from None
            yield lent

    @asynccontextmanager
    async def share(self, brand: str | None) -> AsyncIterator[None]:
        """Around what a brand wants of the warehouse; None: who sees all brands.

        Raises:
            WarehouseDown: nothing answered a moment ago.
            ApiError: the brand's share of the connections is used up.
        """
        self.refuse_while_down()
        async with self.shares.of(brand):
            yield

    def refuse_while_down(self) -> None:
        """Before a thread is taken: what `connection` would say at once.

        Raises:
            WarehouseDown: nothing answered a moment ago, or another request is just asking.
        """
        if self._is_down and (self._asking.locked() or self._not_before > time.monotonic()):
            raise self._down()

    def _ask(self, *, known: bool) -> None:
        """Ask the server with a new connection; one thread at a time.

        Args:
            known: that it did not answer; then no request waits for the one that is asking.

        Raises:
            WarehouseDown: it does not answer.
        """
        if not self._asking.acquire(blocking=not known):
            raise self._down()
        try:
            if self._is_down and (not known or self._not_before > time.monotonic()):
                raise self._down()
            began = time.monotonic()
            try:
                connect(self._uri(), timeout=_CONNECTING).close()
            except WarehouseDown as error:
                if not self._is_down:
                    log.error("The warehouse does not answer: %s", type(error).__name__)
                self._is_down, self._why = True, str(error)
                now = time.monotonic()
                # A refusal that costs nothing may be asked for again; silence may not.
                self._not_before = now + (_SILENCE if now - began > _QUICK else 0)
                # Its attempts to connect wait longer and longer, and its end for the last of them.
                threading.Thread(target=self.close, daemon=True).start()
                raise self._down() from None
            if self._is_down:
                log.warning("The warehouse answers again.")
                self._is_down = False
        finally:
            self._asking.release()

    def _down(self) -> WarehouseStillDown:
        return WarehouseStillDown(self._why)

    async def answers(self) -> bool:
        """Whether the warehouse answers on a new connection, outside the shares of brands.

        It is asked at most once a second, whoever wants to know.
        """
        async with self._health:
            now = time.monotonic()
            if now < self._healthy_until:
                return True
            if now < self._ill_until:
                return False
            try:
                async with asyncio.timeout(_CONNECTING + 1):
                    wanted = await asyncio.to_thread(self._uri)
                    async with await psycopg.AsyncConnection.connect(
                        wanted, autocommit=True, **_CONNECT
                    ) as connection:
                        await connection.execute("select 1")
            except (psycopg.Error, WarehouseDown, TimeoutError):
                self._ill_until = time.monotonic() + _SILENCE
                return False
            self._healthy_until = time.monotonic() + _SILENCE
            return True

    def _opened(self) -> ConnectionPool[Connection]:
        """The pool of where the warehouse is now: its URI may change while we run."""
        uri = self._uri()
        with self._lock:
            if self._pool is not None and uri != self._at:
                # Its end waits for attempts to connect.
                threading.Thread(target=self._pool.close, daemon=True).start()
                self._pool = None
            if self._pool is None:
                self._at = uri
                self._pool = ConnectionPool(
                    uri,
                    kwargs={
                        **_CONNECT,
                        "autocommit": True,
                        "row_factory": dict_row,
                        "options": _OPTIONS,
                    },
                    min_size=1,
                    max_size=_MOST_CONNECTIONS + _FOR_LOOK_UPS,
                    timeout=self.patience,
                    max_idle=60,
                    # After a restart of the warehouse no request meets a connection that is gone.
                    check=_check,
                    configure=lambda connection: set_json_loads(orjson.loads, connection),
                    name="tributary-api",
                    open=True,
                )
            return self._pool

    def close(self) -> None:
        """Give all connections back to the server."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


def database(request: Request) -> Database:
    """The app's warehouse."""
    found: Database = request.app.state.database
    return found
