"""The requests that came to the Graph API, for tests to look at."""

from __future__ import annotations

from collections import deque

import orjson

from sandbox.asgi import read_form

_REQUESTS_KEPT = 10_000
_BODY_BYTES_KEPT = 64 * 2**20
_SECRETS = ("access_token", "appsecret_proof")


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
