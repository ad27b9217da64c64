"""Migrations: forward, back, several at once, and what they leave alone."""

import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from tributary import config, event
from tributary import warehouse as wh
from tributary.errors import WarehouseError
from tributary.local import programs
from tributary.warehouse import check_version, migrate, schema

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


def _schema(uri: str) -> str:
    """The statements that create our schemas, as Postgres writes them."""
    dump = [f"{programs.BIN}/pg_dump", "--schema-only", "--restrict-key=none", uri]
    return subprocess.run(dump, check=True, capture_output=True, text=True).stdout


def test_the_newest_version_is_alembics(warehouse: str) -> None:
    """A migrated warehouse would be refused, or one with an old schema used."""
    migrations = Config()
    migrations.set_main_option("script_location", str(schema.MIGRATIONS))
    assert schema.newest_version() == ScriptDirectory.from_config(migrations).get_current_head()
    check_version(warehouse)


def test_a_warehouse_of_another_version_is_refused(warehouse: str) -> None:
    """A task would read and write tables that do not have the columns of its code."""
    place = f"The schema of the warehouse at {wh.where(warehouse)} has"
    needed = schema.newest_version()
    migrate(warehouse, "0009")
    with pytest.raises(WarehouseError) as caught:
        check_version(warehouse)
    assert str(caught.value) == (
        f"{place} version 0009, and this Tributary needs version {needed}: run `tributary prepare`."
    )
    migrate(warehouse, "base")
    with pytest.raises(WarehouseError) as caught:
        check_version(warehouse)
    assert str(caught.value) == (
        f"{place} not been created, and this Tributary needs version {needed}: "
        "run `tributary prepare`."
    )
    with psycopg.connect(warehouse) as connection:
        connection.execute("insert into ops.schema_version values ('9999')")
    with pytest.raises(WarehouseError) as caught:
        check_version(warehouse)
    assert str(caught.value) == (
        f"{place} version 9999, and this Tributary knows versions up to {needed}: install the "
        "newer Tributary that migrated the warehouse here, too."
    )


def test_every_migration_can_be_taken_back(warehouse: str) -> None:
    """A release could not be taken back, or not be installed again afterwards."""
    newest = int(schema.newest_version())
    versions = ["base", *(f"{number:04}" for number in range(1, newest + 1))]
    schemas = {versions[-1]: _schema(warehouse)}
    for version in reversed(versions[:-1]):
        migrate(warehouse, version)
        schemas[version] = _schema(warehouse)
    # 0012 changes the schemas of dbt alone, and those are not there.
    assert len(set(schemas.values())) == len(versions) - 1
    for version in versions[1:]:
        migrate(warehouse, version)
        assert _schema(warehouse) == schemas[version]


def test_there_and_back_again(warehouse: str) -> None:
    """Tables would be left behind, or the user's own tables in `app` dropped."""
    head = _relations(warehouse)
    migrate(warehouse, "base")
    assert {n for n in _relations(warehouse) if not n.startswith("app.")} == {"ops.schema_version"}
    assert {n for n in _relations(warehouse) if n.startswith("app.")} == {
        "app.transactions", "app.profiles", "app.touchpoints", "app.exchange_rates",
    }  # fmt: skip
    migrate(warehouse)
    assert _relations(warehouse) == head


def test_migrating_again_does_nothing(warehouse: str) -> None:
    """A second `prepare` would lose rows."""
    with psycopg.connect(warehouse) as connection:
        connection.execute("insert into app.exchange_rates values ('2025-03-01', 'a', 'b', 1)")
    migrate(warehouse)
    assert len(query(warehouse, "select from app.exchange_rates")) == 1


def test_the_users_own_views_survive(make_warehouse: MakeWarehouse) -> None:
    """A deployment's views on its own tables would be replaced by empty tables."""
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
    """An older version of the project would migrate tables that it does not know."""
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
    """A release that several hosts prepare at once would fail on all but one of them."""
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
    assert _schema(uri) == _schema(make_warehouse("migrated_once"))


def test_the_list_of_an_events_fields_has_every_column_of_the_table(warehouse: str) -> None:
    """A column that the list does not have is never filled, or an insert fails."""
    with psycopg.connect(warehouse) as connection:
        rows = connection.execute(
            "select column_name from information_schema.columns where table_schema = 'ops' "
            "and table_name = 'conversion_events' and is_generated = 'NEVER'"
        ).fetchall()
    table = {name for (name,) in rows}
    assert set(event.COLUMNS) == table
    assert {*event.CLAIMED, *event.ERASED, *event.COMPLETED, *event.INHERITED} <= table
