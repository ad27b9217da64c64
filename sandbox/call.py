"""A request to the Graph API and its response, without HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sandbox.wire import Wire


class Call(NamedTuple):
    """A request, freed of HTTP."""

    method: str
    path: str  # "/v26.0/act_1/ads"
    params: dict[str, str]  # query and form together
    bearer: str | None = None  # the token of the Authorization header
    origin: str = "https://graph.facebook.com"  # scheme and host the caller used
    readable: bool = True  # whether the body was what its content type says
    inner: bool = False  # whether it came as part of a batch
    data: Any = None  # the parameter of that name, if the body was JSON and held more than a text


class Answer(NamedTuple):
    """A response, before HTTP."""

    status: int
    body: bytes
    headers: dict[str, str]
    wire: Wire = Wire()
    leaving: Callable[[], None] | None = None  # what is done when it leaves, see `wire.Travelling`
