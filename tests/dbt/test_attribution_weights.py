"""The models, held against a calculation of our own and against another package's totals."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.support import journeys
from tests.support.marts import Row, Warehouse, ad, build

JOURNEYS = {journey.transaction_id: journey for journey in journeys.journeys()}


@pytest.fixture(scope="module")
def world(module_warehouse: str) -> Iterator[Warehouse]:
    """1,500 purchases with one to seven touches, built with all tests; `lumen` has as many of the
    same order numbers, each of one touch that has the id of the other brand's first one.
    """
    world = Warehouse(module_warehouse)
    world.account("100")
    ads = [ad(f"{n}", campaign_id=c, campaign_name=c) for n, c in enumerate(journeys.CAMPAIGNS, 11)]
    world.load("100", "2026-03-01", ads)
    world.account("900", "EUR", brand="lumen")
    other = ad("19", campaign_id=journeys.OTHER_CAMPAIGN, campaign_name="Lumen")
    world.load("900", "2026-03-01", [other], currency="EUR")
    number = {name: str(n) for n, name in enumerate(journeys.CAMPAIGNS, 11)}
    with world.connection.cursor() as cursor:
        with cursor.copy(
            "copy app.touchpoints (touchpoint_id, brand_slug, profile_id, touched_at, ad_id) "
            "from stdin"
        ) as copy:
            for journey in JOURNEYS.values():
                name = journey.transaction_id
                for index, (at, campaign) in enumerate(journey.touches, start=1):
                    copy.write_row((f"{name}-{index}", "acme", name, at, number[campaign]))
                copy.write_row((f"{name}-1", "lumen", name, journey.transacted_at, "19"))
        with cursor.copy(
            "copy app.transactions (transaction_id, brand_slug, profile_id, status, amount, "
            "currency, transacted_at) from stdin"
        ) as copy:
            for journey in JOURNEYS.values():
                name = journey.transaction_id
                for brand, currency in (("acme", "USD"), ("lumen", "EUR")):
                    copy.write_row((name, brand, name, "completed", journey.amount, currency,
                                    journey.transacted_at))  # fmt: skip
    build(world.uri, "--exclude-resource-type", "unit_test")
    yield world
    world.connection.close()


@pytest.fixture(scope="module")
def credits(world: Warehouse) -> list[Row]:
    return world.rows("select * from marts.ad_attribution_credits where brand_slug = 'acme'")


def test_weights_of_every_touch(credits: list[Row]) -> None:
    """A model does not do what its name says, for some length of path or some touch."""
    found: dict[tuple[str, str], dict[int, Decimal]] = defaultdict(dict)
    for row in credits:
        found[row["transaction_id"], row["model"]][row["touch_index"]] = row["weight"]
        assert row["touchpoint_id"] == f"{row['transaction_id']}-{row['touch_index']}"
    compared = 0
    for name, journey in JOURNEYS.items():
        for model, wanted in journeys.weights(journey).items():
            held = found.pop((name, model))
            assert sum(held.values()) == 1
            for index, weight in enumerate(wanted, start=1):
                # Rounded to twelve digits; the last touch takes what six others' rounding leaves.
                assert abs(float(held.get(index, 0)) - float(weight)) < 5e-12, (name, model, index)
                assert (index in held) == (weight > 0)
                compared += 1
    assert compared > 5 * 4 * 1400
    # All touches are paid: the default model agrees with the last touch.
    assert {model for _, model in found} == {"last_paid_touch"}
    assert len(found) == len(JOURNEYS)
    for (name, _), held in found.items():
        assert held == {len(JOURNEYS[name].touches): 1}


def test_values_are_shares_to_the_cent(credits: list[Row]) -> None:
    """Cents are lost or invented when a purchase is shared."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in credits:
        journey = JOURNEYS[row["transaction_id"]]
        sums[row["transaction_id"], row["model"]] += row["attributed_value"]
        assert row["attributed_value"] == row["attributed_value"].quantize(Decimal("0.01"))
        short = journey.amount * row["weight"] - row["attributed_value"]
        if row["touch_index"] == len(journey.touches):  # takes what is left, a cent of each
            assert -Decimal("0.01") * len(journey.touches) < short < Decimal("0.000001")
        else:
            assert -Decimal("0.000001") < short < Decimal("0.01")
    assert len(sums) == 6 * len(JOURNEYS)
    assert all(total == JOURNEYS[name].amount for (name, _), total in sums.items())


def test_campaign_totals_are_those_of_another_package(world: Warehouse) -> None:
    """What we call linear, position based or time decay is not what others call so."""
    wanted = json.loads(journeys.FIGURES.read_text())
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in world.rows(
        "select model, fb_campaign_id, sum(attributed_value) as value, "
        "sum(attributed_conversions) as conversions from marts.campaign_performance "
        "where model <> 'last_paid_touch' and brand_slug = 'acme' group by model, fb_campaign_id"
    ):
        found[row["model"]][row["fb_campaign_id"]] = float(row["value"])
    assert found.keys() == wanted.keys()
    for model, totals in wanted.items():
        assert found[model].keys() == totals.keys()
        for campaign, total in totals.items():
            # Ours are whole cents: up to one cent a touch, of some 750 touches a campaign.
            assert found[model][campaign] == pytest.approx(total, abs=10), (model, campaign)
            assert found[model][campaign] == pytest.approx(total, rel=1e-4), (model, campaign)


def test_another_brand_with_the_same_ids_has_its_own(world: Warehouse) -> None:
    """Two shops with the same order numbers share their customers, or one's money is lost."""
    total = sum((journey.amount for journey in JOURNEYS.values()), Decimal(0))
    found = world.rows(
        "select model, count(*) as credits, sum(attributed_value) as value, "
        "array_agg(distinct fb_ad_id) as ads, array_agg(distinct weight) as weights "
        "from marts.ad_attribution_credits where brand_slug = 'lumen' and transaction_id like 'J%' "
        "group by model"
    )
    assert len(found) == 6
    for row in found:
        assert (row["credits"], row["value"]) == (len(JOURNEYS), total), row["model"]
        assert (row["ads"], row["weights"]) == (["19"], [1])
    ids = world.row("select count(*) as all, count(distinct id) as ids from marts.ad_attributions")
    assert ids == {"all": 2 * len(JOURNEYS) + 1, "ids": 2 * len(JOURNEYS) + 1}
