"""What every run of ours has from its kind: the days it looks at, its place in the queue, its end.

Runs and intervals are made by Airflow itself, as its scheduler, API and command line make them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tributary import config

NOW = datetime(2026, 11, 27, 20, 30, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0)
# The last day that has ended at NOW and at MIDNIGHT: the 26th and the 25th in Los Angeles (UTC-8),
# the 27th and the 26th in Jakarta (UTC+7).
ZONES = (ZoneInfo("America/Los_Angeles"), ZoneInfo("Asia/Jakarta"))


@pytest.fixture(scope="module")
def dags(airflow: None) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(config.ROOT / "dags").dags


@pytest.fixture(scope="module")
def served(dags: Any) -> Any:
    """`extract_meta_ads` as scheduler and API server see it."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.deserialize_dag(
        DagSerialization.serialize_dag(dags["extract_meta_ads"])
    )


def _asked(dag: Any, **body: Any) -> Any:
    """The run that the UI (or a program) asks the API for."""
    from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody

    made = TriggerDAGRunPostBody(**{"run_after": NOW, **body}).validate_context(dag)
    start, end = made["data_interval"] or (None, None)
    return SimpleNamespace(
        run_type="manual",
        logical_date=made["logical_date"],
        data_interval_start=start,
        data_interval_end=end,
        run_after=made["run_after"],
    )


def _tested(dag: Any, logical_date: datetime) -> Any:
    """The run of `airflow dags test` with that date."""
    start, end = dag.timetable.infer_manual_data_interval(run_after=_pendulum(logical_date))
    return SimpleNamespace(
        run_type="manual",
        logical_date=logical_date,
        data_interval_start=start,
        data_interval_end=end,
        run_after=NOW,
    )


def _due(dag: Any, run_type: str, start: datetime) -> Any:
    """The run that scheduler or backfill makes for the interval that begins then."""
    from airflow.models.dagrun import DagRun
    from airflow.timetables.base import TimeRestriction
    from airflow.utils.types import DagRunType

    restriction = TimeRestriction(_pendulum(start), None, catchup=True)
    info = dag.timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=restriction
    )
    run_id = DagRun.generate_run_id(
        run_type=DagRunType(run_type),
        logical_date=info.logical_date,
        run_after=info.run_after,
    )
    return SimpleNamespace(
        run_type=run_type,
        run_id=run_id,
        logical_date=info.logical_date,
        data_interval_start=info.data_interval.start,
        data_interval_end=info.data_interval.end,
        run_after=info.run_after,
    )


def _pendulum(moment: datetime) -> Any:
    from airflow.sdk.timezone import coerce_datetime

    return coerce_datetime(moment)


def _days(run: Any) -> list[tuple[str, str]]:
    """First and last day of the run for an account in each of ZONES that looks back 3 days."""
    from tributary.orchestration.tasks.window import window
    from tributary.platforms.meta.source import MetaSource
    from tributary.platforms.source import Account

    account = Account("1", "meta_acme", name="Acme", lookback_days=3)
    names = ("since", "until", "lookback_days")
    found = window({"params": dict.fromkeys(names), "dag_run": run})
    spans = [found.dates(account, zone, NOW, MetaSource) for zone in ZONES]
    return [(days[0].strftime("%m-%d"), days[-1].strftime("%m-%d")) for days in spans]


def test_a_scheduled_run_looks_back_from_the_end_of_its_interval(served: Any) -> None:
    """A run that gets its turn late would load other days than a punctual one."""
    run = _due(served, "scheduled", MIDNIGHT - timedelta(days=1))
    assert (run.data_interval_end, run.run_after) == (MIDNIGHT, MIDNIGHT)
    assert _days(run) == [("11-23", "11-25"), ("11-24", "11-26")]


def test_a_backfill_loads_the_day_before_the_one_that_names_its_run(served: Any) -> None:
    """Doc and README would say of another day that the run loads it."""
    run = _due(served, "backfill", datetime(2026, 11, 18, tzinfo=UTC))
    assert run.run_id == "backfill__2026-11-19T00:00:00+00:00"
    assert _days(run) == [("11-18", "11-18")] * 2


def test_a_run_triggered_by_hand_looks_back_from_the_moment_that_was_asked_for(
    served: Any,
) -> None:
    """*Trigger* would miss days that have ended since midnight UTC, for half a day in Los
    Angeles; or a run of a past date would load today's days.
    """
    now = [("11-24", "11-26"), ("11-25", "11-27")]
    assert _days(_asked(served, logical_date=NOW)) == now  # the default of the form
    assert _days(_asked(served, logical_date=None)) == now
    assert _days(_tested(served, MIDNIGHT)) == [("11-23", "11-25"), ("11-24", "11-26")]
    past = [("11-16", "11-18"), ("11-17", "11-19")]
    asked = datetime(2026, 11, 20, tzinfo=UTC)
    for hour in (0, 12):
        assert _days(_asked(served, logical_date=asked + timedelta(hours=hour))) == past
        assert _days(_tested(served, asked + timedelta(hours=hour))) == past
    interval = {"data_interval_start": asked - timedelta(days=1), "data_interval_end": asked}
    assert _days(_asked(served, logical_date=NOW, **interval)) == past


def test_backfills_wait_for_everything_else(dags: Any, served: Any, sync_dags: Any) -> None:
    """A month of backfill would go before the daily run, since its dates are older."""
    from airflow.models.dagbag import DBDagBag
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    sync_dags()
    weights: dict[str, set[int]] = {}
    with create_session() as session:
        dag = DBDagBag().get_latest_version_of_dag("extract_meta_ads", session=session)
        assert dag is not None
        for run_type in (DagRunType.BACKFILL_JOB, DagRunType.SCHEDULED, DagRunType.MANUAL):
            run = dag.create_dagrun(
                run_id=f"{run_type.value}__of_a_test",
                run_type=run_type,
                run_after=NOW,
                state=DagRunState.QUEUED,
                triggered_by=DagRunTriggeredByType.TEST,
                session=session,
            )
            (waiting,) = [ti for ti in run.task_instances if ti.task_id == "load_account"]
            task = dag.get_task("load_account")
            mapped = TaskInstance(
                task=task, run_id=run.run_id, map_index=1, dag_version_id=waiting.dag_version_id
            )
            mapped.refresh_from_task(task)  # as expanding the mapped task does
            found: set[Any] = {ti.priority_weight for ti in run.task_instances} | {
                mapped.priority_weight
            }
            weights[run_type.value] = found
        session.rollback()
    assert weights == {"backfill": {0}, "scheduled": {1}, "manual": {1}}
    for dag_id, dag in dags.items():
        for task in dag.tasks:
            if dag_id != "build_marts":
                assert task.weight_rule == "tributary.orchestration.priority.BackfillsLast", task


def test_what_dies_with_the_scheduler_is_tried_again(dags: Any, sync_dags: Any) -> None:
    """A run in which all loaded would be red, since the task that looks at the others died
    with its executor before it began.
    """
    from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
    from airflow.executors.base_executor import BaseExecutor
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    sync_dags()
    executor, bag = BaseExecutor(), DBDagBag()
    executor.callback_sink = DatabaseCallbackSink()
    with create_session() as session:
        watchers = []
        for dag_id in dags:
            dag = bag.get_latest_version_of_dag(dag_id, session=session)
            assert dag is not None
            run = dag.create_dagrun(
                run_id="manual__of_a_test",
                run_type=DagRunType.MANUAL,
                run_after=NOW,
                state=DagRunState.RUNNING,
                triggered_by=DagRunTriggeredByType.TEST,
                session=session,
            )
            watchers += [ti for ti in run.task_instances if ti.task_id.startswith("fail_if_any")]
        for ti in watchers:
            ti.state, ti.try_number = TaskInstanceState.QUEUED, 1
            executor.fail(ti.key)
        session.flush()
        SchedulerJobRunner.process_executor_events(
            executor=executor, job_id=None, scheduler_dag_bag=bag, session=session
        )
        states = {ti.dag_id: str(ti.state) for ti in watchers}
        session.rollback()
    assert states == dict.fromkeys(set(dags) - {"build_marts", "retention"}, "up_for_retry")
