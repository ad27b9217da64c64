"""What the command line shows of accounts, destinations and Airflow, and what to do about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from tributary import warehouse as wh
from tributary.cli import _SECTIONS, main
from tributary.warehouse.ad_accounts import pause, record_sync

from tests.support.loads import query
from tests.support.outgoing import configure, execute, meta_destination, purchase, take

ACCOUNTS = [
    {"platform": "meta", "account_id": "1000000009", "conn_id": "meta_nine", "name": "Nine"},
    {"platform": "google_ads", "account_id": "1112223333", "conn_id": "google_x", "name": "G"},
]


LUMEN = [{"platform": "meta", "account_id": "1000000010", "conn_id": "meta_nine", "name": "Ten"}]


def _run(*arguments: str) -> str:
    with warnings.catch_warnings():
        ended = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_an_account_is_resumed_by_its_id(warehouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that Meta blocked stays out of every run, and no command brings it back."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    configure(warehouse, "acme", ad_accounts=ACCOUNTS)
    other = meta_destination("lumen-meta", pixel_id="2000000088")
    configure(warehouse, "lumen", other, ad_accounts=LUMEN)
    with wh.connect(warehouse, autocommit=True) as connection:
        pause(connection, "meta", "1000000009", None, "Meta blocks it.")
        pause(connection, "google_ads", "1112223333", 600, "Google throttles it.")
        pause(connection, "meta", "1000000010", None, "Meta blocks it.")
    assert _run("accounts", "resume", "act_1000000009") == (
        "1000000009 is resumed; the next run loads it.\n"
    )
    assert _run("accounts", "resume", "1000000009") == "1000000009 was not paused.\n"
    paused = "select account_id from ops.ad_accounts where paused_until > now() order by 1"
    assert query(warehouse, paused) == [{"account_id": "1000000010"}, {"account_id": "1112223333"}]
    assert "is resumed" in _run("accounts", "resume", "1112223333", "--platform", "google_ads")
    assert query(warehouse, paused) == [{"account_id": "1000000010"}]  # another brand's
    unknown = CliRunner().invoke(main, ["accounts", "resume", "1112223333"])
    assert unknown.exit_code == 1
    assert "There is no meta ad account '1112223333'" in unknown.output


def _pause_dag(dag_id: str, is_paused: bool) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        session.execute(
            update(DagModel).where(DagModel.dag_id == dag_id).values(is_paused=is_paused)
        )


def test_status_says_what_fails_and_why(
    warehouse: str, sync_dags: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` shows days and deliveries, and not that nothing can run, or where to look."""
    from airflow.models.pool import Pool

    sync_dags()
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    for name in ("_AIRFLOW_PROCESS_CONTEXT", "AIRFLOW__LOGGING__LOGGING_LEVEL"):
        monkeypatch.setenv(name, "")  # the command sets them; afterwards they are as before
    off = meta_destination("acme-off", is_active=False, pixel_id="77", test_event_code="TEST8")
    target = meta_destination(conn_id="meta_gone", test_event_code="TEST7")
    configure(warehouse, "acme", target, off, ad_accounts=ACCOUNTS[:1])
    other = meta_destination("lumen-meta", pixel_id="2000000088", conn_id="meta_nine")
    configure(warehouse, "lumen", other, ad_accounts=LUMEN)
    monkeypatch.setenv("AIRFLOW_CONN_META_NINE", '{"conn_type": "meta"}')
    with wh.connect(warehouse, autocommit=True) as connection:
        pause(connection, "meta", "1000000009", None, "Meta blocks it.")
        record_sync(connection, "meta", "1000000009", "failed: MetaBlocked: Meta said no.", None)
    try:
        Pool.create_or_update_pool("meta_ads", 0, "", include_deferred=False)
        _pause_dag("extract_meta_ads", False)
        said = _run("status")
    finally:
        _pause_dag("extract_meta_ads", True)
        Pool.create_or_update_pool("meta_ads", 4, "", include_deferred=False)
    table = " ".join(said.replace("│", " ").split())
    assert "MetaBlocked" in table
    assert "Meta blocks it." in table
    assert said.split("Look first at:\n")[1].splitlines() == [
        "* 1000000009: the red task of this account in the DAG extract_meta_ads or "
        "extract_google_clicks (its log ends with what to do), then ops.ad_accounts.",
        "* 1000000009: the reason of the pause above; a person resumes on the page Tributary.",
    ]
    shown = [line for line in said.splitlines() if line.startswith("! ")]
    assert [line for line in shown if "does not run" not in line] == [
        "! The pool meta_ads has 0 slots, so tasks of extract_meta_ads, reread_meta_ads stay "
        "`scheduled`: give it slots under Admin → Pools, or with "
        "`airflow pools set meta_ads 4 ''`.",
        "! The Airflow connection 'meta_gone' (for destination acme-meta) does not exist. Add it "
        "under Admin → Connections, or with `airflow connections add`.",
        "! The destination acme-meta has the test_event_code TEST7: Meta shows what it sends under "
        "Test Events, and counts it as real. Take the code out of the settings when the test is "
        "over.",
        "! Paused, so they do nothing: build_marts, upload_conversions. Switch each on in Airflow, "
        "or with `airflow dags unpause DAG`.",
    ]
    # Here is no scheduler; no triggerer either, but that an installation may lack on purpose.
    assert [line.split(" does not run")[0] for line in shown if "does not run" in line] == [
        "! Airflow's scheduler", "! Airflow's dag processor",
    ]  # fmt: skip


def test_status_says_why_nothing_is_sent_and_when_the_next_try_is(
    warehouse: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An upload that sends nothing is a riddle: neither the reason nor the next try is shown."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    configure(warehouse, "acme", consent_when_unknown="deny")
    other = meta_destination("lumen-meta", pixel_id="2000000088")
    configure(warehouse, "lumen", other)
    now = datetime.now(UTC)
    take(warehouse, [{**purchase(1), "event_time": now}], now=now)
    take(warehouse, [{**purchase(1), "event_time": now}], "lumen", now=now)
    execute(
        warehouse,
        "update ops.conversion_deliveries set next_attempt_at = '2099-01-02 03:04+00' "
        "where destination = 'lumen-meta'",
    )
    said = _run("status")
    table = " ".join(said.replace("│", " ").split())
    assert "acme-meta skipped no_consent 1 The person does not allow it" in table
    assert "2099-01-02 03:04 UTC" in table
    assert "Look first at" not in said


def test_a_retry_that_finds_nothing_names_the_other_state(
    warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wants to send skipped events sees nothing happen, and no way on."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    nothing = "No {} delivery fits that the platform still takes."
    assert _run("deliveries", "retry") == nothing.format("dead") + " Try --status skipped.\n"
    assert _run("deliveries", "retry", "--status", "skipped") == nothing.format("skipped") + "\n"


def test_help_lists_every_command() -> None:
    """A command is left out of `tributary --help`."""
    listed = [name for names in _SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(main.commands)
