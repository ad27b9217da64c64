"""The user's own transactions: each confirmed one becomes one event, whenever its row appears."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from tributary import warehouse as wh
from tributary.deliver import outbox, retention, transactions
from tributary.errors import WarehouseError

from sandbox.graph import Token
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import (
    NOW,
    OTHER_PIXEL,
    OTHER_TOKEN,
    PIXEL,
    configure,
    counted_once,
    execute,
    meta_destination,
    purchase,
    sandbox_with_pixels,
    send,
    states,
    take,
)

_FBC = "fb.1.1794000000000.IwAR_clicked"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_with_pixels() as running:
        yield running


def _enqueue(uri: str, now: datetime = NOW) -> dict[str, dict[str, int]]:
    return transactions.enqueue(uri, clock=lambda connection: now)


def _insert(uri: str, table: str, *rows: dict[str, Any]) -> None:
    with wh.connect(uri, autocommit=True) as connection:
        for row in rows:
            connection.execute(
                f"insert into app.{table} ({', '.join(row)}) "
                f"values ({', '.join(f'%({name})s' for name in row)})",
                row,
            )


def _sale(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"T-{number}",
        "brand_slug": "acme",
        "profile_id": f"p{number}",
        "status": "completed",
        "amount": "20.00",
        "currency": "USD",
        "transacted_at": NOW - timedelta(hours=number + 1),
        **changes,
    }


def _profile(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "profile_id": f"p{number}",
        "brand_slug": "acme",
        "email": f"p{number}@example.com",
        "country": "US",
        "consent_ad_user_data": True,
        **changes,
    }


def _are_taken(uri: str) -> None:
    execute(uri, "update ops.conversion_deliveries set sync_status = 'sent', outcome = 'accepted'")


def test_confirmed_transactions_enter_once_however_late(warehouse: str) -> None:
    """A row that a view shows late is never sent, or one is sent twice."""
    configure(warehouse)
    _insert(warehouse, "profiles", *(_profile(number) for number in range(6)))
    _insert(
        warehouse,
        "transactions",
        _sale(0),
        _sale(1, status="pending"),
        _sale(2, status="cancelled"),
        _sale(3, brand_slug="of another brand"),
    )
    assert _enqueue(warehouse) == {
        "acme": {"accepted": 1, "duplicate": 0, "refused": 0, "changed": 0, "adjustments": 0}
    }
    # Later: the pending one is confirmed, and one turns up whose every date is long past.
    execute(warehouse, "update app.transactions set status = 'completed' where amount = 20 "
            "and status = 'pending'")  # fmt: skip
    _insert(warehouse, "transactions", _sale(4, transacted_at=NOW - timedelta(days=50),
                                              updated_at=NOW - timedelta(days=50)))  # fmt: skip
    assert _enqueue(warehouse)["acme"]["accepted"] == 2
    assert _enqueue(warehouse)["acme"]["accepted"] == 0
    rows = query(warehouse, "select transaction_id, source from ops.conversion_events order by 1")
    assert [row["transaction_id"] for row in rows] == ["T-0", "T-1", "T-4"]
    assert {row["source"] for row in rows} == {"transactions"}


def test_a_purchase_that_came_from_another_source_is_the_same(warehouse: str) -> None:
    """A purchase of a webhook and of the shop's table is sent twice."""
    configure(warehouse)
    take(warehouse, [purchase(0), purchase(1, event_id="seen-by-pixel", transaction_id=None)])
    _insert(
        warehouse,
        "transactions",
        _sale(0, amount="19.90"),
        _sale(1, amount="19.90", event_id="seen-by-pixel"),
    )
    assert _enqueue(warehouse)["acme"] == {
        "accepted": 0, "duplicate": 1, "refused": 0, "changed": 0, "adjustments": 0,
    }  # fmt: skip
    rows = query(
        warehouse,
        "select transaction_id, count(*)::int as n from ops.conversion_events "
        "where kind = 'conversion' group by 1 order by 1",
    )
    assert rows == [{"transaction_id": "T-0", "n": 1}, {"transaction_id": "T-1", "n": 1}]


def test_touches_add_their_clicks_and_never_their_ip(warehouse: str) -> None:
    """The click is lost, or another visit's address is sent as the buyer's."""
    configure(warehouse)
    _insert(warehouse, "profiles", _profile(0))
    bought = NOW - timedelta(hours=1)
    touch = {"brand_slug": "acme", "profile_id": "p0", "ip": "192.0.2.99", "user_agent": "touch"}
    first = bought - timedelta(days=5)
    _insert(
        warehouse,
        "touchpoints",
        {**touch, "touched_at": first, "fbclid": "IwAR_clicked", "ad_id": "77", "gclid": "g-old"},
        {**touch, "touched_at": bought - timedelta(days=1), "fbclid": "IwAR_clicked",
         "fbp": "fb.1.1700000000000.42", "gclid": "g-new"},
        {**touch, "touched_at": bought + timedelta(minutes=1), "fbclid": "IwAR_after_it"},
        {**touch, "touched_at": bought - timedelta(days=91), "wbraid": "too-old"},
    )  # fmt: skip
    _insert(warehouse, "transactions", _sale(0, transacted_at=bought))
    _enqueue(warehouse)
    row = query(
        warehouse,
        "select fbc, fbp, gclid, wbraid, ad_id, user_ip, user_agent, action_source, contact_id, "
        "event_time, user_email_hash from ops.conversion_events",
    )[0]
    assert row.pop("user_email_hash")
    assert row == {
        "fbc": f"fb.1.{int(first.timestamp())}000.IwAR_clicked",
        "fbp": "fb.1.1700000000000.42",
        "gclid": "g-new",
        "wbraid": None,
        "ad_id": "77",
        "user_ip": None,
        "user_agent": None,
        "action_source": "system_generated",
        "contact_id": "p0",
        "event_time": bought,
    }


def test_refunds_and_changed_amounts_become_adjustments(warehouse: str) -> None:
    """Google goes on bidding for money that was paid back."""
    configure(warehouse)
    _insert(warehouse, "transactions", *(_sale(number) for number in range(4)))
    _enqueue(warehouse)
    _are_taken(warehouse)
    for number, change in enumerate(
        [
            "status = 'refunded', refunded_at = now()",  # in full, the amount left out
            "status = 'refunded', refunded_amount = 5, refunded_at = now()",
            "amount = 25",
        ]
    ):
        execute(
            warehouse,
            f"update app.transactions set {change} where transaction_id = 'T-{number}'",
        )
    assert _enqueue(warehouse)["acme"]["adjustments"] == 3
    assert _enqueue(warehouse)["acme"]["adjustments"] == 0
    execute(
        warehouse, "update app.transactions set refunded_amount = 8 where transaction_id = 'T-1'"
    )
    assert _enqueue(warehouse)["acme"]["adjustments"] == 1
    rows = query(
        warehouse,
        "select e.transaction_id as t, e.revision as r, e.event_value::text as v, "
        "e.event_id = o.event_id as same from ops.conversion_events as e "
        "inner join ops.conversion_events as o on o.id = e.adjusts order by 1, 2",
    )
    assert [(row["t"], row["r"], row["v"], row["same"]) for row in rows] == [
        ("T-0", 1, "0.00", True),
        ("T-1", 1, "15.00", True),
        ("T-1", 2, "12.00", True),
        ("T-2", 1, "25", True),
    ]
    assert states(warehouse)["skipped", "not_adjustable"] == 4  # Meta knows no adjustments


def test_a_brand_without_a_destination_waits(warehouse: str) -> None:
    """Events of a brand are recorded as sent to nobody, and never sent later."""
    configure(warehouse, "acme", meta_destination(is_active=False))
    _insert(warehouse, "transactions", _sale(0))
    assert _enqueue(warehouse) == {"acme": {}}
    configure(warehouse)
    assert _enqueue(warehouse)["acme"]["accepted"] == 1


def test_a_view_that_shows_a_transaction_twice_settles(warehouse: str) -> None:
    """Every run makes another adjustment of the same sale."""
    configure(warehouse)
    _insert(warehouse, "transactions", _sale(0), _sale(0, amount="30.00"))
    for _ in range(3):
        _enqueue(warehouse)
    rows = query(warehouse, "select kind, revision from ops.conversion_events order by 2")
    assert len(rows) <= 2


def test_one_brands_broken_view_does_not_stop_the_others(warehouse: str) -> None:
    """One brand's bad column stops every brand's purchases."""
    configure(warehouse)
    configure(warehouse, "beta", meta_destination("beta-meta", pixel_id="99"))
    _insert(warehouse, "transactions", _sale(0), _sale(1, brand_slug="beta"))
    _insert(warehouse, "profiles", _profile(1, brand_slug="beta"))
    execute(warehouse, "alter table app.transactions rename to all_transactions")
    execute(
        warehouse,
        "create view app.transactions as select *, 1 / (brand_slug <> 'acme')::int as broken "
        "from app.all_transactions",
    )
    with pytest.raises(WarehouseError, match="The transactions of acme could not"):
        _enqueue(warehouse)
    assert states(warehouse, "beta-meta") == {("pending", None): 1}


def test_a_wrong_row_costs_only_itself_and_is_logged(
    warehouse: str, caplog: Any, make_warehouse: Callable[[str], str]
) -> None:
    """One transaction with an unknown currency stops all uploads, silently."""
    configure(warehouse)
    _insert(warehouse, "profiles", _profile(0), _profile(0))  # the view shows a person twice
    _insert(warehouse, "transactions", _sale(0), _sale(1, currency="EURO"), _sale(2, amount="-4"))
    counts = _enqueue(warehouse)["acme"]
    assert (counts["accepted"], counts["refused"]) == (1, 2)
    assert "1 transactions were refused: currency: must be an ISO 4217 code" in caplog.text


def test_a_row_with_a_mistake_is_left_out_and_logged(warehouse: str, caplog: Any) -> None:
    """A row without an id or with a wrong one is sent again and again, a sale that
    is there twice leaves with an accidental one of its amounts, or it is left out without a word.
    """
    for brand, pixel in (("acme", "1234567890"), ("beta", "99")):
        configure(warehouse, brand, meta_destination(f"{brand}-meta", pixel_id=pixel))
    _insert(
        warehouse,
        "transactions",
        _sale(0, status=" Completed"),
        _sale(0, brand_slug="beta", amount="7.00"),  # another brand's order of that number
        _sale(1, transaction_id=None),
        _sale(1, transaction_id=""),
        _sale(2, status="shipped"),
        _sale(3, amount="NaN"),
        _sale(4, amount="1.00", refunded_amount="Infinity"),
        _sale(5, transacted_at=None),
        _sale(6, transacted_at="infinity"),
        _sale(7),
        _sale(7),  # the same: one
        _sale(8),
        _sale(8, amount="30.00"),  # another: none
        _sale(9, status="pending"),
        _sale(9),
        _sale(10, status="pending", transacted_at=None, updated_at=NOW),  # no mistake
        _sale(11),
        _sale(11, amount="NaN"),  # harms only itself
    )
    _enqueue(warehouse)
    caplog.clear()
    counts = _enqueue(warehouse)  # reported again while it is so
    assert counts == {
        "acme": {"accepted": 0, "duplicate": 0, "refused": 10, "changed": 0, "adjustments": 0},
        "beta": {"accepted": 0, "duplicate": 0, "refused": 0, "changed": 0, "adjustments": 0},
    }
    rows = query(
        warehouse,
        "select b.slug, e.transaction_id as t, e.event_value::text as v, e.kind "
        "from ops.conversion_events as e inner join ops.brands as b on b.id = e.brand_id "
        "order by 1, 2",
    )
    assert [tuple(row.values()) for row in rows] == [
        ("acme", "T-0", "20.00", "conversion"),
        ("acme", "T-11", "20.00", "conversion"),
        ("acme", "T-7", "20.00", "conversion"),
        ("beta", "T-0", "7.00", "conversion"),
    ]
    for problem, number in {
        "key_missing": 2, "status_unknown": 1, "amount_impossible": 2, "time_missing": 1,
        "time_impossible": 1, "duplicate": 3,
    }.items():  # fmt: skip
        shown = f"acme: {number} rows of app.transactions were left out: {problem}"
        assert shown in caplog.text, problem
    # Known already, and twice only now: nothing is recorded of it until that is put right.
    _insert(warehouse, "transactions", _sale(0, amount="25.00"))
    assert _enqueue(warehouse)["acme"]["adjustments"] == 0
    execute(warehouse, "delete from app.transactions where status = ' Completed'")
    assert _enqueue(warehouse)["acme"]["changed"] == 1  # nothing of it has left


def test_a_person_who_is_there_twice_is_nobody(warehouse: str, caplog: Any) -> None:
    """A purchase is sent with an accidental one of two people's addresses, or with
    a consent that one of the two rows has refused.
    """
    configure(warehouse, consent_when_unknown="allow")
    _insert(
        warehouse,
        "profiles",
        *[_profile(0)] * 2,
        _profile(1),
        _profile(1, email="other@example.com"),
        _profile(2),
        _profile(2, consent_ad_user_data=False),
        _profile(1, brand_slug="beta", email="beta@example.com"),
    )
    _insert(warehouse, "transactions", *(_sale(number, fbc=_FBC) for number in range(3)))
    assert _enqueue(warehouse)["acme"] == {
        "accepted": 3, "duplicate": 0, "refused": 0, "changed": 0, "adjustments": 0,
    }  # fmt: skip
    rows = query(
        warehouse,
        "select transaction_id, user_email_hash is not null as has_email, "
        "consent ->> 'ad_user_data' as consent from ops.conversion_events order by 1",
    )
    assert [tuple(row.values()) for row in rows] == [
        ("T-0", True, "true"), ("T-1", False, "true"), ("T-2", False, "false"),
    ]  # fmt: skip
    assert "acme: 2 purchases are sent with their click alone, and not again after" in caplog.text
    assert states(warehouse) == {("pending", None): 2, ("skipped", "no_consent"): 1}


def test_a_purchase_without_another_address_waits_for_its_person(
    warehouse: str, caplog: Any
) -> None:
    """A purchase is stored without an address for good, since a view showed its
    person twice for a quarter of an hour.
    """
    configure(warehouse)
    _insert(warehouse, "profiles", _profile(0), _profile(0, email="other@example.com"))
    _insert(warehouse, "transactions", _sale(0), _sale(0, brand_slug="beta"))
    assert _enqueue(warehouse)["acme"] == {
        "accepted": 0, "duplicate": 0, "refused": 1, "changed": 0, "adjustments": 0,
    }  # fmt: skip
    assert "acme: 1 rows of app.transactions were left out: profile_duplicate" in caplog.text
    execute(warehouse, "delete from app.profiles where email = 'other@example.com'")
    assert _enqueue(warehouse)["acme"]["accepted"] == 1
    (row,) = query(
        warehouse, "select user_email_hash is not null as has from ops.conversion_events"
    )
    assert row["has"]


def test_a_sale_without_its_moment_is_dated_by_its_last_change(warehouse: str) -> None:
    """The marts count a purchase that is never sent to a platform."""
    configure(warehouse)
    changed = NOW - timedelta(hours=3)
    _insert(warehouse, "profiles", _profile(0))
    _insert(warehouse, "transactions", _sale(0, transacted_at=None, updated_at=changed))
    assert _enqueue(warehouse)["acme"]["accepted"] == 1
    (row,) = query(warehouse, "select event_time from ops.conversion_events")
    assert row["event_time"] == changed


def _sold(uri: str, sandbox: Sandbox, pixel: str) -> dict[str, tuple[float, str]]:
    """What Meta counts, by order: value and currency; fails when it counts one twice."""
    counted = counted_once(sandbox, pixel)
    taken = [one.event for one in sandbox.events.received if one.pixel == pixel]
    found = {
        one["custom_data"]["order_id"]: (
            one["custom_data"]["value"],
            one["custom_data"]["currency"],
        )
        for one in taken
    }
    assert len(found) == counted
    return found


def _two_brands(uri: str, sales: int, *more: dict[str, Any]) -> None:
    """Both sell under the same order numbers."""
    configure(uri, "acme", meta_destination(), *more)
    configure(uri, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL))
    for brand in ("acme", "lumen"):
        _insert(uri, "profiles", *(_profile(n, brand_slug=brand) for n in range(sales)))
        _insert(uri, "transactions", *(_sale(n, brand_slug=brand) for n in range(sales)))


def _change(uri: str, order: str, change: str) -> None:
    execute(
        uri,
        f"update app.transactions set {change} "
        f"where brand_slug = 'acme' and transaction_id = '{order}'",
    )


_REFUNDED = "status = 'refunded', refunded_at = now()"


def test_what_changes_before_it_leaves_leaves_as_it_is_now(
    warehouse: str, sandbox: Sandbox
) -> None:
    """Meta would be sent an old amount or currency, or a cancelled order, and keep it."""
    _two_brands(warehouse, 8)
    _enqueue(warehouse)
    for order, change in {
        "T-0": "amount = 25",
        "T-1": "currency = 'eur'",
        "T-2": "status = 'cancelled'",
        "T-3": _REFUNDED,  # in full, the amount left out
        "T-4": f"{_REFUNDED}, refunded_amount = 5",
        "T-5": "status = 'pending'",
        "T-6": "refunded_amount = 20",
    }.items():
        _change(warehouse, order, change)
    unchanged = {"accepted": 0, "duplicate": 0, "refused": 0, "changed": 0, "adjustments": 0}
    assert _enqueue(warehouse) == {"acme": {**unchanged, "changed": 7}, "lumen": unchanged}
    assert _enqueue(warehouse) == {"acme": unchanged, "lumen": unchanged}
    assert states(warehouse) == {("pending", None): 4, ("skipped", "cancelled"): 4}
    assert query(warehouse, "select 1 from ops.conversion_events where adjusts is not null") == []
    send(warehouse, sandbox)
    send(warehouse, sandbox, "lumen-meta", token=OTHER_TOKEN)
    assert _sold(warehouse, sandbox, PIXEL) == {
        "T-0": (25, "USD"), "T-1": (20, "EUR"), "T-4": (15, "USD"), "T-7": (20, "USD"),
    }  # fmt: skip
    assert _sold(warehouse, sandbox, OTHER_PIXEL) == {f"T-{n}": (20, "USD") for n in range(8)}


def test_an_order_that_is_completed_again_is_sent(warehouse: str, sandbox: Sandbox) -> None:
    """A purchase that was cancelled by mistake is never sent, or without its browser."""
    _two_brands(warehouse, 3)
    _change(warehouse, "T-0", "action_source = 'website', user_agent = 'Firefox', "
                              "event_source_url = 'https://shop.example/thanks'")  # fmt: skip
    _change(warehouse, "T-1", "amount = 0")  # nothing was to be paid
    _enqueue(warehouse)
    for order in ("T-0", "T-1", "T-2"):
        _change(warehouse, order, "status = 'cancelled'")
    assert _enqueue(warehouse)["acme"]["changed"] == 3
    assert states(warehouse) == {("skipped", "cancelled"): 3}
    with wh.connect(warehouse, autocommit=True) as connection:
        retention.forget_people(connection, NOW)
    for order in ("T-0", "T-1"):
        _change(warehouse, order, "status = 'completed'")
    assert _enqueue(warehouse)["acme"]["changed"] == 2
    assert _enqueue(warehouse)["acme"]["changed"] == 0
    send(warehouse, sandbox)
    assert _sold(warehouse, sandbox, PIXEL) == {"T-0": (20, "USD"), "T-1": (0, "USD")}
    assert states(warehouse) == {("sent", "accepted"): 2, ("skipped", "cancelled"): 1}


def test_where_one_destination_has_it_the_others_get_what_is_left(
    warehouse: str, sandbox: Sandbox
) -> None:
    """A second pixel is sent the old value of a sale, since the first one has it already."""
    sandbox.tokens[OTHER_TOKEN] = Token(frozenset(), pixels=frozenset({OTHER_PIXEL, "2000000099"}))
    _two_brands(warehouse, 4, meta_destination("acme-second", pixel_id="2000000099"))
    _enqueue(warehouse)
    send(warehouse, sandbox)
    _change(warehouse, "T-0", "amount = 25")
    _change(warehouse, "T-1", "currency = 'EUR'")
    _change(warehouse, "T-2", "status = 'cancelled'")
    _change(warehouse, "T-3", f"{_REFUNDED}, refunded_amount = 20")
    assert _enqueue(warehouse)["acme"]["adjustments"] == 4
    assert _enqueue(warehouse)["acme"]["adjustments"] == 0
    send(warehouse, sandbox, "acme-second", token=OTHER_TOKEN)
    assert _sold(warehouse, sandbox, "2000000099") == {"T-0": (25, "USD"), "T-1": (20, "EUR")}
    # What Meta has got stays as it was; the ledger says so.
    assert _sold(warehouse, sandbox, PIXEL) == {f"T-{n}": (20, "USD") for n in range(4)}
    assert states(warehouse) == {("sent", "accepted"): 4, ("skipped", "not_adjustable"): 4}
    assert states(warehouse, "acme-second") == {
        ("sent", "accepted"): 2, ("skipped", "cancelled"): 2, ("skipped", "not_adjustable"): 4,
    }  # fmt: skip
    _change(warehouse, "T-2", "status = 'completed', amount = 30")
    assert _enqueue(warehouse)["acme"]["adjustments"] == 1
    send(warehouse, sandbox, "acme-second", token=OTHER_TOKEN)
    assert _sold(warehouse, sandbox, "2000000099")["T-2"] == (30, "USD")
    send(warehouse, sandbox, "lumen-meta", token=OTHER_TOKEN)
    assert _sold(warehouse, sandbox, OTHER_PIXEL) == {f"T-{n}": (20, "USD") for n in range(4)}


def test_a_webhooks_purchase_does_not_wait_for_the_table(warehouse: str) -> None:
    """What Stripe says is paid is held back, since the shop's table still says pending."""
    configure(warehouse)
    take(warehouse, [purchase(0), purchase(1)])
    _insert(warehouse, "transactions", _sale(0, status="pending", amount="19.90"))
    _insert(warehouse, "transactions", _sale(1, status="cancelled", amount="19.90"))
    assert _enqueue(warehouse)["acme"]["changed"] == 1
    assert states(warehouse) == {("pending", None): 1, ("skipped", "cancelled"): 1}


def test_a_refund_of_an_order_that_was_never_seen(warehouse: str, sandbox: Sandbox) -> None:
    """A purchase that was paid back before its row appeared is sent as a sale."""
    configure(warehouse)
    _insert(warehouse, "profiles", *(_profile(n) for n in range(3)))
    _insert(warehouse, "transactions", _sale(0, status="refunded"),
            _sale(1, status="refunded", refunded_amount="20.00"),
            _sale(2, status="refunded", refunded_amount="5.00"))  # fmt: skip
    assert _enqueue(warehouse)["acme"]["accepted"] == 1
    send(warehouse, sandbox)
    assert _sold(warehouse, sandbox, PIXEL) == {"T-2": (15, "USD")}


def _claims(uri: str) -> tuple[wh.Connection, outbox.Outbox]:
    connection = wh.connect(uri, autocommit=True)
    box = outbox.Outbox(connection, "acme-meta", dedup_window=None, clock=lambda _: NOW)
    return connection, box


def test_a_change_waits_for_a_claim_that_is_under_way(warehouse: str) -> None:
    """The event changes while a request leaves with the old value, and nothing says so."""
    _two_brands(warehouse, 1)
    _enqueue(warehouse)
    _change(warehouse, "T-0", "amount = 25")
    connection, box = _claims(warehouse)
    with connection, ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            batch, _ = box.claim(10, lambda event: None)
            enqueued = pool.submit(_enqueue, warehouse)
            waiting = "datname = current_database() and wait_event_type = 'Lock'"
            while not query(warehouse, f"select 1 from pg_stat_activity where {waiting}"):
                assert not enqueued.done()
        assert enqueued.result()["acme"]["adjustments"] == 1
    assert batch is not None
    assert [str(event["event_value"]) for event in batch.events] == ["20.00"]
    rows = query(
        warehouse,
        "select kind, event_value::text as v from ops.conversion_events as e "
        "inner join ops.brands as b on b.id = e.brand_id where slug = 'acme' order by 1",
    )
    assert [tuple(row.values()) for row in rows] == [("adjustment", "25"), ("conversion", "20.00")]


def test_a_claim_never_takes_an_old_value(warehouse: str) -> None:
    """A request is sent with the event's value from before the claim."""
    _two_brands(warehouse, 1)
    execute(
        warehouse,
        "insert into app.transactions (transaction_id, brand_slug, profile_id, status, amount, "
        "currency, transacted_at) select 'T-' || n, 'acme', 'p0', 'completed', 20, 'USD', "
        f"'{NOW.isoformat()}'::timestamptz - n * interval '1 second' "
        "from generate_series(1, 1500) as n",
    )
    _enqueue(warehouse)
    execute(warehouse, "update app.transactions set amount = 25 where brand_slug = 'acme' "
            f"and transacted_at >= '{(NOW - timedelta(seconds=100)).isoformat()}'")  # fmt: skip
    changed = "select id, event_value::text as v from ops.conversion_events where event_value = 25"
    connection, box = _claims(warehouse)
    with connection, ThreadPoolExecutor(1) as pool:
        enqueued = pool.submit(_enqueue, warehouse)
        while not query(warehouse, changed):
            assert not enqueued.done()
        batch, _ = box.claim(1501, lambda event: None)  # in order of deadline: those come last
        counts = enqueued.result()["acme"]
    assert batch is not None
    assert counts["changed"] + counts["adjustments"] == 100
    now = {row["id"]: row["v"] for row in query(
        warehouse, "select id, event_value::text as v from ops.conversion_events "
        "where kind = 'conversion'")}  # fmt: skip
    left = {event["id"]: str(event["event_value"]) for event in batch.events}
    assert {id_: now[id_] for id_ in left} == left


def test_an_id_that_is_a_placeholder_is_none(warehouse: str, caplog: Any) -> None:
    """All guests of a shop (the customer 0) are one person with one click, and of
    the orders `undefined` one is sent.
    """
    for brand, pixel in (("acme", "1234567890"), ("beta", "99")):
        configure(warehouse, brand, meta_destination(f"{brand}-meta", pixel_id=pixel))
    _insert(
        warehouse, "profiles", _profile(0, profile_id="0"),
        _profile(1, phone="undefined", last_name="Null"),
    )  # fmt: skip
    touch = {"brand_slug": "acme", "touched_at": NOW - timedelta(days=2)}
    page = "https://shop.example/?fbclid=IwAR_landing&x=1#gclid=Cj0-landing"
    _insert(
        warehouse,
        "touchpoints",
        {**touch, "profile_id": "0", "gclid": "Cj0-of-another-guest"},
        {**touch, "profile_id": "p1", "landing_url": page, "fbclid": "", "gclid": "null"},
        {**touch, "profile_id": "p1", "touched_at": NOW - timedelta(days=1),
         "gclid": "undefined", "fbp": "{{fbp}}", "ad_id": "{{ad.id}}"},
    )  # fmt: skip
    _insert(
        warehouse,
        "transactions",
        _sale(0, profile_id="0", fbc=_FBC),
        _sale(1, fbp="undefined"),
        _sale(2, transaction_id="Undefined"),
        _sale(3, transaction_id="undefined", brand_slug="beta"),
        _sale(4, transaction_id="order-{{ id }}"),
        _sale(5, transaction_id="0"),
    )
    counts = _enqueue(warehouse)
    assert (counts["acme"]["accepted"], counts["acme"]["refused"]) == (2, 3)
    assert (counts["beta"]["accepted"], counts["beta"]["refused"]) == (0, 1)
    assert "acme: 3 rows of app.transactions were left out: key_missing" in caplog.text
    guest, known = query(
        warehouse,
        "select contact_id, gclid, fbc, fbp, ad_id, array(select jsonb_object_keys("
        "coalesce(user_hashes -> 'meta', '{}')) order by 1) as person "
        "from ops.conversion_events order by transaction_id",
    )
    assert tuple(guest.values()) == (None, None, _FBC, None, None, [])
    seen = int(cast(datetime, touch["touched_at"]).timestamp())
    assert tuple(known.values()) == (
        "p1", "Cj0-landing", f"fb.1.{seen}000.IwAR_landing", None, None, ["country", "em"],
    )  # fmt: skip


def test_what_a_backfill_asked_for_survives_a_change(warehouse: str) -> None:
    """An amount that changes before the upload takes a sale back that was asked for."""
    later = (NOW - timedelta(hours=1)).isoformat()
    configure(warehouse, "acme", meta_destination(send_from=later))
    configure(warehouse, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL))
    _insert(warehouse, "profiles", _profile(3))
    _insert(warehouse, "transactions", _sale(3))
    _enqueue(warehouse)
    assert states(warehouse) == {("skipped", "before_send_from"): 1}
    with wh.connect(warehouse, autocommit=True) as connection:
        assert outbox.backfill(connection, "acme-meta", NOW - timedelta(days=2), NOW) == 1
    _change(warehouse, "T-3", "amount = 15")
    assert _enqueue(warehouse)["acme"]["changed"] == 1
    assert states(warehouse) == {("pending", None): 1}


def test_rows_as_shops_write_them(warehouse: str) -> None:
    """A GUID in braces is no order, a refund below zero raises a sale, a full refund that says
    only when is sent, or a view without offsets moves its sales.
    """
    _two_brands(warehouse, 0)
    execute(warehouse, "alter table app.transactions alter column transacted_at type timestamp")
    zone = 'settings = settings || \'{"time_zone": "Asia/Jakarta"}\''
    execute(warehouse, f"update ops.brands set {zone}")
    at = NOW.replace(tzinfo=None) - timedelta(hours=2)
    guid = "{8F14E45F-CEEA-467A-9538-1E3F5C7D2B1A}"
    _insert(
        warehouse, "transactions", _sale(1, transaction_id=guid, transacted_at=at),
        _sale(2, transacted_at=at, refunded_amount="-5.00"),
        _sale(3, transacted_at=at, refunded_at=NOW),
        _sale(4, transacted_at=at, brand_slug="lumen"),
    )  # fmt: skip
    counts = _enqueue(warehouse)
    assert (counts["acme"]["accepted"], counts["acme"]["refused"]) == (1, 1)
    rows = query(warehouse, "select transaction_id as t, event_time as at, event_value::text as v "
                            "from ops.conversion_events order by 1")  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [
        ("T-4", NOW - timedelta(hours=2), "20.00"), (guid, NOW - timedelta(hours=2), "20.00"),
    ]  # fmt: skip
