"""What a day said before: `ad_restatements`, and its two columns in `ad_spend`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.support.marts import RECOMPUTE, Warehouse, ad, build, build_marts, build_models

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")


@pytest.fixture
def world(warehouse: str) -> Iterator[Warehouse]:
    """An account with three days of two ads each, built."""
    world = Warehouse(warehouse)
    world.account("100", "EUR")
    for day in DAYS:
        world.load("100", day, [ad("1", "1.10"), ad("2", "2.20")], currency="EUR")
    build_models(world.uri)
    yield world
    world.connection.close()


def _restated(world: Warehouse) -> dict[str, set[tuple[int, str | None]]]:
    """What `ad_spend` says of each day: how often it was restated, and when last."""
    found = world.rows(
        "select date::text as date, restatement_count, last_restated_at::text as last "
        "from marts.ad_spend"
    )
    days: dict[str, set[tuple[int, str | None]]] = {}
    for row in found:
        days.setdefault(row["date"], set()).add((row["restatement_count"], row["last"]))
    return days


def _written(world: Warehouse) -> dict[str, set[object]]:
    """By which transactions the rows of each day in `ad_spend` were written."""
    days: dict[str, set[object]] = {}
    for row in world.rows("select date::text as date, xmin from marts.ad_spend"):
        days.setdefault(row["date"], set()).add(row["xmin"])
    return days


def _contents(world: Warehouse) -> list[object]:
    return [world.contents("ad_spend"), world.contents("ad_restatements")]


def test_a_restated_day_shows_in_both(world: Warehouse) -> None:
    """Yesterday's report and today's differ, and nobody can tell by what and since when."""
    assert _restated(world) == {day: {(0, None)} for day in DAYS}
    assert world.contents("ad_restatements") == []
    written = _written(world)

    world.restate("100", DAYS[0], [ad("1", "1.105"), ad("2", "2.20", 12)], currency="EUR")
    world.restate("100", DAYS[0], [ad("1", "1.105")], currency="EUR")
    world.restate("100", DAYS[2], [ad("1"), ad("2"), ad("3")], currency="EUR")
    build(world.uri, "--exclude", "ad_spend_without_exchange_rate")

    (first, second, third) = world.rows("select * from marts.ad_restatements order by restated_at")
    assert (first["account_id"], first["account_name"]) == ("100", "Account 100")
    assert (first["brand_slug"], first["currency"], first["run_id"]) == ("acme", "EUR", "run")
    assert (first["spend_before"], first["spend_after"]) == (Decimal("3.30"), Decimal("3.305"))
    assert first["spend_difference"] == Decimal("0.005")
    assert (first["impressions_before"], first["impressions_after"]) == (20, 22)
    assert first["days_after"] == 18  # Jakarta's first of March, restated on the 20th
    assert (second["rows_before"], second["rows_after"]) == (2, 1)
    assert second["spend_before"] == first["spend_after"]
    assert second["spend_difference"] == Decimal("-2.20")
    assert third["date"].isoformat() == DAYS[2]
    assert _restated(world) == {
        DAYS[0]: {(2, "2026-03-20 00:05:00+00")},
        DAYS[1]: {(0, None)},
        DAYS[2]: {(1, "2026-03-20 00:06:00+00")},
    }
    assert _written(world)[DAYS[1]] == written[DAYS[1]]


def test_incremental_equals_a_full_refresh(world: Warehouse) -> None:
    """How often a day was restated depends on when somebody last rebuilt by hand."""
    world.restate("100", DAYS[0], [ad("1", "5")], currency="EUR")  # an ad vanished
    world.restate("100", DAYS[1], [], currency="EUR")  # all ads of the day vanished
    build_marts(world.uri)
    incremental = _contents(world)
    assert set(_restated(world)) == {DAYS[0], DAYS[2]}
    restatements = world.rows("select date::text as date, rows_after from marts.ad_restatements")
    assert {tuple(row.values()) for row in restatements} == {(DAYS[0], 1), (DAYS[1], 0)}
    build_marts(world.uri, *RECOMPUTE)
    assert _contents(world) == incremental


def test_the_ledger_alone_changes(world: Warehouse) -> None:
    """A restatement that was struck from the ledger stays in the marts, because no load came
    with it; or days that it does not concern are written anew.
    """
    world.restate("100", DAYS[0], [ad("1", "5"), ad("2")], currency="EUR")
    world.restate("100", DAYS[1], [ad("1", "5"), ad("2")], currency="EUR")
    build_marts(world.uri)
    untouched = "select id, xmin from marts.ad_spend where date > '2026-03-01' order by id"
    rows = world.rows(untouched)
    world.execute("delete from ops.restatements where date = %s", DAYS[0])
    build_marts(world.uri)
    assert world.rows(untouched) == rows
    assert _restated(world)[DAYS[0]] == {(0, None)}
    (left,) = world.contents("ad_restatements")
    assert left["date"].isoformat() == DAYS[1]
    incremental = _contents(world)
    build_marts(world.uri, *RECOMPUTE)
    assert _contents(world) == incremental
