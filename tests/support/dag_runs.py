"""Runs of DAGs in a real Airflow, and what they left in its metadata and in the warehouse."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.rows import dict_row
from tributary import config
from tributary import warehouse as wh
from tributary.settings.apply import apply
from tributary.settings.read import check

from sandbox.objects import AccountSpec
from sandbox.server import Sandbox

NOW = datetime(2025, 4, 20, 12, tzinfo=UTC)
SINCE, UNTIL = "2025-03-29", "2025-04-01"
US, ID, DE, LOCKED = "3000000001", "3000000002", "3000000003", "3000000004"
SPECS = [
    AccountSpec(US, "acme", "Acme US", "USD", "America/Los_Angeles", campaigns=4),
    AccountSpec(ID, "acme", "Acme Indonesia", "IDR", "Asia/Jakarta", campaigns=4),
    AccountSpec(DE, "lumen", "Lumen", "EUR", "Europe/Berlin", campaigns=2),
    AccountSpec(LOCKED, "lumen", "Lumen 2", "EUR", "Europe/Berlin", campaigns=1),
]
ACME_TOKEN = "EAAGacmeacmeacmeacmeacmeacmeacmeacme1"
LUMEN_TOKEN = "EAAGlumenlumenlumenlumenlumenlumen22"
LUMEN_SECRET = "9f3c1a-an-app-secret-of-lumen"
SETTINGS = f"""
brands:
  - slug: acme
    name: Acme
    reporting_currency: USD
    time_zone: America/New_York
    ad_accounts:
      - {{platform: meta, account_id: "{US}", name: Acme US, conn_id: meta_acme, lookback_days: 3}}
      - {{platform: meta, account_id: "{ID}", name: Acme ID, conn_id: meta_acme, lookback_days: 2}}
  - slug: lumen
    name: Lumen
    reporting_currency: EUR
    time_zone: Europe/Berlin
    ad_accounts:
      - {{platform: meta, account_id: "{DE}", name: Lumen, conn_id: meta_lumen, lookback_days: 1}}
"""
LOADED = {
    "list_accounts[-1]": "success",
    "load_account[0]": "success",
    "load_account[1]": "success",
    "load_account[2]": "success",
    "announce[-1]": "success",
    "fail_if_any_account_failed[-1]": "success",
}


class Ran:
    """What a run of the DAG left in Airflow's metadata."""

    def __init__(self, run: Any) -> None:
        self.run_id, self.state = run.run_id, str(run.state)
        instances = run.get_task_instances()
        self.states = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in instances}
        self.tries = {f"{ti.task_id}[{ti.map_index}]": ti.try_number for ti in instances}

    def events(self) -> list[dict[str, Any]]:
        """The extras of the asset events that the run emitted."""
        from airflow.models.asset import AssetEvent
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            found = session.scalars(
                select(AssetEvent).where(AssetEvent.source_run_id == self.run_id)
            )
            return [dict(event.extra) for event in found]

    def reschedules(self, task_id: str) -> dict[int, int]:
        """How often each mapped instance of a task left its worker slot to come back."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.taskreschedule import TaskReschedule
        from airflow.utils.session import create_session
        from sqlalchemy import func, select

        with create_session() as session:
            found = session.execute(
                select(TaskInstance.map_index, func.count())
                .join(TaskReschedule, TaskReschedule.ti_id == TaskInstance.id)
                .where(TaskInstance.run_id == self.run_id, TaskInstance.task_id == task_id)
                .group_by(TaskInstance.map_index)
            )
            return {int(index): int(number) for index, number in found}

    def xcoms(self) -> dict[str, Any]:
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            found = session.scalars(select(XComModel).where(XComModel.run_id == self.run_id))
            return {f"{x.task_id}[{x.map_index}].{x.key}": x.value for x in found}


def cleared(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """Clear one task instance of an ended run and run it again, as a person does; its new state."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session
    from sqlalchemy import select

    dag = DagBag(config.ROOT / "dags").dags[dag_id]
    asked = (
        TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id,
        TaskInstance.task_id == task_id, TaskInstance.map_index == map_index,
    )  # fmt: skip
    with create_session() as session:
        clear_task_instances([session.scalars(select(TaskInstance).where(*asked)).one()], session)
    with create_session() as session:
        ti = session.scalars(select(TaskInstance).where(*asked)).one()
        ti.try_number += 1
        session.commit()
        _run_task(ti=ti, task=dag.get_task(task_id))
    with create_session() as session:
        return str(session.scalars(select(TaskInstance).where(*asked)).one().state)


def configure(uri: str, text: str) -> None:
    with wh.connect(uri, autocommit=True) as connection:
        apply(connection, check(yaml.safe_load(text)))


def query(uri: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(uri, row_factory=dict_row) as connection:
        return connection.execute(statement).fetchall()


def sums(uri: str) -> dict[tuple[str, date], tuple[Decimal, int, str]]:
    """Spend, impressions and verdict by account and day: rows and ledger, which must agree."""
    rows = query(
        uri,
        "select l.account_id, l.date, l.status, l.spend, l.impressions, "
        "coalesce(sum((i.payload ->> 'spend')::numeric), 0) as row_spend, "
        "coalesce(sum((i.payload ->> 'impressions')::bigint), 0) as row_impressions "
        "from ops.loads as l left join raw.meta_ad_insights as i using (account_id, date) "
        "group by l.account_id, l.report, l.date",
    )
    for row in rows:
        assert (row["spend"], row["impressions"]) == (row["row_spend"], row["row_impressions"])
    return {(r["account_id"], r["date"]): (r["spend"], r["impressions"], r["status"]) for r in rows}


def expected(
    sandbox: Sandbox, windows: dict[str, tuple[str, str]]
) -> dict[tuple[str, date], tuple[Decimal, int, str]]:
    found = {}
    for account_id, (since, until) in windows.items():
        first, last = date.fromisoformat(since), date.fromisoformat(until)
        totals = sandbox.world.account_totals(account_id, first, last, NOW)
        for n in range((last - first).days + 1):
            total = totals[first + timedelta(days=n)]
            found[account_id, first + timedelta(days=n)] = (
                total.spend, total.impressions, "reconciled",
            )  # fmt: skip
    return found


class Logged:
    """All that was printed or logged so far."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._caplog, self._capfd, self._printed = caplog, capfd, ""

    def __str__(self) -> str:
        self._printed += "".join(self._capfd.readouterr())
        logged = "\n".join(r.getMessage() for r in self._caplog.get_records("call"))
        files = Path(os.environ["AIRFLOW_HOME"]).rglob("*.log")
        return "\n".join([self._printed, logged, *(path.read_text() for path in files)])
