"""Google's DAGs through a real Airflow: conversions out, answers later, and clicks in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tributary import config
from tributary import warehouse as wh
from tributary.deliver import brands, intake
from tributary.warehouse.ad_accounts import resume

from sandbox.google import Click, GoogleFault
from sandbox.server import Sandbox
from tests.support.dag_runs import Ran, configure, query

SETTINGS = """
brands:
  - slug: acme
    name: Acme
    reporting_currency: USD
    time_zone: America/New_York
    consent_when_unknown: allow
    ad_accounts:
      - {platform: google_ads, account_id: "1112223333", name: Acme Ads, conn_id: google_ads_acme}
    destinations:
      - {name: acme-manager, platform: google_data_manager, conn_id: google_acme,
         customer_id: "1112223333", events: {Purchase: "42"}, send_from: "2020-01-01T00:00:00Z"}
      - {name: acme-ads, platform: google_ads, conn_id: google_ads_acme,
         customer_id: "1112223333", events: {Lead: "43"}, send_from: "2020-01-01T00:00:00Z"}
"""
LOGIN = {
    "client_id": "123456789012-sandbox.apps.googleusercontent.com",
    "client_secret": "sandbox-client-secret",
    "refresh_token": "sandbox-refresh-token",
    "login_customer_id": "999-888-7777",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def run(
    airflow: None, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    from airflow.dag_processing.dagbag import DagBag

    sandbox.reset()
    sandbox.google.must_log_in = True
    sandbox.google.actions["77"] = sandbox.google.actions["42"]._replace(customer="9998887777")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    extra = {**LOGIN, "token_uri": f"{sandbox.url}/token"}
    for name, kind, host in (
        ("GOOGLE_ACME", "google_data_manager", sandbox.url),
        ("GOOGLE_ADS_ACME", "google_ads", sandbox.ads_url),
    ):
        value = {"conn_type": kind, "host": host, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(value))
    configure(warehouse, SETTINGS)
    bag = DagBag(config.ROOT / "dags")
    return lambda dag, conf=None: Ran(bag.dags[dag].test(run_conf=conf))


def _take(uri: str) -> None:
    base = {
        "event_time": datetime.now(UTC) - timedelta(hours=1), "value": "5", "currency": "USD",
        "email": "ann@example.com",
    }  # fmt: skip
    events = [{**base, "event_name": "Purchase", "transaction_id": f"T-{n}"} for n in range(3)]
    events.append({**base, "event_name": "Lead", "event_id": "lead-1"})
    with wh.connect(uri, autocommit=True) as connection:
        brand = brands.load(connection)["acme"]
        intake.take(connection, brand, events, source="test", now=datetime.now(UTC))


def _ledger(uri: str) -> dict[tuple[str, str, str | None], int]:
    rows = query(
        uri,
        "select destination, sync_status, outcome, count(*)::int as n "
        "from ops.conversion_deliveries group by 1, 2, 3",
    )
    return {(row["destination"], row["sync_status"], row["outcome"]): row["n"] for row in rows}


def test_conversions_leave_and_are_told_later(
    run: Callable[..., Ran], warehouse: str, sandbox: Sandbox
) -> None:
    """The settings do not reach Google, or its answer does not reach the ledger."""
    _take(warehouse)
    sandbox.google.processing = timedelta(0)
    uploaded = run("upload_conversions")
    assert uploaded.state == "success", uploaded.states
    found = _ledger(warehouse)
    assert found["acme-manager", "sent", "accepted"] == 3
    assert found["acme-ads", "sent", "confirmed"] == 1
    nothing_due = run("confirm_conversions")
    assert nothing_due.state == "success"
    assert nothing_due.states["fail_if_any_failed[-1]"] == "success"
    with wh.connect(warehouse, autocommit=True) as connection:
        connection.execute("update ops.upload_batches set poll_at = now() where poll_at > now()")
    confirmed = run("confirm_conversions")
    assert confirmed.states == {
        "list_due[-1]": "success",
        "confirm[0]": "success",
        "fail_if_any_failed[-1]": "success",
    }
    assert _ledger(warehouse)["acme-manager", "sent", "confirmed"] == 3
    sent = next(one for one in sandbox.google.received if one.api == "data_manager")
    place = json.loads(sent.body)["destinations"][0]
    assert place["loginAccount"]["accountId"] == "9998887777"
    ads = next(one for one in sandbox.google.received if one.api == "google_ads")
    assert ads.headers["login-customer-id"] == "9998887777"
    for ran in (uploaded, confirmed):
        text = json.dumps(ran.xcoms(), default=str)
        for secret in ("ann@example.com", "sandbox-refresh-token", "ya29."):
            assert secret not in text


def test_a_revoked_token_makes_the_run_red_once(
    run: Callable[..., Ran], warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoked refresh token is tried by every retry of the task."""
    _take(warehouse)
    sandbox.google.refresh_tokens.clear()
    for name, kind, host in (("GOOGLE_ACME", "google_data_manager", sandbox.url),):
        extra = {**LOGIN, "refresh_token": "another", "token_uri": f"{sandbox.url}/token"}
        value = {"conn_type": kind, "host": host, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(value))
    ran = run("upload_conversions", {"destination": "acme-manager"})
    assert ran.state == "failed"
    assert ran.states["upload[0]"] == "failed"
    assert ran.tries["upload[0]"] == 1
    assert sandbox.google.counts == {"token": 1}


def test_clicks_of_the_latest_days(
    run: Callable[..., Ran], warehouse: str, sandbox: Sandbox
) -> None:
    """A gclid could not be joined to the ad that it came from."""
    for hours in (30, 31):
        at = datetime.now(UTC) - timedelta(hours=hours)
        sandbox.google.clicks[f"click-{hours}"] = Click("1112223333", at)
    for _ in range(2):
        today = datetime.now(UTC).date()
        conf = {"since": str(today - timedelta(days=3)), "until": str(today)}
        ran = run("extract_google_clicks", conf)
        assert ran.state == "success", ran.states
        rows = query(
            warehouse,
            "select gclid, count(*)::int as n from raw.google_click_view "
            "where gclid like 'click-%' group by 1 order by 1",
        )
        assert rows == [{"gclid": "click-30", "n": 1}, {"gclid": "click-31", "n": 1}]
    assert run("extract_google_clicks", {"accounts": ["123"]}).state == "failed"


def _account(uri: str) -> tuple[str | None, int | None, bool | None]:
    """What became of the account's latest load: status, clicks, whether a person must resume it."""
    (row,) = query(
        uri,
        "select substring(last_sync_status from '^[^:]+(?:: \\w+)?') as status, "
        "last_sync_count as clicks, "
        "paused_until = 'infinity' as stopped from ops.ad_accounts",
    )
    return row["status"], row["clicks"], row["stopped"]


def test_clicks_that_google_keeps_no_more_are_refused(
    run: Callable[..., Ran], warehouse: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A run over days older than 90 would be green, with nothing loaded."""
    today = datetime.now(UTC).date()
    oldest = today - timedelta(days=90)
    last = oldest - timedelta(days=1)
    ran = run("extract_google_clicks", {"since": str(last), "until": str(last)})
    assert (ran.state, ran.states["list_accounts[-1]"]) == ("failed", "failed")
    assert ran.tries["list_accounts[-1]"] == 1
    assert (
        f"No clicks to load: Google keeps those of the last 90 days, back to {oldest}, and {last} "
        "is before that."
    ) in " ".join(caplog.text.split())
    assert _account(warehouse) == (None, None, None)
    ran = run("extract_google_clicks", {"since": str(last), "until": str(oldest)})
    assert ran.state == "success"
    loaded = ran.xcoms()["load_clicks[0].return_value"]
    assert loaded["days"] == 1
    assert f"Google keeps 90 days; those before {oldest} are left out" in caplog.messages
    assert _account(warehouse) == ("ok", loaded["clicks"], None)


def test_a_prohibited_account_is_paused_and_its_clicks_come_when_it_is_resumed(
    run: Callable[..., Ran], warehouse: str, sandbox: Sandbox
) -> None:
    """The run would be red every day for what a person knows, or the account "never loaded"
    for who looks.
    """
    sandbox.google.clicks["click-1"] = Click("1112223333", datetime.now(UTC) - timedelta(hours=30))
    fault = GoogleFault("error", api="search", code="quota_error.ACCESS_PROHIBITED", times=None)
    sandbox.google.faults.append(fault)
    red = run("extract_google_clicks")
    assert (red.state, red.tries["load_clicks[0]"]) == ("failed", 1)
    assert _account(warehouse) == ("failed: GoogleForbidden", None, True)
    calls = sandbox.google.counts.copy()
    green = run("extract_google_clicks")
    assert green.state == "success"
    assert green.states["load_clicks[0]"] == "skipped"
    assert sandbox.google.counts == calls
    sandbox.google.faults.clear()
    with wh.connect(warehouse, autocommit=True) as connection:
        assert resume(connection, "google_ads", "1112223333")
    assert run("extract_google_clicks").states["load_clicks[0]"] == "success"
    (row,) = query(
        warehouse,
        "select count(*)::int as n from raw.google_click_view where gclid = 'click-1'",
    )
    assert row["n"] == 1
    assert _account(warehouse)[0::2] == ("ok", None)


def test_the_connections_can_be_tested(
    run: Callable[..., Ran], warehouse: str, sandbox: Sandbox
) -> None:
    """The Test button does not distinguish valid credentials from revoked ones."""
    from tributary.orchestration.tasks.upload import send_test_event
    from tributary.platforms.google_ads.hook import GoogleAdsHook
    from tributary.platforms.google_data_manager.hook import GoogleDataManagerHook

    for hook in (GoogleDataManagerHook("google_acme"), GoogleAdsHook("google_ads_acme")):
        fine, said = hook.test_connection()
        assert fine, said
        assert said.startswith("The credentials are valid")
    for name in ("acme-manager", "acme-ads"):
        assert "has checked one test event" in send_test_event(name, None)
    assert not sandbox.google.conversions
    sandbox.google.refresh_tokens.clear()
    from tributary.platforms.google import credentials

    credentials._known.clear()
    for hook in (GoogleDataManagerHook("google_acme"), GoogleAdsHook("google_ads_acme")):
        fine, said = hook.test_connection()
        assert not fine
        assert "Give consent anew" in said
