"""`make demo`: ads in, conversions back, marts out, through a real Airflow, as tables."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import requests
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from tributary import config, warehouse
from tributary.errors import TributaryError
from tributary.local import home, services
from tributary.settings.apply import apply
from tributary.settings.read import check

from sandbox.app_data import fill_app
from sandbox.attribution_demo import print_attribution
from sandbox.world import World

# Figures must not be cut off where the output is a file or a narrow window.
console = Console(highlight=False, width=max(140, Console().width))


def main() -> None:
    """Run the demo; exits with 1 and a sentence when anything in it fails."""
    began = time.monotonic()
    try:
        _run()
    except TributaryError as error:
        console.print(f"[red]The demo failed:[/red] {error}", soft_wrap=True)
        raise SystemExit(1) from None
    console.print(f"\nThe demo took {time.monotonic() - began:.0f} s.")


def _run() -> None:
    home.refuse_a_shells_airflow()
    console.print("Setting up Postgres and Airflow's metadata …")
    variables = services.ready()
    uri = variables["TRIBUTARY_WAREHOUSE"]
    sandbox = services.start_sandbox(variables)
    world = World(date.fromisoformat(config.remembered("sandbox_start", lambda: "")))
    with warehouse.connect(uri, autocommit=True) as connection:
        _refuse_foreign_data(connection)
        wanted = yaml.safe_load(Path(__file__).with_name("demo.yaml").read_text())
        _send_elsewhere_from(wanted, world.start + timedelta(days=99))
        apply(connection, check(wanted))
        counts = fill_app(connection, world, datetime.now(UTC))
    console.print(
        "Configured 2 brands with 3 ad accounts and 5 destinations; the sandbox filled "
        + ", ".join(f"app.{name} ({count:,})" for name, count in counts.items())
    )
    services.import_connections(
        variables,
        {
            "meta_acme": {
                "conn_type": "meta",
                "password": "sandbox-token-acme",
                "host": sandbox,
            },
            "meta_lumen": {
                "conn_type": "meta",
                "password": "sandbox-token-lumen",
                "host": sandbox,
                "extra": {"app_id": "1", "app_secret": "sandbox-app-secret"},
            },
            "google_acme": {"conn_type": "google_data_manager", "host": sandbox},
            "google_lumen": {"conn_type": "google_ads", "host": services.ads_url()},
            "posthog_acme": {
                "conn_type": "posthog",
                "password": "phc_sandbox_acme",
                "host": sandbox,
            },
        },
    )
    _prepare_google(uri, sandbox)
    console.print("Starting Airflow …")
    was_up = services.process("airflow") is not None
    variables = services.start_airflow(variables)
    try:
        airflow = _Airflow(variables)
        upload = airflow.upload()
        began = airflow.extract(since=world.start)
        airflow.wait("upload_conversions", upload)
        _let_half_an_hour_pass(uri)
        airflow.wait("confirm_conversions", airflow.confirm())
        airflow.wait("extract_meta_ads", began.run_id)
        airflow.wait_for_marts(after=began.at)
    finally:
        if not was_up:
            services.stop("airflow")
    with warehouse.connect(uri) as connection:
        _print_result(connection)
        _print_deliveries(connection, sandbox)
        print_attribution(connection)
    console.print("\n`make up` opens the Airflow UI:")
    console.print(f"  {variables['AIRFLOW__API__BASE_URL']}  user admin, password ", end="")
    console.print(services.password(variables), markup=False)
    console.print(
        "Later days are loaded by the next scheduled run of extract_meta_ads (midnight UTC), or at "
        "once by Trigger."
    )
    console.print('Query it:  eval "$(make -s env)" && psql "$TRIBUTARY_WAREHOUSE"')


def _refuse_foreign_data(connection: warehouse.Connection) -> None:
    """The demo writes into `app`: never where a company's own transactions may be."""
    kind = connection.execute(
        "select relkind from pg_class where oid = 'app.transactions'::regclass"
    ).fetchone()
    foreign = connection.execute(
        "select 1 from app.transactions where brand_slug not in ('acme', 'lumen') limit 1"
    ).fetchone()
    if kind is None or kind["relkind"] != "r" or foreign is not None:
        raise TributaryError(
            "this warehouse has transactions of its own in `app`, which the demo would replace; "
            "unset TRIBUTARY_WAREHOUSE to run it on the embedded one"
        )


class _Began(NamedTuple):
    """A run, and when it was started (ISO 8601)."""

    run_id: str
    at: str


class _Airflow:
    """Airflow's REST API, as far as the demo needs it."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._base = variables["AIRFLOW__API__BASE_URL"]
        self._http = requests.Session()
        token = self._http.post(
            f"{self._base}/auth/token",
            json={"username": "admin", "password": services.password(variables)},
            timeout=30,
        )
        token.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def _call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        url = f"{self._base}/api/v2/{path}"
        return self._http.request(method, url, timeout=60, **arguments)

    def upload(self) -> str:
        """Start `upload_conversions` for all destinations; returns the run's id."""
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        quarter = now - timedelta(minutes=now.minute % 15)
        return self._run("upload_conversions", quarter - timedelta(minutes=15), quarter, {}).run_id

    def confirm(self) -> str:
        """Start `confirm_conversions`; returns the run's id."""
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        half = now - timedelta(minutes=now.minute % 30)
        return self._run("confirm_conversions", half - timedelta(minutes=30), half, {}).run_id

    def extract(self, since: date) -> _Began:
        """Start `extract_meta_ads` from `since`."""
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        # A day that has ended in every time zone, whatever the hour: a repetition shows the same.
        until = day.date() - timedelta(days=2)
        conf = {"since": since.isoformat(), "until": until.isoformat()}
        began = self._run("extract_meta_ads", day - timedelta(days=1), day, conf)
        self._call("PATCH", "dags/build_marts", json={"is_paused": False}).raise_for_status()
        return began

    def _run(self, dag: str, start: datetime, end: datetime, conf: dict[str, str]) -> _Began:
        """Start a DAG; as the run that its schedule would make at once, so that there is no second.

        A repetition within that interval gets a run without an interval.
        """
        services.wait_until(
            lambda: all(self._call("GET", f"dags/{one}").ok for one in _DAGS),
            120,
            "Airflow does not find the DAGs.",
        )
        interval = {
            "logical_date": start.isoformat(),
            "data_interval_start": start.isoformat(),
            "data_interval_end": end.isoformat(),
        }
        began = datetime.now(UTC).isoformat()
        made = self._call("POST", f"dags/{dag}/dagRuns", json={**interval, "conf": conf})
        if made.status_code == 409:
            again = {"logical_date": None, "conf": conf}
            made = self._call("POST", f"dags/{dag}/dagRuns", json=again)
        made.raise_for_status()
        self._call("PATCH", f"dags/{dag}", json={"is_paused": False}).raise_for_status()
        return _Began(made.json()["dag_run_id"], began)

    def wait_for_marts(self, after: str) -> None:
        """Wait for the run of `build_marts` that the loaded asset has triggered."""
        query = {"run_type": "asset_triggered", "run_after_gte": after, "order_by": "-run_after"}
        found: list[str] = []

        def triggered() -> bool:
            runs = self._call("GET", "dags/build_marts/dagRuns", params=query).json()["dag_runs"]
            found[:] = [run["dag_run_id"] for run in runs]
            return bool(found)

        services.wait_until(triggered, 120, "The loaded asset did not trigger build_marts.")
        self.wait("build_marts", found[0])

    def wait(self, dag: str, run: str) -> None:
        """Wait for the end of a run, telling each task that ends."""
        states: dict[str, str] = {}
        for _ in range(600):
            answer = self._call(
                "GET", f"dags/{dag}/dagRuns/{run}/taskInstances", params={"limit": 100}
            )
            for instance in answer.json()["task_instances"]:
                label = instance["task_id"] + (
                    f" [{instance['rendered_map_index'] or instance['map_index']}]"
                    if instance["map_index"] >= 0
                    else ""
                )
                state = instance["state"] or "waiting"
                if states.get(label) != state and state in ("success", "failed", "up_for_retry"):
                    console.print(f"  {dag}: {label} {state}", markup=False)
                states[label] = state
            ended = self._call("GET", f"dags/{dag}/dagRuns/{run}").json()["state"]
            if ended == "success":
                return
            if ended == "failed":
                raise TributaryError(
                    f"the run {run} of {dag} failed; its logs lie below "
                    f"{config.home()}/airflow/logs/dag_id={dag}"
                )
            time.sleep(0.5)
        raise TributaryError(f"the run {run} of {dag} does not end")


_DAGS = ("upload_conversions", "confirm_conversions", "extract_meta_ads", "build_marts")


def _send_elsewhere_from(wanted: dict[str, Any], day: date) -> None:
    """Three weeks of conversions show all there is; more would use up a minute of Google's."""
    for brand in wanted["brands"]:
        for destination in brand["destinations"]:
            if destination["platform"] != "meta":
                destination["send_from"] = f"{day}T00:00:00Z"


def _prepare_google(uri: str, sandbox: str) -> None:
    """What happens to conversions in reality: a tag was quicker with one, another is refused.

    Data Manager, which takes half an hour, reports their outcome at once.
    """
    with warehouse.connect(uri) as connection:
        orders = connection.execute(
            "select transaction_id, amount::float as value, currency from app.transactions "
            "as t inner join app.profiles as p using (brand_slug, profile_id) "
            "where t.brand_slug = 'lumen' "
            "and status = 'completed' and p.consent_ad_user_data and p.email is not null "
            "order by transacted_at desc limit 40"
        ).fetchall()
    # Several of each: some of them have nothing by which Google could know the person.
    for order in orders[:10]:
        body = {"action": "52", "order_id": order["transaction_id"], "value": order["value"],
                "currency": order["currency"]}  # fmt: skip
        requests.post(f"{sandbox}/_sandbox/google/tag", json=body, timeout=60)
    refused = "conversion_upload_error.CONVERSION_PRECEDES_EVENT"
    body = {
        "processing_seconds": 0,
        "refuse": {order["transaction_id"]: refused for order in orders[10:20]},
    }
    requests.post(f"{sandbox}/_sandbox/google", json=body, timeout=60).raise_for_status()


def _let_half_an_hour_pass(uri: str) -> None:
    """Make the outcome of Data Manager's requests due, which it gives after half an hour."""
    with warehouse.connect(uri, autocommit=True) as connection:
        connection.execute(
            "update ops.upload_batches set poll_at = now() where poll_at is not null"
        )


def _print_result(connection: warehouse.Connection) -> None:
    loads = _table(
        "Loaded",
        ("brand", "ad account", "first day", "last day"),
        ("rows", "days", "reconciled", "unreconciled", "open"),
    )
    for row in connection.execute(
        "select b.name as brand, a.settings ->> 'name' as account, min(l.date)::text as first, "
        "max(l.date)::text as last, sum(l.rows) as rows, count(*) as days, "
        "count(*) filter (where l.status = 'reconciled') as reconciled, "
        "count(*) filter (where l.status = 'unreconciled') as unreconciled, "
        "count(*) filter (where l.status = 'loaded') as open "
        "from ops.loads as l inner join ops.ad_accounts as a on a.account_id = l.account_id "
        "inner join ops.brands as b on b.id = a.brand_id group by 1, 2 order by 1, 2"
    ):
        loads.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    console.print()
    console.print(loads)

    spend = _table(
        "Spend of the last 7 days by brand and campaign",
        ("brand", "campaign", "currency"),
        ("spend", "impressions", "clicks", "purchases (Meta)"),
    )
    for row in connection.execute(
        "select b.name as brand, c.name as campaign, s.currency, sum(s.spend) as spend, "
        "sum(s.impressions) as impressions, sum(s.clicks) as clicks, "
        "sum(s.platform_purchases) as purchases from marts.ad_spend as s "
        "inner join marts.ad_campaigns as c on c.id = s.campaign_id "
        "inner join ops.ad_accounts as a on a.platform = 'meta' and a.account_id = s.account_id "
        "inner join ops.brands as b on b.id = a.brand_id "
        "where s.date > (select max(date) from marts.ad_spend) - 7 "
        "group by 1, 2, 3 order by 1, 3, 4 desc"
    ):
        spend.add_row(
            row["brand"], row["campaign"], row["currency"], f"{row['spend']:,.2f}",
            f"{row['impressions']:,}", f"{row['clicks']:,}", f"{row['purchases'] or 0:,.0f}",
        )  # fmt: skip
    console.print()
    console.print(spend)

    proof = connection.execute(_PROOF).fetchone()
    assert proof is not None
    console.print(
        f"\n{proof['account_days']:,} account-days: the sums of marts.ad_spend, "
        "raw.meta_ad_insights and raw.meta_account_insights "
        + (
            "agree to the cent on every one."
            if proof["differing"] == 0
            else f"differ on {proof['differing']}."
        )
    )
    if proof["differing"]:
        raise TributaryError("sums differ between raw and marts")


def _print_deliveries(connection: warehouse.Connection, sandbox: str) -> None:
    table = _table(
        "Conversions by brand and destination: every event is in exactly one state",
        ("brand", "destination", "status", "outcome"),
        ("deliveries", "first event", "last event"),
    )
    for row in connection.execute(
        "select b.name as brand, d.destination, d.sync_status, coalesce(d.outcome, '') as outcome, "
        "count(*) as deliveries, min(e.event_time)::date::text as first, "
        "max(e.event_time)::date::text as last from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event "
        "inner join ops.brands as b on b.id = e.brand_id group by 1, 2, 3, 4 order by 1, 2, 3, 4"
    ):
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    console.print()
    console.print(table)
    twice, counted = 0, 0
    for row in connection.execute(
        "select settings ->> 'pixel_id' as pixel from ops.destinations where platform = 'meta'"
    ):
        url = f"{sandbox}/_sandbox/events/ledger?pixel={row['pixel']}"
        ledger = requests.get(url, timeout=60).json()["ledger"]
        counted += len(ledger)
        twice += sum(number > 1 for _, _, number, _ in ledger)
    console.print(
        f"\nThe sandbox's own ledger holds {counted:,} events of Meta's pixels; "
        f"{twice or 'none'} of them {'is' if twice < 2 else 'are'} counted twice."
    )
    if twice:
        raise TributaryError("events were counted twice")


def _table(title: str, words: tuple[str, ...], figures: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


_PROOF = """
with marts as (
    select account_id, date, sum(spend) as spend, sum(impressions) as impressions
    from marts.ad_spend group by 1, 2
), ads as (
    select account_id, date, sum((payload ->> 'spend')::numeric) as spend,
        sum((payload ->> 'impressions')::bigint) as impressions
    from raw.meta_ad_insights group by 1, 2
), accounts as (
    select account_id, date, (payload ->> 'spend')::numeric as spend,
        (payload ->> 'impressions')::bigint as impressions
    from raw.meta_account_insights
)
select count(*) as account_days, count(*) filter (
    where (marts.spend, marts.impressions) is distinct from (ads.spend, ads.impressions)
    or (ads.spend, ads.impressions) is distinct from (accounts.spend, accounts.impressions)
) as differing
from marts full join ads using (account_id, date) full join accounts using (account_id, date)
"""


if __name__ == "__main__":
    main()
