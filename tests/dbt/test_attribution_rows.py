"""Mistakes in the user's views, and keys of two brands: other brands' marts do not change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tributary import warehouse as wh
from tributary.deliver import overview

from tests.support.marts import GOOD, RECOMPUTE, Warehouse, ad, build_models, outcome

AT = "2026-03-10 02:00"
EMAIL, PHONE = "ann@shop.example", "+1 555 010 9999"


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    """Two brands, each with an ad account, a day of spend and an order A."""
    world = Warehouse(warehouse)
    world.account("100")
    world.account("900", "EUR", brand="lumen")
    world.load("100", "2026-03-10", [ad("1")])
    world.load("900", "2026-03-10", [ad("91", campaign_id="c91")], currency="EUR")
    world.rate("2026-03-09", "EUR", "1.10")
    world.touch("t1", "ann", "2026-03-10 01:00", ad_id="1")
    world.purchase("A", "ann", AT, "100.00")
    yield world
    world.connection.close()


def _make_mistakes(world: Warehouse) -> None:
    buy, touch = world.purchase, world.touch
    for transaction in (None, "", "Undefined", "0", "order-{{ id }}"):
        buy(transaction, "ann", AT, "1.00")
    for brand in (None, "Acme"):
        buy("brand", "ann", AT, "1.00", brand=brand)
    buy("status", "ann", AT, "1.00", status="shipped")
    buy("no number", "ann", AT, "NaN")
    buy("refund", "ann", AT, "1.00", refunded_amount="Infinity")
    buy("huge", "ann", AT, "1e30")
    for name, at in (("infinite", "infinity"), ("late", "9999-12-31"), ("early", "0001-01-01")):
        buy(name, "ann", AT, "1.00", transacted_at=at)
    buy("never", "ann", AT, "1.00", transacted_at=None)
    buy("same", "ann", AT, "5.00")
    buy("same", "ann", AT, "5.00")
    buy("twice", "ann", AT, "5.00")
    buy("twice", "ann", AT, "6.00")
    buy("twice", "ann", AT, "7.00", brand="lumen", currency="EUR")
    buy("half", "ann", AT, "8.00")
    buy("half", "ann", AT, "NaN")
    buy("open", "ann", AT, "8.00", transacted_at=None, status="pending")  # no mistake: not yet paid
    touch(None, "ann", "2026-03-10 01:10", ad_id="1")
    touch("now", "ann", "infinity", ad_id="1")
    touch("same", "bob", "2026-03-10 01:20", ad_id="1")
    touch("same", "bob", "2026-03-10 01:20", ad_id="1")
    touch("twice", "cat", "2026-03-10 01:20", ad_id="1")
    touch("twice", "cat", "2026-03-10 01:30", ad_id="1")
    touch("elsewhere", "ann", "2026-03-10 01:20", brand="Acme", ad_id="1")
    buy("of bob", "bob", AT, "9.00")
    buy("of cat", "cat", AT, "9.00")
    for profile, email in ((EMAIL, "1"), (EMAIL, "2"), (PHONE, "1"), (PHONE, "2"), (None, "3")):
        world.execute(
            "insert into app.profiles (profile_id, brand_slug, email) values (%s, 'acme', %s)",
            profile, f"{email}@shop.example",
        )  # fmt: skip
    world.rate("2026-03-10", "EUR", "NaN")
    world.rate("2026-03-08", "EUR", "1.20")
    world.rate("2026-03-08", "EUR", "1.30")
    world.rate("infinity", "EUR", "1.30")


def _problems(world: Warehouse) -> set[tuple[str, str, str, str, int]]:
    found = world.rows("select * from marts.data_problems")
    return {
        (row["source"].removeprefix("app."), row["brand_slug"] or "-", row["key"] or "-",
         row["problem"], row["row_count"])
        for row in found
    }  # fmt: skip


def _revenue(world: Warehouse) -> dict[tuple[str, str], tuple[Any, str | None, int]]:
    return {
        (row["brand_slug"], row["transaction_id"]): (
            row["conversion_value"], row["fb_ad_id"], row["touch_count"],
        )
        for row in world.contents("ad_attributions")
    }  # fmt: skip


SOUND = {("acme", "A"): (100, "1", 1), ("lumen", "A"): (70, "91", 1)}


def test_a_row_with_a_mistake_stops_nobody(
    world: Warehouse, capfd: pytest.CaptureFixture[str]
) -> None:
    """One wrong row of one shop leaves every shop without attribution, or it poisons a sum, or
    it is left out and nobody can see which one and since when.
    """
    _make_mistakes(world)
    nodes = outcome(world.uri, "--exclude-resource-type", "unit_test", quiet=False)
    assert {name for name, node in nodes.items() if node[0] not in GOOD} == set()
    revenue = SOUND | {
        ("acme", "same"): (5, "1", 1), ("lumen", "twice"): (7, "91", 1),
        ("acme", "half"): (8, "1", 1), ("acme", "of bob"): (9, "1", 1),
        ("acme", "of cat"): (9, None, 0),
    }  # fmt: skip
    assert _revenue(world) == revenue
    assert _problems(world) == {
        # "-" twice: without an id. The others are what a program writes where it has none.
        ("transactions", "acme", "-", "key_missing", 2),
        *(("transactions", "acme", one, "key_missing", 1)
          for one in ("Undefined", "0", "order-{{ id }}")),
        ("transactions", "-", "brand", "brand_missing", 1),
        ("transactions", "Acme", "brand", "brand_unknown", 1),
        ("transactions", "acme", "status", "status_unknown", 1),
        *(("transactions", "acme", one, "amount_impossible", 1)
          for one in ("no number", "refund", "huge", "half")),
        *(("transactions", "acme", one, "time_impossible", 1)
          for one in ("infinite", "late", "early")),
        ("transactions", "acme", "never", "time_missing", 1),
        ("transactions", "acme", "same", "repeated", 1),
        ("transactions", "acme", "twice", "duplicate", 2),
        ("touchpoints", "acme", "-", "key_missing", 1),
        ("touchpoints", "acme", "now", "time_impossible", 1),
        ("touchpoints", "acme", "same", "repeated", 1),
        ("touchpoints", "acme", "twice", "duplicate", 2),
        ("touchpoints", "Acme", "elsewhere", "brand_unknown", 1),
        ("profiles", "acme", "sha256:6a0bf011a1fc1e9a", "duplicate", 2),
        ("profiles", "acme", "sha256:bcae9ae0def5c830", "duplicate", 2),
        ("profiles", "acme", "-", "key_missing", 1),
        ("exchange_rates", "-", "EUR/USD 2026-03-10", "rate_impossible", 1),
        ("exchange_rates", "-", "EUR/USD 2026-03-08", "duplicate", 2),
        ("exchange_rates", "-", "EUR/USD infinity", "time_impossible", 1),
    }  # fmt: skip
    shown = "".join(capfd.readouterr())
    assert "WARNING: app.transactions, brand acme: amount_impossible, rows left out: 4." in shown
    assert "app.profiles, brand acme: duplicate, rows left out: 4." in shown
    assert "app.exchange_rates, brand (none): rate_impossible, rows left out: 1." in shown
    with wh.connect(world.uri, autocommit=True) as connection:
        said = overview.mistakes(connection)  # what `status` and the page say
    assert (
        "acme: 2 rows of app.transactions are left out: duplicate, such as twice. "
        "marts.data_problems lists them; put the view right."
    ) in said
    for personal in (EMAIL, PHONE):
        assert personal not in shown
        assert personal not in str(said)

    # Put right, a row is there after the next build; what is still wrong is as old as it was.
    seen = world.row("select min(seen_at), max(seen_at) from marts.data_problems")
    assert seen["min"] == seen["max"]
    world.execute(
        "update app.transactions set status = 'completed' where transaction_id = 'status'"
    )
    world.execute("delete from app.transactions where transaction_id = 'twice' and amount = 6")
    world.execute("delete from app.touchpoints where touched_at = '2026-03-10 01:30+00'")
    world.purchase("A", "ann", AT, "101.00")
    build_models(world.uri)
    revenue |= {
        ("acme", "status"): (1, "1", 1), ("acme", "twice"): (5, "1", 1),
        ("acme", "of cat"): (9, "1", 1),
    }  # fmt: skip
    del revenue["acme", "A"]
    assert _revenue(world) == revenue
    later = world.rows(
        "select key, problem, seen_at from marts.data_problems where seen_at > %s", seen["max"]
    )
    assert [(row["key"], row["problem"]) for row in later] == [("A", "duplicate")]
    assert world.row(
        "select count(*) from marts.data_problems where key in ('status', 'twice')"
    ) == {"count": 0}
    listed = world.contents("data_problems")
    build_models(world.uri, *RECOMPUTE)
    assert _revenue(world) == revenue
    assert world.contents("data_problems") == listed


def test_a_view_that_is_wrong_as_a_whole(world: Warehouse) -> None:
    """A shop whose brand is misspelt copies all its visits into a mart, at every build."""
    world.execute(
        "insert into app.touchpoints (touchpoint_id, brand_slug, profile_id, touched_at) "
        "select n::text, 'Acme', 'p', '2026-03-10' from generate_series(1, 3000) as n"
    )
    build_models(world.uri)
    found = world.row(
        "select count(*), count(key) as keys, sum(row_count)::int as rows, "
        "max(row_count) filter (where key is null)::int as others "
        "from marts.data_problems where brand_slug = 'Acme' and problem = 'brand_unknown'"
    )
    assert found == {"count": 1001, "keys": 1000, "rows": 3000, "others": 2000}
    assert _revenue(world) == SOUND


def test_an_update_from_keys_without_a_brand(world: Warehouse) -> None:
    """The first build after the update fails on the old key, keeps half of the old rows, or
    takes an analyst's views along.
    """
    world.execute("delete from app.transactions where brand_slug = 'lumen'")
    build_models(world.uri)
    world.execute("create schema analysts")
    marts = ("ad_attributions", "ad_attribution_credits", "ad_performance")
    for mart in marts:
        world.execute(f"create view analysts.{mart} as select * from marts.{mart}")
    # As the version before left it: nothing knows of brands, and keys are constraints.
    keys = (
        "select indrelid::regclass::text as mart, indexrelid::regclass::text as name, "
        "pg_get_indexdef(indexrelid) as definition "
        "from pg_index where indisunique and indrelid::regclass::text "
        "in ('marts.ad_attributions', 'marts.ad_attribution_credits')"
    )
    for key in world.rows(keys):
        world.execute(f"drop index {key['name']}")
    for statement in (
        "alter table marts.ad_attribution_credits "
        "add primary key (transaction_id, model, touch_index)",
        "alter table marts.ad_attribution_credits alter column brand_slug drop not null",
        "alter table marts.ad_attributions alter column brand_slug drop not null",
        "alter table marts.ad_attributions add primary key (id)",
        'create unique index "0123456789abcdef0123456789abcdef" '
        "on marts.ad_attributions (transaction_id)",
        "update marts.ad_attributions set id = md5('transaction|' || transaction_id)::uuid",
    ):
        world.execute(statement)
    world.purchase("A", "ann", AT, "70.00", brand="lumen", currency="EUR")
    build_models(world.uri, *RECOMPUTE)
    assert _revenue(world) == SOUND
    ids = world.rows(
        "select id = md5('transaction|' || brand_slug || '|' || transaction_id)::uuid as is_new "
        "from analysts.ad_attributions"
    )
    assert [row["is_new"] for row in ids] == [True, True]
    assert world.row("select count(*) from analysts.ad_attribution_credits") == {"count": 12}
    assert world.row("select sum(attributed_value) from analysts.ad_performance") == {"sum": 1020}
    assert {
        (row["mart"], row["definition"].partition("btree ")[2]) for row in world.rows(keys)
    } == {
        ("marts.ad_attribution_credits", "(transaction_id, brand_slug, model, touch_index)"),
        ("marts.ad_attributions", "(transaction_id, brand_slug)"),
        ("marts.ad_attributions", "(id)"),
    }
