"""`ad_spend`: the money of raw, to the cent, whatever is restated, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from tests.support.marts import (
    GOOD,
    RECOMPUTE,
    Row,
    Warehouse,
    ad,
    build_marts,
    build_models,
    outcome,
)


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    """Two accounts of `acme`: one in its reporting currency, one in EUR."""
    world = Warehouse(warehouse)
    world.account("100")
    world.account("200", "EUR")
    yield world
    world.connection.close()


def _spend(world: Warehouse, **key: object) -> Row:
    where = " and ".join(f"{name} = %s" for name in key)
    return world.row(f"select * from marts.ad_spend where {where}", *key.values())


def _rows(world: Warehouse) -> dict[tuple[str, str], set[tuple[object, ...]]]:
    """The rows of each account-day, as they were written: a row that is written anew differs."""
    found = world.rows("select account_id, date::text as date, id, xmin, ctid from marts.ad_spend")
    days: dict[tuple[str, str], set[tuple[object, ...]]] = {}
    for row in found:
        key = (row["account_id"], row["date"])
        days.setdefault(key, set()).add((row["id"], row["xmin"], row["ctid"]))
    return days


@pytest.fixture(scope="module")
def built(module_warehouse: str) -> Iterator[Warehouse]:
    """A world that was built once, with all its tests; they only read it."""
    world = Warehouse(module_warehouse)
    world.account("100")
    world.account("200", "EUR")
    world.account("300", described=False)
    world.rate("2026-02-27", "EUR", "1.2")
    purchases = [
        {"action_type": "purchase", "value": "2"},
        {"action_type": "omni_purchase", "value": "3"},
    ]
    values = [{"action_type": "purchase", "value": "20.10"}]
    world.load(
        "100",
        "2026-03-01",
        [
            ad("1", "10.015", actions=purchases, action_values=values, inline_link_clicks="2"),
            {"ad_id": "2", "spend": "0.1", "impressions": "7"},
        ],
    )
    world.load("100", "2026-03-02", [ad("1", "0.205")], status="unreconciled")
    world.load("200", "2026-03-01", [ad("3", "33.33")], currency="EUR")
    world.load("200", "2026-03-07", [ad("3", "5")], currency="EUR")
    world.load("300", "2026-03-01", [ad("9", "5")])
    world.load("999", "2026-03-01", [ad("8", "4")])
    world.warnings = {name for name, node in outcome(world.uri).items() if node[0] not in GOOD}
    yield world
    world.connection.close()


def test_figures_are_those_of_raw(built: Warehouse) -> None:
    """An analyst's sum is not what was paid: rounded, doubled or lost."""
    first = _spend(built, fb_ad_id="1", date="2026-03-01")
    assert first["spend"] == Decimal("10.015")
    assert first["platform_purchases"] == 3
    assert first["platform_purchase_value"] == Decimal("20.10")
    assert (first["impressions"], first["clicks"], first["link_clicks"]) == (10, 3, 2)
    assert (first["campaign_name"], first["ad_name"]) == ("Campaign", "Ad 1")
    assert (first["brand_slug"], first["currency"], first["time_zone"]) == (
        "acme", "USD", "Asia/Jakarta",
    )  # fmt: skip
    assert first["load_status"] == "reconciled"
    bare = _spend(built, fb_ad_id="2")
    assert (bare["spend"], bare["clicks"], bare["fb_campaign_id"]) == (Decimal("0.1"), 0, None)
    assert built.row("select sum(spend), count(*) from marts.ad_spend") == {
        "sum": Decimal("57.65"), "count": 7,
    }  # fmt: skip


def test_spend_in_the_reporting_currency(built: Warehouse) -> None:
    """EUR are added to USD one to one, or by a rate of another day."""
    same = _spend(built, fb_ad_id="1", date="2026-03-01")
    assert (same["reporting_spend"], same["exchange_rate"]) == (Decimal("10.015"), 1)
    euro = _spend(built, account_id="200", date="2026-03-01")
    assert euro["reporting_spend"] == Decimal("33.33") * Decimal("1.2")
    assert euro["exchange_rate_date"] == date(2026, 2, 27)
    stale = _spend(built, account_id="200", date="2026-03-07")
    assert (stale["spend"], stale["reporting_spend"], stale["exchange_rate"]) == (5, None, None)
    unsold = built.row(
        "select distinct reporting_spend, reporting_attributed_value from marts.ad_performance "
        "where account_id = '200' and date = '2026-03-07'"
    )
    assert unsold == {"reporting_spend": None, "reporting_attributed_value": 0}


def test_what_is_doubtful_warns(built: Warehouse) -> None:
    """Nobody hears that sums lack a day, or that Meta's own totals contradict one; or such a
    day stops everybody's marts.
    """
    assert built.warnings == {"ad_spend_without_exchange_rate", "ad_spend_unreconciled_days"}
    assert _spend(built, date="2026-03-02")["load_status"] == "unreconciled"


def test_keys_are_those_of_the_contract(built: Warehouse) -> None:
    """What joins by the published key, here or in another tool, finds nothing any more."""
    assert built.row(
        "select ad_id = md5('meta|ad|3')::uuid and adset_id = md5('meta|adset|s3')::uuid "
        "and campaign_id = md5('meta|campaign|c1')::uuid as same "
        "from marts.ad_spend where fb_ad_id = '3' and date = '2026-03-01'"
    )["same"]


def test_without_an_account_object(built: Warehouse) -> None:
    """Spend vanishes from the mart as long as Meta has not described its account."""
    configured, foreign = (_spend(built, account_id=one) for one in ("300", "999"))
    assert (configured["currency"], configured["reporting_spend"]) == ("USD", 5)
    assert (foreign["currency"], foreign["brand_slug"], foreign["spend"]) == ("USD", None, 4)


def test_incremental_equals_a_full_refresh(world: Warehouse) -> None:
    """A restated, vanished or re-rated day stays as it was until somebody rebuilds by hand."""
    for day in ("2025-11-30", "2026-02-28", "2026-03-01", "2026-03-02"):
        world.load("100", day, [ad("1", "1.11"), ad("2", "2.22")])
    world.load("200", "2026-03-01", [ad("3", "10")], currency="EUR")
    world.load("200", "2026-03-02", [ad("3", "20")], currency="EUR")
    world.load("200", "2026-03-03", [ad("3", "30")], currency="EUR")
    world.rate("2026-03-02", "EUR", "1.5")
    world.load("100", "2026-03-05", [ad("4")], ledger=False)
    build_models(world.uri)
    before = _rows(world)

    world.load("100", "2025-11-30", [ad("1", "1.12"), ad("2", "2.22")])  # restated, long ago
    world.load("100", "2026-03-01", [ad("1", "1.11")])  # an ad vanished
    world.load("100", "2026-03-02", [])  # all ads of the day vanished
    world.rate("2026-03-01", "EUR", "1.4")  # a rate came late
    world.execute("update app.exchange_rates set rate = 1.6 where rate_date = '2026-03-02'")
    world.load("100", "2026-03-05", [ad("4", "7")], ledger=False)  # a day that no load accounts for
    world.execute("delete from raw.meta_ad_insights where date = '2026-03-03'")
    build_marts(world.uri)
    incremental = world.contents("ad_spend")

    after = _rows(world)
    assert {day for day in before if after.get(day) != before[day]} == {
        ("100", "2025-11-30"), ("100", "2026-03-01"), ("100", "2026-03-02"), ("100", "2026-03-05"),
        ("200", "2026-03-01"), ("200", "2026-03-02"), ("200", "2026-03-03"),
    }  # fmt: skip
    assert _spend(world, date="2025-11-30", fb_ad_id="1")["spend"] == Decimal("1.12")
    remaining = world.rows(
        "select fb_ad_id, date::text as date from marts.ad_spend where date >= '2026-03-01'"
    )
    assert {tuple(row.values()) for row in remaining} == {
        ("1", "2026-03-01"), ("3", "2026-03-01"), ("3", "2026-03-02"), ("4", "2026-03-05"),
    }  # fmt: skip
    assert _spend(world, account_id="200", date="2026-03-01")["reporting_spend"] == 14
    assert _spend(world, account_id="200", date="2026-03-02")["reporting_spend"] == 32
    assert _spend(world, date="2026-03-05")["spend"] == 7
    build_marts(world.uri, *RECOMPUTE)
    assert world.contents("ad_spend") == incremental


def test_another_reporting_currency(world: Warehouse) -> None:
    """A brand that changes its currency keeps sums in two currencies in one column."""
    world.rate("2026-03-01", "EUR", "1.2")
    world.rate("2026-03-01", "USD", "0.8", quote="EUR")
    world.load("100", "2026-03-01", [ad("1", "10")])
    world.load("200", "2026-03-01", [ad("3", "10")], currency="EUR")
    build_models(world.uri)
    world.execute("update ops.brands set reporting_currency = 'EUR'")
    build_marts(world.uri)
    found = world.rows(
        "select account_id, reporting_currency, reporting_spend from marts.ad_spend order by 1"
    )
    assert [tuple(row.values()) for row in found] == [("100", "EUR", 8), ("200", "EUR", 10)]


def test_a_load_that_committed_late_is_not_missed(world: Warehouse) -> None:
    """A load whose clock reads older than the newest one in the mart is never taken over."""
    world.load("100", "2026-03-01", [ad("1", "1")])
    world.load("100", "2026-03-02", [ad("1", "1")])
    build_models(world.uri)
    world.load("100", "2026-03-01", [ad("1", "2")])
    world.execute("update ops.loads set loaded_at = '2020-01-01' where date = '2026-03-01'")
    build_marts(world.uri)
    assert _spend(world, date="2026-03-01")["spend"] == 2


def test_an_account_that_does_not_add_up_stops_nobody(world: Warehouse) -> None:
    """One account's contradiction leaves everybody without fresh marts."""
    world.load("100", "2026-03-01", [ad("1")])
    world.execute('update raw.meta_account_insights set payload = payload || \'{"spend": "9"}\'')
    nodes = outcome(world.uri, "--exclude-resource-type", "unit_test")
    assert {name for name, (status, _) in nodes.items() if status not in GOOD} == {
        "ad_spend_equals_account_totals"
    }


def test_created_at_is_of_the_first_build(world: Warehouse) -> None:
    """A tool that reads new rows by `created_at` reads a restated one again, or misses one."""
    world.load("100", "2026-03-01", [ad("1", "1"), ad("2", "1")])
    build_models(world.uri)
    first = _spend(world, fb_ad_id="1")["created_at"]
    world.load("100", "2026-03-01", [ad("1", "2"), ad("3", "1")])
    build_marts(world.uri)
    assert _spend(world, fb_ad_id="1")["spend"] == 2
    assert _spend(world, fb_ad_id="1")["created_at"] == first
    assert _spend(world, fb_ad_id="3")["created_at"] > first
    # Rows that an older version wrote have none: a build that computes them fills it in.
    world.execute("alter table marts.ad_spend alter created_at drop not null")
    world.execute("update marts.ad_spend set created_at = null where fb_ad_id = '1'")
    build_marts(world.uri, *RECOMPUTE)
    filled = world.contents("ad_spend")
    assert all(row["created_at"] for row in filled)
    build_marts(world.uri, *RECOMPUTE)
    assert world.contents("ad_spend") == filled
