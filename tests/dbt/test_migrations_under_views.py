"""A migration of what views read: dbt's views are dropped and built again, a user's are not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tributary import warehouse as wh
from tributary.errors import WarehouseError
from tributary.warehouse import schema

from tests.support.marts import Warehouse, ad, build_models

_CHANGES = """
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    op.execute("alter table ops.loads alter column spend type numeric(30, 9)")
    op.execute("alter table ops.restatements drop column changed_rows")
    op.execute("alter table ops.restatements add column changed_rows integer not null default 7")


def downgrade() -> None:
    op.execute("alter table ops.loads alter column spend type numeric")
"""
_TYPE = (
    "select format_type(atttypid, atttypmod) as type from pg_attribute "
    "where attrelid = 'ops.loads'::regclass and attname = 'spend'"
)
_VIEWS = (
    "select schemaname || '.' || viewname as name from pg_views where schemaname in ({})".format(
        "'staging', 'intermediate', 'marts', 'public'"
    )
)


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The newest revision of the project; the test adds one more after it."""
    migrations = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, migrations)
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    newest = schema.newest_version()
    (migrations / "versions" / "9999_changes.py").write_text(_CHANGES.format(head=newest))
    return newest


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    """Two brands with spend, built."""
    world = Warehouse(warehouse)
    for account_id, brand in (("100", "acme"), ("200", "lumen")):
        world.account(account_id, brand=brand)
        world.load(account_id, "2026-03-01", [ad(account_id, "10")])
    world.restate("100", "2026-03-01", [ad("100", "11")])
    build_models(world.uri)
    yield world
    world.connection.close()


def _views(world: Warehouse) -> set[str]:
    return {row["name"] for row in world.rows(_VIEWS)}


def test_views_of_dbt_are_dropped_and_built_again(
    world: Warehouse, head: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A release with a migration would fail on every warehouse that has built its marts."""
    world.execute("create view public.mine as select sum(spend) as spend from marts.ad_spend")
    before = _views(world)
    wh.migrate(world.uri)
    assert world.row(_TYPE) == {"type": "numeric(30,9)"}
    dropped = before - _views(world)
    assert {"staging.stg_tributary__loads", "staging.stg_tributary__restatements"} <= dropped
    assert "staging.stg_app__transactions" not in dropped
    (message,) = [r.getMessage() for r in caplog.records if r.name == schema.__name__]
    names = ", ".join(sorted(dropped))
    assert f"{names}. The next build of the marts creates them again." in message

    build_models(world.uri)
    assert _views(world) == before
    assert world.rows("select brand_slug, spend from marts.ad_spend order by 1") == [
        {"brand_slug": "acme", "spend": 11}, {"brand_slug": "lumen", "spend": 10},
    ]  # fmt: skip
    restated = world.row("select changed_rows from staging.stg_tributary__restatements")
    assert restated == {"changed_rows": 7}
    assert world.row("select spend from public.mine") == {"spend": 21}

    wh.migrate(world.uri, head)  # and back
    assert world.row(_TYPE) == {"type": "numeric"}


def test_views_of_others_are_named_and_not_dropped(world: Warehouse, head: str) -> None:
    """A migration would drop an analyst's views, or fail without naming them."""
    world.execute("create materialized view public.mine as select spend from ops.loads")
    world.execute("create view public.on_mine as select spend from public.mine")
    world.execute("create view public.on_ours as select spend from staging.stg_tributary__loads")
    before = _views(world)
    with pytest.raises(WarehouseError) as caught:
        wh.migrate(world.uri)
    assert str(caught.value) == (
        f"The warehouse at {wh.where(world.uri)} cannot be migrated to head: views that this "
        "project did not make read what changes (mine reads ops.loads; on_mine reads mine; "
        "on_ours reads staging.stg_tributary__loads). Drop them, migrate again, and create "
        "them again. Nothing was changed."
    )
    assert (_views(world), world.row(_TYPE)) == (before, {"type": "numeric"})
    assert world.row("select version_num from ops.schema_version") == {"version_num": head}


def test_what_dbt_no_longer_knows_is_dropped(
    warehouse: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An upgraded warehouse has tables that no one fills, and its first build drops the views that
    analysts made on marts."""
    wh.migrate(warehouse, "0011")
    world = Warehouse(warehouse)
    world.execute("""
        create schema staging; create schema intermediate; create schema marts;
        create table intermediate.ad_spend__slices (n integer);
        create table intermediate.int_transactions (n integer);
        create table intermediate.ad_spend__mine (n integer);
        create table marts.ad_spend__slices (n integer);
        create view staging.stg_tributary__brands as select slug from ops.brands;
        create view staging.stg_tributary__loads as select spend from ops.loads;
        create view staging.mine as select slug from ops.brands;
        create view intermediate.int_credit_inputs as select * from staging.stg_tributary__brands;
        create view marts.campaign_performance as select * from intermediate.int_credit_inputs;
    """)
    # As the first project marked its views; dbt's own `stg_tributary__loads` has no mark.
    for view in ("staging.stg_tributary__brands", "intermediate.int_credit_inputs"):
        world.execute(f"comment on rule \"_RETURN\" on {view} is 'made of this'")
    world.execute("create view public.mine as select * from marts.campaign_performance")
    with pytest.raises(WarehouseError) as caught:
        wh.migrate(world.uri)
    assert "did not make read what changes (mine reads marts.campaign_performance). Drop" in str(
        caught.value
    )
    assert world.row("select slug from public.mine where slug = 'acme'")

    world.execute("drop view public.mine")
    wh.migrate(world.uri)
    found = (
        "select oid::regclass::text as name from pg_class where relkind in ('v', 'r') and "
        "relnamespace::regnamespace::text in ('staging', 'intermediate', 'marts') order by 1"
    )
    assert [row["name"] for row in world.rows(found)] == [
        "intermediate.ad_spend__mine", "marts.ad_spend__slices",
        "staging.mine", "staging.stg_tributary__loads",
    ]  # fmt: skip
    assert "marts.campaign_performance. The next build of the marts creates them" in caplog.text
    world.connection.close()


def test_anything_else_that_depends_on_a_change_is_named(world: Warehouse, head: str) -> None:
    """A user's function that reads a column would stop a migration with a traceback."""
    world.execute("drop schema staging, intermediate, snapshots cascade")
    world.execute(
        "create function public.loaded() returns numeric language sql "
        "begin atomic select sum(changed_rows) from ops.restatements; end"
    )
    with pytest.raises(WarehouseError) as caught:
        wh.migrate(world.uri)
    assert "function loaded() depends on column changed_rows of table ops.restatements" in str(
        caught.value
    )
    assert world.row("select version_num from ops.schema_version") == {"version_num": head}
