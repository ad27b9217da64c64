"""What the project promises of every model: it is described, keyed, and in the schema it names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tributary import config

from tests.support.marts import MARTS, OTHER_MARTS, Warehouse, build_models


@pytest.fixture(scope="module")
def world(module_warehouse: str) -> Warehouse:
    """An empty warehouse, built once."""
    build_models(module_warehouse)
    return Warehouse(module_warehouse)


@pytest.fixture(scope="module")
def manifest(world: Warehouse) -> dict[str, Any]:
    """What dbt knows of the project."""
    target = Path(config.dbt_environment(world.uri)["DBT_TARGET_PATH"])
    found: dict[str, Any] = json.loads((target / "manifest.json").read_text())
    return found


def _models(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    models = {
        node["name"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "snapshot")
    }
    assert set(MARTS) < set(models)
    return models


def test_every_model_and_column_is_described(world: Warehouse, manifest: dict[str, Any]) -> None:
    """An analyst must guess what a column means, its unit or its time zone."""
    for name, node in _models(manifest).items():
        assert node["description"], name
        described = {column for column, more in node["columns"].items() if more["description"]}
        if node["config"]["materialized"] == "ephemeral":
            assert described, name
            continue
        found = world.rows(
            "select column_name from information_schema.columns "
            "where table_schema = %s and table_name = %s",
            node["schema"], name,
        )  # fmt: skip
        assert {row["column_name"] for row in found} == described, name
    for source in manifest["sources"].values():
        assert source["description"], source["name"]


def test_every_model_has_a_key_that_holds(world: Warehouse, manifest: dict[str, Any]) -> None:
    """A join doubles rows, and with them money, and no test says so."""
    tested = {
        test["attached_node"]
        for test in manifest["nodes"].values()
        if test["resource_type"] == "test"
        and (test.get("test_metadata") or {}).get("name")
        in ("is_key", "unique", "unique_combination")
    }
    models = _models(manifest)
    for name, node in models.items():
        # What a mart is made of may leave the test of its key to the mart.
        elsewhere = node["config"]["meta"].get("key_of")
        key = models[elsewhere] if elsewhere else node
        # A view that shows our own table row by row has the key that Postgres enforces there.
        table = key["config"]["meta"].get("key_enforced_by")
        if table:
            assert _row_by_row(world, manifest, key, table), name
        else:
            assert key["unique_id"] in tested or _primary_key(key), name


def _row_by_row(
    world: Warehouse, manifest: dict[str, Any], node: dict[str, Any], table: str
) -> bool:
    keys = world.rows(
        "select from pg_constraint where contype = 'p' and conrelid = %s::regclass", table
    )
    read = {manifest["sources"][one]["relation_name"].replace('"', "").partition(".")[2]
            for one in node["depends_on"]["nodes"]}  # fmt: skip
    code = re.sub(r"{#.*?#}|--[^\n]*", "", node["raw_code"], flags=re.DOTALL)
    multiplies = re.search(r"\b(join|lateral|union|unnest)\b", code)
    return len(keys) == 1 and read == {table} and not multiplies


def _primary_key(node: dict[str, Any]) -> bool:
    shown = [node, *node["columns"].values()]
    return any(one["type"] == "primary_key" for part in shown for one in part["constraints"])


def test_marts_are_typed_by_contract(world: Warehouse, manifest: dict[str, Any]) -> None:
    """A column changes its type under a dashboard, or money turns into a float."""
    for name in MARTS + OTHER_MARTS:
        assert _models(manifest)[name]["contract"]["enforced"], name
    assert {row["schemaname"] for row in world.rows("select schemaname from pg_views")} >= {
        "staging", "intermediate",
    }  # fmt: skip
    floats = world.rows(
        "select table_name, column_name from information_schema.columns "
        "where table_schema = 'marts' and data_type in ('real', 'double precision')"
    )
    assert floats == []


def test_descriptions_are_in_the_database(world: Warehouse, manifest: dict[str, Any]) -> None:
    """People who use psql or a dashboard tool do not see what a mart or a column means."""
    shown = world.rows(
        "select relname, attname, col_description(attrelid, attnum) as description "
        "from pg_attribute join pg_class on pg_class.oid = attrelid "
        "where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v') and attnum > 0 "
        "and not attisdropped "
        "union all select relname, null, obj_description(oid) from pg_class "
        "where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v')"
    )
    wanted = {
        (mart, name): one["description"]
        for mart in MARTS + OTHER_MARTS
        for model in [_models(manifest)[mart]]
        for name, one in {None: model, **model["columns"]}.items()
    }
    assert all(wanted.values())
    assert {(row["relname"], row["attname"]): row["description"] for row in shown} == wanted


def test_exposures_name_what_is_read(manifest: dict[str, Any]) -> None:
    """Nobody knows whose dashboard breaks when a mart changes."""
    read = {node for one in manifest["exposures"].values() for node in one["depends_on"]["nodes"]}
    assert {f"model.tributary.{mart}" for mart in MARTS + OTHER_MARTS} <= read
