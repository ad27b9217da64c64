"""What `dbt build` costs, and whether an hourly build costs the same as the history grows.

For each length of history: a fresh database of its own embedded Postgres is filled, built
for the first time, then several times after a simulated daily load (the newest days are read
anew, some of their rows differ), and last computed in full, which must change nothing. Seconds of
processors decide: they do not depend on what else the machine does.

    python -m bench.dbt_build                          # 5,000 ads, 61 and 730 days
    python -m bench.dbt_build --ads 500 --days 61 365  # smaller
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

import psutil
from tributary import config, dbt_run
from tributary.local import embedded
from tributary.warehouse import Connection, connect
from tributary.warehouse.load import META, ensure_partitions

from bench import fresh_warehouse

ACCOUNTS = 4  # the last one in EUR, the others in USD, the brand's reporting currency
TODAY = datetime.now(UTC).date()
# For so many days after its end a day is read again each day, and reads a little different.
READ_AGAIN = 28
MARTS = ("ad_spend", "ad_restatements", "ad_campaigns", "ad_adsets", "ad_ads")
GROWTH = 1.3


class Took(NamedTuple):
    """A build: seconds by the clock and of all processors, and by the clock those of each node."""

    clock: float
    processors: float
    nodes: dict[str, float]


@dataclass
class Figures:
    """What was measured with one length of history."""

    days: int
    rows: int
    first: Took
    hourly: list[Took] = field(default_factory=list)
    recompute: Took | None = None
    differing: list[str] = field(default_factory=list)


def main() -> int:
    """Measure and print. Exits 1 when a recomputation changes something or the goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--ads", type=int, default=5000, help="ads, each with a row a day")
    parser.add_argument("--days", type=int, nargs="+", default=[61, 730], help="histories to try")
    parser.add_argument("--reloaded", type=int, default=29, help="newest days that a load replaces")
    parser.add_argument(
        "--changed", type=float, default=0.02, help="share of their rows it changes"
    )
    parser.add_argument("--repeat", type=int, default=3, help="daily loads and builds")
    parser.add_argument("--slowest", type=int, default=0, help="also list so many slowest nodes")
    options = parser.parse_args()
    with server():
        measured = [_measure(days, options) for days in sorted(options.days)]
    return _report(measured, options)


@contextmanager
def server() -> Iterator[None]:
    """An embedded Postgres in its own home; both are gone afterwards."""
    directory = tempfile.mkdtemp(prefix="tributary-bench-")
    os.environ["TRIBUTARY_HOME"] = directory
    try:
        embedded.start()
        yield
    finally:
        embedded.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _measure(days: int, options: argparse.Namespace) -> Figures:
    uri = fresh_warehouse(f"bench_{days}")
    newest = TODAY - timedelta(days=1)
    with connect(uri, autocommit=True) as connection:
        generate(connection, options.ads, days, newest)
        rows = count(connection, "raw.meta_ad_insights")
        say(f"{days} days: {rows:,} rows generated")
        dbt(uri, "parse")
        figures = Figures(days, rows, build(uri, f"{days} days, first build"))
        for number in range(1, options.repeat + 1):
            load_daily(connection, newest, options, number)
            figures.hourly.append(build(uri, f"{days} days, hourly build {number}"))
        before = {mart: fingerprint(connection, mart) for mart in MARTS}
        figures.recompute = build(uri, f"{days} days, recomputation", *config.DBT_RECOMPUTE)
        figures.differing = [
            mart for mart in MARTS if fingerprint(connection, mart) != before[mart]
        ]
    return figures


def generate(connection: Connection, ads: int, days: int, newest: date) -> None:
    """Fill a migrated database: settings, hierarchy, insights until `newest`, the ledgers."""
    first = newest - timedelta(days=days - 1)
    ensure_partitions(connection, META, [first + timedelta(days=n) for n in range(days)])
    size = {"ads": ads, "accounts": ACCOUNTS, "first": first, "newest": newest, "again": READ_AGAIN}
    with connection.transaction():
        for statement in _GENERATE:
            connection.execute(statement, size)
    connection.execute("vacuum analyze")


def load_daily(
    connection: Connection, newest: date, options: argparse.Namespace, number: int
) -> None:
    """What a daily load does to its window: some rows differ, and each day has a new load."""
    since = newest - timedelta(days=options.reloaded - 1)
    window = {"since": since, "share": options.changed, "number": number}
    with connection.transaction():
        for statement in _LOAD_DAILY:
            connection.execute(statement, window)


_GENERATE = (
    """
    insert into ops.brands (slug, name, reporting_currency, time_zone, managed_by, settings)
    values ('bench', 'Bench', 'USD', 'UTC', 'file', '{}')
    """,
    """
    insert into app.exchange_rates
    select day, 'EUR', 'USD', 1.05 + 0.1 * random()
    from generate_series(%(first)s::timestamp, %(newest)s, '1 day') as day
    """,
    """
    create temp table accounts on commit drop as
    select
        (1000000000 + n)::text as account_id,
        'Account ' || n as name,
        case when n = %(accounts)s then 'EUR' else 'USD' end as currency
    from generate_series(1, %(accounts)s) as n
    """,
    """
    insert into ops.ad_accounts (platform, account_id, brand_id, conn_id, is_active, settings)
    select 'meta', account_id, id, 'meta', true, '{}' from accounts, ops.brands
    """,
    """
    insert into raw.meta_ad_accounts
    select
        account_id, 'act_' || account_id,
        jsonb_build_object(
            'name', name, 'currency', currency, 'timezone_name', 'Asia/Jakarta',
            'account_status', 1
        ),
        now(), 'bench'
    from accounts
    """,
    # Twenty ads to a campaign, four to an ad set.
    """
    create temp table ads on commit drop as
    select
        (1000000001 + n / 20 %% %(accounts)s)::text as account_id,
        (23840000000000000 + n)::text as ad_id,
        (23850000000000000 + n / 4)::text as adset_id,
        (23860000000000000 + n / 20)::text as campaign_id,
        'Ad ' || n || ' | video 15s | summer sale' as ad_name,
        'Set ' || n / 4 || ' | lookalike 1%% | ID 18-45' as adset_name,
        'Campaign ' || n / 20 || ' | prospecting | sales' as campaign_name
    from generate_series(0, %(ads)s - 1) as n
    """,
    """
    insert into raw.meta_campaigns
    select
        account_id, campaign_id,
        jsonb_build_object(
            'id', campaign_id, 'name', campaign_name, 'objective', 'OUTCOME_SALES',
            'status', 'ACTIVE', 'effective_status', 'ACTIVE', 'daily_budget', '500000',
            'created_time', '2023-01-01T08:00:00+0700', 'updated_time', '2023-01-01T08:00:00+0700'
        ),
        now(), 'bench'
    from (select distinct account_id, campaign_id, campaign_name from ads) as campaigns
    """,
    """
    insert into raw.meta_adsets
    select
        account_id, adset_id,
        jsonb_build_object(
            'id', adset_id, 'campaign_id', campaign_id, 'name', adset_name, 'status', 'ACTIVE',
            'effective_status', 'ACTIVE', 'optimization_goal', 'OFFSITE_CONVERSIONS',
            'targeting', '{"age_min": 18, "age_max": 45, "geo_locations": {"countries": ["ID"]}}'
            ::jsonb,
            'created_time', '2023-01-01T08:00:00+0700', 'updated_time', '2023-01-01T08:00:00+0700'
        ),
        now(), 'bench'
    from (select distinct account_id, campaign_id, adset_id, adset_name from ads) as adsets
    """,
    """
    insert into raw.meta_ads
    select
        account_id, ad_id,
        jsonb_build_object(
            'id', ad_id, 'adset_id', adset_id, 'campaign_id', campaign_id, 'name', ad_name,
            'status', 'ACTIVE', 'effective_status', 'ACTIVE',
            'creative', jsonb_build_object('id', ad_id, 'title', 'Learn to code', 'body', ad_name),
            'created_time', '2023-01-01T08:00:00+0700', 'updated_time', '2023-01-01T08:00:00+0700'
        ),
        now(), 'bench'
    from ads
    """,
    # What a row says every day; with the figures of the day, a payload has about 850 characters.
    """
    create temp table constant on commit drop as
    select
        ads.account_id,
        ad_id,
        jsonb_build_object(
            'account_id', ads.account_id, 'account_name', accounts.name,
            'account_currency', accounts.currency, 'campaign_id', campaign_id,
            'campaign_name', campaign_name, 'adset_id', adset_id, 'adset_name', adset_name,
            'ad_id', ad_id, 'ad_name', ad_name
        ) as payload
    from ads
    join accounts using (account_id)
    """,
    """
    insert into raw.meta_ad_insights
    select
        account_id, day::date, ad_id,
        payload || format(
            '{"date_start": "%%1$s", "date_stop": "%%1$s", "spend": "%%2$s",'
            ' "impressions": "%%3$s", "reach": "%%4$s", "frequency": "1.271186",'
            ' "clicks": "%%5$s", "inline_link_clicks": "%%6$s", "actions": ['
            '{"action_type": "link_click", "value": "%%6$s"},'
            ' {"action_type": "landing_page_view", "value": "%%7$s"},'
            ' {"action_type": "purchase", "value": "%%8$s"},'
            ' {"action_type": "omni_purchase", "value": "%%8$s"}], "action_values": ['
            '{"action_type": "purchase", "value": "%%9$s"},'
            ' {"action_type": "omni_purchase", "value": "%%9$s"}]}',
            day::date, round((r * 90)::numeric, 2), (r * 9000)::int, (r * 7000)::int,
            (r * 180)::int, (r * 120)::int, (r * 90)::int, (r * 5)::int,
            round((r * 250)::numeric, 2)
        )::jsonb,
        least(day + interval '29 days', %(newest)s::timestamp + interval '1 day'), 'bench'
    from generate_series(%(first)s::timestamp, %(newest)s, '1 day') as day
    cross join lateral (select *, random() as r from constant where day is not null) as ads
    """,
    """
    insert into ops.loads
    select
        account_id, 'ad_insights', date, count(*), sum((payload ->> 'spend')::numeric),
        sum((payload ->> 'impressions')::int), sum((payload ->> 'spend')::numeric),
        sum((payload ->> 'impressions')::int), 'reconciled', 'bench', 0, max(extracted_at),
        max(extracted_at)
    from raw.meta_ad_insights
    group by account_id, date
    """,
    """
    insert into raw.meta_account_insights
    select
        account_id, date,
        jsonb_build_object(
            'account_currency', currency, 'spend', spend::text, 'impressions', impressions::text,
            'clicks', '0'
        ),
        extracted_at, 'bench'
    from ops.loads
    join accounts using (account_id)
    """,
    # Each day was restated by every load that read it again.
    """
    insert into ops.restatements
    (account_id, report, date, before, after, changed_rows, restated_at, run_id)
    select
        account_id, report, date,
        jsonb_build_object(
            'rows', rows, 'spend', spend, 'impressions', impressions,
            'account_spend', spend, 'account_impressions', impressions
        ),
        jsonb_build_object(
            'rows', rows, 'spend', spend, 'impressions', impressions,
            'account_spend', spend, 'account_impressions', impressions
        ),
        rows / 50, date + make_interval(days => n + 1), 'bench'
    from ops.loads
    cross join generate_series(1, %(again)s) as n
    where date + n < %(newest)s
    """,
)

_LOAD_DAILY = (
    """
    update raw.meta_ad_insights
    set
        payload = payload || jsonb_build_object(
            'spend', ((payload ->> 'spend')::numeric + 0.01 * %(number)s)::text,
            'impressions', ((payload ->> 'impressions')::int + 1)::text
        ),
        extracted_at = now()
    where date >= %(since)s and random() < %(share)s
    """,
    """
    create temp table sums on commit drop as
    select
        account_id, date, count(*) as rows, sum((payload ->> 'spend')::numeric) as spend,
        sum((payload ->> 'impressions')::int) as impressions
    from raw.meta_ad_insights
    where date >= %(since)s
    group by account_id, date
    """,
    """
    insert into ops.restatements
    (account_id, report, date, before, after, changed_rows, restated_at, run_id)
    select
        account_id, report, date,
        jsonb_build_object(
            'rows', loads.rows, 'spend', loads.spend, 'impressions', loads.impressions
        ),
        jsonb_build_object(
            'rows', sums.rows, 'spend', sums.spend, 'impressions', sums.impressions
        ),
        1, now(), 'daily'
    from sums
    join ops.loads using (account_id, date)
    where loads.spend <> sums.spend
    """,
    """
    update raw.meta_account_insights as totals
    set
        payload = payload || jsonb_build_object(
            'spend', sums.spend::text, 'impressions', sums.impressions::text
        )
    from sums
    where sums.account_id = totals.account_id and sums.date = totals.date
    """,
    """
    update ops.loads
    set
        spend = sums.spend, impressions = sums.impressions, account_spend = sums.spend,
        account_impressions = sums.impressions, extracted_at = now(), loaded_at = now()
    from sums
    where sums.account_id = loads.account_id and sums.date = loads.date
    """,
)


def build(uri: str, name: str, *arguments: str) -> Took:
    """`dbt build` as the DAG does it, in this process; what it took is also printed at once."""
    before, began = _processors(), time.monotonic()
    result = dbt(uri, *config.DBT_BUILD, *arguments)
    seconds = time.monotonic() - began
    wrong = [node for node in result.result if node.status not in ("success", "pass", "no-op")]
    if wrong:
        failures = "; ".join(f"{node.node.name}: {node.status}, {node.message}" for node in wrong)
        raise SystemExit(f"dbt build did not succeed: {failures}")
    time.sleep(0.5)  # the time of a backend is added up when it has ended
    nodes = {node.node.name: node.execution_time for node in result.result}
    took = Took(seconds, _processors() - before, nodes)
    say(f"{name}: {took.clock:.1f} s, {took.processors:.1f} s of processors")
    return took


def _processors() -> float:
    """Processor seconds so far of this process, and of Postgres with the backends that ended."""
    pid = int((embedded.data_directory() / "postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid).cpu_times()
    ours = os.times()
    return float(
        sum(ours[:2]) + server.user + server.system + server.children_user + server.children_system
    )


def dbt(uri: str, *arguments: str) -> Any:
    """One dbt command in this process."""
    result = dbt_run.invoke(config.dbt_environment(uri), "--quiet", *arguments)
    if result.exception is not None:
        raise result.exception
    return result


def fingerprint(connection: Connection, mart: str, which: str = "true") -> tuple[Any, ...]:
    """Number of rows, and a sum over the hashes of complete rows: all columns, in any order."""
    row = connection.execute(
        f"select count(*) as n, sum(hashtextextended(t::text, 0)::numeric) as one, "
        f"sum(hashtextextended(t::text, 1)::numeric) as two from marts.{mart} as t where {which}"
    ).fetchone()
    assert row is not None
    return tuple(row.values())


def count(connection: Connection, table: str) -> int:
    """Number of rows."""
    row = connection.execute(f"select count(*) as n from {table}").fetchone()
    assert row is not None
    return int(row["n"])


def timed(action: Callable[[], None]) -> float:
    """Seconds by the clock."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def say(text: str) -> None:
    """Progress, beside the report."""
    print(text, file=sys.stderr, flush=True)


def middle(builds: list[Took]) -> Took:
    """The one in the middle, by seconds of processors."""
    return sorted(builds, key=lambda took: took.processors)[len(builds) // 2]


def print_slowest(name: str, builds: list[Took], number: int) -> None:
    """Medians of the slowest nodes, by the clock; nothing when `number` is 0."""
    if number:
        typical = {node: median(took.nodes[node] for took in builds) for node in builds[0].nodes}
        print(f"\nslowest nodes of {name}")
        for node in sorted(typical, key=lambda node: -typical[node])[:number]:
            print(f"{typical[node]:>7.2f}  {node}")


def _report(measured: list[Figures], options: argparse.Namespace) -> int:
    print(
        f"\n{options.ads:,} ads; a load replaces {options.reloaded} days; seconds of processors\n"
    )
    print(f"{'days':>5} {'rows':>10} {'first':>7} {'hourly':>7} {'all':>7}  hourly = all computed")
    for figures in measured:
        assert figures.recompute is not None
        same = "no: " + ", ".join(figures.differing) if figures.differing else "yes"
        builds = (figures.first, middle(figures.hourly), figures.recompute)
        seconds = " ".join(f"{took.processors:>7.1f}" for took in builds)
        print(f"{figures.days:>5} {figures.rows:>10,} {seconds}  {same}")
        print_slowest(f"an hourly build with {figures.days} days", figures.hourly, options.slowest)
    shortest, longest = middle(measured[0].hourly), middle(measured[-1].hourly)
    ratio = longest.processors / shortest.processors
    print(
        f"\nhourly build, {measured[-1].days} days / {measured[0].days} days: "
        f"{ratio:.2f} (goal: at most {GROWTH})"
    )
    return 1 if ratio > GROWTH or any(figures.differing for figures in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
