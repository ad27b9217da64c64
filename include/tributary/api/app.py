"""Puts the API together, for Airflow's API server or for the public edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.types import Receive, Scope, Send

from tributary import config
from tributary.api import conversions, destinations, erasure, permissions, problems, sync
from tributary.api.access import Access, Failures, Reader, by_key, counts_of_requests
from tributary.api.bounds import Bounded, Bounds
from tributary.api.database import Database
from tributary.api.models import Health

_ALONE = "The storage of the rate limit does not answer: each process counts its own requests."
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read."},
    401: {"description": "The login or the key is missing or wrong."},
    403: {"description": "Not allowed."},
    404: {"description": "There is no such thing."},
    409: {"description": "It cannot be done now; the detail says what to do."},
    413: {"description": "The body is too large."},
    422: {"description": "A field is wrong; the errors name it."},
    429: {"description": "Too many requests."},
    500: {"description": "A fault of the server."},
    502: {"description": "Airflow does not answer, or refuses."},
    503: {"description": "The warehouse does not answer, or something is not set up."},
}


def edge(bounds: Bounds | None = None) -> FastAPI:
    """The public edge: brands' API keys, and webhooks, since Stripe cannot log in to Airflow."""
    from tributary.api.webhooks import receive

    database = Database(config.warehouse_uri)
    requests, failures = counts_of_requests(), Failures()
    access = by_key(database, requests, failures)
    app = _app(database, access, sync.of_environment, openapi_url="/openapi.json")
    app.state.failures = failures
    app.state.hooks = receive.Hooks(receive.of_connection)
    app.include_router(receive.router)
    app.add_middleware(Bounded, bounds=bounds or Bounds())

    @app.get("/health", tags=["health"], response_model_exclude_none=True)
    async def health() -> Health:
        """Whether the API and its warehouse answer."""
        if not await database.answers():
            raise problems.WarehouseStillDown("The warehouse does not answer.")
        return Health(status="ok", degraded=[_ALONE] if requests.is_alone else None)

    permissions.check(app)
    return app


def in_airflow() -> FastAPI:
    """For Airflow's API server: its login, its roles. Webhooks are the edge's."""
    from tributary.api import operations
    from tributary.api.in_airflow import by_airflow
    from tributary.orchestration.connections import warehouse_uri

    app = _app(Database(warehouse_uri), by_airflow, sync.of_request, openapi_url=None, inside=True)
    app.include_router(operations.router)

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(caller: Reader, request: Request) -> dict[str, Any]:
        return app.openapi()

    permissions.check(app)
    return app


class Mounted:
    """The API as Airflow mounts it: what is heavy is imported when the first request comes."""

    def __init__(self) -> None:
        self._app = in_airflow()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Airflow's own app: `sync` asks its REST API in this process, as the caller.
        scope["tributary.airflow"] = scope.get("app")
        await self._app(scope, receive, send)


def _app(
    database: Database,
    access: Access,
    airflow: sync.Airflow,
    *,
    openapi_url: str | None,
    inside: bool = False,
) -> FastAPI:
    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        database.close()

    app = FastAPI(
        title="Tributary",
        description="Conversions in, their deliveries, uploads, erasure.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=openapi_url,
        lifespan=life,
        responses=_ERRORS,
    )
    app.state.database, app.state.access, app.state.airflow = database, access, airflow
    problems.install(app, inside=inside)
    # Before /conversions/{id}, which would take "sync" for an id.
    for module in (sync, conversions, destinations, erasure):
        app.include_router(module.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with every error as what it is: problem details."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document["components"]["schemas"]
        for gone in ("HTTPValidationError", "ValidationError"):
            schemas.pop(gone, None)
        problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs") | {"Problem": problem}
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    if status >= "400":
                        response["content"] = content
        app.openapi_schema = document
    return app.openapi_schema
