"""`build_marts` through a real Airflow and dbt: what a load left becomes the marts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import yaml
from tributary import config
from tributary import warehouse as wh
from tributary.orchestration.tasks.marts import is_nightly
from tributary.settings.apply import apply
from tributary.settings.read import check

from sandbox.graph import Token
from sandbox.objects import AccountSpec
from sandbox.server import Sandbox
from sandbox.world import Clock, World
from tests.support.dag_runs import cleared

NOW = datetime(2025, 4, 20, 12, tzinfo=UTC)
ACCOUNT, TOKEN = "3000000007", "EAAGmartsmartsmartsmartsmartsmarts77"
SETTINGS = f"""
brands:
  - slug: acme
    name: Acme
    reporting_currency: USD
    time_zone: America/New_York
    ad_accounts:
      - {{platform: meta, account_id: "{ACCOUNT}", name: Acme, conn_id: meta_acme}}
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    spec = AccountSpec(ACCOUNT, "acme", "Acme", "USD", "America/New_York", campaigns=4)
    world = World(date(2025, 3, 1), days=30, accounts=[spec])
    tokens = {TOKEN: Token(frozenset({ACCOUNT}))}
    with Sandbox(world, clock=Clock(NOW), tokens=tokens) as running:
        yield running


def _states(run: Any) -> dict[str, str]:
    return {f"{t.task_id}[{t.map_index}]": str(t.state) for t in run.get_task_instances()}


@pytest.mark.slow
def test_what_was_loaded_is_in_the_marts(
    airflow: None,
    warehouse: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The marts would miss spend, or a failed dbt test would pass for a success."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(config.ROOT / "dags").dags
    value = {"conn_type": "meta", "host": sandbox.url, "password": TOKEN}
    monkeypatch.setenv("AIRFLOW_CONN_META_ACME", json.dumps(value))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    with wh.connect(warehouse, autocommit=True) as connection:
        apply(connection, check(yaml.safe_load(SETTINGS)))
    loaded = bag["extract_meta_ads"].test(run_conf={"since": "2025-03-20", "until": "2025-03-31"})
    assert str(loaded.state) == "success"

    built = bag["build_marts"].test()
    assert (_states(built), str(built.state)) == ({"dbt_build[-1]": "success"}, "success")
    totals = sandbox.world.account_totals(ACCOUNT, date(2025, 3, 20), date(2025, 3, 31), NOW)
    with psycopg.connect(warehouse) as connection:
        found = connection.execute(
            "select date, sum(spend), sum(impressions), sum(clicks) from marts.ad_spend "
            "group by date"
        ).fetchall()
    assert {row[0]: tuple(row[1:]) for row in found} == {
        day: (total.spend, total.impressions, total.clicks) for day, total in totals.items()
    }

    # A day that no longer adds up: a test of the build finds it, and the run is red.
    with psycopg.connect(warehouse) as connection:
        connection.execute(
            "update raw.meta_account_insights "
            """set payload = jsonb_set(payload, '{spend}', '"1.00"') where date = '2025-03-31'"""
        )
    broken = bag["build_marts"].test()
    assert (_states(broken), str(broken.state)) == ({"dbt_build[-1]": "failed"}, "failed")
    assert [task.try_number for task in broken.get_task_instances()] == [1]  # no retry can help

    # The next run did not touch what the failed build left for `dbt retry`.
    results = json.loads(_artefact(warehouse, "run_results.json"))["results"]
    ended = {node["unique_id"].split(".")[2]: node["status"] for node in results}
    assert (ended["ad_spend"], ended["ad_spend_equals_account_totals"]) == ("success", "fail")

    refused = bag["build_marts"].test(run_conf={"full_refreshh": True})
    assert (_states(refused), str(refused.state)) == ({"dbt_build[-1]": "failed"}, "failed")
    logged = "".join(capfd.readouterr()) + caplog.text
    assert "Unknown conf full_refreshh: this DAG knows full_refresh." in logged
    assert "dbt nodes failed: ad_spend_equals_account_totals: " in logged
    for secret in (TOKEN, config.secret("postgres")):
        assert secret not in logged


def _artefact(warehouse: str, name: str) -> str:
    return Path(config.dbt_environment(warehouse)["DBT_TARGET_PATH"], name).read_text()


@pytest.mark.parametrize(
    ("run_type", "end", "nightly"),
    [
        ("scheduled", "2026-03-02T02:00:00+00:00", True),
        ("scheduled", "2026-03-02T04:00:00+02:00", True),
        ("scheduled", "2026-03-02T03:00:00+00:00", False),
        ("manual", "2026-03-02T02:00:00+00:00", False),
        ("asset_triggered", None, False),
    ],
)
def test_one_scheduled_run_a_day_is_nightly(run_type: str, end: str | None, nightly: bool) -> None:
    """No build computes old purchases again, or every upload of a day's ads computes all."""
    run = SimpleNamespace(run_type=run_type, data_interval_end=end and datetime.fromisoformat(end))
    assert is_nightly(run, 2) is nightly


@pytest.mark.slow
def test_the_nightly_run_and_full_refresh_compute_everything(
    airflow: None, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late touch of an old purchase never counts, or each hourly build computes all history."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import update

    def settings() -> Any:
        """The vars of the latest build."""
        return json.loads(_artefact(warehouse, "run_results.json"))["args"]["vars"]

    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    dag = DagBag(config.ROOT / "dags").dags["build_marts"]
    run = dag.test()
    assert (str(run.state), settings()) == ("success", {})
    for run_type, hour, wanted in (
        ("scheduled", 2, {"recompute": True}),
        ("scheduled", 3, {}),
        ("asset_triggered", 2, {}),
    ):
        end = datetime(2026, 3, 2, hour, tzinfo=UTC)
        with create_session() as session:
            session.execute(
                update(DagRun)
                .where(DagRun.dag_id == dag.dag_id, DagRun.run_id == run.run_id)
                .values(run_type=run_type, data_interval_start=end, data_interval_end=end)
            )
        state = cleared("build_marts", run.run_id, "dbt_build", -1)
        assert (state, settings()) == ("success", wanted)
    assert str(dag.test(run_conf={"full_refresh": True}).state) == "success"
    assert settings() == {"recompute": True}
