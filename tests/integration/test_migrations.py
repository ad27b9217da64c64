"""Migrations: they make what `tables.py` says, go both ways, and leave the user's own alone."""

import subprocess
import sys
from collections.abc import Callable
from datetime import date

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from tributary import config
from tributary import warehouse as wh
from tributary.errors import WarehouseError
from tributary.warehouse import migrate
from tributary.warehouse.load import META, ensure_partitions
from tributary.warehouse.tables import metadata

from tests.support.loads import query

MakeWarehouse = Callable[[str], str]


def _relations(uri: str) -> set[str]:
    rows = query(
        uri,
        "select n.nspname || '.' || c.relname as name from pg_class as c "
        "inner join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname in ('raw', 'ops', 'app') and c.relkind in ('r', 'p', 'v')",
    )
    return {row["name"] for row in rows}


def _differences(uri: str) -> list[object]:
    partitions = {
        row["name"]
        for row in query(uri, "select relname as name from pg_class where relispartition")
    }

    def ours(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
        if kind == "schema":
            return name in ("raw", "ops")
        return not (kind == "table" and (name in partitions or name == "schema_version"))

    engine = create_engine(config.with_driver(uri, "psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": ours,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        return list(compare_metadata(context, metadata))


def test_the_migrated_database_is_what_the_tables_say(warehouse: str) -> None:
    """Red: code that reads `tables.py` would meet other columns, types or keys."""
    with wh.connect(warehouse, autocommit=True) as connection:
        ensure_partitions(connection, META, [date(2025, 3, 1)])
    assert _differences(warehouse) == []
    assert len(metadata.tables) >= 11
    keys = query(
        warehouse,
        "select conrelid::regclass::text as name, pg_get_constraintdef(oid) as key "
        "from pg_constraint where contype = 'p' and conrelid::regclass::text in "
        "(select schemaname || '.' || tablename from pg_tables)",
    )
    found = {row["name"]: row["key"] for row in keys}
    for name, table in metadata.tables.items():
        columns = ", ".join(column.name for column in table.primary_key)
        assert found[name] == f"PRIMARY KEY ({columns})"


def test_the_comparison_can_fail(warehouse: str) -> None:
    """Red: the test above would see no difference, whatever there is."""
    with psycopg.connect(warehouse) as connection:
        connection.execute("alter table ops.loads add column stray text")
    assert len(_differences(warehouse)) == 1


def test_there_and_back_again(warehouse: str) -> None:
    """Red: a release could not be taken back, or not be taken up again afterwards."""
    head = _relations(warehouse)
    assert set(metadata.tables) <= head
    migrate(warehouse, "base")
    assert {n for n in _relations(warehouse) if not n.startswith("app.")} == {"ops.schema_version"}
    assert {n for n in _relations(warehouse) if n.startswith("app.")} == {
        "app.transactions", "app.profiles", "app.touchpoints", "app.exchange_rates",
    }  # fmt: skip
    migrate(warehouse)
    assert _relations(warehouse) == head
    assert _differences(warehouse) == []


def test_migrating_again_does_nothing(warehouse: str) -> None:
    """Red: every task, each of which migrates, would wait for a lock or lose rows."""
    with psycopg.connect(warehouse) as connection:
        connection.execute("insert into app.exchange_rates values ('2025-03-01', 'a', 'b', 1)")
    migrate(warehouse)
    assert len(query(warehouse, "select from app.exchange_rates")) == 1


def test_the_users_own_views_survive(make_warehouse: MakeWarehouse) -> None:
    """Red: a deployment's views on its own tables would be replaced by empty tables."""
    uri = make_warehouse("migrate_views")
    with psycopg.connect(uri) as connection:
        connection.execute("drop schema raw, ops, app cascade")
        connection.execute("create schema app; create table public.orders (id text)")
        connection.execute(
            "create view app.transactions as select id as transaction_id from public.orders"
        )
        connection.execute("insert into public.orders values ('mine')")
    for revision in ("head", "base", "head"):
        migrate(uri, revision)
        assert query(uri, "select * from app.transactions") == [{"transaction_id": "mine"}]
    assert "app.profiles" in _relations(uri)


def test_a_database_of_a_newer_version_is_refused(warehouse: str) -> None:
    """Red: an old worker would write into tables that it does not know."""
    with psycopg.connect(warehouse) as connection:
        connection.execute("update ops.schema_version set version_num = '9999'")
    with pytest.raises(WarehouseError) as caught:
        migrate(warehouse)
    assert str(caught.value).startswith(
        f"The warehouse at {wh.where(warehouse)} cannot be migrated"
    )
    assert str(caught.value).endswith("Was it migrated by a newer version of this project?")
    assert query(warehouse, "select version_num from ops.schema_version") == [
        {"version_num": "9999"}
    ]


@pytest.mark.slow
def test_processes_that_migrate_at_once_do_not_fail_each_other(
    make_warehouse: MakeWarehouse,
) -> None:
    """Red: the first run of a new release would be red on all workers but one."""
    uri = make_warehouse("migrate_race")
    with psycopg.connect(uri) as connection:
        connection.execute("drop schema raw, ops, app cascade")
    code = "import sys; from tributary.warehouse import migrate; migrate(sys.argv[1])"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, uri], cwd=config.ROOT, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in running]
    assert ended == [("", 0)] * 3
    assert _differences(uri) == []
