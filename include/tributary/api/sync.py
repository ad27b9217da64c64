"""Uploads over HTTP: triggered through Airflow's own REST API, with the caller's rights there."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import httpx
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from tributary.api.access import Caller, PatientWriter, Reader
from tributary.api.database import database
from tributary.api.models import (
    BrandResult,
    BrandStatus,
    Run,
    SyncResult,
    SyncStatus,
    SyncSummary,
    Text,
)
from tributary.api.permissions import UPLOAD_DAG
from tributary.api.problems import ApiError
from tributary.deliver import destinations, ledger, outbox
from tributary.event import EventRefused

router = APIRouter(tags=["sync"])

_LONGEST_WAIT = 300.0
_MISSED = 10  # looks at a run in a row that may fail
_ENDED = ("success", "failed")

Airflow = Callable[[Request], httpx.AsyncClient]


def of_request(request: Request) -> httpx.AsyncClient:
    """The Airflow that we are mounted in, asked in this process and as the caller."""
    kept = {k: v for k, v in request.headers.items() if k in ("authorization", "cookie")}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(
            request.scope["tributary.airflow"], raise_app_exceptions=False
        ),
        base_url="http://airflow",
        headers=kept,
        timeout=60,
    )


def of_environment(request: Request) -> httpx.AsyncClient:
    """The Airflow at `TRIBUTARY_AIRFLOW_URL`.

    Raises:
        ApiError: where it is, or the token for it, is not set.
    """
    url = os.environ.get("TRIBUTARY_AIRFLOW_URL")
    token = os.environ.get("TRIBUTARY_AIRFLOW_TOKEN")
    if not url or not token:
        raise ApiError(
            503,
            "Nothing can be triggered from here: set TRIBUTARY_AIRFLOW_URL (such as "
            "https://airflow.example.com) and TRIBUTARY_AIRFLOW_TOKEN (of POST /auth/token).",
        )
    return httpx.AsyncClient(
        base_url=url.rstrip("/"), headers={"Authorization": f"Bearer {token}"}, timeout=60
    )


@router.post(
    "/conversions/sync",
    status_code=202,
    response_model=Run,
    response_model_exclude_defaults=True,
    responses={200: {"model": SyncResult, "description": "With `wait`: what the run did."}},
)
async def start(
    caller: PatientWriter,
    request: Request,
    brand_id: Annotated[
        Text | None, Query(description="Id or slug; a key's own brand, else all that are due.")
    ] = None,
    destination: Annotated[
        Text | None, Query(description="Name; this one alone, whether or not it is due.")
    ] = None,
    wait: Annotated[bool, Query(description="Answer when the run has ended (5 minutes).")] = False,
    while_paused: Annotated[
        bool,
        Query(description="Queue a run also while the DAG is paused; it waits for the DAG."),
    ] = False,
) -> Any:
    """Upload what is pending now."""
    share = database(request).share
    async with share(caller.brand):
        wanted = await run_in_threadpool(_wanted, request, caller, brand_id, destination)
    airflow: Airflow = request.app.state.airflow
    async with airflow(request) as client:
        dag = await _ask(client, "GET", f"dags/{UPLOAD_DAG}")
        if dag["is_paused"] and not while_paused:
            raise ApiError(
                409, f"The DAG {UPLOAD_DAG} is paused in Airflow, so its runs would only wait."
            )
        run = await _run(client, wanted.conf)
        path = f"dags/{UPLOAD_DAG}/dagRuns/{run['dag_run_id']}"
        deadline = time.monotonic() + _LONGEST_WAIT
        missed = 0
        wait = wait and not dag["is_paused"]
        while wait and run["state"] not in _ENDED and time.monotonic() < deadline:
            await asyncio.sleep(1)
            try:
                run, missed = await _ask(client, "GET", path), 0
            except ApiError:  # the run goes on, whether or not Airflow has a moment for us
                missed += 1
                if missed > _MISSED:
                    raise
        if not wait or run["state"] not in _ENDED:
            return Run(
                dag_id=UPLOAD_DAG,
                dag_run_id=run["dag_run_id"],
                state=run["state"],
                dag_is_paused=dag["is_paused"],
            )
        try:
            value = f"{path}/taskInstances/summarise/xcomEntries/return_value"
            summary = (await _ask(client, "GET", value, params={"stringify": "false"}))["value"]
        except ApiError:  # a run whose tasks are red may have none
            summary = None
    held: dict[str, list[str]] = {}
    if run["state"] != "success":
        async with share(caller.brand):
            held = await run_in_threadpool(_held, request, wanted.brands)
    result = _result(run["state"], wanted.brands, summary or {}, held)
    return JSONResponse(result.model_dump(mode="json"))


@router.get("/conversions/sync")
def status(caller: Reader, request: Request) -> SyncStatus:
    """Per brand: the latest upload and what waits."""
    with database(request).connection() as connection:
        rows = ledger.sync_status(connection, caller.brand_id)
    return SyncStatus(status=[BrandStatus(**row) for row in rows])


class _Wanted(NamedTuple):
    """What an upload is asked for."""

    brands: list[dict[str, Any]]  # id, name and slug (`brand`) of those that it is about
    conf: dict[str, str]  # of the DAG run


def _wanted(
    request: Request, caller: Caller, brand_id: str | None, destination: str | None
) -> _Wanted:
    """The brands and the destination of a request.

    Raises:
        EventRefused: there is none that the caller may write to.
        ApiError: 409, the destination is switched off or paused.
    """
    with database(request).connection() as connection:
        brands = ledger.brands(connection, caller.brand_id, brand_id)
        is_one = brand_id is not None or caller.brand is not None
        if is_one and not brands:
            raise EventRefused("brand_id", "is no brand that you may write to")
        if destination is None:
            return _Wanted(brands, {"brand": brands[0]["brand"]} if is_one else {})
        found = destinations.load(connection, outbox.now_of(connection), name=destination)
    brands = [brand for brand in brands if found and brand["id"] == found[0].brand_id]
    if not brands:
        raise EventRefused("destination", "is no destination that you may write to")
    if not found[0].is_active:
        raise ApiError(409, f"{destination} is switched off in the settings file.")
    if found[0].paused:
        raise ApiError(409, f"{destination} is paused {found[0].paused} Resume it first.")
    return _Wanted(brands, {"destination": destination})


def _held(request: Request, brands: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Why the latest upload left out destinations, by brand (its slug).

    A destination whose task is red has no part in the run's summary.
    """
    with database(request).connection() as connection:
        return ledger.held(connection, [brand["brand"] for brand in brands])


async def _run(client: httpx.AsyncClient, conf: dict[str, str]) -> Any:
    """A run that is still to begin and is the same, else a new one: many askers queue one run."""
    runs = f"dags/{UPLOAD_DAG}/dagRuns"
    queued = await _ask(client, "GET", runs, params={"state": "queued", "limit": 100})
    for run in queued["dag_runs"]:
        if run["conf"] == conf:
            return run
    return await _ask(client, "POST", runs, json={"logical_date": None, "conf": conf})


async def _ask(client: httpx.AsyncClient, method: str, path: str, **body: Any) -> Any:
    """An answer of Airflow's REST API.

    Raises:
        ApiError: it does not answer, or refuses.
    """
    try:
        answer = await client.request(method, f"/api/v2/{path}", **body)
    except httpx.HTTPError as error:
        raise ApiError(502, f"Airflow does not answer ({type(error).__name__}).") from None
    if answer.status_code in (401, 403):
        raise ApiError(
            502 if client.base_url.host != "airflow" else 403,
            f"Airflow refuses the token (HTTP {answer.status_code}): it has expired, or may not "
            f"trigger {UPLOAD_DAG}.",
        )
    try:
        if answer.is_success:
            return answer.json()
    except ValueError:  # somebody else answers in Airflow's place
        pass
    raise ApiError(502, f"Airflow answers HTTP {answer.status_code} to {method} /{path}.")


def _result(
    state: str,
    brands: list[dict[str, Any]],
    summary: Mapping[str, dict[str, Any]],
    held: Mapping[str, list[str]],
) -> SyncResult:
    results = []
    for brand in brands:
        did = summary.get(brand["brand"], {})
        errors = [f"{code}: {number}" for code, number in (did.get("errors") or {}).items()]
        results.append(
            BrandResult(
                brand_id=UUID(str(brand["id"])),
                brand_name=brand["name"],
                events_processed=did.get("processed", 0),
                success_count=did.get("succeeded", 0),
                failure_count=did.get("failed", 0) + did.get("dead", 0),
                errors=[*errors, *(held.get(brand["brand"]) or did.get("held", []))],
            )
        )
    total = SyncSummary(
        total_processed=sum(one.events_processed for one in results),
        total_success=sum(one.success_count for one in results),
        total_failure=sum(one.failure_count for one in results),
    )
    said = f"{total.total_success} of {total.total_processed} conversions were taken."
    if state != "success":
        said += f" The run of {UPLOAD_DAG} is red: its log in Airflow says what to do."
    return SyncResult(message=said, summary=total, results=results)
