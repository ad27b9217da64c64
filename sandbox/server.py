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
from typing import TYPE_CHECKING, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox import control
from sandbox.asgi import as_response, read_call, read_form
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.google import Google
from sandbox.graph import DEFAULT_TOKENS, Graph, Token
from sandbox.limits import Limits
from sandbox.posthog import Posthog
from sandbox.restate import restatement
from sandbox.wire import Protocol, Travelling, Wire
from sandbox.world import Clock, World

if TYPE_CHECKING:
    from sandbox import google_ads, google_data_manager

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_REQUESTS_KEPT = 10_000
_BODY_BYTES_KEPT = 64 * 2**20
_SECRETS = ("access_token", "appsecret_proof")
_PATIENCE_SECONDS = 10.0
DEFAULT_START = date(2026, 7, 1)


class Received:
    """A request as it arrived, tokens and all, for tests to look for what must not be."""

    def __init__(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        self.method, self.path = method, path
        self.params = params  # of the query string only
        self.headers = headers  # names in lower case
        self._body: bytes | None = body

    @property
    def body(self) -> bytes:
        """The body; an error when it has been let go of, since it would look like an empty one."""
        if self._body is None:
            raise LookupError("the body is gone: only the latest 64 MB of bodies are kept")
        return self._body

    def let_go(self) -> int:
        """Keep the body no longer; how many bytes it was."""
        size, self._body = len(self.body), None
        return size

    def shown_params(self) -> dict[str, str]:
        """The parameters of query and form, or of a JSON body, without tokens."""
        both = {**self.params, **self._params_of_body()}
        return {name: value for name, value in both.items() if name not in _SECRETS}

    def _params_of_body(self) -> dict[str, str]:
        kind = self.headers.get("content-type", "")
        if not self._body:
            return {}
        if kind.startswith("application/x-www-form-urlencoded"):
            return read_form(self._body)
        if not kind.startswith("application/json"):
            return {}
        try:
            values = orjson.loads(self._body)
        except orjson.JSONDecodeError:
            return {}
        if not isinstance(values, dict):
            return {}
        return {
            name: value if isinstance(value, str) else orjson.dumps(value).decode()
            for name, value in values.items()
        }


class Requests(deque[Received]):
    """The latest requests; the oldest have lost their bodies when all would take too much room."""

    def __init__(self) -> None:
        super().__init__(maxlen=_REQUESTS_KEPT)
        self._with_body: deque[Received] = deque()
        self._bytes = 0

    def append(self, received: Received) -> None:
        """Add the latest."""
        super().append(received)
        self._with_body.append(received)
        self._bytes += len(received.body)
        while self._bytes > _BODY_BYTES_KEPT or len(self._with_body) > _REQUESTS_KEPT:
            self._bytes -= self._with_body.popleft().let_go()

    def clear(self) -> None:
        """Forget them all."""
        super().clear()
        self._with_body.clear()
        self._bytes = 0


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
        ads_port: int = 0,
        latency: float = 0.0,
        empty_pages: bool = True,
    ) -> None:
        self.world = world or World(DEFAULT_START)
        self.clock = clock or Clock()
        self.tokens = dict(DEFAULT_TOKENS if tokens is None else tokens)
        self.latency = latency
        self.requests = Requests()
        self.graph = Graph(self.world, self.clock, self.tokens, empty_pages=empty_pages)
        self.google = Google(self.clock)
        self._ads: google_ads.Server | None = None
        self._ads_port = ads_port
        self.posthog = Posthog()
        self._port = port
        self._at_first = (dict(self.tokens), latency)

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end; known once it has started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ads_url(self) -> str:
        """Where the Google Ads API listens (gRPC without TLS); it starts when first asked for."""
        from sandbox import google_ads

        if self._ads is None:
            self._ads = google_ads.Server(self, self._ads_port)
        return self._ads.url

    @property
    def limits(self) -> Limits:
        """How much it computes at once, and how many calls it takes."""
        return self.graph.limits

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.graph.faults

    @property
    def events(self) -> Events:
        """The conversions that it has taken."""
        return self.graph.events

    def pixel_sent(self, pixel: str, event_name: str, event_id: str) -> None:
        """The pixel in a browser sends an event now; see `Events.pixel_sent`."""
        self.events.pixel_sent(pixel, event_name, event_id, self.clock.now())

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
        """As if it had just started, its tokens and latency too; the time of its clock stays."""
        self.graph.reset()
        self.google.reset()
        self.posthog.reset()
        self.requests.clear()
        tokens, self.latency = self._at_first
        self.tokens.clear()
        self.tokens.update(tokens)
        self.world.forget_restatements()
        self.world.hide(())
        self.clock.advance_per_request = timedelta(0)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                *control.routes(self),
                Route("/v1/events:ingest", self._google_ingest, methods=["POST"]),
                Route("/v1/requestStatus:retrieve", self._google_status, methods=["GET"]),
                Route("/token", self._google_token, methods=["POST"]),
                *self.posthog.routes(self),
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
        if self._ads is not None:
            self._ads.stop()
        self._server.should_exit = True
        self._thread.join(_PATIENCE_SECONDS)

    async def _google_ingest(self, request: Request) -> Response:
        from sandbox import google_data_manager

        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        if self.latency:
            await asyncio.sleep(self.latency)
        answer = google_data_manager.ingest(self.google, body, dict(request.headers))
        return self._from_google(answer)

    async def _google_status(self, request: Request) -> Response:
        from sandbox import google_data_manager

        if self.latency:
            await asyncio.sleep(self.latency)
        request_id = request.query_params.get("requestId", "")
        answer = google_data_manager.status(self.google, request_id, dict(request.headers))
        return self._from_google(answer)

    def _from_google(self, answer: google_data_manager.Answer) -> Response:
        self.clock.tick()
        response = Response(answer.body, answer.status, media_type=answer.kind)
        if answer.fault is None:
            return response
        if answer.fault.kind == "lost_ack":
            wire = Wire(end="dropped")
        else:
            wire = Wire(hang=answer.fault.seconds)
        return Travelling(response, wire, lambda: self._server.should_exit)

    async def _google_token(self, request: Request) -> Response:
        body = await request.body()
        fault = self.google.enter("token", body, dict(request.headers))
        if fault is not None:
            return Response(orjson.dumps({"error": "internal_failure"}), 503)
        status, answer = self.google.issue(read_form(body))
        return Response(orjson.dumps(answer), status, media_type="application/json")

    async def _graph(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:  # killed on the way; nobody reads this answer
            return Response(status_code=400)
        self.requests.append(
            Received(
                request.method,
                request.url.path,
                dict(request.query_params),
                dict(request.headers),
                body,
            )
        )
        if self.latency:
            await asyncio.sleep(self.latency)
        answer = self.graph.answer(await read_call(request))
        self.clock.tick()
        response = as_response(answer)
        if answer.wire == Wire() and answer.leaving is None:
            return response
        return Travelling(response, answer.wire, lambda: self._server.should_exit, answer.leaving)
