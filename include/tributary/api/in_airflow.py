"""Airflow's users: who they are, what they may, and from where a browser asks for them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials
from starlette.exceptions import HTTPException

from tributary.api import audit, permissions
from tributary.api.access import Caller, Credentials
from tributary.api.permissions import Need
from tributary.api.problems import Refused


async def by_airflow(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
    """A user of Airflow, for the REST API; sees all brands."""
    return Caller(None, None, writes=(await _permit(request, given)).changes)


async def _permitted(request: Request, given: Credentials) -> None:
    await _permit(request, given)


# For the page's routes.
permitted = Depends(_permitted)


async def _permit(request: Request, given: HTTPAuthorizationCredentials | None) -> Need:
    """Let a user do what the route does, and note it, or refuse.

    Raises:
        Refused: Airflow does not know the user, the permission is missing, or another site asked.
    """
    need = permissions.need_of(request.scope["endpoint"])
    try:
        user = await get_user(request, None, given)
    except HTTPException as error:
        # Airflow says 403 of a token that is none of its own; to us that is no login, either.
        raise Refused(401, str(error.detail), headers={"WWW-Authenticate": "Bearer"}) from None
    # A browser sends a cookie along by itself; a token it does not.
    if need.changes and given is None and from_another_site(request):
        raise Refused(403, "Another site asked for this, with a cookie that it did not set.")
    if not await run_in_threadpool(may, user, need):
        raise Refused(403, f"Your role in Airflow may not {need.in_words()}.")
    if need.changes:
        await run_in_threadpool(audit.in_airflow, request, user.get_name())
    return need


def may(user: Any, need: Need) -> bool:
    """Whether Airflow's auth manager allows it to the user."""
    allowed: bool = get_auth_manager().is_authorized_dag(
        method=need.method,
        access_entity=DagAccessEntity.RUN if need.of_runs else None,
        details=DagDetails(id=need.dag),
        user=user,
    )
    return allowed


def from_another_site(request: Request) -> bool:
    """Whether a browser sends it for a page of another site.

    `Sec-Fetch-Site` says it, and browsers that do not know it send the page's `Origin`: ours is the
    host that was asked, or the one by which Airflow is known (`[api] base_url`) behind a proxy.
    Programs send neither. https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "none"):
        return site != "same-origin"
    if origin is None:
        return False
    known_as = conf.get("api", "base_url", fallback=None)
    ours = {_host(f"//{request.headers.get('host', '')}"), _host(known_as)}
    return _host(origin) not in ours - {None}


_PORTS = {"http": 80, "https": 443}


def _host(url: str | None) -> str | None:
    """Name and port of a URL; the port only where it is not the usual one."""
    try:
        parts = urlsplit(url or "")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    usual = port is None or port == _PORTS.get(parts.scheme, port if port in (80, 443) else None)
    return parts.hostname if usual else f"{parts.hostname}:{port}"
