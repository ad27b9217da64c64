"""What Tributary adds to Airflow's UI and API server. Every Airflow process imports this file, so
nothing heavy stands at its top: the API is imported when the first request comes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class _Api:
    """The REST API (`include.api`): every route asks for a logged-in user of Airflow."""

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
        from include.api.app import Mounted

        return Mounted()


class Tributary(AirflowPlugin):
    """Mounts the API, and shows the page in the navigation."""

    name = "tributary"
    # The first prefix that fits is taken: the longer ones stand first.
    fastapi_apps = [
        {"app": _Api(), "url_prefix": "/tributary/api", "name": "Tributary API"},
        # The page's app goes here, with the prefix /tributary.
    ]
    external_views: list[dict[str, Any]] = [
        # The page's entry goes here, with href "tributary/".
    ]
