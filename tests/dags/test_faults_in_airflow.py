"""Faults as Airflow sees them: which task instances try again, which fail, what stands after all.

The DAGs run through `dag.test()` against the sandbox; nothing of ours is replaced, only waits are
cut short (`TRIBUTARY_MAX_WAIT=0`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from tributary import config
from tributary import warehouse as wh
from tributary.errors import SettingsError
from tributary.warehouse.ad_accounts import learn, resume

from sandbox.faults import Fault
from sandbox.graph import Token
from sandbox.server import Sandbox
from sandbox.world import Clock, World
from tests.support.dag_runs import (
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
    cleared,
    configure,
    expected,
    query,
    sums,
)

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
    tokens: dict[str, dict[str, Any]] = {
        "ACME": {"password": ACME_TOKEN},
        "LUMEN": {
            "password": LUMEN_TOKEN,
            "extra": {"app_id": "1", "app_secret": LUMEN_SECRET},
        },
    }
    for name, values in tokens.items():
        value = json.dumps({"conn_type": "meta", "host": sandbox.url, **values})
        monkeypatch.setenv(f"AIRFLOW_CONN_META_{name}", value)
    configure(warehouse, SETTINGS)
    dags = DagBag(config.ROOT / "dags").dags
    return lambda dag_id, conf, **more: Ran(dags[dag_id].test(run_conf=conf, **more))


@pytest.mark.parametrize("edge", ["insights", "ads", "object"])
def test_a_throttled_account_comes_back_alone(
    run: Any, warehouse: str, sandbox: Sandbox, edge: str
) -> None:
    """One account's rate limit would fail the run, lose its days, or repeat the others."""
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
    """An account that we lost would go unnoticed, or take the other brands' day with it."""
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
    """What Meta restates further back would never arrive, or cost a whole reload."""
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
    logged = query(warehouse, "select account_id, date, run_id from ops.restatements")
    assert logged == [{"account_id": ID, "date": day, "run_id": second.run_id}]


def test_a_blocked_account_is_paused_until_a_person_resumes_it(
    run: Any, warehouse: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """An account that Meta blocks for policy would be asked 40 times a day, every day; or the
    run be red each day for what a person knows; or its days stay missing when it is resumed.
    """
    conf = {"since": SINCE, "until": UNTIL}
    sandbox.faults.add(Fault("blocked_368", account_id=DE, times=None))
    red = run("extract_meta_ads", conf)
    failed = {"load_account[2]": "failed", "fail_if_any_account_failed[-1]": "failed"}
    assert (red.states, red.state) == ({**LOADED, **failed}, "failed")
    assert red.tries["load_account[2]"] == 1
    assert red.tries["fail_if_any_account_failed[-1]"] == 1  # retried is only its own mishap
    (row,) = query(
        warehouse,
        "select paused_until = 'infinity' as for_ever, paused_reason as why, "
        f"last_sync_status as status from ops.ad_accounts where account_id = '{DE}'",
    )
    assert row["for_ever"]
    assert row["status"].startswith("failed: MetaBlocked: Meta blocks connection 'meta_lumen' for ")
    assert row["why"].startswith("Meta blocks connection 'meta_lumen' for its policies: see ")

    sandbox.requests.clear()
    caplog.clear()
    green = run("extract_meta_ads", conf)
    skipped = {**LOADED, "load_account[2]": "skipped"}
    assert (green.states, green.state) == (skipped, "success")
    assert not [r for r in sandbox.requests if DE in r.path]
    said = [" ".join(m.split()) for m in caplog.messages if "is paused until" in m]
    assert said[0].startswith(
        f"The Meta ad account Lumen ({DE}) is paused until a person resumes it: Meta blocks "
    )
    assert said[0].endswith(f"`tributary accounts resume {DE}`.")
    # Alone, and asked for by its id, it is skipped all the same.
    alone = run("extract_meta_ads", {**conf, "accounts": [DE]})
    assert (alone.states["load_account[0]"], alone.state) == ("skipped", "success")

    sandbox.faults.clear()
    with wh.connect(warehouse, autocommit=True) as connection:
        assert resume(connection, "meta", DE)
        assert not resume(connection, "meta", DE)
        with pytest.raises(SettingsError):
            resume(connection, "meta", "77")
    # Cleared are the task of the red run, and the one that was skipped.
    for ran in (red, green):
        assert cleared("extract_meta_ads", ran.run_id, "load_account", 2) == "success"
        assert sums(warehouse) == expected(sandbox, DAYS)


def test_a_report_that_takes_long_leaves_the_worker_slot_and_uses_up_no_retry(
    run: Any, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow report of Meta's would hold a slot of the pool for an hour, or fail its account."""
    with wh.connect(warehouse, autocommit=True) as connection:
        learn(connection, "meta", ID, {"asynchronous": True})
    sandbox.limits.change(report_seconds=600)
    monkeypatch.setattr(sandbox.clock, "advance_per_request", timedelta(seconds=10))
    ran = run("extract_meta_ads", {"since": SINCE, "until": UNTIL})
    assert (ran.states, ran.state) == (LOADED, "success")
    assert ran.tries["load_account[1]"] == 1
    reschedules = ran.reschedules("load_account")  # 600 s of the report, at most 200 s at a time
    assert reschedules.keys() == {1}
    assert reschedules[1] >= 3
    assert sandbox.graph.tally["POST", "insights", ID] == 1
    assert sums(warehouse) == expected(sandbox, DAYS)


def test_a_cleared_task_reads_its_account_anew(
    run: Any, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who mends a connection or switches an account off and clears the red task, as the doc
    says, would see it red again for good.
    """
    configure(warehouse, SETTINGS.replace("conn_id: meta_lumen", "conn_id: meta_lumn"))
    red = run("extract_meta_ads", {"since": SINCE, "until": UNTIL})
    assert red.states["load_account[2]"] == "failed"
    listed = red.xcoms()["list_accounts[-1].return_value"]
    assert listed == [
        {"account_id": US, "name": "Acme US"},
        {"account_id": ID, "name": "Acme ID"},
        {"account_id": DE, "name": "Lumen"},
    ]
    configure(warehouse, SETTINGS)
    assert cleared("extract_meta_ads", red.run_id, "load_account", 2) == "success"
    assert sums(warehouse) == expected(sandbox, DAYS)
    switched_off = "conn_id: meta_lumen, is_active: false"
    configure(warehouse, SETTINGS.replace("conn_id: meta_lumen", switched_off))
    assert cleared("extract_meta_ads", red.run_id, "load_account", 2) == "skipped"


def test_a_task_that_waits_for_meta_ends_on_sigterm(
    run: Any, warehouse: str, sandbox: Sandbox
) -> None:
    """`airflow dags test`, and a task that its supervisor tells to stop, would go on for ever;
    or take with it what had been loaded.
    """
    with wh.connect(warehouse, autocommit=True) as connection:
        learn(connection, "meta", ID, {"days": 3})  # the second three days hang
    fault = sandbox.faults.add(
        Fault("hang", edge="insights", level="ad", after=1, seconds=120.0, times=None)
    )
    conf = json.dumps({"since": SINCE, "until": UNTIL, "accounts": [ID]})
    command = [sys.executable, "-m", "airflow", "dags", "test", "extract_meta_ads", "--conf", conf]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 120
            while not fault.hits:
                assert process.poll() is None, "it ended before"
                assert time.monotonic() < deadline, "it did not come so far"
                time.sleep(0.1)
            process.terminate()
            assert process.wait(5) == -signal.SIGTERM
        finally:
            process.kill()
    assert sums(warehouse) == expected(sandbox, {ID: (SINCE, "2025-03-31")})
