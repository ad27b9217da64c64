"""Serves the sandbox over HTTP on the loopback interface, from a thread of the calling process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
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
from sandbox.graph import Token
from sandbox.requests import Received
from sandbox.state import State
from sandbox.wire import Protocol, Travelling, Wire
from sandbox.world import Clock, World

if TYPE_CHECKING:
    from sandbox import google_ads, google_data_manager

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_PATIENCE_SECONDS = 10.0


class Sandbox(State):
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
        super().__init__(
            world, clock=clock, tokens=tokens, latency=latency, empty_pages=empty_pages
        )
        self._port, self._ads_port = port, ads_port
        self._ads: google_ads.Server | None = None

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

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                *control.routes(self),
                Route("/v1/events:ingest", self._google_ingest, methods=["POST"]),
                Route("/v1/requestStatus:retrieve", self._google_status, methods=["GET"]),
                Route("/token", self._google_token, methods=["POST"]),
                *self.posthog.routes(self._stopping),
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

    def _stopping(self) -> bool:
        return self._server.should_exit

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
        return Travelling(response, wire, self._stopping)

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
        except ClientDisconnect:  # the client has gone: it does not read this answer
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
        return Travelling(response, answer.wire, self._stopping, answer.leaving)
