"""Makes *Test* on Airflow's list of connections work for those without a port.

The page of Airflow 3.3 asks with `port: 0` where none is stored, and its API takes that for another
port than the stored one and answers 400. Without the 0 it tests what is stored.

Airflow has corrected this in its API (https://github.com/apache/airflow/pull/73298), after 3.3.2:
with a version that has it, delete this file and its line in `plugins/tributary_plugin.py`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class WithoutPortZero:
    """ASGI middleware around Airflow's API server; looks at one path only."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, a test of a connection without its `port: 0`."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.endswith("/api/v2/connections/test"):
            await self._app(scope, receive, send)
            return
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        ahead: list[MutableMapping[str, Any]] = [
            {"type": "http.request", "body": _without_port_zero(body), "more_body": False}
        ]

        async def again() -> MutableMapping[str, Any]:
            return ahead.pop() if ahead else await receive()

        await self._app(scope, again, send)


def _without_port_zero(body: bytes) -> bytes:
    """The same JSON object less a port of 0; as long as before, since that was promised."""
    try:
        asked = json.loads(body)
    except ValueError:
        return body
    if not isinstance(asked, dict) or asked.get("port", None) != 0:
        return body
    del asked["port"]
    return json.dumps(asked, separators=(",", ":"), ensure_ascii=False).encode().ljust(len(body))
