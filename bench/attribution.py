"""What attribution costs: a million touches and 200,000 purchases, at first and every hour.

A fresh database of its own embedded Postgres is filled and built; then, some times over, a
day's new touches and purchases arrive, with some late ones, refunds, restated insights, Google's
clicks and a new ad, and the hourly build takes them in; last, everything is computed, which must
change nothing. Each hourly build has its floor, measured right before it: every touch and every
credit read once.

    python -m bench.attribution                            # 1,000,000 touches, 200,000 purchases
    python -m bench.attribution --touches 100000 --transactions 20000
    python -m bench.attribution --growth 122 730           # the hourly build after 4 and 24 months
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from statistics import median

from tributary import config
from tributary.warehouse import Connection, connect

from bench import fresh_warehouse
from bench.dbt_build import (
    GROWTH,
    TODAY,
    Took,
    build,
    count,
    dbt,
    fingerprint,
    generate,
    middle,
    print_slowest,
    say,
    server,
    timed,
)

MARTS = ("ad_attribution_credits", "ad_attributions")
YEAR = 365
# An hourly build computes all purchases of four months: so many times as long as reading all
# touches and credits once, and the first build so many times.
GOAL_HOURLY, GOAL_FIRST = 40, 150


def main() -> int:
    """Measure and print. Exits 1 when a goal is missed or an hourly build left something else."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--touches", type=int, default=1_000_000, help="in a year")
    parser.add_argument("--transactions", type=int, default=200_000, help="in a year")
    parser.add_argument("--ads", type=int, default=500, help="ads, each with a row a day")
    parser.add_argument("--repeat", type=int, default=3, help="days that follow")
    parser.add_argument("--slowest", type=int, default=0, help="also list so many slowest nodes")
    parser.add_argument(
        "--growth", type=int, nargs=2, metavar="DAYS", help="compare two lengths of history instead"
    )
    options = parser.parse_args()
    with server():
        return _growth(options) if options.growth else _year(options)


def _year(options: argparse.Namespace) -> int:
    uri = fresh_warehouse("bench_attribution")
    with connect(uri, autocommit=True) as connection:
        first, hourly, floors = _builds(connection, uri, YEAR, options)
        before = {mart: fingerprint(connection, mart) for mart in MARTS}
        recompute = build(uri, "recomputation", *config.DBT_RECOMPUTE)
        differing = [mart for mart in MARTS if fingerprint(connection, mart) != before[mart]]
        rows = [count(connection, table) for table in (
            "app.touchpoints", "app.transactions", "marts.ad_attribution_credits",
        )]  # fmt: skip
    print("\n{:,} touches, {:,} purchases, {:,} credits\n".format(*rows))
    print("seconds            by the clock   of processors")
    for name, took in (
        ("first build", first), ("hourly build", middle(hourly)), ("recomputation", recompute),
    ):  # fmt: skip
        print(f"{name:<18} {took.clock:>12.1f} {took.processors:>15.1f}")
    print_slowest("an hourly build", hourly, options.slowest)
    floor = min(floors)
    ratios = first.clock / floor, median(took.clock for took in hourly) / floor
    print(f"\nfloor: {floor:.2f} s, as quick as the machine was")
    for name, ratio, goal in zip(
        ("first", "hourly"), ratios, (GOAL_FIRST, GOAL_HOURLY), strict=True
    ):
        print(f"{name} build: {ratio:.0f} x the floor (goal: at most {goal})")
    print("hourly = all computed: " + (f"no: {', '.join(differing)}" if differing else "yes"))
    return 1 if differing or ratios[0] > GOAL_FIRST or ratios[1] > GOAL_HOURLY else 0


def _growth(options: argparse.Namespace) -> int:
    """What an hourly build costs after a short and after a long history of the same daily rate."""
    processors = []
    for days in options.growth:
        uri = fresh_warehouse(f"bench_attribution_{days}")
        with connect(uri, autocommit=True) as connection:
            _, hourly, _ = _builds(connection, uri, days, options)
        processors.append(middle(hourly).processors)
        print_slowest(f"an hourly build after {days} days", hourly, options.slowest)
    ratio = processors[1] / processors[0]
    print(
        f"\nhourly build after {options.growth[0]} days: {processors[0]:.1f} s of processors, "
        f"after {options.growth[1]} days: {processors[1]:.1f} s: {ratio:.2f} x "
        f"(goal: at most {GROWTH})"
    )
    return 1 if ratio > GROWTH else 0


def _builds(
    connection: Connection, uri: str, days: int, options: argparse.Namespace
) -> tuple[Took, list[Took], list[float]]:
    """The first build of a history of so many days, the hourly ones after it, their floors."""
    _fill(connection, options, days)
    dbt(uri, "parse")
    first = build(uri, f"{days} days, first build")
    hourly, floors = [], []
    for number in range(1, options.repeat + 1):
        _next_day(connection, options, number)
        floors.append(timed(lambda: _floor(connection)))
        hourly.append(build(uri, f"{days} days, hourly build {number}"))
    return first, hourly, floors


def _fill(connection: Connection, options: argparse.Namespace, days: int) -> None:
    """A history that ends so many days ago that the days that follow are over, too."""
    newest = TODAY - timedelta(days=options.repeat + 1)
    generate(connection, options.ads, days, newest)
    size = {
        "profiles": options.transactions * days // YEAR,
        "touches": options.touches * days // YEAR,
        "transactions": options.transactions * days // YEAR,
        "ads": options.ads,
        "days": days,
        "first": newest - timedelta(days=days - 1),
    }
    with connection.transaction():
        for statement in _FILL:
            connection.execute(statement, size)
    connection.execute("vacuum analyze")
    say("{days} days: {touches:,} touches, {transactions:,} purchases generated".format(**size))


def _next_day(connection: Connection, options: argparse.Namespace, number: int) -> None:
    """A day's touches and purchases; late ones, refunds, restated insights, clicks, a new ad."""
    _a_day_passes(connection)
    share = {
        "number": number,
        "ads": options.ads,
        "touches": options.touches // YEAR,
        "transactions": options.transactions // YEAR,
        "today": TODAY - timedelta(days=options.repeat + 1 - number),
    }
    with connection.transaction():
        for statement in _NEXT_DAY:
            connection.execute(statement, share)


def _a_day_passes(connection: Connection) -> None:
    """What changed until now is older than a day; and Postgres does what it does by itself."""
    connection.execute(
        "update intermediate.int_purchases set changed_at = changed_at - interval '2 days'"
    )
    connection.execute("vacuum analyze")
    connection.execute("checkpoint")


def _floor(connection: Connection) -> None:
    """The least that a day costs, if all is looked at: every touch and every credit, once."""
    connection.execute("select sum(hash_record_extended(touchpoints, 0)) from app.touchpoints")
    connection.execute(
        "select model, currency, sum(weight), sum(attributed_value) "
        "from marts.ad_attribution_credits group by model, currency"
    )


# What a visit's URL says, by a number from 0 to 99.
_TOUCH = """
    select
        %(prefix)s || n as touchpoint_id, 'bench' as brand_slug, profile_id, touched_at,
        case when kind < 70 then 'facebook' when kind < 80 then 'google'
            when kind < 90 then 'newsletter' end as utm_source,
        case when kind < 60 then 'paid_social' when kind between 70 and 79 then 'cpc'
            when kind between 80 and 89 then 'email' end as utm_medium,
        case when kind < 60 then 'Campaign ' || ad / 20 || ' | prospecting | sales' end
            as utm_campaign,
        case when kind < 60 then 'Ad ' || ad || ' | video 15s | summer sale' end as utm_content,
        null as utm_term,
        case when kind < 45 then (23840000000000000 + ad)::text end as ad_id,
        case when kind < 70 then 'IwAR' || md5(n::text) end as fbclid,
        null as fbc, null as fbp,
        case when kind between 70 and 79 then 'Cj0KCQ' || md5(n::text) end as gclid,
        null as gbraid, null as wbraid, 'https://shop.example/?q=' || md5(n::text) as landing_url,
        '192.0.2.1' as ip, 'Mozilla/5.0 (X11; Linux x86_64)' as user_agent
"""

_CLICKS = """
    insert into raw.google_click_view
    select
        '1112223333', touched_at::date, gclid,
        jsonb_build_object(
            'click_view', jsonb_build_object(
                'gclid', gclid, 'ad_group_ad', 'customers/1/adGroupAds/2~3'
            ),
            'campaign', jsonb_build_object('id', '77', 'name', 'Search'),
            'ad_group', jsonb_build_object('id', '2', 'name', 'Brand')
        ),
        now(), 'bench'
    from app.touchpoints
    where gclid like '%%1' and {which}
    on conflict do nothing
"""

_FILL = (
    """
    insert into app.profiles (profile_id, brand_slug, email, phone, external_id, updated_at)
    select
        'p' || n, 'bench',
        -- One in ten has a second profile with the same address.
        'user' || case when n %% 10 = 0 then n - 1 else n end || '@shop.example',
        '+1555' || lpad(n::text, 7, '0'), 'crm-' || n, now()
    from generate_series(1, %(profiles)s) as n
    """,
    """
    create temp table purchases on commit drop as
    select
        n, 'p' || (1 + (random() * (%(profiles)s - 1))::int) as profile_id,
        %(first)s::timestamptz + random() * %(days)s * interval '1 day' as transacted_at
    from generate_series(1, %(transactions)s) as n
    """,
    """
    insert into app.transactions
    (
        transaction_id, brand_slug, profile_id, status, amount, currency, transacted_at,
        refunded_amount, updated_at
    )
    select
        'T' || n, 'bench', profile_id,
        case when n %% 20 = 0 then 'refunded' else 'completed' end,
        round((10 + random() * 290)::numeric, 2), case when n %% 7 = 0 then 'EUR' else 'USD' end,
        transacted_at, case when n %% 40 = 0 then 5 end, transacted_at
    from purchases
    """,
    # Touches in the five weeks before a purchase of the same profile.
    f"""
    insert into app.touchpoints
    {_TOUCH.replace("%(prefix)s", "'t'")}
    from (
        select
            numbers.n, purchases.profile_id,
            purchases.transacted_at - random() ^ 2 * interval '35 days' as touched_at,
            (random() * 99)::int as kind, (random() * (%(ads)s - 1))::int as ad
        from generate_series(1, %(touches)s) as numbers (n)
        inner join purchases on purchases.n = 1 + numbers.n %% %(transactions)s
    ) as drawn
    """,
    _CLICKS.format(which="true"),
)

_NEXT_DAY = (
    f"""
    insert into app.touchpoints
    {_TOUCH.replace("%(prefix)s", "'d' || %(number)s || '-'")}
    from (
        select
            n, 'p' || (1 + (random() * 1000000)::int %% 100000) as profile_id,
            -- One in twenty comes late, by up to four weeks.
            %(today)s::timestamptz + random() * interval '1 day'
            - case when n %% 20 = 0 then random() * interval '28 days' else interval '0' end
                as touched_at,
            (random() * 99)::int as kind, (random() * (%(ads)s - 1))::int as ad
        from generate_series(1, %(touches)s) as n
    ) as drawn
    """,
    """
    insert into app.transactions
    (
        transaction_id, brand_slug, profile_id, status, amount, currency, transacted_at, updated_at
    )
    select
        'D' || %(number)s || '-' || n, 'bench',
        'p' || (1 + (random() * 1000000)::int %% 100000), 'completed',
        round((10 + random() * 290)::numeric, 2), 'USD',
        %(today)s::timestamptz + random() * interval '1 day'
        - case when n %% 20 = 0 then random() * interval '28 days' else interval '0' end, now()
    from generate_series(1, %(transactions)s) as n
    """,
    # The day's clicks come from Google, and there is a new ad: more touches can be resolved.
    _CLICKS.format(which="touchpoint_id like 'd' || %(number)s || '-%%'"),
    """
    insert into raw.meta_ads
    select
        account_id, 'new' || %(number)s,
        payload || jsonb_build_object('id', 'new' || %(number)s, 'name', 'New ' || %(number)s),
        now(), 'bench'
    from raw.meta_ads
    limit 1
    """,
    """
    update app.transactions set status = 'refunded', refunded_at = now(), updated_at = now()
    where status = 'completed' and random() < 0.0005
    """,
    """
    update raw.meta_ad_insights
    set payload = payload || '{"ad_name": "restated"}'
    where date > %(today)s::date - 28 and random() < 0.02
    """,
    """
    update ops.loads set loaded_at = now() where date > %(today)s::date - 28
    """,
)


if __name__ == "__main__":
    sys.exit(main())
