"""The page as people use it: Airflow's own UI in a headless Chromium, with keys and a mouse."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tributary import warehouse as wh
from tributary.deliver import brands, intake
from tributary.settings.apply import apply
from tributary.settings.read import check
from tributary.warehouse.ad_accounts import pause, record_sync

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHROMIUM, reason="no Chromium on this machine: apt-get install chromium"
    ),
]
BRANDS = [
    {
        "slug": slug,
        "name": slug.title(),
        "reporting_currency": "USD",
        "time_zone": "UTC",
        "consent_when_unknown": "allow",
        "managed_by": "api" if slug == "lumen" else "file",
        "ad_accounts": [{"platform": "meta", "account_id": account, "conn_id": "m", "name": slug}],
        "destinations": [
            {
                "name": f"{slug}-meta",
                "platform": "meta",
                "conn_id": "m",
                "pixel_id": account,
                "send_from": "2020-01-01T00:00:00Z",
            }
        ],
    }
    for slug, account in (("acme", "1000000009"), ("lumen", "1000000010"))
]
SPREAD = """
update ops.conversion_deliveries as d set
    sync_status = case e.n % 10 when 1 then 'dead' when 2 then 'failed' when 3 then 'pending'
        when 4 then 'dead' else 'sent' end,
    outcome = case e.n % 10 when 1 then '100/2804009' when 2 then 'http_502' when 3 then null
        when 4 then 'outcome_unknown' else 'accepted' end,
    synced_at = case when e.n % 10 in (0, 5, 6, 7, 8, 9) then now() - interval '1 hour' * (e.n % 40)
        end,
    updated_at = now() - interval '1 hour' * (e.n % 40)
from (
    select id, row_number() over (order by event_id, brand_id) as n from ops.conversion_events
) as e where e.id = d.event
"""
PAUSED = "select count(*) from ops.ad_accounts where paused_until > now()"
LOADS = """
insert into ops.loads
select '1000000009', 'ad_insights', day::date, 3, 12.5, 7, 12.5, 7,
    case when day::date = current_date - 9 then 'unreconciled'
        when day::date = current_date then 'loaded' else 'reconciled' end, %s, 0, now(), now()
from generate_series(current_date - 40, current_date, interval '1 day') as day
where day::date <> current_date - 5
"""


@pytest.fixture(scope="module")
def address(api_server: str, module_warehouse: str) -> Iterator[str]:
    """Airflow's URL; its connection `warehouse` is a ledger in every state."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    before = os.environ["AIRFLOW_CONN_WAREHOUSE"]
    os.environ["AIRFLOW_CONN_WAREHOUSE"] = module_warehouse
    run = trigger_dag("extract_meta_ads", triggered_by=DagRunTriggeredByType.TEST)
    assert run is not None
    now = datetime.now(UTC)
    with wh.connect(module_warehouse, autocommit=True) as connection:
        apply(connection, check({"brands": BRANDS}))
        for brand in brands.load(connection).values():
            events = [
                {
                    "event_name": "Lead", "event_id": f"{brand.slug}-{n}", "action_source": "email",
                    "event_time": now - timedelta(hours=n % 40 + 1), "email": f"p{n}@example.com",
                }
                for n in range(60)
            ]  # fmt: skip
            intake.take(connection, brand, events, source="test", now=now)
        connection.execute(SPREAD)
        connection.execute(LOADS, [run.run_id])
    yield api_server
    os.environ["AIRFLOW_CONN_WAREHOUSE"] = before


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A tab of somebody who is logged in; `role`, `width` and `theme` are parameters."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    change = {"role": "admin", "width": 1280, "theme": "light", **getattr(request, "param", {})}
    user = SimpleAuthManagerUser(username="olga", role=change["role"])
    context = chromium.new_context(
        viewport={"width": change["width"], "height": 900},
        color_scheme=change["theme"],
        base_url=address,
    )
    token = get_auth_manager().generate_jwt(user)
    context.add_cookies([{"name": "_token", "value": token, "url": address}])
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.asked, page.wrong = [], []
    page.on("request", lambda asked: page.asked.append(asked.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    yield page
    assert page.wrong == []
    # Nothing comes from a network.
    assert [url for url in page.asked if not url.startswith((address, "data:", "blob:"))] == []
    context.close()


def one(uri_of: str, statement: str) -> Any:
    with psycopg.connect(os.environ[uri_of]) as connection:
        row = connection.execute(statement).fetchone()
        return row and row[0]


def count(where: str) -> int:
    return int(one(
        "AIRFLOW_CONN_WAREHOUSE", f"select count(*) from ops.conversion_deliveries where {where}"
    ))  # fmt: skip


def open_page(tab: Any, view: str = "conversions") -> Any:
    tab.goto(f"/tributary/page/#{view}")
    tab.locator("#totals dd" if view == "conversions" else ".account").first.wait_for()
    return tab


def test_login_leads_to_figures_that_equal_the_ledgers(chromium: Any, address: str) -> None:
    """The page would be open to strangers, absent from the navigation, or wrong."""
    passwords = Path(os.environ["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
    context = chromium.new_context(base_url=address)
    tab = context.new_page()
    tab.goto("/tributary/page/")
    tab.fill("input[name=username]", "admin")
    tab.fill("input[name=password]", json.loads(passwords.read_text())["admin"])
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/tributary/page/")
    tab.goto("/")
    tab.get_by_role("link", name="Tributary").click()
    frame = tab.frame_locator("iframe")
    frame.locator("#totals dd").first.wait_for()
    waiting = count("sync_status in ('pending', 'queued')")
    dead = count("sync_status = 'dead'")
    recent = count(
        "sync_status = 'sent' and synced_at >= date_trunc('hour', now()) - interval '47 h'"
    )
    shown = frame.locator("#totals dd").all_inner_texts()
    assert [int(text) for text in shown[:4]] == [
        recent, waiting, count("sync_status = 'failed'"), dead,
    ]  # fmt: skip
    row = frame.get_by_role("row", name="acme-meta").first
    cells = [cell.split("\n")[0] for cell in row.get_by_role("cell").all_inner_texts()]
    assert [int(text) for text in cells[3:8]] == [
        count(f"destination = 'acme-meta' and sync_status = '{state}'")
        for state in ("pending", "sent", "failed", "dead", "skipped")
    ]
    label = frame.locator("#chart svg").get_attribute("aria-label") or ""
    assert f"sent {recent}" in label
    # The theme is Airflow's own, also while it is switched.
    tab.evaluate("document.documentElement.classList.replace('light', 'dark')")
    frame.locator("html[data-theme=dark]").wait_for()
    # From within the frame a run opens in Airflow itself.
    frame.get_by_role("link", name="Loads").click()
    frame.locator("a.day").last.click()
    tab.wait_for_url("**/dags/extract_meta_ads/runs/**")
    context.close()


def test_a_person_pauses_resumes_and_retries_with_the_keyboard(tab: Any) -> None:
    """A button would not be reachable, or would not do what it says."""
    open_page(tab)
    tab.get_by_role("button", name="Pause acme-meta").focus()
    tab.keyboard.press("Enter")
    tab.get_by_label("Reason").wait_for()
    tab.keyboard.type("a new pixel")
    tab.keyboard.press("Enter")
    tab.get_by_text("olga paused it: a new pixel.").wait_for()
    paused = "select paused_until = 'infinity' from ops.destinations where name = 'acme-meta'"
    assert one("AIRFLOW_CONN_WAREHOUSE", paused) is True
    assert tab.get_by_role("button", name="Sync now: acme-meta").is_disabled()
    tab.get_by_role("button", name="Resume acme-meta").focus()
    tab.keyboard.press("Space")
    tab.get_by_text("acme-meta is resumed").wait_for()
    assert one("AIRFLOW_CONN_WAREHOUSE", paused) is None

    mine = "destination = 'lumen-meta' and sync_status = 'dead'"
    dead = count(mine)
    unknown = count(f"{mine} and outcome = 'outcome_unknown'")
    tab.get_by_role("button", name="Retry dead deliveries of lumen-meta").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Escape")  # a second thought
    assert count(mine) == dead > unknown > 0
    tab.get_by_role("button", name="Retry dead deliveries of lumen-meta").click()
    tab.locator("#ask-yes").click()
    tab.get_by_text(f"lumen-meta: {dead - unknown} put back").wait_for()
    assert count(mine) == unknown
    # What may count twice is asked for by name, and says so.
    tab.get_by_role("button", name="Retry outcome_unknown of lumen-meta").click()
    tab.get_by_text("If it has, they count twice.").wait_for()
    tab.get_by_role("button", name="Cancel").click()
    assert count(mine) == unknown

    tab.get_by_role("button", name="Sync now: lumen-meta").click()
    tab.get_by_role("link", name="Open the run").click()
    tab.wait_for_url("**/dags/upload_conversions/runs/manual__**")


def test_a_person_changes_settings_that_are_the_apis(tab: Any) -> None:
    """Settings could not be changed here, or a mistake would cost all that was
    typed.
    """
    open_page(tab)
    assert tab.get_by_role("button", name="Settings of acme-meta").count() == 0  # the file's
    tab.get_by_role("button", name="Settings of lumen-meta").focus()
    tab.keyboard.press("Enter")
    area = tab.get_by_label("Settings (JSON)")
    assert json.loads(area.input_value())["batch_size"] == 1000
    for typed, shown_texts in (
        ('{"batch_size": ', "This is no JSON"),
        ('{"batch_size": 0}', "batch_size"),
    ):
        area.fill(typed)
        tab.get_by_role("button", name="Save").click()
        tab.locator("#ask-text").get_by_text(shown_texts).wait_for()
        assert area.input_value() == typed
    tab.wrong.clear()  # the browser notes the refusal
    area.fill('{"batch_size": 70}')
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("The settings of lumen-meta are changed").wait_for()
    size = "select settings ->> 'batch_size' from ops.destinations where name = 'lumen-meta'"
    assert one("AIRFLOW_CONN_WAREHOUSE", size) == "70"


@pytest.mark.parametrize("tab", [{"role": "viewer"}], indirect=True)
def test_a_viewer_has_no_buttons(tab: Any) -> None:
    """A viewer would press buttons that fail."""
    open_page(tab)
    tab.get_by_text("the buttons need a role that may change DAGs").wait_for()
    buttons = tab.locator("#destinations button, #errors button").all()
    assert len(buttons) > 6
    assert all(button.is_disabled() for button in buttons)


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (color) => color.map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
    return "white";
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!text || !element.checkVisibility() || element.disabled) continue;
    const style = getComputedStyle(element), under = ground(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(rgb(ink, under)), light(rgb(under, "white"))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize(
    "tab",
    [{"width": width, "theme": theme} for width in (375, 1280) for theme in ("light", "dark")],
    indirect=True,
)
@pytest.mark.parametrize("view", ["conversions", "loads"])
def test_it_can_be_read_on_every_screen(tab: Any, view: str) -> None:
    """Something would lie beyond the edge of a phone, or be grey on grey."""
    open_page(tab, view)
    if view == "conversions":  # Meta cannot be asked here, and that is said
        tab.locator("#lag").get_by_text("The Airflow connection 'm'").first.wait_for()
    assert tab.evaluate("scrollY") == 0  # the head with its links is in sight
    wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    assert tab.evaluate(CONTRAST) == []


def test_the_calendar_shows_what_is_missing(tab: Any) -> None:
    """A day without data would look like a day without spend."""
    open_page(tab, "loads")
    days = tab.locator(".account").first.locator(".day")
    kinds = [
        (text or "").split()[1] for text in days.evaluate_all("all => all.map(e => e.className)")
    ]
    assert (kinds.count("unreconciled"), kinds.count("missing"), kinds.count("open")) == (1, 1, 1)
    assert kinds.count("reconciled") == len(kinds) - 3 == 38
    assert "41" not in tab.locator(".account .quiet").first.inner_text()
    tab.get_by_text("Nothing is loaded yet").wait_for()  # the other account
    days.last.focus()
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowRight")
    focused = tab.evaluate("document.activeElement.getAttribute('aria-label')")
    day = one("AIRFLOW_CONN_WAREHOUSE", "select (current_date - 6)::text")
    assert focused.startswith(f"{day}: reconciled; 3 rows, spend 12.5")
    tab.get_by_label("Brand").select_option("lumen")
    assert tab.locator(".account").count() == 1


def test_what_fails_says_so_and_a_person_resumes_an_account(tab: Any) -> None:
    """All is green while the token is refused, the connection gone, the account
    blocked.
    """
    uri = os.environ["AIRFLOW_CONN_WAREHOUSE"]
    with wh.connect(uri, autocommit=True) as connection:
        pause(connection, "meta", "1000000010", None, "Meta blocks it for policy.")
        record_sync(
            connection,
            "meta",
            "1000000009",
            "failed: MetaTokenRefused: The token is refused.",
            None,
        )
        connection.execute(
            "update ops.destinations set last_sync_at = now(), "
            "last_sync_status = 'held: the token is refused'"
        )
    os.environ["AIRFLOW_CONN_M"] = json.dumps({"conn_type": "meta", "password": "a-token"})
    try:
        open_page(tab)
        row = tab.get_by_role("table", name="Destinations").get_by_role("row", name="acme-meta")
        row.get_by_text("failing").wait_for()
        assert "held: the token is refused" in row.inner_text()
        del os.environ["AIRFLOW_CONN_M"]
        tab.get_by_role("button", name="Refresh").click()
        row.get_by_text("no connection").wait_for()
        shown_texts = tab.locator("#problems").inner_text()
        assert "'m' (for ad account acme, ad account lumen, destination acme-meta" in shown_texts

        open_page(tab, "loads")
        acme, lumen = tab.locator(".account").all()
        acme.get_by_text("The last load, ").wait_for()
        assert "failed: The token is refused." in acme.inner_text()
        assert "until it is resumed: Meta blocks it for policy." in lumen.inner_text()
        tab.get_by_role("button", name="Resume lumen").click()
        tab.get_by_text("1000000010 is resumed; the next run loads it.").wait_for()
        tab.get_by_role("button", name="Resume lumen").wait_for(state="detached")
        assert one("AIRFLOW_CONN_WAREHOUSE", PAUSED) == 0
        assert tab.evaluate(CONTRAST) == []
    finally:
        os.environ.pop("AIRFLOW_CONN_M", None)


def test_airflows_own_page_is_not_taken_for_figures(tab: Any) -> None:
    """With a plugin that is not loaded the page breaks, or shows old figures as new
    ones.
    """
    open_page(tab)
    html = "<!doctype html><title>Airflow</title>"
    tab.route("**/api/overview", lambda asked: asked.fulfill(body=html, content_type="text/html"))
    tab.get_by_role("button", name="Refresh").click()
    tab.get_by_text("Airflow answers without Tributary's plugin").wait_for()


def test_the_calendar_follows_what_is_loaded(tab: Any) -> None:
    """Days that were loaded a minute ago stay missing until somebody reloads the
    page.
    """
    tab.clock.install()
    open_page(tab, "loads")
    with tab.expect_response("**/api/loads?days=92"):
        tab.clock.run_for(61_000)
