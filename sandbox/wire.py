"""What can happen to an answer on its way: it hangs, breaks off, or never leaves.

A connection is broken for real: the TCP peer sees a reset, or the end in the middle of a body whose
length was promised.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from asyncio import BaseTransport, Transport
from collections.abc import Callable
from typing import Literal, NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LINGER_ZERO = struct.pack("ii", 1, 0)  # closing then sends a reset instead of a FIN
_FLUSH_SECONDS = 0.02  # for the client to have read what was sent before the break
_LOOK_SECONDS = 0.02

_open: dict[tuple[str, int], Transport] = {}  # by the client's address, which no two share


class Wire(NamedTuple):
    """How an answer travels."""

    hang: float = 0.0  # real seconds before it leaves
    end: Literal["whole", "reset", "closed", "dropped"] = "whole"
    chunked: bool = False  # promised in chunks instead of by its length

    @property
    def broken(self) -> bool:
        """Whether the client will not get all of it."""
        return self.end != "whole"


class Protocol(HttpToolsProtocol):
    """HTTP over a connection that can be found again by the client's address."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Remember the connection."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if self.client is not None:
            _open[self.client] = self.transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.client is not None:
            _open.pop(self.client, None)
        super().connection_lost(exc)


class Travelling(Response):
    """A response that meets with what its wire says.

    `leaving` is what remains to be done when it leaves, unless the client has gone by then.
    """

    def __init__(
        self,
        response: Response,
        wire: Wire,
        stopping: Callable[[], bool],
        leaving: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(response.body, response.status_code)
        self.raw_headers = response.raw_headers
        self._wire, self._stopping, self._leaving = wire, stopping, leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as far as it gets."""
        end = time.monotonic() + self._wire.hang
        gone = asyncio.ensure_future(_disconnected(receive))
        while time.monotonic() < end and not self._stopping() and not gone.done():
            await asyncio.wait([gone], timeout=min(_LOOK_SECONDS, end - time.monotonic()))
        if not self._wire.broken:
            if self._leaving is not None and not gone.done():
                self._leaving()
            gone.cancel()
            await super().__call__(scope, receive, send)
            return
        if self._wire.end != "dropped":
            await self._send_half(send)
        transport = _open.get((scope["client"][0], scope["client"][1]))
        if transport is None:  # the client was quicker
            pass
        elif self._wire.end != "closed":
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            transport.abort()
        else:
            transport.close()
        await gone  # else the server would finish, or complain of, the answer

    async def _send_half(self, send: Send) -> None:
        headers = self.raw_headers
        if self._wire.chunked:
            headers = [item for item in headers if item[0] != b"content-length"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(_FLUSH_SECONDS)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
