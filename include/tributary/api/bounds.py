"""What one connection to the edge, one address and all of them together may take.

Uvicorn bounds neither headers nor the time that a request takes to come in, and its limit on
connections refuses whoever comes last, which is what one who opens many wants
(https://github.com/Kludex/uvicorn/issues/157). The app brings its own protocol, whatever options
uvicorn was started with.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import struct
from asyncio import TimerHandle
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv6Address, ip_network
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger("tributary.access")

_SLICE = 16 * 1024  # bytes that are parsed before they are counted
_MOST_PIPELINED = 8  # requests sent before the first one is answered
_Part = Literal["head", "body"]
_LINGER_ZERO = struct.pack("ii", 1, 0)
_GOING = 1.0  # seconds that a refused client has to read why
_UNBOUNDED = (
    "The edge bounds its connections only in uvicorn, with its lifespan and without --log-level "
    "trace: uvicorn tributary.api.edge:app --host 0.0.0.0 --port 8081 --workers 2"
)


@dataclass(frozen=True)
class Bounds:
    """Of one process."""

    beside: int = 64 * 1024  # bytes of a request that are not its body: headers, chunks' lengths
    head_seconds: float = 10.0  # from its first byte to the end of its headers
    body_seconds: float = 30.0  # from there to its end, and one more for each `pace` of it
    pace: int = 16 * 1024  # bytes a second
    answer_seconds: float = 30.0  # that an answer may wait to be read, or a client to ask again
    connections: int = 500
    connections_of_address: int = 250  # of one IPv4 address or IPv6 network
    bodies: int = 32 * 2**20  # bytes of all bodies that are held; of one address half of them


def address(host: str) -> str:
    """What counts as one client: an address, or the /64 from which IPv6 hosts choose theirs."""
    if ":" not in host:
        return host
    try:
        one = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(one.ipv4_mapped or ip_network((int(one) >> 64 << 64, 64)))


class Crowd:
    """All open connections of a process."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.held = 0
        self.held_of_address: dict[str, int] = {}
        self.of_address: dict[str, int] = {}
        self.connections: set[Protocol] = set()
        # Those whose client has to send or read something, the longest waiting first.
        self.waiting: dict[Protocol, None] = {}

    def enter(self, one: Protocol) -> bool:
        """Let a connection in, in the place of the longest waiting one where there is no more."""
        if self.of_address.get(one.address, 0) >= self.bounds.connections_of_address:
            place = next((it for it in self.waiting if it.address == one.address), None)
        elif len(self.connections) >= self.bounds.connections:
            place = next(iter(self.waiting), None)
        else:
            place = one
        if place is None:
            return False
        if place is not one:
            place.abort()
            self.leave(place)
        self.connections.add(one)
        self.of_address[one.address] = self.of_address.get(one.address, 0) + 1
        return True

    def leave(self, one: Protocol) -> None:
        """Forget a connection; a second time changes nothing."""
        self.waiting.pop(one, None)
        if one in self.connections:
            self.connections.remove(one)
            self.of_address[one.address] -= 1
            if not self.of_address[one.address]:
                del self.of_address[one.address]

    def hold(self, one: Protocol, size: int) -> None:
        """Count a piece of a body; where all are too many, the one that has sent most goes.

        Where those of its address alone are more than half of what there is, one of these goes.
        """
        self._count(one, size)
        if self.held_of_address[one.address] > self.bounds.bodies // 2:
            theirs = (it for it in self.waiting if it.address == one.address)
            max(theirs, key=lambda it: it.held, default=one).refuse(503)
        elif self.held > self.bounds.bodies:
            max(self.waiting, key=lambda it: it.held, default=one).refuse(503)

    def release(self, one: Protocol) -> None:
        """The bodies of a connection are held no more."""
        if one.held:
            self._count(one, -one.held)
            if not self.held_of_address[one.address]:
                del self.held_of_address[one.address]

    def _count(self, one: Protocol, size: int) -> None:
        one.held += size
        self.held += size
        self.held_of_address[one.address] = self.held_of_address.get(one.address, 0) + size


class Protocol(HttpToolsProtocol):
    """HTTP within bounds. It logs nothing: uvicorn's access log has addresses and queries."""

    def __init__(self, *args: Any, crowd: Crowd, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.config.access_log:  # by --no-access-log
            logging.getLogger("tributary.access").disabled = True
        self.access_log = False  # ours has no address, path or query
        self.ws_protocol_class = None  # there are none, and they would leave this protocol
        self.address = ""
        self.held = 0
        self._crowd, self._bounds = crowd, crowd.bounds
        self._beside = 0
        self._coming: _Part | None = None
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, or say that there is no place."""
        super().connection_made(transport)
        self.address = address(self.client[0]) if self.client else ""
        if self._crowd.enter(self):
            self._wait_for("head")
        else:
            self.refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place to others."""
        self._stop()
        self._crowd.leave(self)
        self._crowd.release(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse it piece by piece, as far as bounds go."""
        for start in range(0, len(data), _SLICE):
            piece = data if len(data) <= _SLICE else data[start : start + _SLICE]
            self._beside += len(piece)
            super().data_received(piece)
            if self._beside > self._bounds.beside:
                self.refuse(431)
            if self.transport.is_closing():
                self._go()
                return

    def on_message_begin(self) -> None:
        """From here a request has its time to come in."""
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise ValueError("too many requests at once")  # the parser's caller answers with 400
        super().on_message_begin()
        self._wait_for("head")

    def on_headers_complete(self) -> None:
        """From here its body has."""
        super().on_headers_complete()
        self._wait_for("body")

    def on_body(self, body: bytes) -> None:
        """Count what is held until it is answered."""
        self._beside -= len(body)
        super().on_body(body)
        if self._coming == "body" and self._deadline is not None:
            later = self._deadline.when() + len(body) / self._bounds.pace
            self._deadline.cancel()
            self._deadline = self.loop.call_at(later, self.refuse, 408)
        if not self.cycle.response_complete:
            self._crowd.hold(self, len(body))

    def on_message_complete(self) -> None:
        """From here it is for the app to act."""
        super().on_message_complete()
        self._beside = 0
        self._wait_for(None)

    def on_response_complete(self) -> None:
        """From here the client has its time to read, and to ask again."""
        super().on_response_complete()
        if self.cycle.response_complete:  # else another one was sent before this answer
            self._crowd.release(self)
        self._wait_for(self._coming)

    def pause_writing(self) -> None:
        """From here, too: it has not read what it was sent."""
        super().pause_writing()
        self._wait_for(self._coming)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        self._wait_for(self._coming)

    def refuse(self, status: int) -> None:
        """Say why, where no answer has begun, and close."""
        if self.transport.is_closing():
            return
        log.info("- - %d", status)  # as of a request without a route
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            later = "retry-after: 5\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nconnection: close\r\n{later}"
                "content-length: 0\r\n\r\n".encode()
            )
        self.transport.close()
        self._go()

    def _wait_for(self, coming: _Part | None) -> None:
        """Give the client its time, counted from now, where it is for the client to act.

        Args:
            coming: the part of a request that is coming in.
        """
        self._coming = coming
        self._stop()
        if self.transport.is_closing() and coming:
            return
        if coming:
            seconds = self._bounds.head_seconds if coming == "head" else self._bounds.body_seconds
            self._deadline = self.loop.call_later(seconds, self.refuse, 408)
        elif self.flow.write_paused or self.cycle is None or self.cycle.response_complete:
            self._deadline = self.loop.call_later(self._bounds.answer_seconds, self.abort)
        else:
            return
        if self in self._crowd.connections:
            self._crowd.waiting[self] = None

    def _go(self) -> None:
        """Closed, and soon gone, whether or not the client reads what is left."""
        self._crowd.leave(self)
        self._crowd.release(self)  # else another one would have to go for what this one held
        self._stop()
        self._deadline = self.loop.call_later(_GOING, self.abort)

    def abort(self) -> None:
        """Go at once, and let the kernel forget what was not read."""
        with suppress(OSError):  # it has gone by itself
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._stop()
        self.transport.abort()

    def _stop(self) -> None:
        self._crowd.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Bounded:
    """Brings the protocol to the uvicorn that starts the app.

    Uvicorn starts an app before it listens, and a protocol can be given to its `Config` until then.
    An app that would be served without bounds does not start, or answers 500 to everything.
    """

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app, self._bounds = app, bounds
        self._is_bounded = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; the first call of all is that of the start."""
        if scope["type"] == "lifespan":
            config = getattr(getattr(receive, "__self__", None), "config", None)
            if not isinstance(config, uvicorn.Config):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": _UNBOUNDED})
                return
            protocol = functools.partial(Protocol, crowd=Crowd(self._bounds))
            config.http_protocol_class = protocol  # type: ignore[assignment]
            self._is_bounded = True
        elif not self._is_bounded:  # uvicorn with `--lifespan off`
            raise RuntimeError(_UNBOUNDED)
        await self._app(scope, receive, send)
