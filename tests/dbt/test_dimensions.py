"""`ad_campaigns`, `ad_adsets`, `ad_ads` and the snapshots: what every row of a fact must find."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.support.marts import RECOMPUTE, Warehouse, ad, build_marts, build_models, outcome


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    world = Warehouse(warehouse)
    world.account("100")
    world.account("200", "IDR")
    yield world
    world.connection.close()


def test_members_known_and_inferred(world: Warehouse) -> None:
    """Spend of ads that Meta hides or has deleted is lost in a join, or merged into one."""
    moments = {
        "created_time": "2026-01-02T03:04:05-0800",
        "updated_time": "2026-02-02T03:04:05+0000",
    }
    world.described(
        "meta_campaigns", "100", "c1", {"name": "One", "daily_budget": "5001", "status": "PAUSED"}
    )
    world.described("meta_campaigns", "200", "c2", {"name": "Dua", "lifetime_budget": "150000"})
    world.described("meta_adsets", "100", "s1", {"name": "Set", "campaign_id": "c7", **moments})
    creative = {"id": "cr", "title": "Buy", "body": "now"}
    world.described(
        "meta_ads", "100", "1",
        {"name": "Now", "adset_id": "s1", "campaign_id": "c7", "creative": creative, **moments},
    )  # fmt: skip
    world.load("100", "2026-03-01", [ad("1"), ad("2", adset_id="s8", campaign_id="c8")])
    world.load("100", "2026-03-04", [ad("2", adset_id="s8", campaign_id="c8", ad_name="Later")])
    world.load("100", "2026-03-05", [{"ad_id": "3", "spend": "1", "impressions": "1"}])
    nodes = outcome(world.uri, "--exclude-resource-type", "unit_test")
    assert {status for status, _ in nodes.values()} == {"success", "pass", "no-op"}

    campaigns = {row["fb_campaign_id"]: row for row in world.contents("ad_campaigns")}
    assert set(campaigns) == {"c1", "c2", "c7", "c8", None}
    assert campaigns["c1"]["daily_budget"] == Decimal("50.01")
    assert campaigns["c2"]["lifetime_budget"] == 150000
    assert campaigns["c7"]["is_inferred"]
    assert campaigns["c7"]["created_at"].isoformat() == "2026-01-02T11:04:05+00:00"
    assert {row["fb_adset_id"] for row in world.contents("ad_adsets")} == {"s1", "s8", None}
    ads = {row["fb_ad_id"]: row for row in world.contents("ad_ads")}
    assert set(ads) == {"1", "2", "3", None}
    assert (ads["1"]["name"], ads["1"]["creative_summary"]) == ("Now", "Buy · now")
    assert (ads["2"]["name"], ads["2"]["is_inferred"]) == ("Later", True)
    assert ads["2"]["created_at"].isoformat() == "2026-03-01T00:00:00+00:00"
    assert ads["2"]["updated_at"].isoformat() == "2026-03-04T00:00:00+00:00"
    joined = world.row(
        "select count(*), count(distinct a.id) as ads from marts.ad_spend as s "
        "join marts.ad_ads as a on a.id = s.ad_id join marts.ad_adsets as t on t.id = s.adset_id "
        "join marts.ad_campaigns as c on c.id = s.campaign_id"
    )
    assert joined == {"count": 4, "ads": 3}
    unknown = world.row("select * from marts.ad_ads where id = md5('meta|ad|unknown')::uuid")
    assert unknown["fb_ad_id"] is None


def test_what_changed_is_kept(world: Warehouse) -> None:
    """Nobody can tell what a campaign was called, or what it might spend, last week."""
    world.described("meta_campaigns", "100", "c1", {"name": "Before", "daily_budget": "100"}, 2)
    build_models(world.uri)
    world.described("meta_campaigns", "100", "c1", {"name": "After", "daily_budget": "200"}, 5)
    world.load("100", "2026-03-04", [ad("1", campaign_name=None)])
    world.load("100", "2026-03-06", [ad("1", campaign_name=None)])
    build_models(world.uri)
    build_models(world.uri, "--select", "path:snapshots")
    versions = world.rows(
        "select campaign_name, daily_budget_minor, dbt_valid_from::date::text as since, "
        "dbt_valid_to::date::text as until from snapshots.campaigns_snapshot order by 3"
    )
    assert [tuple(version.values()) for version in versions] == [
        ("Before", 100, "2026-03-02", "2026-03-05"),
        ("After", 200, "2026-03-05", None),
    ]
    names = world.rows("select campaign_name from marts.ad_spend order by date")
    assert [row["campaign_name"] for row in names] == ["Before", "After"]
    assert world.row("select name from marts.ad_campaigns where fb_campaign_id = 'c1'") == {
        "name": "After"
    }


def test_members_follow_the_loads(world: Warehouse) -> None:
    """A member lacks its newest name, stays when its rows are gone, or each build reads all of raw
    to know the members.
    """
    world.load("100", "2026-02-10", [ad("1", campaign_id="c5"), ad("2")])
    world.load("100", "2026-03-10", [ad("1"), ad("2", campaign_id="c6")])
    world.load("100", "2026-03-11", [ad("2", campaign_id="c7")])
    world.load("200", "2026-02-10", [ad("3", campaign_id="c8")])
    build_models(world.uri)
    seen = "select id, xmin from intermediate.int_ads_seen_by_month where account_id = '200'"
    before = world.rows(seen)
    dims = ("ad_campaigns", "ad_adsets", "ad_ads")
    assert _ids(world, "ad_campaigns") == {"c1", "c5", "c6", "c7", "c8", None}

    world.load("100", "2026-02-10", [ad("2", ad_name="Of February")])
    world.load("100", "2026-03-10", [ad("2", ad_name="Of March", campaign_id="c6")])
    world.load("100", "2026-03-11", [])
    world.load("100", "2026-03-12", [ad("4")])
    # Its clock reads older than what is in the marts already.
    world.execute(
        "update ops.loads set loaded_at = '2020-01-01' "
        "where account_id = '100' and date < '2026-03-11'"
    )
    build_marts(world.uri)
    assert _ids(world, "ad_campaigns") == {"c1", "c6", "c8", None}
    assert _ids(world, "ad_ads") == {"2", "3", "4", None}
    assert world.row("select name from marts.ad_ads where fb_ad_id = '2'") == {"name": "Of March"}
    assert world.rows(seen) == before
    incremental = [world.contents(mart) for mart in dims]
    build_marts(world.uri, *RECOMPUTE)
    assert [world.contents(mart) for mart in dims] == incremental


def _ids(world: Warehouse, mart: str) -> set[str | None]:
    column = {"ad_campaigns": "fb_campaign_id", "ad_ads": "fb_ad_id"}[mart]
    return {row["id"] for row in world.rows(f"select {column} as id from marts.{mart}")}
