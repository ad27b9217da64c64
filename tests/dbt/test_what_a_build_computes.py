"""Which purchases an hourly build computes, and which only the nightly one does."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.support.marts import LATE_DAYS, RECOMPUTE, Warehouse, ad, build, build_models

OLD, YOUNG = "2026-03-10", "(now() - interval '100 days')"


@pytest.fixture
def world(warehouse: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """Two brands with an old and a young purchase each, of the same ids; a day has passed since."""
    monkeypatch.setenv(LATE_DAYS, "90")
    world = Warehouse(warehouse)
    world.account("100")
    world.load("100", OLD, [ad("1"), ad("2")])
    for brand in ("acme", "lumen"):
        world.purchase("old", "ann", f"{OLD} 02:00", "10.00", brand=brand)
        world.purchase("young", "bob", f"{OLD} 02:00", "20.00", brand=brand)
    world.execute(
        f"update app.transactions set transacted_at = {YOUNG} where transaction_id = 'young'"
    )
    build_models(world.uri)
    _a_day_passes(world)
    yield world
    world.connection.close()


def _a_day_passes(world: Warehouse) -> None:
    world.execute("update intermediate.int_purchases set changed_at = changed_at - interval '25 h'")


def _ads(world: Warehouse) -> dict[str, str | None]:
    """The ad of each purchase of `acme`; nothing changes for `lumen`."""
    found = world.rows("select * from marts.ad_attributions where brand_slug <> 'lumen'")
    others = world.rows("select fb_ad_id from marts.ad_attributions where brand_slug = 'lumen'")
    assert sorted(str(row["fb_ad_id"]) for row in others) == ["91", "91", "None"]
    return {row["transaction_id"]: row["fb_ad_id"] for row in found}


def test_late_touches(world: Warehouse) -> None:
    """A late touch of a recent purchase waits for the night, or one of an old purchase for ever."""
    world.touch("t1", "ann", f"{OLD} 01:00", ad_id="1")
    world.touch("t1b", "bob", f"{OLD} 01:00", ad_id="2")
    world.execute(
        f"update app.touchpoints set touched_at = {YOUNG} - interval '1 h' "
        "where touchpoint_id = 't1b'"
    )
    build_models(world.uri)
    assert _ads(world) == {"old": None, "young": "2"}
    build_models(world.uri, *RECOMPUTE)
    assert _ads(world) == {"old": "1", "young": "2"}


def test_a_change_of_an_old_purchase_itself(world: Warehouse) -> None:
    """A refund of an old purchase, or its deletion, shows only the next day; or a build that fails
    after it has read the refund loses it until then.
    """
    world.execute(
        "update app.transactions set status = 'refunded', refunded_amount = 4 "
        "where transaction_id = 'old' and brand_slug = 'acme'"
    )
    build_models(world.uri, "--select", "+int_purchases_due")  # and fails then
    build_models(world.uri)
    value = (
        "select conversion_value as value, (select sum(attributed_value) from "
        "marts.ad_attribution_credits where brand_slug = 'acme' and transaction_id = 'old' "
        "and model = 'linear') as credited "
        "from marts.ad_attributions where brand_slug = 'acme' and transaction_id = 'old'"
    )
    assert world.row(value) == {"value": 6, "credited": 6}
    _a_day_passes(world)
    world.execute(
        "delete from app.transactions where transaction_id = 'old' and brand_slug = 'acme'"
    )
    build_models(world.uri)
    assert _ads(world) == {"young": None}
    world.purchase("old", "ann", f"{OLD} 02:00", "7.00")
    build_models(world.uri)
    assert world.row(value) == {"value": 7, "credited": 7}


def test_a_new_profile_of_an_old_purchase(world: Warehouse) -> None:
    """A purchase stays without an ad, though its person is known by now."""
    world.touch("t1", "cat", f"{OLD} 01:00", ad_id="1")
    build_models(world.uri)
    assert _ads(world)["old"] is None
    for profile in ("ann", "cat"):
        world.execute(
            "insert into app.profiles (profile_id, brand_slug, email) values (%s, 'acme', 'a@b.c')",
            profile,
        )
    build_models(world.uri)
    assert world.row(
        "select person_id, fb_ad_id from marts.ad_attributions "
        "where brand_slug = 'acme' and transaction_id = 'old'"
    ) == {"person_id": "ann", "fb_ad_id": None}
    world.execute("update app.profiles set profile_id = 'aaa' where profile_id = 'cat'")
    world.execute("update app.touchpoints set profile_id = 'aaa' where touchpoint_id = 't1'")
    build_models(world.uri)
    assert _ads(world)["old"] == "1"


def test_a_cancelled_purchase_of_a_person_that_is_linked(world: Warehouse) -> None:
    """One cancelled purchase stops the attribution of every brand for a week."""
    world.touch("t1", "bob", f"{OLD} 01:00", ad_id="2")
    world.execute(f"update app.touchpoints set touched_at = {YOUNG} where touchpoint_id = 't1'")
    world.purchase("other", "abe", f"{OLD} 02:00", "5.00")
    world.execute(
        f"update app.transactions set transacted_at = {YOUNG} where transaction_id = 'other'"
    )
    build_models(world.uri)
    world.execute(
        "update app.transactions set status = 'cancelled' "
        "where transaction_id = 'young' and brand_slug = 'acme'"
    )
    for profile in ("bob", "abe"):
        world.execute(
            "insert into app.profiles (profile_id, brand_slug, email) values (%s, 'acme', 'a@b.c')",
            profile,
        )
    build(world.uri, "--exclude", "revenue_without_exchange_rate", "test_type:unit")
    assert _ads(world) == {"old": None, "other": "2"}


def test_another_reporting_currency(world: Warehouse) -> None:
    """A ROAS divides dollars by euros until the night."""
    world.touch("t1", "ann", f"{OLD} 01:00", ad_id="1")
    build_models(world.uri, *RECOMPUTE)
    _a_day_passes(world)
    world.rate("2026-03-09", "USD", "0.5", quote="EUR")
    world.execute("update ops.brands set reporting_currency = 'EUR' where slug = 'acme'")
    build_models(world.uri)
    found = world.row(
        "select reporting_currency, reporting_spend, reporting_attributed_value "
        "from marts.ad_performance where fb_ad_id = '1' and model = 'linear'"
    )
    assert tuple(found.values()) == ("EUR", Decimal("0.5"), Decimal(5))


@pytest.mark.parametrize("mart", ["ad_attributions", "ad_attribution_credits"])
def test_a_mart_that_was_dropped(world: Warehouse, mart: str) -> None:
    """A mart that somebody has dropped begins with the recent purchases alone."""
    counted = f"select count(distinct (brand_slug, transaction_id)) from marts.{mart}"
    assert world.row(counted) == {"count": 5}
    world.execute(f"drop table marts.{mart} cascade")
    build_models(world.uri)
    assert world.row(counted) == {"count": 5}
