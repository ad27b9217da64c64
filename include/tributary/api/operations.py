"""What the people who run the installation see and do: the page's figures and its own buttons.

In Airflow alone: the figures are of all brands, and some come from Airflow's metadata.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from tributary.api import in_airflow, permissions
from tributary.api.access import Reader, Writer
from tributary.api.database import database
from tributary.api.models import (
    Account,
    AccountDay,
    AirflowProblem,
    LoadingRun,
    Loads,
    MatchQualities,
    MatchQuality,
    Overview,
    Problems,
    Resumed,
    Retried,
    RetryRequest,
    Text,
)
from tributary.api.problems import ApiError
from tributary.deliver import destinations, outbox, overview
from tributary.errors import SettingsError, TributaryError
from tributary.platforms import registry
from tributary.warehouse import account_days, ad_accounts

router = APIRouter(tags=["operations"])

_QUALITY_THREADS = 4  # destinations that are asked about at once
_QUALITY_SECONDS, _NO_QUALITY_SECONDS = 3600.0, 300.0  # that answers are remembered

Scores = tuple[dict[str, float], str | None]
# By destination, connection and dataset: until when (of time.monotonic), and the answer.
_quality: dict[tuple[str, ...], tuple[float, Scores]] = {}


@router.get("/overview")
def figures(
    caller: Reader,
    request: Request,
    response: Response,
    hours: Annotated[int, Query(ge=1, le=336)] = overview.HOURS,
) -> Overview:
    """The delivery ledger in figures, and what the caller may do."""
    response.headers["Cache-Control"] = "no-store"
    with database(request).connection() as connection:
        return Overview(
            may_sync=caller.may(permissions.NEEDS["sync.start"]),
            may_act=caller.may(permissions.NEEDS["destinations.change"]),
            **overview.overview(connection, hours),
        )


@router.get("/loads")
def loads(
    caller: Reader,
    request: Request,
    response: Response,
    days: Annotated[int, Query(ge=1, le=account_days.LONGEST)] = 92,
) -> Loads:
    """The days of each ad account, each with the DAG run that loaded it."""
    response.headers["Cache-Control"] = "no-store"
    with database(request).connection() as connection:
        rows = account_days.days(connection, days)
        accounts = account_days.accounts(connection)
    dags = in_airflow.dags_of({row["run_id"] for row in rows if row["run_id"]})
    for row in rows:
        run = row.pop("run_id")
        row["run"] = in_airflow.path_of_run(dags[run], run) if run in dags else None
    return Loads(
        now=datetime.now(UTC),
        days=days,
        may_act=caller.may(permissions.NEEDS["operations.resume_account"]),
        accounts=[Account(**row) for row in accounts],
        loads=[AccountDay(**row) for row in rows],
        under_way=[LoadingRun(**run) for run in in_airflow.runs_under_way()],
    )


@router.get("/problems")
def problems(caller: Reader, request: Request, response: Response) -> Problems:
    """What keeps Airflow from its work: processes, DAG files, pools, connections, bad rows.

    Not a part of the overview, because a secrets backend may be slow.
    """
    from tributary.orchestration import health

    response.headers["Cache-Control"] = "no-store"
    with database(request).connection() as connection:
        return Problems(
            problems=[AirflowProblem(**asdict(one)) for one in health.problems(connection)]
        )


@router.get("/match-quality")
def match_quality(caller: Reader, request: Request, response: Response) -> MatchQualities:
    """The platform's own match quality of each active destination that has one, or why not.

    Not a part of the overview, because a platform may be slow. Scores are remembered for an hour,
    refusals for five minutes.
    """
    response.headers["Cache-Control"] = "no-store"
    with database(request).connection() as connection:
        found = [
            one
            for one in destinations.load(connection, outbox.now_of(connection))
            if one.is_active and registry.platform(one.platform).has_match_quality
        ]
    with ThreadPoolExecutor(_QUALITY_THREADS) as pool:
        answers = list(pool.map(_match_quality, found))
    return MatchQualities(
        quality=[
            MatchQuality(destination=one.name, scores=scores, why_not=why_not)
            for one, (scores, why_not) in zip(found, answers, strict=True)
        ]
    )


def _match_quality(destination: destinations.Destination) -> Scores:
    """The scores by event name, and why there are none."""
    platform = registry.platform(destination.platform)
    key = (destination.name, destination.conn_id, *platform.places(destination.settings).values())
    until, answer = _quality.get(key, (0.0, ({}, None)))
    if until > time.monotonic():
        return answer
    try:
        hook = registry.upload_hook(
            destination.platform, destination.conn_id, destination.name, timeout=(5, 15)
        )
        scores = platform.match_quality(hook.get_conn(), destination.settings)
        none = f"{platform.title} has no score yet: it needs events of a website."
        answer = scores, None if scores else none
    except TributaryError as error:
        answer = {}, str(error)
    seconds = _QUALITY_SECONDS if answer[0] else _NO_QUALITY_SECONDS
    _quality[key] = time.monotonic() + seconds, answer
    return answer


@router.post("/destinations/{name}/retry")
def retry(
    name: Annotated[Text, Path()], body: RetryRequest, caller: Writer, request: Request
) -> Retried:
    """Put a destination's dead deliveries back into the outbox, while the platform takes them."""
    with database(request).connection() as connection:
        now = outbox.now_of(connection)
        try:
            destinations.one(connection, name, now)
        except SettingsError as error:
            raise ApiError(404, str(error)) from None
        back = outbox.retry(connection, now, destination=name, outcome=body.outcome)
    return Retried(put_back=back.get(name, 0))


@router.post("/accounts/{platform}/{account_id}/resume")
def resume_account(
    platform: Annotated[Text, Path()],
    account_id: Annotated[Text, Path()],
    caller: Writer,
    request: Request,
) -> Resumed:
    """End an ad account's pause, whoever began it; the next run loads it."""
    with database(request).connection() as connection:
        try:
            return Resumed(was_paused=ad_accounts.resume(connection, platform, account_id))
        except SettingsError as error:
            raise ApiError(404, str(error)) from None
