"""Adds Tributary's page to Airflow's navigation; every request to it needs a logged-in user.

Every Airflow process imports this file, so the page itself is imported on its first request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from include.airflow.test_button import WithoutPortZero


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """The ASGI application of `include.api.page`."""
    from include.api.page import app

    await app(scope, receive, send)


class TributaryPage(AirflowPlugin):
    """The page, and its entry in the navigation."""

    name = "tributary_page"
    fastapi_apps = [{"app": app, "url_prefix": "/tributary", "name": "Tributary"}]
    fastapi_root_middlewares = [{"middleware": WithoutPortZero, "name": "Tests of connections"}]
    external_views = [
        {
            "name": "Tributary",
            "href": "tributary/page/",
            "destination": "nav",
            "url_route": "tributary",
        }
    ]
