"""The page inside Airflow's own API server: who may see it, who may press, what the buttons do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import requests
from tributary import warehouse as wh
from tributary.deliver import brands, intake
from tributary.errors import TributaryError
from tributary.local import services

from tests.support.dag_runs import configure, query

SETTINGS = """
brands:
  - slug: acme
    name: Acme
    reporting_currency: USD
    time_zone: UTC
    consent_when_unknown: allow
    ad_accounts: [{platform: meta, account_id: "1000000009", conn_id: meta_acme}]
    destinations:
      - {name: acme-meta, platform: meta, conn_id: meta_acme, pixel_id: "2000000051",
         send_from: "2020-01-01T00:00:00Z"}
"""
PATH = "/tributary/page"
API = "/tributary/api"  # what the page's script calls
DESTINATION = f"{API}/destinations/acme-meta"
SYNC = f"{API}/conversions/sync?destination=acme-meta&while_paused=true"
RETRY = f"{DESTINATION}/retry"
RESUME_ACCOUNT = f"{API}/accounts/meta/1000000009/resume"
BUTTONS = [("POST", SYNC), ("POST", RETRY), ("PATCH", DESTINATION), ("POST", RESUME_ACCOUNT)]


@pytest.fixture
def ask(api_server: str, warehouse: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks as somebody: `ask("viewer", "GET", path)`; with a cookie, as a browser does."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    configure(warehouse, SETTINGS)

    def call(role: str | None, method: str, path: str, **arguments: Any) -> requests.Response:
        cookies = {}
        if role is not None:
            user = SimpleAuthManagerUser(username=f"a-{role}", role=role)
            cookies["_token"] = get_auth_manager().generate_jwt(user)
        if method != "GET" and "data" not in arguments:
            arguments.setdefault("json", {})
        return requests.request(
            method,
            api_server + path,
            cookies=cookies,
            allow_redirects=False,
            timeout=30,
            **arguments,
        )

    return call


def _sell(uri: str, number: int) -> None:
    now = datetime.now(UTC)
    with wh.connect(uri, autocommit=True) as connection:
        brand = brands.load(connection)["acme"]
        events = [
            {
                "event_name": "Purchase", "event_id": f"order-{n}", "email": f"p{n}@example.com",
                "event_time": now - timedelta(hours=1), "action_source": "email", "value": 1,
                "currency": "USD",
            }
            for n in range(number)
        ]  # fmt: skip
        intake.take(connection, brand, events, source="test", now=now)


def _kill(uri: str, event_id: str, outcome: str) -> None:
    with wh.connect(uri, autocommit=True) as connection:
        connection.execute(
            "update ops.conversion_deliveries as d set sync_status = 'dead', outcome = %s "
            "from ops.conversion_events as e where e.id = d.event and e.event_id = %s",
            [outcome, event_id],
        )


def test_a_stranger_sees_nothing(ask: Any) -> None:
    """Plugin apps are open to everybody by default."""
    for path in ("overview", "loads", "problems", "match-quality"):
        assert ask(None, "GET", f"{API}/{path}").status_code == 401
    for method, path in BUTTONS:
        assert ask(None, method, path).status_code == 401
    sent = ask(None, "GET", f"{PATH}/")
    assert (sent.status_code, "/auth/login?next=" in sent.headers["location"]) == (307, True)
    for path in ("/tributary/docs", "/tributary/openapi.json", "/tributary/redoc"):
        assert ask("admin", "GET", path).status_code == 404
    assert ask("admin", "GET", f"{PATH}/static/..%2f..%2fpage.py").status_code == 404
    page = ask("viewer", "GET", f"{PATH}/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")  # no asset from a network


def test_a_viewer_sees_and_a_user_acts(ask: Any, warehouse: str) -> None:
    """Whoever may look could stop a brand's conversions."""
    assert ask("viewer", "GET", f"{API}/overview").json()["may_act"] is False
    assert ask("user", "GET", f"{API}/overview").json()["may_act"] is True
    for method, path in BUTTONS:
        assert ask("viewer", method, path).status_code == 403
    assert query(warehouse, "select 1 from ops.destinations where paused_until is not null") == []


def test_another_site_cannot_press_a_button(ask: Any, warehouse: str) -> None:
    """A link in an e-mail could stop a brand's conversions."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    for method, path in BUTTONS:
        refused = ask("admin", method, path, data=b"a=b", headers=form)
        assert refused.status_code == 415
        for site in ("cross-site", "same-site"):
            refused = ask("admin", method, path, headers={"Sec-Fetch-Site": site})
            assert refused.status_code == 403
        if path != SYNC:  # there a GET reads the state of the uploads
            assert ask("admin", "GET", path).status_code == 405
    assert query(warehouse, "select 1 from ops.destinations where paused_until is not null") == []


def test_pause_and_resume(ask: Any, warehouse: str) -> None:
    """A pressed button would do nothing, or nobody would know who pressed it."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    pause = {"paused": True, "reason": "a new pixel"}
    answer = ask("user", "PATCH", DESTINATION, json=pause, headers=headers)
    assert answer.status_code == 200, answer.text
    (one,) = ask("viewer", "GET", f"{API}/overview").json()["destinations"]
    assert (one["is_paused"], one["paused_until"], one["paused_reason"]) == (
        True, None, "a-user paused it: a new pixel.",
    )  # fmt: skip
    refused = ask("user", "POST", SYNC)
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        "acme-meta is paused until it is resumed: a-user paused it: a new pixel. Resume it first.",
    )
    resumed = ask("user", "PATCH", DESTINATION, json={"paused": False}).json()
    assert (resumed["name"], resumed["is_paused"]) == ("acme-meta", False)
    (one,) = ask("viewer", "GET", f"{API}/overview").json()["destinations"]
    assert not one["is_paused"]
    assert (
        ask("user", "PATCH", DESTINATION.replace("acme", "nobody"), json=pause).status_code == 404
    )
    long = ask("user", "PATCH", DESTINATION, json={"paused": True, "reason": "x" * 257})
    assert long.status_code == 422

    from airflow.models import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        log = [(row.event, row.owner, row.dag_id, row.extra) for row in session.query(Log).all()]
    about = json.dumps({"method": "PATCH", "name": "acme-meta"})
    row = ("tributary_destinations_change", "a-user", "upload_conversions", about)
    assert log.count(row) >= 2


def test_a_paused_account_is_shown_and_resumed(ask: Any, warehouse: str) -> None:
    """An account that Meta blocked stays so for ever, and no page says why or
    helps.
    """
    from tributary.warehouse.ad_accounts import pause, record_sync

    with wh.connect(warehouse, autocommit=True) as connection:
        pause(connection, "meta", "1000000009", None, "Meta blocks the account for policy.")
        record_sync(connection, "meta", "1000000009", "failed: MetaBlocked: It is blocked.", None)
    shown = ask("viewer", "GET", f"{API}/loads").json()
    assert shown["may_act"] is False
    (one,) = shown["accounts"]
    assert {key: one[key] for key in one if "paused" in key or key == "last_sync_status"} == {
        "is_paused": True,
        "paused_until": None,
        "paused_reason": "Meta blocks the account for policy.",
        "last_sync_status": "failed: MetaBlocked: It is blocked.",
    }
    assert ask("user", "POST", RESUME_ACCOUNT).json() == {"was_paused": True}
    assert ask("user", "POST", RESUME_ACCOUNT).json() == {"was_paused": False}
    (one,) = ask("user", "GET", f"{API}/loads").json()["accounts"]
    assert (one["is_paused"], one["paused_reason"]) == (False, None)
    unknown = ask("user", "POST", RESUME_ACCOUNT.replace("1000000009", "1000000008"))
    assert (unknown.status_code, "no meta ad account '1000000008'" in unknown.text) == (404, True)

    from airflow.models import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        log = [
            (row.owner, row.dag_id, json.loads(row.extra or "")["account_id"])
            for row in session.query(Log).filter(Log.event == "tributary_resume_account")
        ]
    assert ("a-user", "extract_meta_ads", "1000000009") in log


def test_what_keeps_airflow_from_its_work_is_shown(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks wait for a pool without slots, or fail for a deleted connection,
    unseen.
    """
    from airflow.models.pool import Pool

    def logged() -> list[tuple[str | None, str]]:
        found = ask("viewer", "GET", f"{API}/problems").json()["problems"]
        # No scheduler runs in these tests.
        return [(one["conn_id"], one["says"]) for one in found if "does not run" not in one["says"]]

    missing = (
        "meta_acme",
        "The Airflow connection 'meta_acme' (for ad account 1000000009, destination acme-meta) "
        "does not exist. Add it under Admin → Connections, or with `airflow connections add`.",
    )
    stuck = "so tasks of extract_meta_ads, reread_meta_ads stay `scheduled`: give it slots"
    monkeypatch.delenv("AIRFLOW_CONN_META_ACME", raising=False)
    Pool.create_or_update_pool("meta_ads", 4, "", include_deferred=False)
    assert logged() == [missing]
    monkeypatch.setenv("AIRFLOW_CONN_META_ACME", json.dumps({"conn_type": "meta"}))
    assert logged() == []
    try:
        Pool.create_or_update_pool("meta_ads", 0, "", include_deferred=False)
        ((_, says),) = logged()
        assert says.startswith(f"The pool meta_ads has 0 slots, {stuck}")
        Pool.delete_pool("meta_ads")
        ((_, says),) = logged()
        assert says.startswith(f"The pool meta_ads does not exist, {stuck}")
    finally:
        Pool.create_or_update_pool("meta_ads", 4, "", include_deferred=False)


def test_a_dag_that_cannot_be_imported_is_named(ask: Any) -> None:
    """A DAG that vanished with an import error is only seen by who looks at
    Airflow's home.
    """
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session

    text = "Traceback (most recent call last):\n  File x\nImportError: no module named y\n"
    files = ("upload_conversions.py", "somebody_elses.py")
    with create_session() as session:
        for file in files:
            session.add(ParseImportError(filename=file, bundle_name="dags-folder", stacktrace=text))
    try:
        logged = [one["says"] for one in ask("viewer", "GET", f"{API}/problems").json()["problems"]]
    finally:
        with create_session() as session:
            session.query(ParseImportError).delete()
    assert [one for one in logged if "imported" in one] == [
        "The DAG file upload_conversions.py cannot be imported: ImportError: no module named y."
    ]


def test_an_airflow_without_the_plugin_is_told(ask: Any, api_server: str) -> None:
    """`make up` takes the UI's HTML, which Airflow gives for any path, for our
    page.
    """
    services.check_page({"AIRFLOW__API__BASE_URL": api_server})
    without = {"AIRFLOW__API__BASE_URL": f"{api_server}/elsewhere"}
    with pytest.raises(TributaryError, match=r"but without /tributary/page/: .* is not loaded"):
        services.check_page(without)


def test_a_run_under_way_is_named_beside_missing_days(ask: Any) -> None:
    """A day that is being loaded at this moment looks lost."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    run = trigger_dag("extract_meta_ads", triggered_by=DagRunTriggeredByType.TEST)
    assert run is not None
    under_way = ask("viewer", "GET", f"{API}/loads").json()["under_way"]
    path = f"dags/extract_meta_ads/runs/{quote(run.run_id, safe='')}"
    assert {"dag": "extract_meta_ads", "state": "queued", "run": path} in under_way


def test_retry_puts_back_what_is_dead(ask: Any, warehouse: str) -> None:
    """What may count twice would be sent again without being asked for by its
    name.
    """
    _sell(warehouse, 4)
    _kill(warehouse, "order-0", "100/2804009")
    _kill(warehouse, "order-1", "outcome_unknown")
    _kill(warehouse, "order-2", "attempts")
    dead = "select outcome from ops.conversion_deliveries where sync_status = 'dead' order by 1"
    assert ask("user", "POST", RETRY, json={"outcome": "attempts"}).json() == {"put_back": 1}
    assert [row["outcome"] for row in query(warehouse, dead)] == ["100/2804009", "outcome_unknown"]
    ask("user", "POST", RETRY)
    assert [row["outcome"] for row in query(warehouse, dead)] == ["outcome_unknown"]
    ask("user", "POST", RETRY, json={"outcome": "outcome_unknown"})
    assert query(warehouse, dead) == []
    assert ask("user", "POST", RETRY).json() == {"put_back": 0}
    assert ask("user", "POST", RETRY.replace("acme", "nobody")).status_code == 404


def test_sync_now_starts_a_run_of_the_dag(ask: Any, warehouse: str) -> None:
    """The button would start nothing, or an upload of everybody."""
    answer = ask("user", "POST", SYNC)
    started = answer.json()
    assert (answer.status_code, started["dag_id"]) == (202, "upload_conversions")
    assert started["dag_is_paused"] is True  # DAGs are paused when they are new

    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        runs = session.query(DagRun).filter(DagRun.dag_id == "upload_conversions")
        run = runs.order_by(DagRun.id.desc()).first()
        assert run is not None
        assert (run.conf, run.state, run.run_type, run.triggering_user_name) == (
            {"destination": "acme-meta"}, "queued", "manual", "a-user",
        )  # fmt: skip
        assert started["dag_run_id"] == run.run_id
    refused = ask("user", "POST", SYNC.replace("acme", "nobody"))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "destination")


def test_a_day_opens_the_run_that_loaded_it(ask: Any, warehouse: str) -> None:
    """The calendar would lead nowhere, or to a page that says 404."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    run = trigger_dag("extract_meta_ads", triggered_by=DagRunTriggeredByType.TEST)
    assert run is not None
    with wh.connect(warehouse, autocommit=True) as connection:
        for ago, name in ((2, run.run_id), (3, "long-gone")):
            connection.execute(
                "insert into ops.loads values ('1000000009', 'ad_insights', current_date - %s::int,"
                " 1, 1, 1, 1, 1, 'reconciled', %s, 0, now(), now())",
                [ago, name],
            )
    loads = ask("viewer", "GET", f"{API}/loads?days=31").json()["loads"]
    first, second = [row["run"] for row in loads if row["status"] == "reconciled"]
    assert (first, second) == (None, f"dags/extract_meta_ads/runs/{quote(run.run_id, safe='')}")
    assert ask("viewer", "GET", f"{API}/loads?days=9999").status_code == 422


def test_settings_change_only_where_they_are_the_apis(ask: Any, warehouse: str) -> None:
    """The page and the settings file overwrite each other, or nonsense is stored."""
    path, change = DESTINATION, {"settings": {"batch_size": 10}}
    (one,) = ask("user", "GET", f"{API}/overview").json()["destinations"]
    assert one["settings"] is None
    refused = ask("user", "PATCH", path, json=change)
    assert (refused.status_code, "managed_by: file" in refused.json()["detail"]) == (409, True)
    configure(warehouse, SETTINGS.replace("name: Acme", "name: Acme\n    managed_by: api"))
    assert ask("user", "PATCH", path, json=change).status_code == 200
    (one,) = ask("user", "GET", f"{API}/overview").json()["destinations"]
    assert (one["settings"]["batch_size"], one["settings"]["pixel_id"]) == (10, "2000000051")
    assert not {"name", "platform", "conn_id"} & one["settings"].keys()
    for wrong in ({"batch_size": 0}, {"colour": "red"}, {"conn_id": "meta_other"}):
        refused = ask("user", "PATCH", path, json={"settings": wrong})
        assert (refused.status_code, next(iter(wrong)).split("_")[0] in refused.text) == (422, True)
    assert ask("user", "PATCH", path, json={"settings": [1]}).json()["errors"] == [
        {"field": "settings", "detail": "Input should be a valid dictionary"}
    ]
    assert ask("user", "PATCH", path.replace("acme", "nobody"), json=change).status_code == 404


def test_metas_own_match_quality_where_the_connection_may_read_it(
    ask: Any, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows no score of Meta's, asks Meta each minute, or hides why there
    is none.
    """
    from tributary.platforms.meta.client import Graph

    from sandbox.graph import Token
    from sandbox.server import Sandbox

    pixel, token = "2000000051", "a-token-for-the-page-0123456789"
    assert ask(None, "GET", f"{API}/match-quality").status_code == 401
    with Sandbox(tokens={token: Token(frozenset({"1000000001"}), pixels=frozenset({pixel}))}) as it:
        held = {"conn_type": "meta", "password": token, "host": it.url}
        monkeypatch.setenv("AIRFLOW_CONN_META_ACME", json.dumps(held))
        now = int(it.clock.now().timestamp())
        person = {"em": ["0" * 64], "client_user_agent": "A browser"}
        event = {
            "event_name": "Lead", "event_time": now - 60, "event_id": "1", "user_data": person,
            "action_source": "website", "event_source_url": "https://shop.example/",
        }  # fmt: skip
        Graph(token, host=it.url).post(f"{pixel}/events", data=[event])
        logged = ask("viewer", "GET", f"{API}/match-quality").json()["quality"]
        assert logged == [{"destination": "acme-meta", "scores": {"Lead": 3.3}, "why_not": None}]
        asked = it.graph.tally["GET", "quality", "1000000001"]
        assert ask("viewer", "GET", f"{API}/match-quality").json()["quality"] == logged
        assert it.graph.tally["GET", "quality", "1000000001"] == asked == 1
        configure(warehouse, SETTINGS.replace(pixel, "2000000059"))
        (none,) = ask("viewer", "GET", f"{API}/match-quality").json()["quality"]
    assert (none["scores"], "code 100" in none["why_not"]) == ({}, True)
    assert token not in none["why_not"]


def test_a_warehouse_that_is_down_is_told_in_words(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page would stay empty, or show a traceback with the password in it."""
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgresql://u:secret-word@127.0.0.1:9/w")
    logged = ask("viewer", "GET", f"{API}/overview")
    assert logged.status_code == 503
    assert "Cannot connect to the warehouse at 127.0.0.1:9/w" in logged.json()["detail"]
    assert "secret-word" not in logged.text


@pytest.mark.parametrize(
    ("conn_type", "fields", "works", "says"),
    [
        ("posthog", {"password": "phc_sandbox_acme"}, True, "knows the project key"),
        ("posthog", {"password": "phc_other"}, False, "refuses the project key"),
        ("posthog", {}, False, "has no project key"),
        ("meta", {"password": "sandbox-token-acme"}, True, "it sees 2 ad accounts"),
        ("meta", {"password": "another"}, False, "refuses the access token"),
        ("meta", {}, False, "has no access token"),
        ("google_data_manager", {}, True, "Data Manager answers"),
        ("google_ads", {}, True, "accounts directly"),
        ("tributary_webhook", {"password": "whsec_1"}, True, "There is a secret"),
        ("tributary_webhook", {"password": "whsec_1 "}, False, "blank"),
        ("tributary_webhook", {}, False, "no signing secret"),
    ],
)
def test_the_test_button_of_connections(
    ask: Any, conn_type: str, fields: dict[str, str], works: bool, says: str
) -> None:
    """The button would say yes to a wrong key, or not know the type."""
    from sandbox.server import Sandbox

    with Sandbox() as sandbox:
        body = {"connection_id": f"a_{conn_type}", "conn_type": conn_type, "port": 443, **fields}
        if conn_type != "tributary_webhook":
            body["host"] = sandbox.ads_url if conn_type == "google_ads" else sandbox.url
        connections = "/api/v2/connections"
        ask("admin", "DELETE", f"{connections}/a_{conn_type}")
        assert ask("admin", "POST", connections, json=body).status_code == 201
        # As the page of Airflow asks: what is secret is masked.
        asked = {**body, "password": "***", "schema": "", "login": "", "extra": "{}"}
        logged = ask("admin", "POST", f"{connections}/test", json=asked).json()
    assert (logged.get("status"), says in logged.get("message", "")) == (works, True), logged


def test_the_form_knows_our_connection_types(ask: Any) -> None:
    """A connection of ours could not be made in the UI."""
    types = {
        one["connection_type"]: one
        for one in ask("admin", "GET", "/ui/connections/hook_meta").json()
    }
    google = {"google_data_manager", "google_ads"}
    assert {"meta", "posthog", "tributary_webhook", *google} <= types.keys()
    shown = json.dumps(types["posthog"])
    assert "Project key" in shown
