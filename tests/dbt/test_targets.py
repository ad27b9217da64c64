"""Targets: what a developer or CI builds is beside production, and dbt's artefacts are usable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tributary import config, dbt_run

from tests.support.marts import GOOD, Warehouse, ad, build_models, outcome

LAYERS = {"staging", "intermediate", "snapshots", "marts"}


def _filled(uri: str) -> Warehouse:
    world = Warehouse(uri)
    for account_id, brand in (("100", "acme"), ("200", "lumen")):
        world.account(account_id, brand=brand)
        world.described(
            "meta_campaigns", account_id, "c1", {"name": "Campaign", "status": "ACTIVE"}
        )
        world.load(account_id, "2026-03-01", [ad(account_id, "10")])
    return world


@pytest.fixture(scope="module")
def production(module_warehouse: str) -> Iterator[Warehouse]:
    """Two brands, built for production."""
    world = _filled(module_warehouse)
    build_models(world.uri)
    yield world
    world.connection.close()


def _dbt(uri: str, *arguments: str) -> dbt_run.Outcome:
    with patch.dict(os.environ):
        return dbt_run.invoke(config.dbt_environment(uri), "--quiet", *arguments)


def _artefact(uri: str, name: str) -> Any:
    return json.loads(Path(config.dbt_environment(uri)["DBT_TARGET_PATH"], name).read_text())


def _schemas(world: Warehouse) -> set[str]:
    """The schemas of dbt, of all targets."""
    rows = world.rows(
        "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema$)' "
        "and nspname not in ('raw', 'ops', 'app', 'public')"
    )
    return {row["nspname"] for row in rows}


def _relations(world: Warehouse, schemas: set[str]) -> dict[str, int]:
    """The oid of every table and view of these schemas."""
    rows = world.rows(
        "select oid, oid::regclass::text as name from pg_class "
        "where relkind in ('r', 'p', 'v', 'm') "
        "and relnamespace::regnamespace::text = any(%s)", list(schemas),
    )  # fmt: skip
    return {row["name"]: row["oid"] for row in rows}


def _written(world: Warehouse) -> dict[str, Any]:
    """What every relation of production is: its oid, and when each of its rows was written."""
    found = {}
    for name, oid in _relations(world, LAYERS).items():
        kind = world.row("select relkind, xmin::text from pg_class where oid = %s", oid)
        rows = world.rows(f"select ctid, xmin::text from {name}") if kind["relkind"] == "r" else []
        found[name] = oid, kind, rows
    return found


def test_a_build_for_dev_changes_nothing_of_production(production: Warehouse) -> None:
    """A developer's build replaces the tables that dashboards read."""
    before = _written(production)
    assert len(before) > 40
    build_models(production.uri, "--target", "dev")
    assert _written(production) == before
    assert _schemas(production) >= LAYERS | {f"dev_{layer}" for layer in LAYERS}
    spent = "select brand_slug, spend from {}.ad_spend order by brand_slug"
    assert production.rows(spent.format("dev_marts")) == production.rows(spent.format("marts"))
    assert len(production.rows(spent.format("dev_marts"))) == 2


def test_two_developers_do_not_meet(production: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """One developer's build replaces what another one looks at."""
    for name in ("ann", "ben"):
        monkeypatch.setenv("TRIBUTARY_DBT_SCHEMA", name)
        build_models(production.uri, "--target", "dev", "--select", "+ad_campaigns")
        if name == "ann":
            first = _relations(production, {f"ann_{layer}" for layer in LAYERS})
    assert "ann_marts.ad_campaigns" in first
    assert _relations(production, {f"ann_{layer}" for layer in LAYERS}) == first
    assert {name.replace("ann_", "ben_") for name in first} == set(
        _relations(production, {f"ben_{layer}" for layer in LAYERS})
    )


def test_the_schemas_of_ci_are_made_and_dropped(
    production: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run of CI leaves its schemas in the warehouse, or drops those of production."""
    production.execute("create schema ci_4711")  # somebody else's, of the target's own name
    before = _schemas(production)
    monkeypatch.setenv("TRIBUTARY_DBT_SCHEMA", "ci_4711")
    chosen = ("--target", "ci", "--select", "+ad_campaigns")
    build_models(production.uri, *chosen)
    made = {"ci_4711_staging", "ci_4711_intermediate", "ci_4711_marts"}
    assert made <= _schemas(production) - before
    assert _dbt(production.uri, "docs", "generate", "--no-compile", "--target", "ci").success
    assert _dbt(production.uri, "run-operation", "drop_schemas", "--target", "ci").success
    assert _schemas(production) == before
    refused = _dbt(production.uri, "run-operation", "drop_schemas")
    assert not refused.success
    assert _schemas(production) == before


@pytest.mark.parametrize("target", ["dev", "prod"])
def test_each_target_has_documentation(production: Warehouse, target: str) -> None:
    """`dbt docs generate` fails where a developer looks at a change, or shows another schema."""
    if target != "prod":
        build_models(production.uri, "--target", target)
    made = _dbt(production.uri, "docs", "generate", "--target", target)
    assert made.success, made.exception
    catalog = _artefact(production.uri, "catalog.json")
    shown = {node["metadata"]["schema"] for node in catalog["nodes"].values()}
    assert shown == (LAYERS if target == "prod" else {f"{target}_{layer}" for layer in LAYERS})


def test_every_relation_is_a_node_of_dbt(production: Warehouse) -> None:
    """A table that dbt does not know is never described, tested, or dropped with its model."""
    build_models(production.uri)
    known = {
        f"{node['schema']}.{node['alias']}"
        for node in _artefact(production.uri, "manifest.json")["nodes"].values()
        if node["resource_type"] in ("model", "seed", "snapshot")
        and node["config"]["materialized"] != "ephemeral"
    }
    assert set(_relations(production, LAYERS)) == known


def test_no_build_drops_what_a_view_mart_reads(production: Warehouse) -> None:
    """A mart that is a view, and what analysts made on it, goes with a view of staging."""
    nodes = _artefact(production.uri, "manifest.json")["nodes"]

    def read_by(name: str) -> set[str]:
        parents = nodes[name]["depends_on"]["nodes"]
        through = [one for one in parents if _kind(one) == "ephemeral"]
        return {_kind(one) for one in parents} | {kind for one in through for kind in read_by(one)}

    def _kind(name: str) -> str:
        return str(nodes[name]["config"]["materialized"]) if name in nodes else "source"

    views = [name for name in nodes if _kind(name) == "view_in_place"]
    assert len(views) == 4
    for view in views:
        assert read_by(view) <= {"source", "incremental", "ephemeral"}, view


def test_retry_builds_what_failed(warehouse: str) -> None:
    """After a repair, everything is built again, or `dbt retry` has nothing to go by."""
    world = _filled(warehouse)
    world.execute("drop table app.exchange_rates")
    world.execute(
        "create view app.exchange_rates as select date '2026-03-01' as rate_date, 'EUR' as base, "
        "'USD' as quote, 1 / (to_regclass('public.repaired') is not null)::integer::numeric as rate"
    )
    ended = outcome(world.uri, "--exclude-resource-type", "unit_test")
    wrong = {name for name, (status, _) in ended.items() if status not in GOOD | {"warn"}}
    assert "division by zero" in "".join(message for _, message in ended.values())
    assert "ad_spend" in wrong
    # What looks at the sources or writes the documentation leaves the record of the build alone.
    for command in (["source", "freshness"], ["docs", "generate", "--no-compile"]):
        _dbt(world.uri, *command)

    world.execute("create table public.repaired ()")
    retried = _dbt(world.uri, "retry")
    assert retried.success, retried.exception
    assert {node.node.name for node in retried.result} == wrong
    assert len(wrong) < len(ended)
    assert world.rows("select spend from marts.ad_spend") == [{"spend": 10}, {"spend": 10}]
    world.connection.close()
