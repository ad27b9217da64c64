"""What Tributary adds to Airflow's UI and API server: a page in the navigation, and the REST API.

Every Airflow process imports this file, so both are imported when their first request comes. Every
request to either needs a logged-in user of Airflow.
"""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class _Api:
    """The REST API (`tributary.api.app`)."""

    def __init__(self) -> None:
        self._app: Any = None
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._lock:
            if self._app is None:
                self._app = await asyncio.to_thread(self._made)
        await self._app(scope, receive, send)

    @staticmethod
    def _made() -> Any:
        from tributary.api.app import Mounted

        return Mounted()


async def _page(scope: Any, receive: Any, send: Any) -> None:
    """The page (`tributary.api.page`)."""
    from tributary.api.page import app

    await app(scope, receive, send)


class Tributary(AirflowPlugin):
    """Mounts both, and shows the page in the navigation."""

    name = "tributary"
    # Airflow takes the first prefix that fits, so the longer one comes first.
    fastapi_apps = [
        {"app": _Api(), "url_prefix": "/tributary/api", "name": "Tributary API"},
        {"app": _page, "url_prefix": "/tributary", "name": "Tributary"},
    ]
    external_views = [
        {
            "name": "Tributary",
            "href": "tributary/page/",
            "destination": "nav",
            "url_route": "tributary",
        }
    ]
