"""`upload_conversions` through a real Airflow: transactions in, once out, and nobody is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tributary import config
from tributary import warehouse as wh
from tributary.deliver import identity
from tributary.errors import SettingsError
from tributary.platforms.meta.errors import MetaTokenRefused
from tributary.platforms.posthog.errors import PosthogKeyRefused

from sandbox.faults import Fault
from sandbox.graph import Token
from sandbox.server import Sandbox
from tests.support.dag_runs import Logged, Ran, cleared, configure, query

ACME_TOKEN, LUMEN_TOKEN = "EAAGacmeacmeacmeacmeacmeacmeup1", "EAAGlumenlumenlumenlumenlumenup2"
ACME_PIXEL, LUMEN_PIXEL = "2000000051", "2000000053"
SETTINGS = f"""
brands:
  - slug: acme
    name: Acme
    reporting_currency: USD
    time_zone: America/New_York
    consent_when_unknown: allow
    destinations:
      - {{name: acme-meta, platform: meta, conn_id: meta_acme, pixel_id: "{ACME_PIXEL}",
          send_from: "2020-01-01T00:00:00Z"}}
  - slug: lumen
    name: Lumen
    reporting_currency: EUR
    time_zone: Europe/Berlin
    consent_when_unknown: allow
    always_require_consent_in: []
    destinations:
      - {{name: lumen-meta, platform: meta, conn_id: meta_lumen, pixel_id: "{LUMEN_PIXEL}",
          send_from: "2020-01-01T00:00:00Z"}}
"""
DONE = {
    "enqueue[-1]": "success",
    "list_due[-1]": "success",
    "upload[0]": "success",
    "upload[1]": "success",
    "summarise[-1]": "success",
    "fail_if_any_failed[-1]": "success",
}
PERSON = {
    "email": "Wilhelmina.Quist{}@example.org",
    "phone": "+1 212 555 01{:02}",
    "first_name": "Wilhelmina",
    "last_name": "Quistgaard",
    "city": "Poughkeepsie",
    "date_of_birth": "1971-03-0{}",
    "external_id": "crm-id-90{:02}",
}
IP, AGENT = "198.51.100.{}", "Mozilla/5.0 (Unmistakable; Browser {})"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    tokens = {
        ACME_TOKEN: Token(frozenset({"1000000001"}), pixels=frozenset({ACME_PIXEL})),
        LUMEN_TOKEN: Token(frozenset({"1000000003"}), pixels=frozenset({LUMEN_PIXEL})),
    }
    with Sandbox(tokens=tokens) as running:
        yield running


@pytest.fixture
def run(airflow: None, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    sandbox.reset()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    for name, token in {"ACME": ACME_TOKEN, "LUMEN": LUMEN_TOKEN}.items():
        value = json.dumps({"conn_type": "meta", "host": sandbox.url, "password": token})
        monkeypatch.setenv(f"AIRFLOW_CONN_META_{name}", value)
    configure(warehouse, SETTINGS)
    dag = DagBag(config.ROOT / "dags").dags["upload_conversions"]
    return lambda conf=None: Ran(dag.test(run_conf=conf))


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Logged:
    return Logged(caplog, capfd)


def _sell(uri: str, brand: str, number: int, **changes: Any) -> None:
    profile = {
        "profile_id": f"{brand}-{number}",
        "brand_slug": brand,
        **{key: value.format(number) for key, value in PERSON.items()},
    }
    sale = {
        "transaction_id": f"{brand}-T{number}",
        "brand_slug": brand,
        "profile_id": f"{brand}-{number}",
        "status": "completed",
        "amount": 10,
        "currency": "USD",
        "transacted_at": datetime.now(UTC) - timedelta(hours=1),
        "event_id": f"{brand}-event-{number}",
        "action_source": "website",
        "event_source_url": "https://shop.example/thanks",
        "ip": IP.format(number),
        "user_agent": AGENT.format(number),
        **changes,
    }
    with wh.connect(uri, autocommit=True) as connection:
        for table, row in (("profiles", profile), ("transactions", sale)):
            connection.execute(
                f"insert into app.{table} ({', '.join(row)}) "
                f"values ({', '.join(f'%({name})s' for name in row)})",
                row,
            )


def _ledger(uri: str) -> dict[tuple[str, str, str | None], int]:
    rows = query(
        uri,
        "select destination, sync_status, outcome, count(*)::int as n "
        "from ops.conversion_deliveries group by 1, 2, 3",
    )
    return {(row["destination"], row["sync_status"], row["outcome"]): row["n"] for row in rows}


def test_transactions_reach_both_brands_pixels_once(
    run: Any, warehouse: str, sandbox: Sandbox
) -> None:
    """The schedule sends nothing, sends twice, or does not report what it sent."""
    for number in range(5):
        _sell(warehouse, "acme", number)
    _sell(warehouse, "lumen", 1)
    ran = run()
    assert (ran.states, ran.state) == (DONE, "success")
    assert _ledger(warehouse) == {
        ("acme-meta", "sent", "accepted"): 5,
        ("lumen-meta", "sent", "accepted"): 1,
    }
    assert len(sandbox.events.ledger(ACME_PIXEL)) == 5
    summary = {
        "acme": {"processed": 5, "succeeded": 5, "failed": 0, "skipped": 0, "dead": 0,
                 "requests": 1, "errors": {}, "held": []},
        "lumen": {"processed": 1, "succeeded": 1, "failed": 0, "skipped": 0, "dead": 0,
                  "requests": 1, "errors": {}, "held": []},
    }  # fmt: skip
    assert ran.events() == [summary]
    assert ran.xcoms()["summarise[-1].return_value"] == summary
    synced = query(warehouse, "select name, last_sync_status as status, last_sync_count as n "
                   "from ops.destinations where last_sync_at is not null order by 1")  # fmt: skip
    assert synced == [
        {"name": "acme-meta", "status": "ok", "n": 5},
        {"name": "lumen-meta", "status": "ok", "n": 1},
    ]
    assert query(warehouse, "select 1 from ops.conversion_events where user_ip is not null") == []
    # At once again: nobody is due; asked for by name, there is nothing to do.
    assert not any(name.startswith("upload[0") for name in run().states if "success" in name)
    again = run({"destination": "acme-meta"})
    assert again.state == "success"
    assert sandbox.events.totals(ACME_PIXEL)["received"] == 5


def test_people_are_forgotten_whatever_is_paused(run: Any, warehouse: str) -> None:
    """While uploads or a destination are paused, IP addresses stay without end."""
    from airflow.dag_processing.dagbag import DagBag

    for brand in ("acme", "lumen"):
        for number in range(2):
            _sell(warehouse, brand, number)
    with wh.connect(warehouse, autocommit=True) as connection:
        connection.execute("update ops.destinations set paused_until = 'infinity'")
    run()  # into the outbox, from where nothing leaves
    with wh.connect(warehouse, autocommit=True) as connection:
        connection.execute(
            "update ops.conversion_deliveries as d set deadline = now() "
            "from ops.conversion_events as e where e.id = d.event and e.event_id like '%-0'"
        )
    ended = Ran(DagBag(config.ROOT / "dags").dags["retention"].test())
    assert ended.state == "success"
    done = ended.xcoms()["enforce[-1].return_value"]
    assert {name: number for name, number in done.items() if number} == {"expired": 2, "people": 2}
    assert _ledger(warehouse) == {
        (f"{brand}-meta", status, outcome): 1
        for brand in ("acme", "lumen")
        for status, outcome in (("pending", None), ("dead", "expired"))
    }
    kept = query(
        warehouse,
        "select event_id from ops.conversion_events where user_ip is not null "
        "and user_agent is not null order by 1",
    )
    assert [row["event_id"] for row in kept] == ["acme-event-1", "lumen-event-1"]


def test_a_run_that_sends_nothing_says_why_and_when_the_next_is_due(
    run: Any, logged: Logged
) -> None:
    """Somebody whose conversions do not leave would look for the cause in the wrong place."""
    run()
    assert "acme-meta: nothing was due: none waits. `tributary status` shows" in str(logged)
    again = run()
    assert "upload[0]" not in again.states
    for name in ("acme-meta", "lumen-meta"):
        assert re.search(rf"{name} is not due before \d{{4}}-\d\d-\d\d \d\d:\d\d UTC", str(logged))


def test_one_broken_brand_is_red_and_the_other_is_served(
    run: Any, warehouse: str, sandbox: Sandbox, logged: Logged
) -> None:
    """A revoked token stops every brand, or ends green."""
    _sell(warehouse, "acme", 1)
    _sell(warehouse, "lumen", 1)
    del sandbox.tokens[LUMEN_TOKEN]
    ran = run()
    assert ran.state == "failed"
    assert ran.states == {**DONE, "upload[1]": "failed", "fail_if_any_failed[-1]": "failed"}
    assert _ledger(warehouse) == {
        ("acme-meta", "sent", "accepted"): 1,
        ("lumen-meta", "pending", None): 1,
    }
    assert "put a valid one into its password field" in str(logged)
    paused = run({"brand": "lumen"})  # ignores the interval, never a pause
    assert "upload[0]" not in paused.states
    asked = run({"destination": "lumen-meta"})
    assert asked.states["upload[0]"] == "failed"
    assert "lumen-meta is paused until" in str(logged)
    assert sum(LUMEN_PIXEL in one.path for one in sandbox.requests) == 1
    # Switched off, it is left alone also where its red task is cleared.
    configure(
        warehouse, SETTINGS.replace("conn_id: meta_lumen", "is_active: false, conn_id: meta_lumen")
    )
    assert cleared("upload_conversions", ran.run_id, "upload", 1) == "skipped"


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [
        ({"brnad": "acme"}, "Unknown conf brnad: this DAG knows"),
        ({"brand": "nobody"}, "There is no brand 'nobody'."),
        ({"destination": "nowhere"}, "There is no destination 'nowhere'"),
        ({"brand": "acme", "destination": "lumen-meta"}, "belongs to the brand 'lumen'"),
    ],
)
def test_a_wish_that_makes_no_sense_is_told(
    run: Any, warehouse: str, sandbox: Sandbox, logged: Logged, conf: dict[str, str], sentence: str
) -> None:
    """A misspelt brand ends green with nothing sent."""
    assert run(conf).state == "failed"
    assert sentence in str(logged)


def test_a_destination_can_be_tested(
    run: Any, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token shows only in lost conversions, or the test counts as a conversion."""
    from tributary.orchestration.tasks.upload import send_test_event

    with pytest.raises(SettingsError, match="has no test_event_code"):
        send_test_event("acme-meta", None)
    assert "the platform took one test event" in send_test_event("acme-meta", "TEST99")
    assert sandbox.events.received[-1].test_event_code == "TEST99"
    assert query(warehouse, "select 1 from ops.conversion_events") == []
    del sandbox.tokens[ACME_TOKEN]
    with pytest.raises(MetaTokenRefused, match="connection 'meta_acme'"):
        send_test_event("acme-meta", "TEST99")


def test_posthog_is_served_beside_meta(
    run: Any, warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configured destination is refused, or its key is not checked."""
    from tributary.orchestration.tasks.upload import send_test_event

    configure(
        warehouse,
        SETTINGS.replace(
            "    destinations:\n      - {name: lumen-meta,",
            "    destinations:\n      - {name: lumen-posthog, platform: posthog, conn_id: posthog, "
            'send_from: "2020-01-01T00:00:00Z"}\n      - {name: lumen-meta,',
        ),
    )
    project = {"conn_type": "posthog", "host": sandbox.url, "password": "phc_sandbox_lumen"}
    monkeypatch.setenv("AIRFLOW_CONN_POSTHOG", json.dumps(project))
    _sell(warehouse, "lumen", 1)
    assert run({"brand": "lumen"}).state == "success"
    assert _ledger(warehouse) == {
        ("lumen-meta", "sent", "accepted"): 1,
        ("lumen-posthog", "sent", "accepted"): 1,
    }
    assert sandbox.posthog.counted("phc_sandbox_lumen") == 1
    assert "PostHog knows the project key" in send_test_event("lumen-posthog", None)
    project["password"] = "phc_of_nobody"
    monkeypatch.setenv("AIRFLOW_CONN_POSTHOG", json.dumps(project))
    with pytest.raises(PosthogKeyRefused, match="connection 'posthog'"):
        send_test_event("lumen-posthog", None)


def test_no_person_is_named_anywhere_in_a_faulty_run(
    run: Any, warehouse: str, sandbox: Sandbox, logged: Logged
) -> None:
    """An e-mail, a phone, an address or its hash is in a log or a stored error."""
    for number in range(8):
        _sell(warehouse, "acme", number)
    _sell(warehouse, "acme", 8, currency="???")
    _sell(warehouse, "lumen", 9)
    pixel = {"pixel": ACME_PIXEL}
    # Each of these quotes what was sent, or fails in the middle of it.
    sandbox.faults.add(Fault("refuse_event", event_id="acme-event-3", subcode=2804016))
    sandbox.faults.add(Fault("refuse_event", event_id="acme-event-5", subcode=2809999))
    sandbox.faults.add(Fault("html_500", edge="events", after=3, params=pixel))
    sandbox.faults.add(Fault("dropped_after", after=5, params=pixel))
    sandbox.faults.add(Fault("token_revoked", edge="events", params={"pixel": LUMEN_PIXEL}))
    ran = run()
    assert ran.state == "failed"
    assert _ledger(warehouse) == {
        ("acme-meta", "sent", "accepted"): 6,
        ("acme-meta", "dead", "100/2804016"): 1,
        ("acme-meta", "failed", "100/2809999"): 1,
        ("lumen-meta", "pending", None): 1,
    }
    stored = query(
        warehouse,
        "select sync_error as text from ops.conversion_deliveries union all "
        "select paused_reason from ops.destinations union all "
        "select last_sync_status from ops.destinations union all "
        "select error_code from ops.upload_batches",
    )
    everything = "\n".join(
        [str(logged), json.dumps(ran.xcoms(), default=str), json.dumps(ran.events()), str(stored)]
    )
    assert "refuses an event" in everything
    assert "Traceback" in everything  # the red task's, so logs are what we look at
    forbidden = {ACME_TOKEN, LUMEN_TOKEN}
    for number in range(10):
        person = {key: value.format(number) for key, value in PERSON.items()}
        forbidden |= {*person.values(), IP.format(number), AGENT.format(number)}
        for hashes in identity.meta_hashes(person).values():
            forbidden |= set(hashes)
        for hashes in identity.google_identifiers(person)[0].values():
            forbidden |= set(hashes)
    lowered = everything.lower()
    found = {value for value in forbidden if re.search(re.escape(value.lower()), lowered)}
    assert found == set()
    assert len(forbidden) > 100
