"""Refunds and changed amounts: after their original, and never an older one after a newer."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from tributary.deliver import transactions
from tributary.deliver.upload import DestinationStopped

from sandbox.google import GoogleFault
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import NOW, execute, states, take, virtual
from tests.support.to_google import (
    ask,
    bodies,
    configure_google,
    google_sandbox,
    sale,
    send,
)

DM, ADS = "google-data-manager", "google-ads"
BOTH = ["google_data_manager", "google_ads"]
DAY = timedelta(days=1)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with google_sandbox() as running:
        yield running


def _buy(uri: str, at: datetime = NOW - timedelta(hours=1), amount: str = "100") -> None:
    execute(
        uri,
        "insert into app.profiles (profile_id, brand_slug, email, consent_ad_user_data, "
        "consent_ad_personalization) values ('ann', 'acme', 'ann@example.com', true, true)",
    )
    execute(
        uri,
        "insert into app.transactions (transaction_id, brand_slug, profile_id, status, amount, "
        "currency, transacted_at, updated_at) values "
        f"('T-1', 'acme', 'ann', 'completed', {amount}, 'USD', '{at.isoformat()}', "
        f"'{at.isoformat()}')",
    )


def _refund(uri: str, at: datetime, amount: str | None, status: str = "refunded") -> None:
    execute(
        uri,
        f"update app.transactions set status = '{status}', refunded_amount = {amount or 'null'}, "
        f"refunded_at = '{at.isoformat()}', updated_at = '{at.isoformat()}'",
    )


def _enqueue(uri: str, sandbox: Sandbox) -> dict[str, int]:
    return transactions.enqueue(uri, clock=virtual(sandbox))["acme"]


def _google(sandbox: Sandbox) -> Any:
    (found,) = sandbox.google.conversions.values()
    return found


def _of_kind(uri: str, name: str) -> dict[tuple[str, int], tuple[str, str | None]]:
    rows = query(
        uri,
        "select e.kind, e.revision, d.sync_status, d.outcome from ops.conversion_deliveries as d "
        f"inner join ops.conversion_events as e on e.id = d.event where destination = '{name}'",
    )
    return {(r["kind"], r["revision"]): (r["sync_status"], r["outcome"]) for r in rows}


def test_a_refund_at_data_manager_is_the_same_order_with_another_value(
    warehouse: str, sandbox: Sandbox
) -> None:
    """A refund counts as a new conversion, or never arrives."""
    configure_google(warehouse, "google_data_manager")
    _buy(warehouse)
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(timedelta(hours=1))
    ask(warehouse, sandbox)
    _refund(warehouse, sandbox.clock.now(), "30")
    assert _enqueue(warehouse, sandbox)["adjustments"] == 1
    assert send(warehouse, sandbox, DM).succeeded == 1
    assert _google(sandbox).value == 70
    sandbox.clock.advance(timedelta(hours=1))
    _refund(warehouse, sandbox.clock.now(), None)
    assert _enqueue(warehouse, sandbox)["adjustments"] == 1
    assert _enqueue(warehouse, sandbox)["adjustments"] == 0
    assert send(warehouse, sandbox, DM).succeeded == 1
    assert (_google(sandbox).value, _google(sandbox).counted) == (0, 1)
    first, second, third = [body["events"][0] for body in bodies(sandbox)]
    for one in (second, third):
        for name in ("transactionId", "userData", "eventTimestamp", "currency"):
            assert one[name] == first[name]
    assert [first["conversionValue"], second["conversionValue"], third["conversionValue"]] == [
        100, 70, 0,
    ]  # fmt: skip
    assert len({str(body["destinations"]) for body in bodies(sandbox)}) == 1


def test_a_refund_over_the_ads_api(warehouse: str, sandbox: Sandbox) -> None:
    """An adjustment is sent before its 24 hours, with the wrong type, or twice at once."""
    configure_google(warehouse, "google_ads")
    bought = NOW - timedelta(hours=1)
    _buy(warehouse, bought)
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, ADS)
    sandbox.clock.advance(timedelta(hours=1))
    refunded = sandbox.clock.now()
    _refund(warehouse, refunded, "30")
    _enqueue(warehouse, sandbox)
    assert send(warehouse, sandbox, ADS).succeeded == 0
    assert _of_kind(warehouse, ADS)["adjustment", 1] == ("pending", None)
    sandbox.clock.set(bought + DAY - timedelta(seconds=1))
    send(warehouse, sandbox, ADS)
    assert sandbox.google.counts["adjustments"] == 0
    sandbox.clock.set(bought + DAY)
    assert send(warehouse, sandbox, ADS).succeeded == 1
    assert _google(sandbox).value == 70
    # The amount changes once more, and the moment of the refund does not.
    _refund(warehouse, refunded, "40")
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, ADS)
    assert _google(sandbox).value == 60
    _refund(warehouse, refunded, None)
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, ADS)
    assert _google(sandbox).is_retracted
    assert set(_of_kind(warehouse, ADS).values()) == {("sent", "confirmed")}
    sent = [r.conversion_adjustments[0] for r in bodies(sandbox, "adjustments")]
    assert [int(one.adjustment_type) for one in sent] == [3, 3, 2]
    assert {one.order_id for one in sent} == {"T-1"}
    assert sent[0].adjustment_date_time == f"{refunded:%Y-%m-%d %H:%M:%S}+00:00"
    assert not any(one.user_identifiers for one in sent)
    # What was taken back cannot come to life again: a person must see that.
    _refund(warehouse, sandbox.clock.now(), "10")
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, ADS)
    status, code = _of_kind(warehouse, ADS)["adjustment", 4]
    assert (status, code) == (
        "dead", "conversion_adjustment_upload_error.CONVERSION_ALREADY_RETRACTED",
    )  # fmt: skip


@pytest.mark.parametrize("platform", BOTH)
def test_an_adjustment_waits_for_its_original(
    warehouse: str, sandbox: Sandbox, platform: str
) -> None:
    """Data Manager takes the refund for a new conversion."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    _buy(warehouse, NOW - 2 * DAY)
    _enqueue(warehouse, sandbox)
    sandbox.google.faults.append(GoogleFault("unavailable", times=3))
    with pytest.raises(DestinationStopped):
        send(warehouse, sandbox, name)  # Google may have it
    _refund(warehouse, NOW - DAY, "30")
    _enqueue(warehouse, sandbox)
    assert _of_kind(warehouse, name)["adjustment", 1] == ("pending", None)
    sandbox.clock.advance(timedelta(minutes=1))
    assert send(warehouse, sandbox, name).succeeded == 1
    assert _of_kind(warehouse, name)["adjustment", 1] == ("pending", None)
    assert len(sandbox.google.conversions) == 1
    sandbox.clock.advance(timedelta(minutes=31))
    if platform == "google_data_manager":
        assert send(warehouse, sandbox, name).succeeded == 0  # still in process
        ask(warehouse, sandbox)
        sandbox.clock.advance(timedelta(minutes=15))
    assert send(warehouse, sandbox, name).succeeded == 1
    assert _google(sandbox).value == 70
    assert len(sandbox.google.conversions) == 1


@pytest.mark.parametrize("platform", BOTH)
@pytest.mark.parametrize("end", ["dead", "skipped", "unmatched"])
def test_an_adjustment_of_what_google_does_not_have_is_not_sent(
    warehouse: str, sandbox: Sandbox, platform: str, end: str
) -> None:
    """An unknown id makes a new conversion of the rest of a refund."""
    configure_google(warehouse, *BOTH)
    name = platform.replace("_", "-")
    _buy(warehouse, NOW - 2 * DAY)
    _enqueue(warehouse, sandbox)
    status = {"unmatched": "sent"}.get(end, end)
    execute(
        warehouse,
        "update ops.conversion_deliveries set "
        f"sync_status = case destination when '{name}' then '{status}' else 'sent' end, "
        f"outcome = case destination when '{name}' then '{end}' else 'confirmed' end",
    )
    _refund(warehouse, NOW - DAY, "30")
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, name)
    assert _of_kind(warehouse, name)["adjustment", 1] == ("skipped", "original_not_sent")
    assert not sandbox.google.received


@pytest.mark.parametrize("platform", BOTH)
def test_only_the_newest_revision_leaves(warehouse: str, sandbox: Sandbox, platform: str) -> None:
    """An older amount overwrites a newer one."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    _buy(warehouse, NOW - 2 * DAY)
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, name)
    sandbox.clock.advance(timedelta(hours=1))
    if platform == "google_data_manager":
        ask(warehouse, sandbox)
    for amount in ("10", "20", "30"):
        _refund(warehouse, sandbox.clock.now(), amount)
        _enqueue(warehouse, sandbox)
        sandbox.clock.advance(timedelta(minutes=1))
    # The first of them is under way in a worker that hangs.
    execute(
        warehouse,
        "update ops.conversion_deliveries as d set sync_status = 'queued', "
        f"lease_until = '{(sandbox.clock.now() + timedelta(minutes=10)).isoformat()}', "
        "batch_id = (select id from ops.upload_batches limit 1) "
        "from ops.conversion_events as e where e.id = d.event and e.revision = 1",
    )
    send(warehouse, sandbox, name)
    assert _of_kind(warehouse, name)["adjustment", 2] == ("skipped", "superseded")
    assert _of_kind(warehouse, name)["adjustment", 3] == ("pending", None)
    sandbox.clock.advance(timedelta(minutes=16))
    send(warehouse, sandbox, name)
    if _of_kind(warehouse, name)["adjustment", 3][0] == "pending":
        sandbox.clock.advance(timedelta(minutes=15))
        send(warehouse, sandbox, name)
    found = _of_kind(warehouse, name)
    assert found["adjustment", 1] == ("skipped", "superseded")
    assert found["adjustment", 3][0] == "sent"
    assert _google(sandbox).value == 70
    assert len(_google(sandbox).adjustments) == 1


def test_a_cancelled_order_is_taken_back(warehouse: str, sandbox: Sandbox) -> None:
    """Revenue that was refunded stays in the account."""
    configure_google(warehouse, "google_ads")
    _buy(warehouse, NOW - 2 * DAY)
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, ADS)
    execute(warehouse, "update app.transactions set status = 'cancelled'")
    _enqueue(warehouse, sandbox)
    sandbox.clock.advance(timedelta(minutes=5))
    send(warehouse, sandbox, ADS)
    assert _google(sandbox).is_retracted


@pytest.mark.parametrize("platform", BOTH)
def test_a_currency_that_changed_is_told(warehouse: str, sandbox: Sandbox, platform: str) -> None:
    """Google bids by amounts in the wrong currency."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    _buy(warehouse, NOW - 2 * DAY)
    execute(warehouse, "update app.transactions set brand_slug = 'lumen'")  # its own order T-1
    _buy(warehouse, NOW - 2 * DAY)
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, name)
    sandbox.clock.advance(timedelta(hours=1))
    if platform == "google_data_manager":
        ask(warehouse, sandbox)
    for number, currency in ((1, "IDR"), (0, "rupiah")):  # one that is none is refused, once a run
        execute(
            warehouse,
            f"update app.transactions set currency = '{currency}' where brand_slug = 'acme'",
        )
        counts = _enqueue(warehouse, sandbox)
        assert (counts["adjustments"], counts["refused"]) == (number, 1 - number)
    assert send(warehouse, sandbox, name).succeeded == 1
    assert (_google(sandbox).value, _google(sandbox).currency) == (100, "IDR")


def test_what_google_takes_no_longer_is_in_the_ledger(warehouse: str, sandbox: Sandbox) -> None:
    """A refund after Google's 54 days disappears without a word."""
    configure_google(warehouse, *BOTH)
    _buy(warehouse, NOW - 55 * DAY)
    _enqueue(warehouse, sandbox)
    for name in (DM, ADS):
        send(warehouse, sandbox, name)
    _refund(warehouse, NOW, "30")
    assert _enqueue(warehouse, sandbox)["adjustments"] == 1
    for name in (DM, ADS):
        assert _of_kind(warehouse, name)["adjustment", 1] == ("skipped", "expired")


def test_an_adjustment_has_a_clock_of_its_own(warehouse: str, sandbox: Sandbox) -> None:
    """A refund is given up with its original's 90 days, or tried after Google's 54."""
    configure_google(warehouse, *BOTH)
    bought = NOW - 50 * DAY
    _buy(warehouse, bought)
    _enqueue(warehouse, sandbox)
    send(warehouse, sandbox, ADS)
    _refund(warehouse, NOW, "30")
    _enqueue(warehouse, sandbox)
    found = query(
        warehouse,
        "select distinct d.deadline, e.kind from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event order by 2",
    )
    margin = timedelta(hours=1)
    assert [one["deadline"] for one in found] == [
        bought + 54 * DAY - margin, bought + 63 * DAY - margin,
    ]  # fmt: skip


def test_an_enhancement_leaves_within_its_day(warehouse: str, sandbox: Sandbox) -> None:
    """A tag's conversion is not enhanced, or is tried too late."""
    configure_google(warehouse, *BOTH, events={"Purchase": "44"})
    sandbox.google.tag_sent("44", "T-1", 19.9, "USD")
    person = {"first_name": "Ann", "last_name": "Smith", "country": "US", "zip": "94035"}
    late = {"event_time": NOW - DAY, "event_id": "late", "transaction_id": "T-2"}
    fresh = {"event_time": NOW - timedelta(minutes=5)}
    take(
        warehouse,
        [
            sale(1, kind="enhancement", **fresh, **person),
            sale(2, kind="enhancement", **late, **person),
        ],
        internal=True,
    )
    send(warehouse, sandbox, ADS)
    assert states(warehouse, ADS) == {("sent", "confirmed"): 1, ("skipped", "expired"): 1}
    assert states(warehouse, DM) == {("skipped", "not_mapped"): 2}
    (request,) = bodies(sandbox, "adjustments")
    (sent,) = request.conversion_adjustments
    assert int(sent.adjustment_type) == 4
    kinds = [type(one).pb(one).WhichOneof("identifier") for one in sent.user_identifiers]
    assert kinds == ["hashed_email", "address_info"]
    assert sent.user_agent
    assert sandbox.google.conversions["44", "T-1"].is_enhanced
