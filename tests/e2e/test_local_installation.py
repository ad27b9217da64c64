"""The README's commands as a user runs them: real scheduler, real task processes, real sandbox.

`dag.test()` lets tasks reach the metadata database and runs them in one process; only here do they
run as they do in production.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests
from tributary.config import ROOT

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """A home of its own, driven by the commands that the Makefile calls."""

    def __init__(self, home: Path) -> None:
        mine = ("AIRFLOW_", "TRIBUTARY_", "DBT_")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(mine)}
        self.env["TRIBUTARY_HOME"] = str(home)
        # Not 8080, which another test, or another checkout's, may take between `env` and `up`.
        ports = {f"port_{name}": _free_port() for name in ("ui", "worker_logs", "trigger_logs")}
        (home / "local.json").write_text(json.dumps(ports))
        for line in self.run("-m", "tributary", "env").splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            if name != "PATH":
                self.env[name] = value.strip("'")
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}"
        secrets = json.loads((home / "local.json").read_text())
        self.base = self.env["AIRFLOW__API__BASE_URL"]
        self.password = secrets["secret_ui_password"]

    def run(self, *arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
        return ended.stdout

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.env["TRIBUTARY_WAREHOUSE"]) as connection:
            return connection.execute(query).fetchall()

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        login = {"username": "admin", "password": self.password}
        token = requests.post(f"{self.base}/auth/token", json=login, timeout=30).json()
        answer = requests.request(
            method, f"{self.base}/api/v2/{path}", timeout=60, **arguments,
            headers={"Authorization": f"Bearer {token['access_token']}"},
        )  # fmt: skip
        assert answer.ok, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`make up`, and `make down` in the end."""
    here = Installation(tmp_path_factory.mktemp("installation"))
    try:
        here.run("-m", "tributary", "up")
        yield here
    finally:
        here.run("-m", "tributary", "down")


def wait(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


SPEND = "select to_jsonb(s) - 'loaded_at' from marts.ad_spend as s order by date, fb_ad_id"
RAW = "select account_id, date, ad_id, payload from raw.meta_ad_insights order by 1, 2, 3"


def test_demo_shows_exact_figures_and_the_same_ones_twice(installation: Installation) -> None:
    """The demo loses rows, shows days that do not reconcile, or changes figures when repeated."""
    said = installation.run("-m", "sandbox.demo")
    assert "agree to the cent on every one" in said
    assert "Spend of the last 7 days by brand and campaign" in said
    spend, raw = installation.rows(SPEND), installation.rows(RAW)
    days = installation.rows("select status, count(*) from ops.loads group by 1")
    assert [status for status, _ in days] == ["reconciled"]
    assert days[0][1] >= 3 * 118
    assert len(spend) == len(raw) > 9_000
    secrets = json.loads((Path(installation.env["TRIBUTARY_HOME"]) / "local.json").read_text())
    posthog = f"http://127.0.0.1:{secrets['port_sandbox']}/_sandbox/posthog"
    kept = requests.get(posthog, timeout=30).json()["events"]["phc_sandbox_acme"]
    assert kept == installation.rows(
        "select count(*) from ops.conversion_deliveries "
        "where destination = 'acme-posthog' and sync_status = 'sent'"
    )[0][0] > 100  # fmt: skip

    again = installation.run("-m", "sandbox.demo")
    assert (
        again.split("Loaded")[1].split("The demo took")[0]
        == (said.split("Loaded")[1].split("The demo took")[0])
    )
    assert installation.rows(SPEND) == spend
    assert installation.rows(RAW) == raw


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt-get install chromium")
def test_the_page_shows_the_demos_figures(installation: Installation) -> None:
    """The page shows other figures than SQL, or its pause, resume and retry do nothing."""
    from playwright.sync_api import sync_playwright

    installation.api("PATCH", "dags/upload_conversions", json={"is_paused": True})
    states = dict(installation.rows(
        "select destination || ' ' || sync_status, count(*) "
        "from ops.conversion_deliveries group by 1"
    ))  # fmt: skip
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        tab = browser.new_page(base_url=installation.base)
        tab.set_default_timeout(30_000)
        tab.goto("/tributary/page/")
        tab.fill("input[name=username]", "admin")
        tab.fill("input[name=password]", installation.password)
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/tributary/page/")
        table = tab.get_by_role("table", name="Destinations")
        for name in ("acme-meta", "acme-google", "acme-posthog", "lumen-meta", "lumen-google"):
            row = table.get_by_role("row", name=name)
            row.wait_for()
            cells = [cell.split("\n")[0] for cell in row.get_by_role("cell").all_inner_texts()]
            assert [int(text.replace(",", "")) for text in cells[3:8]] == [
                states.get(f"{name} {state}", 0)
                for state in ("pending", "sent", "failed", "dead", "skipped")
            ], name
        # The pixels of the demo have a website's purchases, and Meta's own score of them.
        own = tab.locator("#lag").get_by_text(re.compile(r"Purchase \d\.\d of 10"))
        own.nth(1).wait_for()
        assert own.count() == 2

        paused = "select count(*) from ops.destinations where paused_until > now()"
        tab.get_by_role("button", name="Pause acme-posthog").click()
        tab.locator("#ask-yes").click()
        tab.get_by_text("acme-posthog is paused").wait_for()
        assert installation.rows(paused) == [(1,)]
        tab.get_by_role("button", name="Resume acme-posthog").click()
        tab.get_by_text("acme-posthog is resumed").wait_for()
        assert installation.rows(paused) == [(0,)]

        assert states["lumen-google dead"] > 0
        tab.get_by_role("button", name="Retry dead deliveries of lumen-google").click()
        tab.locator("#ask-yes").click()
        tab.get_by_text(f"lumen-google: {states['lumen-google dead']} put back").wait_for()
        tab.locator("a[href='#loads']").click()
        tab.locator(".account a.day.reconciled").first.wait_for()
        assert tab.locator(".account").count() == 3
        assert tab.locator(".day.unreconciled").count() == 1  # the legend's
        browser.close()


def test_backfill_from_the_command_line_changes_nothing_and_ends_green(
    installation: Installation,
) -> None:
    """A backfill over loaded days doubles or loses rows, or loads other days than its own."""
    raw = installation.rows(RAW)
    last = installation.rows("select max(date) - 5, max(date) - 2 from ops.loads")[0]
    subprocess.run(
        [
            "airflow", "backfill", "create", "--dag-id", "extract_meta_ads",
            "--from-date", str(last[0]), "--to-date", str(last[1]),
        ],
        cwd=ROOT, env=installation.env, check=True, capture_output=True,
    )  # fmt: skip
    path = "dags/extract_meta_ads/dagRuns"

    def states() -> list[str]:
        runs = installation.api("GET", path, params={"run_type": "backfill"})["dag_runs"]
        return [run["state"] for run in runs]

    wait(lambda: len(states()) == 4 and not {"queued", "running"} & set(states()), 180)
    assert states() == ["success"] * 4
    assert installation.rows(RAW) == raw
    own = installation.rows(
        "select date, count(*), count(distinct run_id) from ops.loads "
        "where run_id like 'backfill%' group by 1 order by 1"
    )
    days = [last[0] + timedelta(days=n) for n in range(4)]
    assert own == [(day, 3, 1) for day in days]


def test_a_run_with_parameters_loads_what_they_say(installation: Installation) -> None:
    """A run with parameters, as the form in the UI posts it, loads other accounts or days."""
    day = installation.rows("select max(date) - 3 from ops.loads")[0][0]
    conf = {
        "accounts": ["1000000003"],
        "since": str(day - timedelta(days=2)),
        "until": str(day),
    }
    path = "dags/extract_meta_ads/dagRuns"
    made = installation.api("POST", path, json={"logical_date": None, "conf": conf})
    run = f"{path}/{made['dag_run_id']}"
    wait(lambda: installation.api("GET", run)["state"] in ("success", "failed"), 120)
    assert installation.api("GET", run)["state"] == "success"
    instances = installation.api("GET", f"{run}/taskInstances")["task_instances"]
    assert {(i["task_id"], i["rendered_map_index"], i["state"]) for i in instances} == {
        ("list_accounts", None, "success"),
        ("load_account", "Lumen Europe", "success"),
        ("announce", None, "success"),
        ("fail_if_any_account_failed", None, "success"),
    }
    loaded = installation.rows(
        f"select account_id, date from ops.loads where run_id = '{made['dag_run_id']}' order by 2"
    )
    assert loaded == [("1000000003", day - timedelta(days=n)) for n in (2, 1, 0)]


NORD = """
brands:
  - slug: nord
    name: Nord
    reporting_currency: USD
    time_zone: UTC
    consent_when_unknown: allow
    destinations:
      # Not due again by the schedule, which would take the sale before the run that is asked for.
      - {name: nord-meta, platform: meta, conn_id: meta_nord, pixel_id: "2000000055",
         sync_interval_minutes: 60}
"""


def test_an_upload_is_triggered_in_airflow_and_at_the_edge(
    installation: Installation, tmp_path: Path
) -> None:
    """A growth team cannot start an upload and read its result, in Airflow or with an API key."""
    secrets = json.loads((Path(installation.env["TRIBUTARY_HOME"]) / "local.json").read_text())
    sandbox, token = (
        f"http://127.0.0.1:{secrets['port_sandbox']}",
        "a-token-for-the-nord-0123456789",
    )
    seen = {"token": token, "accounts": ["1000000001"], "pixels": ["2000000055"]}
    assert requests.post(f"{sandbox}/_sandbox/tokens", json=seen, timeout=30).ok
    (tmp_path / "nord.yaml").write_text(NORD)
    installation.run("-m", "tributary", "configure", str(tmp_path / "nord.yaml"))
    held = {"connection_id": "meta_nord", "conn_type": "meta", "host": sandbox, "password": token}
    installation.api("POST", "connections", json=held)
    installation.api("PATCH", "dags/upload_conversions", json={"is_paused": True})
    login = {"username": "admin", "password": installation.password}
    jwt = requests.post(f"{installation.base}/auth/token", json=login, timeout=30).json()[
        "access_token"
    ]

    def ask(url: str, bearer: str | None, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return requests.request(method, url + path, headers=headers, timeout=320, **more)

    inside = f"{installation.base}/tributary/api"
    sale = {"brand": "nord", "event_name": "Purchase", "value": 5, "currency": "USD",
            "email": "jane@example.com"}  # fmt: skip
    assert ask(inside, None, "POST", "/conversions/sync").status_code == 401
    wanted = "/conversions/sync?brand_id=nord"
    assert ask(inside, jwt, "POST", wanted).status_code == 409  # the DAG is paused
    installation.api("PATCH", "dags/upload_conversions", json={"is_paused": False})

    def runs() -> list[str]:
        found = installation.api("GET", "dags/upload_conversions/dagRuns")["dag_runs"]
        return [run["state"] for run in found]

    # From here on nord-meta was synced, and no run of the schedule that takes it is under way.
    assert ask(inside, jwt, "POST", f"{wanted}&wait=true").status_code == 200
    wait(lambda: not {"queued", "running"} & set(runs()), 120)
    assert ask(inside, jwt, "POST", "/conversions", json=sale).status_code == 201
    done = ask(inside, jwt, "POST", f"{wanted}&wait=true")
    assert done.status_code == 200, done.text
    one = installation.rows("select id::text, name from ops.brands where slug = 'nord'")[0]
    assert done.json() == {
        "message": "1 of 1 conversions were taken.",
        "summary": {"total_processed": 1, "total_success": 1, "total_failure": 0},
        "results": [{"brand_id": one[0], "brand_name": one[1], "events_processed": 1,
                     "success_count": 1, "failure_count": 0, "errors": []}],
    }  # fmt: skip
    rows = ask(inside, jwt, "GET", "/conversions?brand=nord").json()["data"]
    assert [row["deliveries"][0]["sync_status"] for row in rows] == ["sent"]

    installation.api("PATCH", "connections/meta_nord", json={**held, "password": "a-dead-token"})
    assert ask(inside, jwt, "POST", "/conversions", json={**sale, "value": 6}).status_code == 201
    red = ask(inside, jwt, "POST", f"{wanted}&wait=true").json()
    assert "is red" in red["message"]
    (error,) = red["results"][0]["errors"]
    assert error.startswith("nord-meta: held: Meta refuses the access token")
    assert "a-dead-token" not in str(red)

    key = installation.run("-m", "tributary", "api-keys", "create", "--brand", "nord").strip()
    port = _free_port()
    env = {
        **installation.env,
        "TRIBUTARY_AIRFLOW_URL": installation.base,
        "TRIBUTARY_AIRFLOW_TOKEN": jwt,
    }
    edge = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "tributary.api.edge:app", "--port", str(port)],
        cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    outside = f"http://127.0.0.1:{port}"

    def up() -> bool:
        try:
            return requests.get(f"{outside}/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        wait(up, 60)
        run = ask(outside, key, "POST", "/conversions/sync")
        assert run.status_code == 202, run.text
        path = f"dags/upload_conversions/dagRuns/{run.json()['dag_run_id']}"
        assert installation.api("GET", path)["conf"] == {"brand": "nord"}
        wait(lambda: installation.api("GET", path)["state"] == "success", 120)
        assert ask(outside, jwt, "GET", "/conversions").status_code == 401
        assert ask(inside, key, "GET", "/conversions").status_code == 401
        listed = installation.run("-m", "tributary", "api-keys", "list")
        assert key.split("_")[1] in listed
        assert key.split("_", 2)[2] not in listed
        installation.run("-m", "tributary", "api-keys", "revoke", key.split("_")[1])
        assert ask(outside, key, "GET", "/conversions").status_code == 401
        assert "0 accepted" in installation.run("-m", "tributary", "webhooks", "replay")
    finally:
        edge.terminate()
        edge.wait()
        installation.api("PATCH", "dags/upload_conversions", json={"is_paused": True})


def test_up_brings_back_what_died_with_the_database(installation: Installation) -> None:
    """`make up` ends green while no scheduler runs, or while an orphan's scheduler runs beside the
    new one.
    """
    home, raw = Path(installation.env["TRIBUTARY_HOME"]), installation.rows(RAW)
    leader = psutil.Process(json.loads((home / "airflow.pid").read_text())[0])
    api_server = next(one for one in leader.children() if "api_server" in one.name())
    others = [one for one in leader.children() if one != api_server]
    assert len(others) == 3
    psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0])).kill()

    def gone(one: psutil.Process) -> bool:
        return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE

    wait(lambda: all(map(gone, others)), 60)
    leader.kill()  # and its API server, which has survived, is an orphan
    assert not gone(api_server)

    installation.run("-m", "tributary", "up")
    assert gone(api_server)
    health = requests.get(f"{installation.base}/api/v2/monitor/health", timeout=30).json()
    assert {part: health[part]["status"] for part in health} == dict.fromkeys(
        ("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy"
    )
    leader = psutil.Process(json.loads((home / "airflow.pid").read_text())[0])
    assert [gone(one) for one in leader.children()] == [False] * 4
    assert installation.rows(RAW) == raw
