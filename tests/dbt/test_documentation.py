"""What the project promises of every model: it is described, keyed, and in the schema it names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
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
        if name == "int_touchpath_weights":  # its description explains three columns a model
            project = yaml.safe_load(Path(config.ROOT, "dbt/dbt_project.yml").read_text())
            models = project["vars"]["attribution_models"]
            described |= {
                f"{one}_{what}" for one in models for what in ("weight", "value", "missing")
            }
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
            assert key["unique_id"] in tested or _unique_index(key), name


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


def _unique_index(node: dict[str, Any]) -> bool:
    """Whether Postgres keeps the model's key: a unique index of columns that are never null."""
    key = node["config"]["unique_key"]
    columns = [key] if isinstance(key, str) else key
    never_null = [
        any(one["type"] == "not_null" for one in node["columns"][name]["constraints"])
        for name in columns or []
    ]
    indexes = node["config"].get("indexes") or []
    unique = [index["columns"] for index in indexes if index.get("unique")]
    return bool(columns) and columns in unique and all(never_null)


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
    """An engineer changes a mart and does not see who reads it."""
    known = {one["name"]: one["depends_on"]["nodes"] for one in manifest["exposures"].values()}
    queries = [one for one in manifest["nodes"].values() if one["resource_type"] == "analysis"]
    package = config.ROOT / "include" / "tributary"
    read = {
        mart
        for path in package.rglob("*.py")
        for mart in re.findall(r"\b(?:from|join) marts\.(\w+)", path.read_text())
    }
    assert {name: set(nodes) for name, nodes in known.items()} == {
        "analyses": {node for one in queries for node in one["depends_on"]["nodes"]},
        "overview": {f"model.tributary.{mart}" for mart in read},
    }


def test_metrics_are_what_metricflow_accepts(world: Warehouse) -> None:
    """MetricFlow refuses the project, or divides by a measure that is not there."""
    from dbt_semantic_interfaces.implementations.semantic_manifest import PydanticSemanticManifest
    from dbt_semantic_interfaces.validations.semantic_manifest_validator import (
        SemanticManifestValidator,
    )

    target = Path(config.dbt_environment(world.uri)["DBT_TARGET_PATH"])
    found = PydanticSemanticManifest.parse_raw((target / "semantic_manifest.json").read_text())
    assert {metric.name for metric in found.metrics} >= {"spend", "attributed_value", "roas", "cpa"}
    validator = SemanticManifestValidator[PydanticSemanticManifest]()
    assert validator.validate_semantic_manifest(found).all_issues == ()
    # Of each relation, the columns that it names are there.
    for model in found.semantic_models:
        parts = (*model.entities, *model.dimensions, *model.measures)
        columns = ", ".join(part.expr or part.name for part in parts)
        world.rows(f"select {columns} from {model.node_relation.relation_name} limit 0")
    (spine,) = found.project_configuration.time_spines
    days = f"select count(*) as days from {spine.node_relation.relation_name}"
    assert world.row(days)["days"] > 365
