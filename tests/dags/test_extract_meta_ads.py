"""`extract_meta_ads` through a real Airflow: `dag.test()`, connections, the sandbox, Postgres."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from tributary import config

from sandbox.graph import Token
from sandbox.server import Sandbox
from sandbox.world import Clock, World
from tests.support.dag_runs import (
    ACME_TOKEN,
    DE,
    ID,
    LOADED,
    LOCKED,
    LUMEN_SECRET,
    LUMEN_TOKEN,
    NOW,
    SETTINGS,
    SINCE,
    SPECS,
    UNTIL,
    US,
    Logged,
    Ran,
    configure,
    expected,
    query,
    sums,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    tokens = {
        ACME_TOKEN: Token(frozenset({US, ID})),
        LUMEN_TOKEN: Token(frozenset({DE}), LUMEN_SECRET),
    }
    world = World(date(2025, 3, 1), days=30, accounts=SPECS)
    with Sandbox(world, clock=Clock(NOW), tokens=tokens) as running:
        yield running


@pytest.fixture
def run(airflow: None, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the DAG as `airflow dags test` does, against the sandbox and a fresh warehouse."""
    from airflow.dag_processing.dagbag import DagBag

    extra = {"app_id": "1", "app_secret": LUMEN_SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    tokens: dict[str, dict[str, Any]] = {
        "ACME": {"password": ACME_TOKEN},
        "LUMEN": {"password": LUMEN_TOKEN, "extra": extra},
    }
    for name, values in tokens.items():
        value = json.dumps({"conn_type": "meta", "host": sandbox.url, **values})
        monkeypatch.setenv(f"AIRFLOW_CONN_META_{name}", value)
    configure(warehouse, SETTINGS)
    sandbox.requests.clear()
    dag = DagBag(config.ROOT / "dags").dags["extract_meta_ads"]

    def start(conf: dict[str, Any] | None = None, **arguments: Any) -> Ran:
        if conf is not None:
            arguments["run_conf"] = conf
        return Ran(dag.test(**arguments))

    return start


@pytest.fixture(autouse=True)
def logged_texts(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Logged]:
    """A token or a password would stand in a log, or in what a task prints."""
    logged_texts = Logged(caplog, capfd)
    yield logged_texts
    for secret in (ACME_TOKEN, LUMEN_TOKEN, LUMEN_SECRET, config.secret("postgres")):
        assert secret not in str(logged_texts)


# Green.


def test_all_accounts_load_exactly(
    run: Any, warehouse: str, sandbox: Sandbox, logged_texts: Logged
) -> None:
    """The daily load would not load, or not tell the marts."""
    ran = run({"since": SINCE, "until": UNTIL})
    assert (ran.states, ran.state) == (LOADED, "success")
    assert sums(warehouse) == expected(sandbox, dict.fromkeys((US, ID, DE), (SINCE, UNTIL)))
    rows = {
        number: len(sandbox.world.insight_rows(number, date(2025, 3, 29), date(2025, 4, 1), NOW))
        for number in (US, ID, DE)
    }
    assert ran.events() == [
        {"accounts": 3, "days": 12, "since": SINCE, "until": UNTIL, "rows": sum(rows.values())}
    ]
    assert "Acme US: 4 of 4 days" in str(
        logged_texts
    )  # what is searched for tokens is the tasks' log
    xcoms = ran.xcoms()
    assert xcoms["load_account[0].return_value"]["rows"] == rows[US]
    assert xcoms["load_account[0].return_value"]["days"] == {"loaded": 0, "reconciled": 4}
    for secret in (ACME_TOKEN, LUMEN_TOKEN, LUMEN_SECRET):
        assert secret not in json.dumps(xcoms, default=str)
    synced = query(
        warehouse,
        "select account_id, last_sync_status as status, last_sync_count as count "
        "from ops.ad_accounts where last_sync_at > now() - interval '10 minutes' order by 1",
    )
    assert synced == [{"account_id": a, "status": "ok", "count": rows[a]} for a in (US, ID, DE)]
    assert {r.headers["authorization"] for r in sandbox.requests} == {
        f"Bearer {ACME_TOKEN}", f"Bearer {LUMEN_TOKEN}",
    }  # fmt: skip


def test_by_default_each_account_gets_its_own_last_days(
    run: Any, warehouse: str, sandbox: Sandbox
) -> None:
    """An account far west would load a day that is not over there, or far east miss one."""
    ran = run(logical_date=datetime(2025, 4, 10, tzinfo=UTC))
    assert (ran.states, ran.state) == (LOADED, "success")
    assert sums(warehouse) == expected(
        sandbox,
        {
            US: ("2025-04-06", "2025-04-08"),  # on April 10, 00:00 UTC it is still the 9th there
            ID: ("2025-04-08", "2025-04-09"),
            DE: ("2025-04-09", "2025-04-09"),
        },
    )


def test_accounts_and_lookback_of_a_run_win(run: Any, warehouse: str, sandbox: Sandbox) -> None:
    """A run for one account would load all of them, or other days."""
    ran = run({"accounts": [f"act_{ID}"], "until": "2025-04-01", "lookback_days": 2})
    assert ran.state == "success"
    assert [k for k in ran.states if k.startswith("load_account")] == ["load_account[0]"]
    assert sums(warehouse) == expected(sandbox, {ID: ("2025-03-31", "2025-04-01")})


def test_inactive_accounts_are_left_out(run: Any, warehouse: str, sandbox: Sandbox) -> None:
    """Switching an account off in the settings would not switch it off."""
    configure(
        warehouse, SETTINGS.replace("conn_id: meta_acme", "conn_id: meta_acme, is_active: no")
    )
    ran = run({"since": SINCE, "until": UNTIL})
    assert ran.state == "success"
    assert {account for account, _ in sums(warehouse)} == {DE}


# One is broken: it is red, and the others stand.

_ONE_FAILED = {
    **LOADED, "load_account[2]": "failed", "fail_if_any_account_failed[-1]": "failed",
}  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "connection", "sentence", "kind"),
    [
        (
            {"conn_id": "meta_acme", "account_id": LOCKED},
            {},
            "The token of connection 'meta_acme' may not use this object, or it does not exist: "
            "check the id, grant ads_read (for conversions: ads_management) and assign the ad "
            "account or pixel to the token's system user.",
            "MetaForbidden",
        ),
        (
            {"conn_id": "meta_acme", "account_id": "3999999999"},
            {},
            "The token of connection 'meta_acme' may not use this object, or it does not exist: "
            "check the id, grant ads_read (for conversions: ads_management) and assign the ad "
            "account or pixel to the token's system user.",
            "MetaForbidden",
        ),
        (
            {"conn_id": "meta_nobody"},
            {},
            "The Airflow connection 'meta_nobody' (for ad account Lumen) does not exist. "
            "Add it under Admin → Connections, or with `airflow connections add`.",
            "SettingsError",
        ),
        (
            {},
            {"password": "EAAGwrongwrongwrongwrongwrongwrong"},
            "Meta refuses the access token of connection 'meta_lumen': "
            "put a valid one into its password field. Meta said: Invalid OAuth access token.",
            "MetaTokenRefused",
        ),
        (
            {},
            {"password": None},
            "The Airflow connection 'meta_lumen' (for ad account Lumen) has no access token: "
            "put it into the password field.",
            "SettingsError",
        ),
        (
            {},
            {"conn_type": "http"},
            "The Airflow connection 'meta_lumen' (for ad account Lumen) is of type 'http'; "
            "it must be 'meta'.",
            "SettingsError",
        ),
        (
            {},
            {"extra": {}},
            "Meta refuses the request. Meta said: API calls from the server require an "
            "appsecret_proof",
            "MetaRefused",
        ),
    ],
)
def test_one_broken_account_fails_alone(
    run: Any,
    warehouse: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    logged_texts: Logged,
    broken: dict[str, str],
    connection: dict[str, Any],
    sentence: str,
    kind: str,
) -> None:
    """One brand's dead token would stop the others; or the run would be green without it."""
    text = SETTINGS.replace(DE, broken.get("account_id", DE))
    configure(warehouse, text.replace("meta_lumen", broken.get("conn_id", "meta_lumen")))
    with psycopg.connect(warehouse) as connected:
        if "account_id" in broken:
            connected.execute("delete from ops.ad_accounts where account_id = %s", [DE])
    if connection:
        values = json.loads(os.environ["AIRFLOW_CONN_META_LUMEN"])
        monkeypatch.setenv("AIRFLOW_CONN_META_LUMEN", json.dumps({**values, **connection}))
    ran = run({"since": SINCE, "until": UNTIL})
    assert (ran.states, ran.state) == (_ONE_FAILED, "failed")
    assert ran.tries["load_account[2]"] == 1  # no retry can help
    assert sums(warehouse) == expected(sandbox, dict.fromkeys((US, ID), (SINCE, UNTIL)))
    assert ran.events()[0]["accounts"] == 2
    assert sentence in str(logged_texts)
    assert "1 of 3 ad accounts did not load" in str(logged_texts)
    (row,) = query(
        warehouse,
        "select last_sync_status as status from ops.ad_accounts where account_id = '"
        + broken.get("account_id", DE)
        + "'",
    )
    assert row["status"].startswith(f"failed: {kind}: ")
    assert sentence in row["status"]


def test_an_account_that_is_not_in_the_settings_fails_alone(
    run: Any, warehouse: str, sandbox: Sandbox, logged_texts: Logged
) -> None:
    """A mistyped id in a run's parameters would be left out without a word."""
    ran = run({"accounts": [int(US), "77"], "since": SINCE, "until": UNTIL})
    assert ran.state == "failed"
    assert ran.states["load_account[0]"] == "success"
    assert ran.states["load_account[1]"] == "failed"
    assert ran.states["announce[-1]"] == "success"
    assert sums(warehouse) == expected(sandbox, {US: (SINCE, UNTIL)})
    sentence = (
        "The ad account 77 is not in the settings: add it to the settings file and apply it with"
        "{}`tributary configure FILE.yaml`."
    )
    assert sentence.format(" ") in str(logged_texts)
    # Airflow logs the traceback; the sentence comes below it, last of the task's log, and outside
    # of the group that the page shows folded.
    logged = str(logged_texts).split("starting task_id=load_account map_index=1\n")[1]
    last = "\n::endgroup::\nSettingsError:\n" + sentence.format("\n")
    assert logged.split("\n[DAG TEST] end task")[0].endswith(last)


# Nothing is loaded at all.

_NOTHING = {
    "list_accounts[-1]": "failed",
    "load_account[-1]": "upstream_failed",
    "announce[-1]": "skipped",
    "fail_if_any_account_failed[-1]": "failed",
}


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [
        (
            {"since": UNTIL, "until": SINCE},
            "`since` (2025-04-01) is after `until` (2025-03-29).",
        ),
        (
            {"since": SINCE, "untill": UNTIL},
            "Unknown conf untill: this DAG knows accounts, since, until, lookback_days.",
        ),
    ],
)
def test_what_cannot_be_meant_fails_before_any_load(
    run: Any,
    warehouse: str,
    sandbox: Sandbox,
    logged_texts: Logged,
    conf: dict[str, Any],
    sentence: str,
) -> None:
    """A mistyped parameter would load other days than were meant, with a green run."""
    ran = run(conf)
    assert (ran.states, ran.state) == (_NOTHING, "failed")
    assert ran.tries["list_accounts[-1]"] == 1
    assert sentence in str(logged_texts)
    assert len(sandbox.requests) == 0
    assert ran.events() == []
    assert sums(warehouse) == {}


@pytest.mark.parametrize(
    "conf",
    [
        {"since": "2025-02-30"}, {"since": "yesterday"}, {"lookback_days": 0},
        {"lookback_days": "28"}, {"accounts": "3000000001"},
    ],
)  # fmt: skip
def test_parameters_of_another_type_are_refused_by_airflow(
    run: Any, sandbox: Sandbox, conf: dict[str, Any]
) -> None:
    """A form in the UI would take what the tasks cannot use."""
    from airflow.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        run(conf)
    assert len(sandbox.requests) == 0


def test_no_account_at_all_says_what_to_do(run: Any, warehouse: str, logged_texts: Logged) -> None:
    """A fresh installation would be green and empty for ever."""
    with psycopg.connect(warehouse) as connected:
        connected.execute("delete from ops.brands")
    ran = run()
    assert (ran.states, ran.state) == (_NOTHING, "failed")
    assert (
        "No active Meta ad account is configured: write one into a settings file and apply it"
    ) in str(logged_texts)


def test_a_warehouse_that_is_down_is_one_clear_sentence(
    run: Any, monkeypatch: pytest.MonkeyPatch, logged_texts: Logged
) -> None:
    """An outage of the warehouse would not be retried, or read like a bug."""
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgresql://u:geheim-geheim@127.0.0.1:1/nowhere")
    ran = run({"since": SINCE, "until": UNTIL})
    assert (ran.states, ran.state) == (_NOTHING, "failed")
    assert ran.tries["list_accounts[-1]"] == 4  # worth three retries
    assert "Cannot connect to the warehouse at 127.0.0.1:1/nowhere: " in str(logged_texts)
    assert "geheim-geheim" not in str(logged_texts)


# Passing trouble.


def test_a_passing_outage_is_retried_and_ends_green(
    run: Any, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hiccup of Meta's would cost the day."""
    from sandbox.call import Answer, Call

    plain, calls = sandbox.graph.answer, [0]

    def answer(call: Call) -> Answer:
        if "level" in call.params and "3000000001" in call.path:
            calls[0] += 1
            if calls[0] in range(2, 6):  # the first page of rows, four times in a row
                return Answer(502, b"<html>Bad Gateway</html>", {})
        return plain(call)

    monkeypatch.setattr(sandbox.graph, "answer", answer)
    ran = run({"accounts": [US], "since": "2025-03-20", "until": UNTIL})
    assert ran.state == "success"
    assert ran.tries["load_account[0]"] == 2
    assert sums(warehouse) == expected(sandbox, {US: ("2025-03-20", UNTIL)})


def test_tls_of_the_warehouse_is_asked_for(airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for a verified server gets any server that answers."""
    from tributary.orchestration.connections import warehouse_uri

    logged_texts = {
        "conn_type": "postgres", "host": "db.example", "login": "me", "password": "p@ss",
        "schema": "warehouse", "extra": {"sslmode": "verify-full", "keepalives_idle": 30},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(logged_texts))
    assert warehouse_uri() == "postgresql://me:p%40ss@db.example/warehouse?sslmode=verify-full"
