"""Random days in the life of a warehouse: what a build leaves equals a build from nothing.

`make hunt SEEDS="1 2 3" DAYS=15` runs more. A failure shows the seed and what happened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from tributary.local import embedded

from tests.support.marts import GOOD, MARTS, OTHER_MARTS, RECOMPUTE, build_models, outcome
from tests.support.random_changes import MODELS, World

SEEDS = [int(seed) for seed in os.environ.get("HUNT_SEEDS", "20").split()]
DAYS = int(os.environ.get("HUNT_DAYS", "2"))
LATE_DAYS = 90  # a purchase so much older than the look-back is for the nightly build
ALL = (*MARTS, *OTHER_MARTS)
BY_PURCHASE = ("ad_attributions", "ad_attribution_credits")
BY_DAY = ("ad_performance", "campaign_performance", "ad_platform_claims")
# When a row was written differs in a warehouse that was built from nothing.
WRITTEN = {"data_problems": ["seen_at"], "ad_spend": ["created_at"]}
WRITTEN |= {mart: ["created_at"] for mart in BY_PURCHASE}


@pytest.mark.timeout(600 * DAYS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_days(warehouse: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some change, or two of them together, marts do not hold what their sources say: until
    the next night, or always.
    """
    monkeypatch.setenv("TRIBUTARY_ATTRIBUTION_LATE_DAYS", str(LATE_DAYS))
    world = World(warehouse, seed)
    happened: list[str] = []
    try:
        _build(world)
        for day in range(1, DAYS + 1):
            _a_day_passes(world)
            for _ in range(world.random.randint(3, 8)):
                happened.append(f"day {day}: {world.change()}")
            for name, value in world.settings.items():
                monkeypatch.setenv(name, value)
            _build(world)
            _credits_add_up(world, hourly=True)
            with _built_from_nothing(world) as oracle:
                _compare(world, oracle, hourly=True)
                if day % 3 == 0 or day == DAYS:
                    happened.append("  night")
                    _build(world, *RECOMPUTE)
                    _credits_add_up(world, hourly=False)
                    _compare(world, oracle, hourly=False)
        before = _rows_written(world)
        _build(world)
        assert _rows_written(world) == before, "rows that are the same were written"
    except BaseException:
        print(f"\nseed {seed}", *happened, sep="\n")
        raise
    finally:
        world.connection.close()


def _build(world: World, *arguments: str) -> None:
    """The build of the DAG with dbt's own tests; of these, some warn of what the changes made."""
    nodes = outcome(world.uri, "--exclude-resource-type", "unit_test", *arguments)
    assert {name: node for name, node in nodes.items() if node[0] not in {*GOOD, "warn"}} == {}


def _a_day_passes(world: World) -> None:
    """Purchases whose own rows changed until now changed more than a day ago."""
    world.execute(
        "update intermediate.int_purchases set changed_at = changed_at - interval '2 days'"
    )
    world.changed.clear()


@contextmanager
def _built_from_nothing(world: World) -> Iterator[World]:
    """The same sources in another database, with all that dbt makes of them built for the first
    time, but for the snapshots: the names that objects had are a source, too.
    """
    name = urlsplit(world.uri).path.strip("/")
    world.connection.close()  # Postgres copies a database that no one uses
    with psycopg.connect(embedded.uri("postgres"), autocommit=True) as connection:
        connection.execute("drop database if exists built_from_nothing with (force)")
        connection.execute(f'create database built_from_nothing template "{name}"')
        try:
            world.connect()
            copy = World.__new__(World)
            copy.uri = embedded.uri("built_from_nothing")
            copy.connect()
            copy.execute("drop schema staging, intermediate, marts cascade")
            build_models(copy.uri)
            yield copy
            copy.connection.close()
        finally:
            connection.execute("drop database built_from_nothing with (force)")


def _compare(world: World, oracle: World, *, hourly: bool) -> None:
    """Every mart, row by row; after an hourly build what that promises."""
    lookback = int(world.settings.get("TRIBUTARY_ATTRIBUTION_LOOKBACK_DAYS", "30"))
    young = f"now() - interval '{lookback + LATE_DAYS} days'"
    promised = world.changed | {
        (row["brand_slug"], row["transaction_id"])
        for row in world.rows(
            f"select brand_slug, transaction_id from app.transactions where transacted_at > {young}"
        )
    }

    def contents(where: World, mart: str) -> Counter[str]:
        condition = f"date > {young} + interval '2 days'" if hourly and mart in BY_DAY else "true"
        rows = where.rows(
            f"select (to_jsonb(t) - %s::text[])::text as row, to_jsonb(t) as keys "
            f"from marts.{mart} as t where {condition}",
            WRITTEN.get(mart, []),
        )
        if hourly and mart in BY_PURCHASE:
            rows = [
                row for row in rows
                if (row["keys"]["brand_slug"], row["keys"]["transaction_id"]) in promised
            ]  # fmt: skip
        return Counter(row["row"] for row in rows)

    differing = {}
    for mart in ALL:
        found, right = contents(world, mart), contents(oracle, mart)
        if found != right:
            differing[mart] = {
                "found": sorted((found - right).elements())[:4],
                "right": sorted((right - found).elements())[:4],
            }
    assert differing == {}


def _credits_add_up(world: World, *, hourly: bool) -> None:
    """To the cent, for every model and purchase, however old."""
    wrong = world.rows(
        "select c.brand_slug, c.transaction_id, c.model, sum(c.weight) as weights, "
        "sum(c.attributed_value) as credited, a.conversion_value as value "
        "from marts.ad_attribution_credits as c full join marts.ad_attributions as a "
        "using (brand_slug, transaction_id) group by 1, 2, 3, a.conversion_value "
        "having sum(c.weight) is distinct from 1 "
        "or sum(c.attributed_value) is distinct from a.conversion_value"
    )
    assert wrong == []
    models = world.settings.get("TRIBUTARY_ATTRIBUTION_MODELS", MODELS).count(",") + 1
    missing = world.rows(
        "select a.brand_slug, a.transaction_id, count(distinct c.model) "
        "from marts.ad_attributions as a left join marts.ad_attribution_credits as c "
        "using (brand_slug, transaction_id) group by 1, 2 "
        f"having count(distinct c.model) {'= 0' if hourly else f'<> {models}'}"
    )
    assert missing == []
    revenue = (
        "select brand_slug, upper(currency) as currency, count(*), sum({}) as value from {} "
        "group by 1, 2 order by 1, 2"
    )
    assert world.rows(revenue.format("conversion_value", "marts.ad_attributions")) == world.rows(
        revenue.format("value", "staging.stg_app__transactions where is_revenue")
    )


def _rows_written(world: World) -> dict[str, list[tuple[str, str]]]:
    """Where the rows of each table are, and which transaction wrote them."""
    tables = world.rows("select tablename from pg_tables where schemaname = 'marts' order by 1")
    return {
        row["tablename"]: [
            (str(at["ctid"]), at["xmin"])
            for at in world.rows(
                f"select ctid, xmin::text from marts.{row['tablename']} order by 1"
            )
        ]
        for row in tables
    }
