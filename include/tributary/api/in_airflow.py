"""All that the REST API and the page use of Airflow's API server: its users, audit log and runs.

Airflow 3.3 has no public interface for a mounted app: its public one, the Task SDK, is for DAG
authors. What is imported here is private to Airflow, may change with any version, and is imported
nowhere else in `tributary.api`:

* `airflow.api_fastapi`: login and permissions, which Airflow does not put around a plugin's app.
* `airflow.models.Log`: the audit log that Airflow's UI shows.
* `airflow.models.dagrun.DagRun`: runs of several DAGs in one question; the REST API has one DAG a
  question, or all of them.
"""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import quote, urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from airflow.models import Log
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials
from sqlalchemy import select
from starlette.exceptions import HTTPException

from tributary.api import audit, permissions
from tributary.api.access import Caller
from tributary.api.permissions import LOAD_DAG, Need
from tributary.api.problems import ApiError

# Those that load ads; the last one where several have a run of the same id.
_LOADING_DAGS = ("reread_meta_ads", LOAD_DAG)
_MOST_RUNS = 20  # under way that are named


async def by_airflow(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
    """A user of Airflow who may do what the route does; sees all brands.

    Raises:
        ApiError: Airflow does not know the user, the permission is missing, or another site asked.
    """
    need = permissions.need_of(request.scope["endpoint"])
    try:
        user = await get_user(request, None, given)
    except HTTPException as error:
        # Airflow answers 403 to a token that it did not issue; here that is no login, either.
        raise ApiError(401, str(error.detail), headers={"WWW-Authenticate": "Bearer"}) from None
    # A browser sends a cookie along by itself; a token it does not.
    if need.changes and given is None:
        if from_another_site(request):
            raise ApiError(403, "Another site asked for this, with a cookie that it did not set.")
        kind = request.headers.get("content-type", "").split(";")[0].strip()
        if kind not in ("", "application/json"):  # a form, which a browser sends to any site
            raise ApiError(415, "The body must be JSON.")
    if not await run_in_threadpool(_may, user, need):
        raise ApiError(403, f"Your role in Airflow may not {need.in_words()}.")
    if need.changes:
        await run_in_threadpool(_log, request, user.get_name())
    return Caller(None, None, writes=need.changes, user=user.get_name(), may=partial(_may, user))


def _may(user: BaseUser, need: Need) -> bool:
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


async def login_of(request: Request) -> str | None:
    """The URL of Airflow's login, for somebody who is not logged in; None for who is."""
    try:
        await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        return get_auth_manager().get_url_login(next_url=str(request.url))
    return None


def _log(request: Request, user: str) -> None:
    """Write a change into Airflow's audit log.

    Airflow's own `action_logging` stores the body of a request: there are people in it.
    """
    name = permissions.action(request.scope["endpoint"])
    with create_session() as session:
        session.add(
            Log(
                event=permissions.event(name),
                owner=user,
                owner_display_name=user,
                extra=json.dumps(audit.about(request)),
                dag_id=permissions.NEEDS[name].dag,
            )
        )


def path_of_run(dag: str, run: str) -> str:
    """The path of a run's page, relative to Airflow's root."""
    return f"dags/{dag}/runs/{quote(run, safe='')}"


def dags_of(runs: set[str]) -> dict[str, str]:
    """The DAG that loads ads of each run id; runs that Airflow has forgotten are absent."""
    wanted = select(DagRun.run_id, DagRun.dag_id).where(
        DagRun.run_id.in_(runs), DagRun.dag_id.in_(_LOADING_DAGS)
    )
    with create_session() as session:
        found = [(run, dag) for run, dag in session.execute(wanted)]
    return dict(sorted(found, key=lambda row: _LOADING_DAGS.index(row[1])))


def runs_under_way() -> list[dict[str, str]]:
    """Runs that load ads and have not ended, the oldest first: `dag`, `state` and `run` (path)."""
    wanted = (
        select(DagRun.dag_id, DagRun.run_id, DagRun.state)
        .where(DagRun.dag_id.in_(_LOADING_DAGS), DagRun.state.in_(("queued", "running")))
        .order_by(DagRun.run_after)
        .limit(_MOST_RUNS)
    )
    with create_session() as session:
        return [
            {"dag": dag, "state": str(state), "run": path_of_run(dag, run)}
            for dag, run, state in session.execute(wanted)
        ]
