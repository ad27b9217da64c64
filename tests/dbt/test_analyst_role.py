"""The grants and queries of docs/marts.md, with a login of an analyst's own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from tributary import config, dbt_run

from tests.support.marts import MARTS, OTHER_MARTS, RECOMPUTE, Warehouse, ad, build_models

GRANTS, *QUERIES = re.findall(
    r"```sql\n(.*?)```", (config.ROOT / "docs" / "marts.md").read_text(), re.DOTALL
)


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    """A built warehouse of two brands, on which the documented grants were run."""
    world = Warehouse(warehouse)
    world.account("100")
    world.load("100", "2026-03-01", [ad("100", "10")])
    build_models(world.uri)
    world.connection.execute(GRANTS)
    yield world
    world.connection.execute("drop owned by analyst; drop role analyst")
    world.connection.close()


def _as_analyst(uri: str) -> str:
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"analyst:choose%20one@{place}"))


def _readable(uri: str) -> set[str]:
    """Schemas of this project in which the analyst can read a table or view."""
    with psycopg.connect(_as_analyst(uri)) as connection:
        rows = connection.execute(
            "select distinct nspname from pg_class "
            "inner join pg_namespace on pg_namespace.oid = relnamespace "
            "where relkind in ('r', 'p', 'v', 'm') and nspname !~ '^(pg_|information_schema$)' "
            "and has_schema_privilege(nspname, 'usage') "
            "and has_table_privilege(pg_class.oid, 'select')"
        )
        return {name for (name,) in rows}


def test_four_grants_are_enough_for_the_queries(world: Warehouse) -> None:
    """An analyst who follows the document gets `permission denied`, at once or after a build."""
    assert len(GRANTS.split(";\n")) == 5  # four, each ends its line
    assert len(QUERIES) >= 3
    for more in ((), ("--full-refresh",)):
        build_models(world.uri, *more)
        with psycopg.connect(_as_analyst(world.uri)) as connection:
            for query in QUERIES[:3]:
                connection.execute(query)
            for mart in MARTS + OTHER_MARTS:
                connection.execute(f"select * from marts.{mart}")
            spent = connection.execute("select sum(spend) from marts.ad_spend").fetchone()
        assert spent == (10,)


def test_an_analyst_reads_nothing_but_marts(world: Warehouse) -> None:
    """Hashes and IP addresses of people, or what a platform sent, are open to every analyst."""
    build_models(world.uri, *RECOMPUTE)
    assert _readable(world.uri) == {"marts"}
    for table in ("ops.conversion_events", "raw.meta_ad_insights", "app.profiles"):
        with (
            psycopg.connect(_as_analyst(world.uri)) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(f"select * from {table}")


def test_an_analyst_can_write_the_documentation(world: Warehouse) -> None:
    """`make docs` fails for a person with reading rights only, or changes the warehouse."""
    environment = config.dbt_environment(_as_analyst(world.uri))
    with patch.dict(os.environ):
        for step in (["parse"], ["docs", "generate", "--no-compile", "--static"]):
            result = dbt_run.invoke(environment, "--quiet", *step)
            assert result.success, result.exception
    catalog = json.loads(Path(environment["DBT_TARGET_PATH"], "catalog.json").read_text())
    described = {table["metadata"]["name"] for table in catalog["nodes"].values()}
    assert {*MARTS, *OTHER_MARTS} <= described
