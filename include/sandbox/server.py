"""Serves the sandbox over HTTP on the loopback interface, from a thread of the calling process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from datetime import date
from types import TracebackType
from typing import NamedTuple, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from include.sandbox.graph import DEFAULT_TOKENS, Graph, Token, as_response, read_call
from include.sandbox.world import Clock, World

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_REQUESTS_KEPT = 10_000
_PATIENCE_SECONDS = 10.0
DEFAULT_START = date(2026, 7, 1)


class Received(NamedTuple):
    """A request as it arrived, tokens and all, for tests to look for what must not be."""

    method: str
    path: str
    params: dict[str, str]  # of the query string only
    headers: dict[str, str]  # names in lower case
    body: bytes


class Sandbox:
    """The running sandbox: `with Sandbox(...) as sandbox: requests.get(sandbox.url + ...)`.

    Its clock, tokens, `latency` (seconds each Graph call takes) and `graph.empty_pages` may be
    changed while it runs.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        clock: Clock | None = None,
        tokens: dict[str, Token] | None = None,
        port: int = 0,
        latency: float = 0.0,
        empty_pages: bool = True,
    ) -> None:
        self.world = world or World(DEFAULT_START)
        self.clock = clock or Clock()
        self.tokens = dict(DEFAULT_TOKENS if tokens is None else tokens)
        self.latency = latency
        self.requests: deque[Received] = deque(maxlen=_REQUESTS_KEPT)
        self.graph = Graph(self.world, self.clock, self.tokens, empty_pages=empty_pages)
        self._port = port

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end; known once it has started."""
        return f"http://127.0.0.1:{self._port}"

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/_sandbox/health", self._health),
                Route("/{path:path}", self._graph, methods=_METHODS),
            ]
        )

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(self.app(), log_level="warning", access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the sandbox did not start")
            time.sleep(0.005)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(_PATIENCE_SECONDS)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "now": self.clock.now().isoformat()})

    async def _graph(self, request: Request) -> Response:
        self.requests.append(
            Received(
                request.method,
                request.url.path,
                dict(request.query_params),
                dict(request.headers),
                await request.body(),
            )
        )
        if self.latency:
            await asyncio.sleep(self.latency)
        return as_response(self.graph.answer(await read_call(request)))
