"""Serves the sandbox over HTTP on the loopback interface, from a thread of the calling process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from datetime import date, timedelta
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from include.sandbox import control
from include.sandbox.asgi import as_response, read_call
from include.sandbox.faults import Faults
from include.sandbox.graph import DEFAULT_TOKENS, Graph, Token
from include.sandbox.limits import Limits
from include.sandbox.restate import restatement
from include.sandbox.wire import Protocol, Travelling, Wire
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

    def shown_params(self) -> dict[str, str]:
        """The parameters of query and form, without tokens."""
        both = {**self.params, **dict(parse_qsl(self.body.decode(errors="replace")))}
        return {k: v for k, v in both.items() if k not in ("access_token", "appsecret_proof")}


class Sandbox:
    """The running sandbox: `with Sandbox(...) as sandbox: requests.get(sandbox.url + ...)`.

    Its clock, tokens, limits, faults, `latency` (seconds each Graph call takes),
    `graph.empty_pages` and `world.hidden_from_edges` may be changed while it runs; from another
    process over the paths below `/_sandbox/`, which `control` lists.
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

    @property
    def limits(self) -> Limits:
        """How much it computes at once, and how many calls it takes."""
        return self.graph.limits

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.graph.faults

    def set_usage(
        self, account_id: str, percent: float | None, minutes: float | None = None
    ) -> None:
        """Let the usage headers of an account say this; see `usage.Usage.set`."""
        self.graph.usage.set(account_id, percent, self.clock.now(), minutes)

    def restate(
        self,
        account_id: str,
        *,
        days: Iterable[date | str] | None = None,
        ads: Iterable[str] | None = None,
        percent: int = 7,
        vanish: Iterable[str] = (),
    ) -> None:
        """From now on these ads (None: all) have other figures on these days (None: all).

        Those in `vanish` have no row on them. What was restated before stays restated.
        """
        if account_id not in self.world.accounts:
            raise ValueError(f"there is no account {account_id}")
        change = restatement(
            None if days is None else list(days),
            None if ads is None else list(ads),
            percent,
            list(vanish),
        )
        self.world.restate(account_id, change)

    def reset(self) -> None:
        """As if it had just started: nothing but the time of its clock stays."""
        self.graph.reset()
        self.requests.clear()
        self.world.forget_restatements()
        self.world.hide(())
        self.clock.advance_per_request = timedelta(0)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                *control.routes(self),
                Route("/{path:path}", self._graph, methods=_METHODS),
            ]
        )

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app(),
            http=Protocol,
            log_level="warning",
            access_log=False,
            lifespan="off",
        )
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
        answer = self.graph.answer(await read_call(request))
        self.clock.tick()
        response = as_response(answer)
        if answer.wire == Wire():
            return response
        return Travelling(response, answer.wire, lambda: self._server.should_exit)
