"""Faults as Airflow sees them: which task instances try again, which fail, what stands after all.

The DAGs run through `dag.test()` against the sandbox; nothing of ours is replaced, only waits are
cut short (`TRIBUTARY_MAX_WAIT=0`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from test_extract_meta_ads import (
    ACME_TOKEN,
    DE,
    ID,
    LOADED,
    LUMEN_SECRET,
    LUMEN_TOKEN,
    NOW,
    SETTINGS,
    SPECS,
    US,
    Ran,
    configure,
    expected,
    query,
    sums,
)

from include import home
from include.sandbox.faults import Fault
from include.sandbox.graph import Token
from include.sandbox.server import Sandbox
from include.sandbox.world import Clock, World

pytestmark = pytest.mark.slow
SINCE, UNTIL = "2025-03-29", "2025-04-06"
DAYS = dict.fromkeys((US, ID, DE), (SINCE, UNTIL))


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    tokens = {
        ACME_TOKEN: Token(frozenset({US, ID})),
        LUMEN_TOKEN: Token(frozenset({DE}), LUMEN_SECRET),
    }
    world = World(date(2025, 3, 1), days=30, accounts=SPECS)
    with Sandbox(world, clock=Clock(NOW), tokens=tokens) as running:
        yield running


@pytest.fixture
def sandbox(served: Sandbox) -> Sandbox:
    served.reset()
    served.clock.set(NOW)
    return served


@pytest.fixture
def run(airflow: None, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a DAG as `airflow dags test` does."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    for name, values in {
        "ACME": {"password": ACME_TOKEN},
        "LUMEN": {
            "password": LUMEN_TOKEN,
            "extra": {"app_id": "1", "app_secret": LUMEN_SECRET},
        },
    }.items():
        value = json.dumps({"conn_type": "meta", "host": sandbox.url, **values})
        monkeypatch.setenv(f"AIRFLOW_CONN_META_{name}", value)
    configure(warehouse, SETTINGS)
    dags = DagBag(home.ROOT / "dags").dags
    return lambda dag_id, conf, **more: Ran(dags[dag_id].test(run_conf=conf, **more))


@pytest.mark.parametrize("edge", ["insights", "ads", "object"])
def test_a_throttled_account_comes_back_alone(
    run: Any, warehouse: str, sandbox: Sandbox, edge: str
) -> None:
    """Red: one account's rate limit would fail the run, lose its days, or repeat the others."""
    fault = sandbox.faults.add(Fault("throttle_80004", minutes=3, account_id=ID, edge=edge))
    ran = run("extract_meta_ads", {"since": SINCE, "until": UNTIL})
    assert fault.hits == 1
    assert (ran.states, ran.state) == (LOADED, "success")
    tries = {name: count for name, count in ran.tries.items() if name.startswith("load_account")}
    assert tries == {"load_account[0]": 1, "load_account[1]": 2, "load_account[2]": 1}
    assert sums(warehouse) == expected(sandbox, DAYS)
    assert ran.events()[0]["accounts"] == 3


def test_a_forbidden_account_turns_the_run_red_and_costs_no_other(
    run: Any, warehouse: str, sandbox: Sandbox
) -> None:
    """Red: an account that we lost would go unnoticed, or take the other brands' day with it."""
    sandbox.faults.add(Fault("forbidden", account_id=DE, times=None))
    ran = run("extract_meta_ads", {"since": SINCE, "until": UNTIL})
    failed = {"load_account[2]": "failed", "fail_if_any_account_failed[-1]": "failed"}
    assert (ran.states, ran.state) == ({**LOADED, **failed}, "failed")
    assert ran.tries["load_account[2]"] == 1
    assert sums(warehouse) == expected(sandbox, dict.fromkeys((US, ID), (SINCE, UNTIL)))
    (row,) = query(
        warehouse, f"select last_sync_status as s from ops.ad_accounts where account_id = '{DE}'"
    )
    assert row["s"].startswith("failed: MetaForbidden: The token of connection 'meta_lumen'")
    sandbox.faults.clear()
    again = run("extract_meta_ads", {"since": SINCE, "until": UNTIL, "accounts": [DE]})
    assert again.state == "success"
    assert sums(warehouse) == expected(sandbox, DAYS)


def test_rereading_loads_the_restated_day_and_no_other(
    run: Any, warehouse: str, sandbox: Sandbox
) -> None:
    """Red: what Meta restates further back would never arrive, or cost a whole reload."""
    first = run("extract_meta_ads", {"since": SINCE, "until": UNTIL})
    assert first.state == "success"
    day = date(2025, 4, 2)
    sandbox.restate(ID, days=[day], percent=11)
    assert sums(warehouse) != expected(sandbox, DAYS)
    second = run("reread_meta_ads", {"days": 5}, logical_date=datetime(2025, 4, 10, tzinfo=UTC))
    assert (second.states, second.state) == (LOADED, "success")
    assert sums(warehouse) == expected(sandbox, DAYS)
    reread = query(
        warehouse,
        f"select account_id, date from ops.loads where run_id = '{second.run_id}'",
    )
    assert reread == [{"account_id": ID, "date": day}]
    told = query(warehouse, "select account_id, date, run_id from ops.restatements")
    assert told == [{"account_id": ID, "date": day, "run_id": second.run_id}]
