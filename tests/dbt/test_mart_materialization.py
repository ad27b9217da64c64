"""Marts as people meet them: they stay where they are, full refreshes included."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tributary import config

from tests.support.marts import (
    MARTS,
    OTHER_MARTS,
    RECOMPUTE,
    Warehouse,
    ad,
    build,
    build_marts,
    build_models,
    outcome,
)


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    world = Warehouse(warehouse)
    world.account("100")
    yield world
    world.connection.close()


def test_an_empty_warehouse_builds(warehouse: str) -> None:
    """The first build after an installation fails, before any ad was loaded."""
    build(warehouse)


def test_views_on_marts_survive(world: Warehouse) -> None:
    """An analyst's views and grants are gone after a night."""
    world.load("100", "2026-03-01", [ad("1", "1.5")])
    build_models(world.uri)
    world.execute("create schema analysts")
    for mart in MARTS:
        world.execute(f"create view analysts.{mart} as select * from marts.{mart}")
    world.load("100", "2026-03-01", [ad("1", "2.5")])
    build_marts(world.uri)
    assert world.row("select sum(spend) from analysts.ad_spend")["sum"] == 2.5
    world.load("100", "2026-03-02", [ad("1", "4")])
    build_models(world.uri, *RECOMPUTE)
    assert world.row("select sum(spend) from analysts.ad_spend")["sum"] == 6.5
    assert world.row("select count(*) from analysts.ad_ads")["count"] == 2


def test_a_second_build_writes_nothing(world: Warehouse) -> None:
    """Marts that did not change are written anew each hour, and bloat."""
    world.load("100", "2026-03-01", [ad("1"), ad("2")])
    build_models(world.uri)
    views = (
        "select oid, xmin from pg_rewrite where ev_class::regclass::text like 'marts.%' order by 1"
    )
    rows = {mart: world.rows(f"select id, xmin from marts.{mart} order by id") for mart in MARTS}
    written = world.rows(views)
    assert len(written) == 4
    build_marts(world.uri)
    build_marts(world.uri, *RECOMPUTE)
    for mart in MARTS:
        assert world.rows(f"select id, xmin from marts.{mart} order by id") == rows[mart]
    assert world.rows(views) == written


def test_readers_never_see_a_mart_empty(world: Warehouse) -> None:
    """A dashboard that is opened during a build shows no spend."""
    world.load("100", "2026-03-01", [ad(str(n)) for n in range(50)])
    build_models(world.uri)
    world.load("100", "2026-03-01", [ad(str(n), "2.00") for n in range(50)])
    seen: set[tuple[int, int]] = set()
    stop = threading.Event()

    def read() -> None:
        query = "select count(*), sum(spend)::int from marts.ad_spend"
        with psycopg.connect(world.uri, autocommit=True) as connection:
            while not stop.wait(0.002):
                seen.update(connection.execute(query).fetchall())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        build_marts(world.uri, *RECOMPUTE)
        stop.wait(0.1)
    finally:
        stop.set()
        reader.join()
    assert seen == {(50, 50), (50, 100)}


def test_a_reader_holds_up_no_build(world: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard that leaves its transaction open holds up the night's build, and the build
    everybody who reads after it.
    """
    world.load("100", "2026-03-01", [ad("1")])
    build_models(world.uri)
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=1s")
    with psycopg.connect(world.uri) as reader:
        for mart in (*MARTS, *OTHER_MARTS):
            reader.execute(f"select from marts.{mart}")
        world.load("100", "2026-03-01", [ad("1", "2.00")])
        build_models(world.uri)
    assert world.row("select sum(spend) from marts.ad_performance")["sum"] == 12


def test_a_view_follows(world: Warehouse, tmp_path: Path) -> None:
    """A mart that is a view stays as somebody has replaced it by hand, or a change of its columns
    takes an analyst's view along.
    """
    only = (
        "--exclude-resource-type",
        "test",
        "unit_test",
        "--select",
        "conversion_delivery_status",
    )
    build(world.uri, *only)
    definition = "select pg_get_viewdef('marts.conversion_delivery_status') as sql"
    wanted = world.row(definition)
    world.execute(
        "create or replace view marts.conversion_delivery_status as "
        "select null::text as brand_slug, null::text as destination, null::text as platform, "
        "null::date as date, null::text as sync_status, null::text as outcome, "
        "null::text as currency, 0::bigint as delivery_count, 0::numeric as amount"
    )
    assert world.row(definition) != wanted
    build(world.uri, *only)
    assert world.row(definition) == wanted

    project = tmp_path / "dbt"
    shutil.copytree(config.ROOT / "dbt", project)
    model = project / "models/marts/conversions/conversion_delivery_status.sql"
    contract = project / "models/marts/conversions/_conversions__models.yml"
    model.write_text(model.read_text().replace("as delivery_count", "as deliveries"))
    contract.write_text(contract.read_text().replace("name: delivery_count", "name: deliveries"))
    world.execute(
        "create view public.by_day as select date, amount from marts.conversion_delivery_status"
    )
    status, message = outcome(world.uri, *only, project=project)["conversion_delivery_status"]
    assert status == "error"
    assert "conversion_delivery_status: its columns change, but view by_day depends on" in message
    assert world.row(definition) == wanted
    world.execute("drop view public.by_day")
    build(world.uri, *only, project=project)
    assert "deliveries" in world.row(definition)["sql"]


def test_a_column_comes_and_goes(world: Warehouse, tmp_path: Path) -> None:
    """A new column needs a rebuild by hand, or one that goes takes an analyst's view along."""
    project = tmp_path / "dbt"
    shutil.copytree(config.ROOT / "dbt", project)
    world.load("100", "2026-03-01", [ad("1")])
    build_models(world.uri)
    model = project / "models/marts/ads/ad_spend.sql"
    contract = project / "models/marts/ads/_ads__models.yml"
    only = ("--exclude-resource-type", "test", "unit_test", "--select", "ad_spend")
    # Another type: what reads the column, and is a mart, is there all the same.
    model.write_text(
        model.read_text().replace("named.impressions,", "named.impressions::numeric as impressions,")
    )
    contract.write_text(
        contract.read_text().replace(
            "- name: impressions\n        data_type: bigint",
            "- name: impressions\n        data_type: numeric",
        )
    )
    build(world.uri, *only, project=project)
    assert world.row("select sum(impressions) from marts.ad_performance")["sum"] == 60

    world.execute("create view public.by_clicks as select clicks from marts.ad_spend")
    model.write_text(model.read_text().replace("named.clicks,", "named.clicks::text as presses,"))
    contract.write_text(
        contract.read_text().replace(
            "- name: clicks\n        data_type: bigint", "- name: presses\n        data_type: text"
        )
    )
    status, message = outcome(world.uri, *only, project=project)["ad_spend"]
    assert status == "error"
    assert "the column clicks is to go, but these views read it: public.by_clicks." in message
    assert world.row("select clicks from by_clicks")["clicks"] == 3

    world.execute("drop view public.by_clicks")
    build(world.uri, *only, *RECOMPUTE, project=project)
    row = world.row("select * from marts.ad_spend")
    assert row["presses"] == "3"
    assert "clicks" not in row
    nullable = world.row(
        "select is_nullable from information_schema.columns "
        "where table_schema = 'marts' and column_name = 'presses'"
    )
    assert nullable == {"is_nullable": "NO"}
