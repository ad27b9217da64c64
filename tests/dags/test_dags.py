"""Rules that every DAG keeps, and what parsing it may cost."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tributary import config

FILES = sorted(p.name for p in (config.ROOT / "dags").glob("*.py"))
PLUGINS = sorted(p.name for p in (config.ROOT / "plugins").glob("*.py"))
DAGS = {name.removesuffix(".py") for name in FILES}
TAGS = {"meta", "google", "dbt", "in", "back", "out"}

# What is slow to import, or opens something: none of it may come with the parsing of a file.
HEAVY = (
    "facebook_business",
    "google.ads",
    "dbt",
    "pandas",
    "alembic",
    "psycopg",
    "jsonschema",
    "phonenumbers",
    "pycountry",
    "orjson",
    "tributary.platforms.meta",
    "tributary.warehouse",
    "tributary.settings",
    "tributary.extract",
    "tributary.deliver",
    "tributary.api",
    "stripe",
    "limits.storage",
    "tributary.platforms.google",
    "sandbox",
)


@pytest.fixture(scope="module")
def bag(airflow: None) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(config.ROOT / "dags")


def test_the_bag_holds_what_the_folder_promises(bag: Any) -> None:
    """A DAG would be missing, broken, or not be called as its file is."""
    assert bag.import_errors == {}
    assert set(bag.dags) == DAGS
    assert {"extract_meta_ads", "build_marts"} <= DAGS
    assert not [name for name in FILES if name.startswith("dbt_")]  # dbt would import them


def _names(callbacks: Any) -> list[str]:
    found = callbacks if isinstance(callbacks, list) else [callbacks]  # of a mapped task, one
    return [one.__name__ for one in found]


@pytest.mark.parametrize("dag_id", sorted(DAGS))
def test_every_dag_keeps_the_rules(bag: Any, dag_id: str) -> None:
    """A DAG would catch up for years, load on another calendar, or say nothing when red."""
    dag = bag.dags[dag_id]
    assert dag.start_date == datetime(2023, 1, 1, tzinfo=UTC)
    assert dag.catchup is False
    assert dag.doc_md.startswith(f"# {dag_id}")
    assert "\n## Triage\n" in dag.doc_md
    assert dag.tags
    assert dag.tags <= TAGS
    assert dag.dag_display_name != dag_id
    for task in dag.tasks:
        assert task.owner == "tributary"
        # Else SIGTERM would not end it, and its log would end with a traceback.
        assert _names(task.on_execute_callback) == ["restore_sigterm"]
        assert _names(task.on_failure_callback) == ["log_error_last"]
        assert type(task.retry_policy).__name__ == "RetryByError"
        # Else a platform that never answers would hold a worker slot for ever.
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=6)
        # Also of a task that only fails the run: what dies with the scheduler is tried again.
        assert task.retries > 0
        assert not task.depends_on_past


def test_the_daily_load_has_a_data_interval_from_midnight_to_midnight(bag: Any) -> None:
    """With a plain cron string the interval is empty, and a backfill day would be none."""
    dag = bag.dags["extract_meta_ads"]
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"
    assert dag.timetable.expression == "0 0 * * *"
    assert str(dag.timetable.timezone) in ("UTC", "Timezone('UTC')")


def test_the_marts_are_assets_and_the_deliveries_have_a_reader(bag: Any) -> None:
    """An analyst's DAG could not start when the mart that it reads was built."""
    folder = config.ROOT / "dbt/models/marts"
    task = bag.dags["build_marts"].get_task("dbt_build")
    built = {asset.name for asset in task.outlets}
    # A model that is ephemeral is no relation.
    models = [path for path in folder.rglob("*.sql") if "'ephemeral'" not in path.read_text()]
    assert built == {f"marts.{path.stem}" for path in models}
    assert {asset.name for asset in task.inlets} == {"raw_meta_ads", "conversion_deliveries"}
    # An upload every 15 minutes must not start a build each time.
    assert bag.dags["build_marts"].timetable.asset_condition.name == "raw_meta_ads"


_PARSE = """
import importlib.util, json, sys, time
import airflow.sdk
found = {}
for path in sys.argv[1:]:
    before, began = set(sys.modules), time.process_time()
    spec = importlib.util.spec_from_file_location("a_file_of_airflow", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    found[path] = time.process_time() - began, sorted(set(sys.modules) - before)
print(json.dumps(found))
"""


def test_parsing_is_quick_and_imports_nothing_heavy(postgres: str) -> None:
    """Every Airflow process would import an SDK, again and again, every 30 seconds."""
    paths = [str(config.ROOT / "dags" / name) for name in FILES]
    paths += [str(config.ROOT / "plugins" / name) for name in PLUGINS]
    ended = subprocess.run(
        [sys.executable, "-c", _PARSE, *paths], cwd="/", capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert list(found) == paths
    for path, (took, modules) in found.items():
        assert took < 1, path
        heavy = [m for m in modules if any(m == h or m.startswith(f"{h}.") for h in HEAVY)]
        assert heavy == [], path
    assert "tributary.orchestration.assets" in found[paths[0]][1]  # the measure works


@pytest.mark.parametrize(
    ("error", "cap", "tries", "action", "waits"),
    [
        ("down", None, 1, "retry", 60),
        ("down", None, 3, "retry", 240),
        ("down", None, 9, "retry", 900),
        ("down", "5", 9, "retry", 5),
        ("down", None, 10, "fail", None),
        ("hinted", None, 39, "retry", 1234),
        ("hinted", None, 1, "retry", 1234),
        ("hinted", "0", 1, "retry", 0),
        ("settings", None, 1, "fail", None),
        ("settings", "0", 1, "fail", None),
        ("other", None, 1, "retry", 60),
        ("other", "0", 1, "retry", 0),
        ("other", None, 4, "fail", None),
    ],
)
def test_retries_wait_as_the_error_says(
    postgres: str,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    cap: str | None,
    tries: int,
    action: str,
    waits: int | None,
) -> None:
    """A dead token would be tried for an hour, a throttle be met at once."""
    from tributary.errors import SettingsError, WarehouseDown
    from tributary.orchestration.retry import RetryByError
    from tributary.platforms.meta.errors import MetaThrottled

    if cap is None:
        monkeypatch.delenv("TRIBUTARY_MAX_WAIT")
    else:
        monkeypatch.setenv("TRIBUTARY_MAX_WAIT", cap)
    exception = {
        "down": WarehouseDown("gone"),
        "hinted": MetaThrottled("slow down", wait=1234.0),
        "settings": SettingsError("wrong"),
        "other": KeyError("a mishap"),
    }[error]
    found = RetryByError().evaluate(exception, tries, 3)
    assert found.action.value == action
    assert found.retry_delay == (None if waits is None else timedelta(seconds=waits))
