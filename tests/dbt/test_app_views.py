"""The example of a user's views, run by psql as the README says, before and after builds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from decimal import Decimal

import pytest
from tributary import config
from tributary.local.programs import search_path

from tests.support.marts import Row, Warehouse, build_models

EXAMPLE = config.ROOT / "include" / "sql" / "app_views.example.sql"
VIEWS = ("exchange_rates", "profiles", "touchpoints", "transactions")
_SHOP = """
create schema shop;
create schema finance;
create table shop.orders (
    id int, brand varchar, customer_id int, state varchar, total_cents int, currency char(3),
    paid_at timestamp, refunded_cents int, refunded_at timestamp, updated_at timestamp,
    pixel_event_id uuid, checkout_url text, ip_address inet, user_agent text, fbp text, fbc text
);
create table shop.customers (
    id int, brand varchar, email varchar, phone varchar, first_name varchar, last_name varchar,
    city varchar, postcode varchar, country_code char(2), accepts_marketing boolean,
    updated_at timestamptz
);
create table shop.visits (
    id bigint, brand varchar, customer_id int, visited_at timestamptz, utm_source varchar,
    utm_medium varchar, utm_campaign varchar, utm_content varchar, utm_term varchar,
    fbclid varchar, fbc varchar, fbp varchar, gclid varchar, landing_url text, ip_address inet,
    user_agent text
);
create table finance.rates (day date, base char(3), quote char(3), rate numeric(12, 6));
insert into finance.rates values ('2026-03-01', 'EUR', 'USD', 1.25);
"""


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    """Two brands, each with a purchase in its shop; built before the example is run."""
    world = Warehouse(warehouse)
    world.connection.execute("delete from app.transactions; delete from app.touchpoints")
    world.connection.execute(_SHOP)
    for brand, customer, cents, currency in (("acme", 1, 1999, "USD"), ("lumen", 2, 4000, "EUR")):
        world.execute(
            "insert into shop.orders (id, brand, customer_id, state, total_cents, currency, "
            "paid_at) values (%s, %s, %s, 'paid', %s, %s, '2026-03-02')",
            customer, brand, customer, cents, currency,
        )  # fmt: skip
        world.execute("insert into shop.customers (id, brand) values (%s, %s)", customer, brand)
        world.execute(
            "insert into shop.visits (id, brand, customer_id, visited_at, utm_source, utm_medium) "
            "values (%s, %s, %s, '2026-03-01', 'facebook', 'cpc')", customer, brand, customer,
        )  # fmt: skip
    build_models(world.uri)
    yield world
    world.connection.close()


def _run(world: Warehouse) -> tuple[int, str]:
    """Run the example with psql; its exit code and what it said."""
    ended = subprocess.run(
        ["psql", world.uri, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(EXAMPLE)],
        env={**os.environ, "PATH": f"{search_path()}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def _columns(world: Warehouse) -> list[Row]:
    return world.rows(
        "select table_name, column_name, data_type from information_schema.columns "
        "where table_schema = 'app' order by table_name, ordinal_position"
    )


def _staging(world: Warehouse) -> set[str]:
    rows = world.rows("select viewname from pg_views where schemaname = 'staging'")
    return {row["viewname"] for row in rows}


def test_the_example_shows_all_four_after_a_build_and_again(world: Warehouse) -> None:
    """A user cannot show its own tables once the marts were built, or breaks them by it."""
    asked, views = _columns(world), _staging(world)
    world.execute(
        "create view public.mine as select sum(conversion_value) from marts.ad_attributions"
    )
    code, said = _run(world)
    assert code == 0
    assert said.count("until the next build of the marts") == 4
    assert "staging.stg_app__transactions" in said
    assert _columns(world) == asked  # every column in its place, with the type that is read
    kinds = world.rows(
        "select relname, relkind::text from pg_class where relnamespace = 'app'::regnamespace "
        "and relkind in ('r', 'v') order by 1"
    )
    assert [tuple(row.values()) for row in kinds] == [(name, "v") for name in VIEWS]

    build_models(world.uri)
    assert _staging(world) == views
    bought = (
        "select brand_slug, conversion_value, currency, source_platform from marts.ad_attributions "
        "order by brand_slug"
    )
    assert [tuple(row.values()) for row in world.rows(bought)] == [
        ("acme", Decimal("19.99"), "USD", "meta"), ("lumen", 40, "EUR", "meta"),
    ]  # fmt: skip
    assert world.row("select * from public.mine") == {"sum": Decimal("59.99")}

    world.execute("update shop.orders set total_cents = 2999 where brand = 'acme'")
    assert _run(world) == (0, "")  # nothing gives way: the views are replaced in place
    assert _staging(world) == views
    build_models(world.uri)
    assert world.rows(bought)[0]["conversion_value"] == Decimal("29.99")


def test_tables_with_rows_and_views_of_others_are_not_touched(world: Warehouse) -> None:
    """Purchases that somebody keeps in `app`, or an analyst's view, are gone."""
    views = _staging(world)
    world.purchase("T1", "p1", "2026-03-01", "5")
    code, said = _run(world)
    assert code != 0
    assert (
        "app.transactions is a table with rows, which a view would take away. Move it out of the "
        "schema app, or empty it, and run this again. Nothing was changed."
    ) in said
    assert world.row("select count(*) from app.transactions") == {"count": 1}
    world.execute("delete from app.transactions")
    world.execute("create view public.mine as select * from staging.stg_app__touchpoints")
    code, said = _run(world)
    assert code != 0
    assert "app.touchpoints is a table that these views read, which dbt did not make: mine" in said
    assert _staging(world) == views
    assert world.row(
        "select relkind::text from pg_class where oid = 'app.transactions'::regclass"
    ) == {"relkind": "r"}
