"""The sums of `ad_spend`, of raw, and of the account itself: who touches one of them is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.marts import RECOMPUTE, Warehouse, ad, build, build_marts, build_models, outcome

TESTS = ("ad_spend_equals_raw", "ad_spend_equals_account_totals")
TABLES = ("raw.meta_ad_insights", "raw.meta_account_insights", "marts.ad_spend")


@pytest.fixture(scope="module")
def sound(module_warehouse: str) -> Iterator[Warehouse]:
    """A world in which everything adds up."""
    world = Warehouse(module_warehouse)
    world.account("100")
    world.load("100", "2025-01-01", [ad("1")])
    world.load("100", "2026-03-01", [ad("1"), ad("2")])
    # A day of long ago that was read again an hour ago.
    world.execute(
        "update ops.loads set loaded_at = now() - interval '1 hour' where date < '2026-1-1'"
    )
    build_models(world.uri)
    build(world.uri, "--select", *TESTS)
    world.execute("create schema saved")
    for table in TABLES:
        world.execute(f"create table saved.{table.partition('.')[2]} as select * from {table}")
    yield world
    world.connection.close()


@pytest.fixture
def world(sound: Warehouse) -> Iterator[Warehouse]:
    """The sound world; what a test does to it is undone."""
    yield sound
    for table in TABLES:
        sound.execute(f"delete from {table}")
        sound.execute(f"insert into {table} select * from saved.{table.partition('.')[2]}")


@pytest.mark.parametrize(
    ("tampering", "found_by"),
    [
        ('update raw.meta_ad_insights set payload = payload || \'{"clicks": "4"}\'', {TESTS[0]}),
        ("update marts.ad_spend set clicks = 4 where date = '2025-01-01'", {TESTS[0]}),
        ("update marts.ad_spend set spend = 1.01 where date = '2026-03-01'", set(TESTS)),
        ("delete from marts.ad_spend where fb_ad_id = '2'", set(TESTS)),
        ("delete from marts.ad_spend", set(TESTS)),
        (
            'update raw.meta_account_insights set payload = payload || \'{"spend": "2.01"}\'',
            {TESTS[1]},
        ),
        ("delete from raw.meta_account_insights", {TESTS[1]}),
    ],
)
def test_tampering_is_found(world: Warehouse, tampering: str, found_by: set[str]) -> None:
    """Figures that do not add up are published with a green build."""
    world.execute(tampering)
    nodes = outcome(world.uri, "--select", *TESTS)
    assert {name for name, (status, _) in nodes.items() if status == "fail"} == found_by


def test_a_load_during_the_build_is_nobodys_fault(world: Warehouse) -> None:
    """A build fails at night because a load came between the mart and its tests."""
    world.execute(
        'update raw.meta_ad_insights set payload = payload || \'{"spend": "5"}\' '
        "where date = '2026-03-01'"
    )
    world.execute("update ops.loads set loaded_at = now() where date = '2026-03-01'")
    build(world.uri, "--select", *TESTS)


@pytest.fixture
def between(warehouse: str) -> Iterator[Warehouse]:
    """Two brands, whose loads are of this moment; the models are built, the tests still to run."""
    world = Warehouse(warehouse)
    for account_id, brand in (("100", "acme"), ("200", "lumen")):
        world.account(account_id, brand=brand)
        _load_now(world, account_id, "2026-03-01")
    build_models(world.uri)
    yield world
    world.connection.close()


def _load_now(world: Warehouse, account_id: str, day: str, spend: str = "1") -> None:
    """Commit a load of this very moment, all at once, as a load does."""
    with world.connection.transaction():
        world.load(account_id, day, [ad(f"{account_id}1", spend)])
        world.execute(
            "update ops.loads set loaded_at = clock_timestamp() "
            "where (account_id, date) = (%s, %s)", account_id, day,
        )  # fmt: skip


def test_a_day_that_the_build_did_not_see_is_not_judged(between: Warehouse) -> None:
    """A daily load that commits between the mart and its tests makes the hourly build red."""
    _load_now(between, "100", "2026-03-02")  # a new day
    _load_now(between, "200", "2026-03-01", spend="5")  # a known day, restated
    build(between.uri, "--select", *TESTS)
    assert len(between.contents("ad_spend")) == 2
    build_marts(between.uri)
    build(between.uri, "--select", *TESTS)
    spend = between.rows("select account_id, sum(spend) from marts.ad_spend group by 1 order by 1")
    assert [tuple(row.values()) for row in spend] == [("100", 2), ("200", 5)]


@pytest.mark.parametrize("again", [False, True])
def test_a_day_that_the_build_saw_and_lost_is_judged(between: Warehouse, again: bool) -> None:
    """The mart loses a day that it has just built, and the build is green."""
    if again:  # the first build computes all days, the next one only those that changed
        _load_now(between, "200", "2026-03-01", spend="5")
        build_marts(between.uri)
    between.execute("delete from marts.ad_spend where account_id = '200'")
    nodes = outcome(between.uri, "--select", *TESTS)
    assert {name for name, (status, _) in nodes.items() if status == "fail"} == set(TESTS)


REVENUE = ("attributions_hold_all_revenue", "credits_hold_all_revenue", "credits_add_up")


def test_purchases_that_the_build_did_not_see_are_not_judged(between: Warehouse) -> None:
    """A shop that sells, or refunds, while the marts are built makes the build red; or a
    purchase that the build saw and lost is not found.
    """
    between.purchase("old", "p1", "2026-03-01", "10")
    between.purchase("refunded", "p1", "2026-03-01", "20")
    between.purchase("old", "p2", "2026-03-01", "5", brand="lumen")
    build_models(between.uri)
    # Of this moment; of an hour ago, but only now in the shop's own tables; and a refund.
    between.purchase("new", "p1", "2026-03-01", "7", updated_at="now")
    between.purchase("late", "p1", "2026-03-02", "9")
    between.execute(
        "update app.transactions set refunded_amount = 20, refunded_at = now() "
        "where transaction_id = 'refunded'"
    )
    build(between.uri, "--select", *REVENUE, *RECOMPUTE)

    between.execute("delete from marts.ad_attributions where brand_slug = 'lumen'")
    between.execute("delete from marts.ad_attribution_credits where brand_slug = 'lumen'")
    nodes = outcome(between.uri, "--select", *REVENUE, *RECOMPUTE)
    assert {name for name, (status, _) in nodes.items() if status == "fail"} == set(REVENUE)

    build_models(between.uri, *RECOMPUTE)
    held = between.rows(
        "select brand_slug, transaction_id, conversion_value from marts.ad_attributions "
        "order by 1, 2"
    )
    assert [tuple(row.values()) for row in held] == [
        ("acme", "late", 9), ("acme", "new", 7), ("acme", "old", 10), ("acme", "refunded", 0),
        ("lumen", "A", 70), ("lumen", "old", 5),
    ]  # fmt: skip


def test_a_purchase_that_the_build_read_and_lost_is_judged(between: Warehouse) -> None:
    """A purchase of a view that says "changed tomorrow" could be lost in each build with all
    tests green.
    """
    between.purchase("odd", "p1", "2026-03-01", "10", updated_at="tomorrow")
    between.purchase("odd", "p2", "2026-03-01", "5", brand="lumen")
    build_models(between.uri)
    for mart in ("ad_attributions", "ad_attribution_credits"):
        between.execute(
            f"delete from marts.{mart} where transaction_id = 'odd' and brand_slug = 'acme'"
        )
    nodes = outcome(between.uri, "--select", *REVENUE, *RECOMPUTE)
    assert {name for name, (status, _) in nodes.items() if status == "fail"} == set(REVENUE)
