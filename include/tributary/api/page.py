"""The page in Airflow's UI: what became of conversions and loads, and the buttons of its rows.

Airflow's own login and roles hold, by `tributary.api.permissions`: who may see the DAG
`upload_conversions` sees the page, and each press of a button is in Airflow's audit log. Mounted by
the plugin; paths are relative to where it is mounted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import psycopg
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, bearer_scheme, get_user
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from tributary.api import overview as panels
from tributary.api import permissions, problems
from tributary.api.in_airflow import may, permitted
from tributary.api.permissions import LOAD_DAG, UPLOAD_DAG
from tributary.deliver import destinations, outbox
from tributary.errors import SettingsError, TributaryError
from tributary.orchestration.connections import warehouse_uri
from tributary.settings import apply as settings
from tributary.warehouse import Connection, connect

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "theme.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'",
}

# Those that load ads; the last one where several have a run of the same id.
_LOADING = ("reread_meta_ads", LOAD_DAG)
_MOST_RUNS = 20  # that the page names of those under way

_ASKING = 4  # destinations that Meta is asked about at once
_FRESH, _FRESH_REFUSAL = 3600.0, 300.0  # seconds that Meta's answers and refusals are remembered
# By destination, connection and dataset: until when, the scores, and why there are none.
_QUALITY: dict[tuple[str, str, str], tuple[float, tuple[dict[str, float], str | None]]] = {}


def _json_alone(request: Request) -> None:
    """Refuse a body that a page of another site could make a browser send without asking first.

    Where a request comes from is seen to with its permission; the cookie is `SameSite=Lax` besides.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip()
    if request.method != "GET" and kind != "application/json":
        raise HTTPException(415, "The body must be JSON.")


public = APIRouter(prefix="/page")  # has no figure in it
router = APIRouter(prefix="/page", dependencies=[Depends(_json_alone), permitted])


@public.get("/")
async def index(request: Request) -> Response:
    """The page itself, without any figure in it; who is not logged in is sent to the login."""
    try:
        await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        login = get_auth_manager().get_url_login(next_url=str(request.url))
        return RedirectResponse(login, 307)
    return FileResponse(_STATIC / "page.html", headers=_HEADERS)


@public.get("/static/{name}")
def static(name: str) -> Response:
    """Style, script and icon: the same for everybody, and public."""
    if name not in _FILES:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(_STATIC / name, media_type=_FILES[name], headers=_HEADERS)


@router.get("/overview")
def overview(
    user: GetUserDep, response: Response, hours: Annotated[int, Query(ge=1, le=336)] = panels.HOURS
) -> dict[str, Any]:
    """All panels about conversions, and whether the user may press the buttons."""
    response.headers["Cache-Control"] = "no-store"
    with _warehouse() as connection:
        return {
            "may_sync": _may(user, sync),
            "may_act": _may(user, pause),
            **panels.overview(connection, hours),
        }


@router.get("/loads")
def loads(
    user: GetUserDep,
    response: Response,
    days: Annotated[int, Query(ge=1, le=panels.LONGEST_CALENDAR)] = 92,
) -> dict[str, Any]:
    """The days of each ad account, each with the DAG of the run that loaded it."""
    response.headers["Cache-Control"] = "no-store"
    with _warehouse() as connection:
        rows = panels.loads(connection, days)
        accounts = panels.accounts(connection)
    dags = _dags_of({row["run_id"] for row in rows if row["run_id"]})
    for row in rows:
        run = row.pop("run_id")
        row["run"] = _path_of_run(dags[run], run) if run in dags else None
    return {
        "now": datetime.now(UTC),
        "days": days,
        "may_act": _may(user, resume_account),
        "accounts": accounts,
        "loads": rows,
        "under_way": _under_way(),
    }


@router.get("/health")
def health(response: Response) -> dict[str, Any]:
    """What keeps Airflow from doing its work: pools, connections, imports, its own processes.

    Asked for apart from figures, which do not wait for a secrets backend.
    """
    from tributary.orchestration.health import as_dicts, problems

    response.headers["Cache-Control"] = "no-store"
    with _warehouse() as connection:
        return {"problems": as_dicts(problems(connection))}


@router.get("/quality")
def quality(response: Response) -> dict[str, Any]:
    """Meta's own match quality of each active Meta destination, or why there is none.

    Asked of Meta here and not with the other panels, which do not wait for anybody.
    """
    response.headers["Cache-Control"] = "no-store"
    with _warehouse() as connection:
        found = [
            one
            for one in destinations.load(connection, outbox.now_of(connection))
            if one.platform == "meta" and one.is_active
        ]
    with ThreadPoolExecutor(_ASKING) as pool:
        said = list(pool.map(_quality_of, found))
    return {
        "quality": [
            {"destination": one.name, "scores": scores, "why_not": why_not}
            for one, (scores, why_not) in zip(found, said, strict=True)
        ]
    }


def _quality_of(destination: destinations.Destination) -> tuple[dict[str, float], str | None]:
    """The scores by event name, and why there are none; remembered for a while."""
    from tributary.platforms.meta.hook import MetaHook
    from tributary.platforms.meta.quality import match_quality

    key = (destination.name, destination.conn_id, destination.settings["pixel_id"])
    until, said = _QUALITY.get(key, (0.0, ({}, None)))
    if until > time.monotonic():
        return said
    try:
        what_for = f"for destination {destination.name}"
        graph = MetaHook(destination.conn_id, what_for, attempts=1, timeout=(5, 15)).get_conn()
        scores = match_quality(graph, destination.settings["pixel_id"])
        said = scores, None if scores else "Meta has no score yet: it needs events of a website."
    except TributaryError as error:
        said = {}, str(error)
    _QUALITY[key] = time.monotonic() + (_FRESH if said[0] else _FRESH_REFUSAL), said
    return said


class Why(BaseModel):
    """Why a person pauses a destination."""

    reason: str = Field("", max_length=200)


class Which(BaseModel):
    """Which dead deliveries are put back; without an outcome all but `outcome_unknown`."""

    outcome: str | None = None


class Changed(BaseModel):
    """Keys of a destination's settings that change; the others stay."""

    settings: dict[str, Any]


@router.post("/destinations/{name}/sync")
def sync(name: str, user: GetUserDep) -> dict[str, Any]:
    """Start `upload_conversions` for one destination."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.exceptions import DagNotFound
    from airflow.models.dag import DagModel
    from airflow.utils.types import DagRunTriggeredByType

    with _warehouse() as connection:
        found = destinations.one(connection, name, outbox.now_of(connection))
    if not found.is_active:
        raise HTTPException(409, f"{name} is switched off in the settings file.")
    if found.paused:
        raise HTTPException(409, f"{name} is paused {found.paused} Resume it first.")
    try:
        run = trigger_dag(
            UPLOAD_DAG,
            triggered_by=DagRunTriggeredByType.UI,
            triggering_user_name=user.get_name(),
            conf={"destination": name},
        )
    except DagNotFound:
        raise HTTPException(409, f"Airflow has not found the DAG {UPLOAD_DAG} yet.") from None
    assert run is not None
    dag = DagModel.get_current(UPLOAD_DAG)
    waits = f" It waits until {UPLOAD_DAG} is switched on." if dag and dag.is_paused else ""
    return {
        "said": f"A run for {name} is started.{waits}",
        "run": _path_of_run(UPLOAD_DAG, run.run_id),
    }


@router.post("/destinations/{name}/retry")
def retry(name: str, which: Which) -> dict[str, str]:
    """Put dead deliveries back into the outbox, while the platform still takes them."""
    with _warehouse() as connection:
        now = outbox.now_of(connection)
        destinations.one(connection, name, now)
        back = outbox.retry(connection, now, destination=name, outcome=which.outcome)
    number = back.get(name, 0)
    if not number:
        return {"said": f"{name}: nothing fits, or the platform takes it no longer."}
    return {"said": f"{name}: {number:,} put back; the next upload sends them."}


@router.post("/destinations/{name}/pause")
def pause(name: str, why: Why, user: GetUserDep) -> dict[str, str]:
    """Leave a destination alone until a person resumes it; requests under way are finished."""
    reason = f"{user.get_name()} paused it" + (f": {why.reason.strip()}" if why.reason else "")
    with _warehouse() as connection:
        destinations.stop(connection, name, reason.rstrip(".") + ".")
    return {"said": f"{name} is paused until somebody resumes it. Its events are kept."}


@router.post("/destinations/{name}/resume")
def resume(name: str) -> dict[str, str]:
    """End a pause, whoever began it."""
    with _warehouse() as connection:
        was_paused = destinations.resume(connection, name)
    if not was_paused:
        return {"said": f"{name} was not paused."}
    return {"said": f"{name} is resumed; the next upload sends what waits."}


@router.post("/accounts/{platform}/{account_id}/resume")
def resume_account(platform: str, account_id: str) -> dict[str, str]:
    """End an ad account's pause, whoever began it."""
    from tributary.warehouse.load import resume

    with _warehouse() as connection:
        was_paused = resume(connection, platform, account_id)
    if not was_paused:
        return {"said": f"{account_id} was not paused."}
    return {"said": f"{account_id} is resumed; the next run loads it."}


@router.post("/destinations/{name}/settings")
def change(name: str, changed: Changed) -> dict[str, str]:
    """Change settings of a destination whose brand is `managed_by: api`, as the REST API does."""
    with _warehouse() as connection, connection.transaction():
        destinations.one(connection, name, outbox.now_of(connection))
        try:
            settings.change_destination(connection, name, changed.settings)
        except settings.NotOurs as error:
            raise HTTPException(409, str(error)) from None
        except SettingsError as error:
            raise HTTPException(422, str(error)) from None
    return {"said": f"The settings of {name} are changed; the next upload goes by them."}


def _may(user: Any, endpoint: Callable[..., Any]) -> bool:
    return may(user, permissions.need_of(endpoint))


@contextmanager
def _warehouse() -> Iterator[Connection]:
    """A connection; what is wrong with it is told in words."""
    try:
        with connect(warehouse_uri(), autocommit=True) as connection:
            connection.execute("set statement_timeout = '30s'")
            yield connection
    except SettingsError as error:
        raise HTTPException(404, str(error)) from None
    except TributaryError as error:
        raise HTTPException(503, str(error)) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise HTTPException(
            503,
            "The warehouse is not of this version yet: run `tributary prepare`, or "
            "any of the DAGs.",
        ) from None
    except psycopg.errors.QueryCanceled:
        raise HTTPException(503, "The warehouse took more than 30 s to answer.") from None


def _path_of_run(dag: str, run: str) -> str:
    """Of the run's page, relative to Airflow's root."""
    return f"dags/{dag}/runs/{quote(run, safe='')}"


def _dags_of(runs: set[str]) -> dict[str, str]:
    """Which of the DAGs that load ads the runs are of; those that Airflow has forgotten lack."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    asked = select(DagRun.run_id, DagRun.dag_id).where(
        DagRun.run_id.in_(runs), DagRun.dag_id.in_(_LOADING)
    )
    with create_session() as session:
        found = [(run, dag) for run, dag in session.execute(asked)]
    return dict(sorted(found, key=lambda row: _LOADING.index(row[1])))


def _under_way() -> list[dict[str, str]]:
    """Runs that load ads and have not ended, the oldest first."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    asked = (
        select(DagRun.dag_id, DagRun.run_id, DagRun.state)
        .where(DagRun.dag_id.in_(_LOADING), DagRun.state.in_(("queued", "running")))
        .order_by(DagRun.run_after)
        .limit(_MOST_RUNS)
    )
    with create_session() as session:
        return [
            {"dag": dag, "state": str(state), "run": _path_of_run(dag, run)}
            for dag, run, state in session.execute(asked)
        ]


# Without the documentation paths, which nothing would protect.
app = FastAPI(title="Tributary", docs_url=None, redoc_url=None, openapi_url=None)
problems.install(app)
app.include_router(public)
app.include_router(router)
permissions.check(app)
