"""The advertiser's tables that the sandbox invents, without a database."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sandbox.app_data import COLUMNS, app_rows
from sandbox.world import World

START = date(2026, 7, 1)
UNTIL = datetime(2026, 10, 29, 12, 0, tzinfo=UTC)

Tables = dict[str, list[dict[str, Any]]]


def named(world: World, until: datetime) -> Tables:
    return {
        table: [dict(zip(COLUMNS[table].split(", "), row, strict=True)) for row in rows]
        for table, rows in app_rows(world, until).items()
    }


@pytest.fixture(scope="module")
def world() -> World:
    return World(START)


@pytest.fixture(scope="module")
def tables(world: World) -> Tables:
    return named(world, UNTIL)


def test_two_runs_of_a_day_agree(world: World, tables: Tables) -> None:
    """The figures of the demo would change while someone looks at them."""
    assert named(World(START), UNTIL + timedelta(hours=7)) == tables


def test_the_past_only_changes_by_what_happened_since(world: World, tables: Tables) -> None:
    """Rows that did not change in the world would change from one day to the next."""
    later = named(world, UNTIL + timedelta(days=10))
    midnight = datetime(2026, 10, 29, tzinfo=UTC)
    for table in ("profiles", "touchpoints"):
        assert tables[table] == [row for row in later[table] if _since(row) < midnight]
    now = {row["transaction_id"]: row for row in later["transactions"]}
    changed = [row for row in tables["transactions"] if now[row["transaction_id"]] != row]
    assert changed
    assert all(now[row["transaction_id"]]["updated_at"] >= midnight for row in changed)
    assert all(row["amount"] == now[row["transaction_id"]]["amount"] for row in changed)


def _since(row: dict[str, Any]) -> datetime:
    found: datetime = row.get("touched_at") or row["updated_at"]
    return found


def test_sizes_and_keys(tables: Tables) -> None:
    """The demo would have too little to show, or rows that collide."""
    sizes = {table: len(rows) for table, rows in tables.items()}
    assert 2_800 < sizes["profiles"] < 3_300
    assert 2_000 < sizes["transactions"] < 3_000
    assert 7_500 < sizes["touchpoints"] < 10_500
    for table, key in (
        ("profiles", "profile_id"),
        ("transactions", "transaction_id"),
        ("touchpoints", "touchpoint_id"),
    ):
        assert len({row[key] for row in tables[table]}) == sizes[table]


def test_every_case_of_attribution_occurs(world: World, tables: Tables) -> None:
    """The demo's data would not cover every path through attribution."""
    touches, sold = tables["touchpoints"], tables["transactions"]
    assert {row["ad_id"] for row in touches if row["ad_id"]} <= world.objects.keys()
    cases = Counter(
        (bool(row["ad_id"]), bool(row["utm_campaign"]), bool(row["gclid"]), bool(row["fbclid"]))
        for row in touches
    )
    assert min(cases.values()) > 300
    assert len(cases) == 6
    touched = {row["profile_id"] for row in touches}
    assert any(row["profile_id"] not in touched for row in sold)
    assert max(Counter(row["profile_id"] for row in sold).values()) == 3
    assert {row["status"] for row in sold} == {"completed", "pending", "cancelled", "refunded"}
    refunds = [row for row in sold if row["status"] == "refunded"]
    amounts = {
        "unsaid" if row["refunded_amount"] is None else row["refunded_amount"] < row["amount"]
        for row in refunds
    }
    assert amounts == {"unsaid", True, False}
    assert {row["currency"] for row in sold} == {"USD", "EUR", "IDR"}
    assert {bool(row["event_id"]) for row in sold} == {True, False}
    assert {row["consent_ad_user_data"] for row in tables["profiles"]} == {True, False, None}


def test_nobody_can_be_reached(tables: Tables) -> None:
    """Test data could hold an address that belongs to someone."""
    emails = [row["email"].strip().lower() for row in tables["profiles"] if row["email"]]
    assert all(email.endswith((".com", ".org", ".net")) for email in emails)
    assert all("example." in email.rpartition("@")[2] for email in emails)
    assert len({email for email in emails if email.isascii()}) == len(emails)


def test_rates_have_no_gaps_and_agree_both_ways(tables: Tables) -> None:
    """Converted money would be missing on some days."""
    rates = {
        (row["rate_date"], row["base"], row["quote"]): row["rate"]
        for row in tables["exchange_rates"]
    }
    assert len(rates) == 121 * 6
    for (day, base, quote), rate in rates.items():
        assert abs(rate * rates[day, quote, base] - 1) < 1e-6
