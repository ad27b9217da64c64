"""Rows of raw that no cast can take: they are null, and the marts of everybody else are built."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.marts import GOOD, Warehouse, ad, outcome

SOUND, BAD = "100", "200"
NO_TIMES: tuple[Any, ...] = (
    0, 1767225600, "0", "", "soon", "infinity", "now", "2026-02-30T00:00:00+0000",
    "0000-00-00T00:00:00+0000", "2026-01-02T25:00:00+0000", "2026-01-02T03:04:05+9900",
    "2026-01-02T03:04:05", ["2026-01-02T03:04:05+0000"], {"at": 1}, True, "9" * 40,
)  # fmt: skip
# The last ones are numbers, but their sums would be too large for their columns.
NO_NUMBERS: tuple[Any, ...] = (
    "", "lots", "NaN", "Infinity", "-", ".", "1.2.3", "1,5", "0x1F", "5 USD", True, [1],
    {"value": 1}, 10**300, "9" * 200_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(module_warehouse: str) -> Iterator[Warehouse]:
    """Two brands, one of them with an account that Meta describes badly; built with all tests."""
    world = Warehouse(module_warehouse)
    world.account(SOUND)
    world.account(BAD, described=False, brand="lumen")
    world.described("meta_ad_accounts", BAD, "older", {"currency": "EUR"})
    world.described("meta_ad_accounts", BAD, BAD, {"timezone_name": "Mars/Phobos"}, day=2)
    moments = {"created_time": "2026-01-02T03:04:05-0800", "updated_time": "2026-01-02T03:04:05Z"}
    for table, end in (("meta_campaigns", "stop_time"), ("meta_adsets", "end_time")):
        sound = {"daily_budget": 5001, "start_time": "2026-01-02T03:04:05.5+07:00", **moments}
        world.described(table, SOUND, f"{table}-sound", {"campaign_id": "c1", **sound})
        for n, said in enumerate(NO_TIMES):
            times = dict.fromkeys(("start_time", end, "created_time", "updated_time"), said)
            world.described(table, BAD, f"{table}-{n}", {"campaign_id": "c9", **times})
        for n, said in enumerate(NO_NUMBERS):
            budgets = {"daily_budget": said, "lifetime_budget": said}
            world.described(table, BAD, f"{table}-budget-{n}", budgets)
    for n, said in enumerate(NO_TIMES):
        world.described("meta_ads", BAD, f"b{n}", {"created_time": said, "updated_time": said})

    numbers = {"spend": 10.5, "impressions": 100, "clicks": 4, "inline_link_clicks": "2"}
    claims = {
        "actions": [{"action_type": "purchase", "value": 2, "1d_click": "1"}],
        "action_values": [{"action_type": "purchase", "value": 20.1, "1d_click": "9.05"}],
    }
    for day in ("2026-03-01", "2026-03-02"):
        world.load(SOUND, day, [ad("1", "10.5", impressions=100)])
        world.execute(
            "update raw.meta_ad_insights set payload = payload || %s "
            "where account_id = %s and date = %s", Jsonb({**numbers, **claims}), SOUND, day,
        )  # fmt: skip
    world.load(BAD, "2026-03-01", [ad("b0", "7.25")], currency="")
    world.restate(BAD, "2026-03-01", [ad("b0", "7.5")], currency="")
    nothing = [ad(f"b{n}", "0", impressions=0) for n in range(len(NO_NUMBERS))]
    world.load(BAD, "2026-03-02", nothing, currency="")
    for n, said in enumerate(NO_NUMBERS):
        broken: dict[str, Any] = dict.fromkeys((*numbers, "account_currency"), said)
        for key in claims:
            broken[key] = [{"action_type": "purchase", "value": said, "1d_click": said}]
        world.execute(
            "update raw.meta_ad_insights set payload = payload || %s "
            "where ad_id = %s and date = '2026-03-02'", Jsonb(broken), f"b{n}",
        )  # fmt: skip
    world.execute(
        "update raw.meta_account_insights set payload = %s "
        "where account_id = %s and date = '2026-03-02'",
        Jsonb({"spend": "NaN", "impressions": "none", "clicks": {}}), BAD,
    )  # fmt: skip
    nodes = outcome(world.uri, "--exclude-resource-type", "unit_test")
    world.warnings = {name for name, (status, _) in nodes.items() if status not in GOOD}
    assert {status for status, _ in nodes.values()} <= GOOD | {"warn"}, nodes
    yield world
    world.connection.close()


def test_the_sound_accounts_figures_are_in_the_marts(world: Warehouse) -> None:
    """One account's bad row leaves every brand without fresh marts."""
    figures = world.row(
        "select sum(spend) as spend, sum(impressions)::int as impressions, "
        "sum(clicks)::int as clicks, sum(link_clicks)::int as link_clicks, "
        "sum(platform_purchases) as purchases, sum(platform_purchase_value) as value, "
        "sum(reporting_spend) as reporting_spend from marts.ad_spend where brand_slug = 'acme'"
    )
    assert list(figures.values()) == [21, 200, 8, 4, 4, Decimal("40.2"), 21]
    claimed = world.rows(
        "select attribution_window, platform_purchases, platform_purchase_value "
        "from marts.ad_platform_claims where brand_slug = 'acme' and date = '2026-03-02' "
        "and platform_purchases > 0 order by 1"
    )
    assert [tuple(row.values()) for row in claimed] == [
        ("1d_click", 1, Decimal("9.05")), ("default", 2, Decimal("20.1")),
    ]  # fmt: skip


@pytest.mark.parametrize("mart", ["ad_campaigns", "ad_adsets"])
def test_objects_keep_what_can_be_read(world: Warehouse, mart: str) -> None:
    """A readable time or budget is lost; or what is no time or number gets some value."""
    sound = world.row(
        f"select start_time, stop_time, created_at, updated_at, daily_budget from marts.{mart} "
        "where brand_slug = 'acme' and not is_inferred"
    )
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert list(sound.values()) == [
        at.replace(day=1, hour=20, microsecond=500_000), None, at.replace(hour=11), at,
        Decimal("50.01"),
    ]  # fmt: skip
    bad = world.row(
        "select count(*) as objects, count(start_time) + count(stop_time) + count(created_at) "
        "+ count(updated_at) + count(daily_budget) + count(lifetime_budget) as readable "
        f"from marts.{mart} where brand_slug = 'lumen' and not is_inferred"
    )
    assert bad == {"objects": len(NO_TIMES) + len(NO_NUMBERS), "readable": 0}
    stored = world.row(
        f"select count(daily_budget_minor) + count(lifetime_budget_minor) as budgets "
        f"from staging.stg_meta__{mart.removeprefix('ad_')} where account_id = %s", BAD,
    )  # fmt: skip
    assert stored == {"budgets": 0}


def test_spend_without_a_currency_is_shown(world: Warehouse) -> None:
    """An account that Meta names no currency for loses its spend, or it is taken for USD."""
    row = world.row(
        "select * from marts.ad_spend where account_id = %s and date = '2026-03-01'", BAD
    )  # fmt: skip
    assert (row["brand_slug"], row["spend"]) == ("lumen", Decimal("7.5"))
    assert (row["currency"], row["reporting_spend"], row["time_zone"]) == (None, None, None)
    performance = world.row(
        "select distinct spend, currency, reporting_spend from marts.ad_performance "
        "where account_id = %s and date = '2026-03-01'", BAD,
    )  # fmt: skip
    assert performance == {"spend": Decimal("7.5"), "currency": None, "reporting_spend": None}
    restated = world.row("select spend_difference, currency from marts.ad_restatements")
    assert restated == {"spend_difference": Decimal("0.25"), "currency": None}


def test_figures_that_are_no_numbers_are_named(world: Warehouse) -> None:
    """A figure that no cast can take is 0 in the marts, and no word of it is in the log."""
    sums = world.row(
        "select count(*), sum(spend) as spend, sum(impressions)::int as impressions, "
        "sum(platform_purchases) as purchases from marts.ad_spend "
        "where account_id = %s and date = '2026-03-02'", BAD,
    )  # fmt: skip
    assert sums == {"count": len(NO_NUMBERS), "spend": 0, "impressions": 0, "purchases": 0}
    assert world.warnings == {
        "ad_spend_without_exchange_rate", "ad_figures_that_cannot_be_read",
        "is_key_stg_meta__ad_accounts_account_id",
    }  # fmt: skip
