"""The warehouse for requests: a small pool of connections, opened when the first one is needed."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson
from fastapi import Request
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout

from include.warehouse import Connection

_MOST_CONNECTIONS = 8


def _check(connection: Connection) -> None:
    """Ask the server only where it has spoken unasked: to say, as a rule, that it goes away."""
    spoken = select.poll()
    spoken.register(connection.fileno(), select.POLLIN)
    if spoken.poll(0):
        ConnectionPool.check_connection(connection)


class Database:
    """Connections by the pool; a request that finds none free in time is told so."""

    def __init__(self, uri: Callable[[], str]) -> None:
        self._uri = uri
        self.patience = 10.0  # seconds that a request waits for a connection
        self._pool: ConnectionPool[Connection] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit; it goes back into the pool afterwards."""
        try:
            with self._opened().connection() as connection:
                yield connection
        except PoolTimeout:
            self._follow()
            raise

    def _follow(self) -> None:
        """Let the next request open a new pool when the warehouse's URI is another one by now."""
        wanted = self._uri()
        with self._lock:
            if self._pool is not None and self._pool.conninfo != wanted:
                self._pool.close()
                self._pool = None

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._uri(),
                    kwargs={
                        "autocommit": True,
                        "row_factory": dict_row,
                        "application_name": "tributary-api",
                        # Who waits for a lock holds a connection that other brands need.
                        "options": "-c lock_timeout=5s",
                    },
                    min_size=1,
                    max_size=_MOST_CONNECTIONS,
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
            if self._pool is not None:
                self._pool.close()
                self._pool = None


def database(request: Request) -> Database:
    """The app's warehouse."""
    found: Database = request.app.state.database
    return found
