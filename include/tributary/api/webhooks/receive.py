"""Where providers post: proves that a post is the provider's, and hands it on.

A 2xx leaves only after the commit of the transaction that `tributary.api.webhooks.take` describes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from tributary.api.access import Failures
from tributary.api.database import Database, database
from tributary.api.models import Posted
from tributary.api.problems import ApiError
from tributary.api.webhooks.base import Settings, Source
from tributary.api.webhooks.registry import SOURCES
from tributary.api.webhooks.signatures import PLAIN_HEADER, verify_secret
from tributary.api.webhooks.take import read, take
from tributary.deliver import outbox, retention
from tributary.deliver.brands import Brand
from tributary.errors import SettingsError
from tributary.platforms.hook import connection
from tributary.settings import models
from tributary.warehouse import Connection, webhook_payloads

router = APIRouter(tags=["webhooks"])

_REMEMBERED = 30.0  # seconds that a secret and a brand's settings are not asked for again

_HEADERS = {
    **{one.signature.header: one.signature.description for one in SOURCES.values()},
    PLAIN_HEADER: "The secret itself, where the connection allows it.",
}


@dataclass(frozen=True)
class Hook:
    """A brand's webhook with its signing secret."""

    brand: Brand
    source: Source
    secret: str
    takes_plain_secret: bool
    behind: timedelta  # our clock behind the warehouse's, which is the one that counts
    settings: Settings = field(default_factory=dict)


@router.post(
    "/webhooks/{brand}/{source}",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The provider's own payload.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": words,
                "schema": {"type": "string"},
            }
            for name, words in _HEADERS.items()
        ],
    },
)
async def post(brand: str, source: str, request: Request) -> Posted:
    """Take a provider's webhook. The same one again changes nothing."""
    body = await request.body()
    hooks: Hooks = request.app.state.hooks
    warehouse = database(request)
    failures: Failures = request.app.state.failures
    async with failures.counted(request, f"{brand}/{source}") as place:
        hook = hooks.known(brand, source)
        if hook is None:
            warehouse.refuse_while_down()
            async with place:
                hook = await run_in_threadpool(_found, hooks, warehouse, brand, source)
        request.state.route = f"/webhooks/{hook.brand.slug}/{hook.source.name}"
        _prove(hook, body, request.headers, may_guess=not failures.is_over(request))
    async with warehouse.share(brand):
        return await run_in_threadpool(_received, warehouse, hook, body)


def _found(hooks: Hooks, database: Database, brand: str, source: str) -> Hook:
    with database.connection() as connection:
        return hooks.find(connection, brand, source)


def _received(database: Database, hook: Hook, body: bytes) -> Posted:
    payload = read(body)
    now = datetime.now(UTC) + hook.behind
    with database.connection() as connection:
        return take(connection, hook.brand, hook.source, hook.settings, payload, body, now)


class Hooks:
    """The configured webhooks; secrets are asked of Airflow at most twice a minute each."""

    def __init__(self, secret_of: Callable[[str], tuple[str, bool]]) -> None:
        self._secret_of = secret_of
        self._known: dict[tuple[str, str], tuple[float, Hook]] = {}
        self._lock = threading.Lock()

    def known(self, brand: str, source: str) -> Hook | None:
        """The webhook of a brand, where it was asked for lately."""
        until, hook = self._known.get((brand, source), (0.0, None))
        return hook if until > time.monotonic() else None

    def find(self, connection: Connection, brand: str, source: str) -> Hook:
        """The webhook of a brand, asked for anew.

        Raises:
            ApiError: there is none.
            SettingsError: its connection is missing or incomplete.
        """
        key = (brand, source)
        row = None
        if source in SOURCES and brand.isprintable():
            row = webhook_payloads.webhook(connection, brand, source)
        if row is None:
            self._known.pop(key, None)
            raise ApiError(404, "There is no such webhook.")
        with self._lock:
            secret, plain = self._secret_of(row.pop("conn_id"))
        own = row.pop("own")
        now = outbox.now_of(connection)
        retention.forget_payloads(connection, now)  # also where every DAG is paused
        behind = now - datetime.now(UTC)
        owner = Brand(row["id"], row["slug"], models.Brand.of_stored(row["settings"]))
        hook = Hook(owner, SOURCES[source], secret, plain, behind, own)
        self._known[key] = time.monotonic() + _REMEMBERED, hook
        return hook


def of_connection(conn_id: str) -> tuple[str, bool]:
    """The signing secret of a `tributary_webhook` connection, and whether it may be sent as it is.

    Raises:
        SettingsError: the connection is missing or incomplete.
    """
    found = connection(conn_id, "tributary_webhook", "that signs webhooks")
    if not found.password:
        raise SettingsError(f"The Airflow connection {conn_id!r} has no signing secret (password).")
    return found.password, found.extra_dejson.get("scheme") == "secret"


def _prove(hook: Hook, body: bytes, headers: Mapping[str, str], *, may_guess: bool) -> None:
    """Refuse what the provider did not send."""
    plain = headers.get(PLAIN_HEADER)
    if hook.takes_plain_secret and plain is not None:
        verify_secret(plain, hook.secret, may_guess=may_guess)
    else:
        hook.source.signature.verify(body, headers, hook.secret)
