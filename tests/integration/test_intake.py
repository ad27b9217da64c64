"""Intake: every event enters once, under the right name and id, with one delivery a destination."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest_of_loads import query
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from outgoing import NOW, configure, execute, meta_destination, purchase, states, take

from include import warehouse as wh
from include.conversions import erasure, intake, outbox
from include.errors import SettingsError, WarehouseError


def _events(uri: str, columns: str) -> list[dict[str, Any]]:
    return query(uri, f"select {columns} from ops.conversion_events order by event_time, event_id")


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("signup_started", "Lead"),
        ("signup_completed", "CompleteRegistration"),
        ("checkout_started", "InitiateCheckout"),
        ("purchase_completed", "Purchase"),
        ("video_rendered", "Purchase"),
        ("batch_completed", "Purchase"),
        ("Purchase", "Purchase"),
        ("purchase", "Purchase"),
        ("add_to_cart", "AddToCart"),
        ("quiz_done", "Contact"),  # the brand's own
        ("Levelled up", "Levelled up"),  # a custom event
    ],
)
def test_names_become_metas_standard_names(module_warehouse: str, said: str, stored: str) -> None:
    """A red test here: events reach Meta under names that no campaign optimises for."""
    configure(module_warehouse, event_names={"quiz_done": "Contact"})
    receipt = take(module_warehouse, [purchase(1, event_name=said, event_id=f"name-{said}")])[0]
    row = query(
        module_warehouse,
        f"select event_name from ops.conversion_events where id = '{receipt.id}'",
    )
    assert row == [{"event_name": stored}]


def test_an_events_id_is_given_or_templated_or_made(make_warehouse: Any) -> None:
    """A red test here: the pixel's id is lost, and browser and server count twice."""
    plain, templated = make_warehouse("plain"), make_warehouse("templated")
    configure(plain)
    configure(templated, event_id_template="web-{transaction_id}")
    for uri in (plain, templated):
        take(uri, [purchase(1, event_id="from-the-pixel"), purchase(2, event_id=None)])
    ids = [row["event_id"] for row in _events(plain, "event_id, event_time")]
    assert "from-the-pixel" in ids
    assert [row["event_id"] for row in _events(templated, "event_id, event_time")] == [
        "from-the-pixel",
        "web-T-2",
    ]
    # The same again, from a process that knows nothing of the first: the same ids.
    again = take(plain, [purchase(2, event_id=None), purchase(1, event_id="from-the-pixel")])
    assert [receipt.status for receipt in again] == ["duplicate", "duplicate"]


def test_an_event_comes_in_once_and_its_first_row_stays(warehouse: str) -> None:
    """A red test here: a repeated delivery doubles an event, or changes what was sent."""
    configure(warehouse)
    first = take(warehouse, [purchase(1), purchase(1, value="99")])
    assert [receipt.status for receipt in first] == ["accepted", "duplicate"]
    assert first[0].id == first[1].id
    assert take(warehouse, [purchase(1, value="5")])[0] == intake.Receipt(
        "duplicate", first[0].id, differs=True
    )
    assert str(_events(warehouse, "event_value, event_time, event_id")[0]["event_value"]) == "19.90"
    assert states(warehouse) == {("pending", None): 1}


def test_only_hashes_are_stored(warehouse: str) -> None:
    """A red test here: personal data lies in the warehouse in clear."""
    configure(warehouse)
    person = {
        "email": "Jane.Roe@Example.com",
        "phone": "+44 (0)20 7946 0958",
        "first_name": "Jané",
        "last_name": "Roe-Smith",
        "city": "Leighton Buzzard",
        "state": "Bedfordshire",
        "zip": "LU7 0AA",
        "country": "United Kingdom",
        "gender": "female",
        "date_of_birth": "1988-02-29",
        "external_id": "crm-4711",
    }
    url = "https://shop.example/jane.roe@example.com/x?email=jane.roe%40example.com&a=1"
    take(warehouse, [purchase(1, **person, event_source_url=url)])
    stored = str(query(warehouse, "select to_jsonb(e) as row from ops.conversion_events as e"))
    for value in person.values():
        if value not in ("United Kingdom", "LU7 0AA"):
            assert value.lower() not in stored.lower(), value
    row = _events(
        warehouse,
        "user_hashes, google_address, event_source_url, user_email_hash, user_phone_hash, "
        "event_time, event_id",
    )[0]
    assert row["event_source_url"] == "https://shop.example/_/x?a=1"
    assert sorted(row["user_hashes"]["meta"]) == sorted(
        ["em", "ph", "fn", "ln", "ct", "st", "zp", "country", "ge", "db", "external_id"]
    )
    assert row["user_email_hash"] == row["user_hashes"]["meta"]["em"][0]
    assert row["user_phone_hash"] != row["user_hashes"]["google"]["phone"][0]
    assert row["google_address"] == {"region_code": "GB", "postal_code": "LU7 0AA"}


def test_deliveries_are_born_with_their_reason(warehouse: str) -> None:
    """A red test here: something leaves that must not, or is left out without a word."""
    configure(
        warehouse,
        "acme",
        meta_destination(events=["Purchase"]),
        consent_when_unknown="allow",
        always_require_consent_in=["EEA", "CH"],
    )
    yes = {"consent_ad_user_data": "true"}
    take(
        warehouse,
        [
            purchase(1),
            {"event_name": "Lead", "email": "a@example.com"},
            purchase(2, is_test="yes"),
            purchase(3, consent_ad_user_data="false"),
            purchase(4, country="DE"),  # never asked, where that means no
            purchase(5, country="Germany", **yes),
            purchase(6, country="US"),
            purchase(7, email=None, ip=None, city="Berlin"),
            purchase(8, event_time="2025-12-31T23:59:59Z"),
            purchase(9, event_time=NOW - timedelta(days=8)),
            purchase(10, event_time=NOW - timedelta(days=8), action_source="physical_store"),
        ],
    )
    rows = query(
        warehouse,
        "select e.transaction_id, d.sync_status, d.outcome from ops.conversion_events as e "
        "inner join ops.conversion_deliveries as d on d.event = e.id",
    )
    assert {row["transaction_id"]: (row["sync_status"], row["outcome"]) for row in rows} == {
        "T-1": ("pending", None),
        None: ("skipped", "not_mapped"),
        "T-2": ("skipped", "test"),
        "T-3": ("skipped", "no_consent"),
        "T-4": ("skipped", "no_consent"),
        "T-5": ("pending", None),
        "T-6": ("pending", None),
        "T-7": ("skipped", "unaddressable"),
        "T-8": ("skipped", "before_send_from"),
        "T-9": ("skipped", "expired"),
        "T-10": ("pending", None),
    }


def test_each_active_destination_gets_exactly_one_delivery(warehouse: str) -> None:
    """A red test here: a destination misses events, or gets them though it is not active."""
    configure(
        warehouse,
        "acme",
        meta_destination(),
        meta_destination("b", pixel_id="1"),
        meta_destination("c", pixel_id="2", is_active=False),
    )
    take(warehouse, [purchase(1)])
    rows = query(
        warehouse,
        "select d.destination, e.destinations from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event order by 1",
    )
    assert [row["destination"] for row in rows] == ["acme-meta", "b"] == rows[0]["destinations"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_name": ""}, "event_name"),
        ({"value": "-1"}, "value"),
        ({"value": "12,50"}, "value"),
        ({"value": "nan"}, "value"),
        ({"value": None}, "value"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": None}, "currency"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": NOW + timedelta(days=1)}, "event_time"),
        ({"action_source": "telepathy"}, "action_source"),
        ({"transaction_id": "jane@example.com"}, "transaction_id"),
        ({"contact_id": "jane@example.com"}, "contact_id"),
        ({"custom_params": "{not json"}, "custom_params"),
        ({"custom_params": {"note": "write to jane@example.com"}}, "custom_params"),
        ({"custom_params": {"note": "jane%40example.com"}}, "custom_params"),
        ({"custom_params": {"note": "a" * 200_000}}, "custom_params"),
        ({"consent_ad_user_data": "perhaps"}, "consent_ad_user_data"),
        ({"colour": "red"}, "colour"),
        ({"kind": "adjustment"}, "kind"),
        ({"event_source_url": "https://[x@y/"}, "event_source_url"),
        ({"event_time": "9999-12-31T23:59:59-10:00"}, "event_time"),
        ({"event_time": "\u00b2"}, "event_time"),
        ({"event_time": 10**400}, "event_time"),
        ({"value": "1." + "1" * 17_000}, "value"),
        ({"value": 10**5000}, "value"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, str) else "",
)
def test_what_cannot_be_taken_is_refused_by_field(
    module_warehouse: str, changes: dict[str, Any], field: str
) -> None:
    """A red test here: a wrong event is stored, or the sender is not told what to mend."""
    configure(module_warehouse)
    receipt = take(module_warehouse, [purchase(999, **changes)])[0]
    assert (receipt.status, receipt.field) == ("refused", field)
    assert receipt.reason
    assert receipt.reason.startswith(f"{field}: ")
    assert "jane" not in receipt.reason


@pytest.mark.parametrize("unit", ["a", "#", "a%40", "a@", "a.", "\u0316\u0300", " ", "1"])
def test_long_values_cost_no_more_than_their_length(module_warehouse: str, unit: str) -> None:
    """A red test here: a few long values keep a worker of the edge busy for minutes."""
    configure(module_warehouse)
    long = (unit * 200_000)[:200_000]
    dear = [{field: long} for field in intake.FIELDS if field != "brand"]
    dear.append({"custom_params": {"note": (unit * 16_000)[: 16_000 // len(unit.encode())]}})
    dear.append({"custom_params": {"phone": [f"+1212555{n:04}" for n in range(10_000)]}})
    dear.append({"event_source_url": f"https://{long}@x"})
    before = time.process_time()
    receipts = take(module_warehouse, [purchase(900 + n, **one) for n, one in enumerate(dear)])
    assert time.process_time() - before < 2
    assert len(receipts) == len(dear)


def test_aliases_find_their_fields(warehouse: str) -> None:
    """A red test here: an amount called price is lost, and the purchase with it."""
    configure(warehouse, property_aliases={"orderTotal": "value", "sku": "content_ids"})
    receipts = take(
        warehouse,
        [
            purchase(1, value=None, price="10.00", userId="u1", planId="pro"),
            purchase(2, value=None, custom_params={"orderTotal": 12.5, "sku": ["a", "b"]}),
        ],
    )
    assert [receipt.status for receipt in receipts] == ["accepted", "accepted"]
    rows = _events(warehouse, "event_value, custom_params, user_hashes, event_time, event_id")
    assert [str(row["event_value"]) for row in rows] == ["10.00", "12.5"]
    assert rows[0]["custom_params"] == {"content_ids": ["pro"]}
    assert rows[1]["custom_params"] == {"content_ids": ["a", "b"]}
    assert rows[0]["user_hashes"]["meta"]["external_id"]


def test_the_click_keeps_the_time_it_was_first_seen(warehouse: str) -> None:
    """A red test here: Meta cannot match the click, or attributes it to the purchase's time."""
    configure(warehouse)
    at = int((NOW - timedelta(hours=1)).timestamp()) * 1000
    take(
        warehouse,
        [
            purchase(1, fbc="fb.1.1700000000000.IwAR_AbC", fbclid="IwAR_other"),
            purchase(2, fbclid="IwAR_AbC"),
            purchase(3, fbc="rubbish", fbp="rubbish"),
        ],
    )
    rows = _events(warehouse, "fbc, fbp, event_time, event_id")
    assert [row["fbc"] for row in rows] == [
        "fb.1.1700000000000.IwAR_AbC",
        f"fb.1.{at}.IwAR_AbC",
        None,
    ]
    assert rows[2]["fbp"] is None


def test_builders_ask_for_what_their_event_needs(warehouse: str) -> None:
    """A red test here: an adapter sends a Purchase without an amount."""
    configure(warehouse)
    person = {"email": "a@example.com", "event_time": NOW}
    receipts = take(
        warehouse,
        [
            intake.page_view("https://shop.example/", user_agent="UA", **person),
            intake.view_content(["sku-1"], **person),
            intake.lead(**person),
            intake.add_to_cart(["sku-1"], value="5", currency="eur", **person),
            intake.initiate_checkout(**person),
            intake.complete_registration(**person),
            intake.purchase("5", "EUR", **person),
        ],
    )
    assert [receipt.status for receipt in receipts] == ["accepted"] * 7
    with pytest.raises(TypeError):
        intake.purchase(**person)  # type: ignore[call-arg]


def test_what_was_erased_does_not_come_back(warehouse: str) -> None:
    """A red test here: the next import brings an erased person back."""
    configure(warehouse)
    take(warehouse, [purchase(1)])
    execute(
        warehouse,
        "insert into ops.erasures (brand_id, hash) "
        "select brand_id, user_email_hash from ops.conversion_events",
    )
    execute(
        warehouse,
        "insert into ops.erasures (brand_id, event_name, event_id) "
        "select id, 'Purchase', 'order-2' from ops.brands",
    )
    later = [purchase(1, event_id="new", email="PERSON.1@example.com "), purchase(2), purchase(3)]
    assert [receipt.status for receipt in take(warehouse, later)] == [
        "refused",
        "refused",
        "accepted",
    ]


def _when_it_waits(uri: str, first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """What `second` gives when it must wait until `first`, then called, has let go."""
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(second)
        waiting = (
            "select 1 from pg_locks as l inner join pg_stat_activity as a using (pid) "
            "where not l.granted and a.datname = current_database()"
        )
        deadline = time.monotonic() + 20
        while not query(uri, waiting):
            assert not later.done(), "it did not wait"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        first()
        return later.result()


def _erased(uri: str, email: str) -> erasure.Erased:
    with wh.connect(uri, autocommit=True) as connection:
        brand = intake.brands(connection)["acme"]
        return erasure.erase_person(connection, brand.id, {"email": email}, NOW)


def test_what_an_upload_claims_beside_an_erasure_is_told(warehouse: str) -> None:
    """A red test here: the person is told that nothing was sent, and it was."""
    configure(warehouse)
    take(warehouse, [purchase(1)])
    with wh.connect(warehouse) as upload:
        upload.execute("update ops.conversion_deliveries set sync_status = 'queued'")
        done = _when_it_waits(
            warehouse, upload.commit, lambda: _erased(warehouse, "person.1@example.com")
        )
    assert (done.events, done.deliveries_skipped, done.already_sent) == (1, 0, {"acme-meta": 1})


def test_the_search_for_a_person_holds_nobody_up(warehouse: str) -> None:
    """A red test here: no purchase of the brand comes in while all its events are searched."""
    configure(warehouse)
    take(warehouse, [purchase(1), purchase(2)])
    with wh.connect(warehouse) as slow, wh.connect(warehouse) as other:
        slow.execute("lock table ops.conversion_events in access exclusive mode")

        def erase() -> erasure.Erased:
            return _erased(warehouse, "person.1@example.com")

        def while_it_waits() -> None:
            try:
                other.execute("select 1 from ops.brands for key share nowait")
                assert other.execute("select hash from ops.erasures").fetchall()
            finally:
                other.rollback()
                slow.rollback()

        done = _when_it_waits(warehouse, while_it_waits, erase)
    assert done.events == 1


def test_a_brand_that_sends_nowhere_forgets_as_well(warehouse: str) -> None:
    """A red test here: an event slips in beside the erasure, where no destination is active."""
    configure(warehouse, "acme", meta_destination(is_active=False))
    with wh.connect(warehouse) as eraser:
        eraser.execute("select 1 from ops.brands for update")
        hashes = erasure.person_hashes({"email": "person.1@example.com"})
        eraser.execute(
            "insert into ops.erasures (brand_id, hash) select id, unnest(%s::text[]) "
            "from ops.brands",
            [hashes],
        )
        receipts = _when_it_waits(warehouse, eraser.commit, lambda: take(warehouse, [purchase(1)]))
    assert [receipt.reason for receipt in receipts] == [intake.ERASED]


_ANY = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(intake.FIELDS), _ANY, max_size=8))
def test_whatever_comes_in_is_taken_or_refused(module_warehouse: str, raw: dict[str, Any]) -> None:
    """A red test here: one odd event stops the import of all the others."""
    configure(module_warehouse)
    raw.pop("brand", None)
    receipts = take(module_warehouse, [raw, purchase(5)])
    assert receipts[0].status in ("accepted", "duplicate", "refused")
    assert receipts[1].status in ("accepted", "duplicate")


def test_dead_ones_come_back_when_a_person_says_so(warehouse: str) -> None:
    """A red test here: what a mended cause had killed cannot be sent any more."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(6)])
    for number, outcome in enumerate(["100/2804050", "attempts", "outcome_unknown", "attempts"]):
        execute(
            warehouse,
            "update ops.conversion_deliveries as d set sync_status = 'dead', sync_attempts = 5, "
            f"outcome = '{outcome}' from ops.conversion_events as e where e.id = d.event "
            f"and e.event_id = 'order-{number}'",
        )
    execute(
        warehouse,
        "update ops.conversion_deliveries as d set deadline = '2026-11-20 11:00+00' "
        "from ops.conversion_events as e where e.id = d.event and e.event_id = 'order-3'",
    )
    with wh.connect(warehouse, autocommit=True) as connection:
        assert outbox.retry(connection, NOW, brand="other") == {}
        assert outbox.retry(connection, NOW, outcome="100/2804050") == {"acme-meta": 1}
        assert outbox.retry(connection, NOW, brand="acme", destination="acme-meta") == {
            "acme-meta": 1
        }
        assert states(warehouse)["dead", "outcome_unknown"] == 1
        assert outbox.retry(connection, NOW, outcome="outcome_unknown") == {"acme-meta": 1}
    assert states(warehouse) == {("pending", None): 5, ("dead", "attempts"): 1}


def test_reaching_further_back_is_an_explicit_command(warehouse: str) -> None:
    """A red test here: connecting a destination floods it, or its past can never be sent."""
    configure(warehouse)
    take(warehouse, [purchase(n, event_time=NOW - timedelta(days=n)) for n in range(4)])
    configure(
        warehouse,
        "acme",
        meta_destination(),
        meta_destination("late", pixel_id="3", send_from=NOW.isoformat()),
    )
    take(warehouse, [purchase(9, event_time=NOW - timedelta(days=1))])
    assert states(warehouse, "late") == {("skipped", "before_send_from"): 1}
    with wh.connect(warehouse, autocommit=True) as connection:
        assert outbox.backfill(connection, "late", NOW - timedelta(days=2), NOW) == 4
        assert outbox.backfill(connection, "late", NOW - timedelta(days=2), NOW) == 0
    assert states(warehouse, "late") == {("pending", None): 4}


def test_one_transaction_is_one_conversion_whatever_its_ids(warehouse: str) -> None:
    """A red test here: two doors give a purchase two ids, and it counts twice; or two purchases
    share an id, and one of them is lost without a word."""
    configure(warehouse)
    first = take(warehouse, [purchase(1)])[0]
    again = take(warehouse, [purchase(1, event_id="by another door")])[0]
    assert again == intake.Receipt("duplicate", first.id)
    other = take(warehouse, [purchase(2, event_id="order-1")])[0]
    assert (other.status, other.field) == ("refused", "event_id")
    lead = take(warehouse, [purchase(1, event_name="Lead", event_id="lead-1")])[0]
    assert lead.status == "accepted"


def test_visitors_who_are_not_known_are_told_apart(warehouse: str) -> None:
    """A red test here: two people who look at a page in the same second are one event."""
    configure(warehouse)
    view = {"event_name": "PageView", "event_time": NOW, "user_agent": "UA"}
    receipts = take(warehouse, [{**view, "ip": "192.0.2.1"}, {**view, "ip": "192.0.2.2"}])
    assert [receipt.status for receipt in receipts] == ["accepted", "accepted"]


def test_intakes_in_opposite_order_do_not_lock_each_other_out(warehouse: str) -> None:
    """A red test here: two imports at once end in a deadlock."""
    from concurrent.futures import ThreadPoolExecutor

    configure(warehouse)
    events = [purchase(number) for number in range(1500)]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(take, warehouse, one) for one in (events, events[::-1])]
        accepted = sum(receipt.status == "accepted" for one in both for receipt in one.result())
    assert accepted == 1500


def test_what_the_warehouse_refuses_quotes_nobody(warehouse: str) -> None:
    """A red test here: a row with somebody's hashes stands in an exception."""
    configure(warehouse)
    execute(
        warehouse, "alter table ops.conversion_events add constraint no check (currency <> 'USD')"
    )
    with pytest.raises(WarehouseError) as refused:
        take(warehouse, [purchase(1)])
    assert str(refused.value) == "The warehouse does not take events of acme: CheckViolation 23514"
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_destination_keeps_its_brand_and_its_pixel_its_name(warehouse: str) -> None:
    """A red test here: one brand's people are sent to another's pixel, or counted twice."""
    configure(warehouse)
    take(warehouse, [purchase(1)])
    with pytest.raises(SettingsError, match="give the new one another name"):
        configure(warehouse, "beta", meta_destination(pixel_id="99"))
    with pytest.raises(SettingsError, match="have the same pixel_id"):
        configure(warehouse, "acme", meta_destination("second-name"))


def test_addresses_in_urls_are_dropped_however_they_are_written(warehouse: str) -> None:
    """A red test here: an e-mail address is stored and sent in a URL."""
    configure(warehouse)
    urls = ["?jane@example.com&b=1", "?email=jane%2540example.com&b=1", "?b=1#jane@example.com"]
    take(
        warehouse,
        [
            purchase(number, event_source_url=f"https://shop.example/x{url}")
            for number, url in enumerate(urls)
        ],
    )
    rows = _events(warehouse, "event_source_url, event_time, event_id")
    assert {row["event_source_url"] for row in rows} == {"https://shop.example/x?b=1"}


def test_times_are_utc_where_nothing_else_is_said(warehouse: str) -> None:
    """A red test here: events are shifted by hours, and refused or attributed to another day."""
    configure(warehouse)
    said = ["2026-11-20T10:00:00", "2026-11-20T17:00:00+07:00", 1_795_168_800, "1795168800000"]
    take(warehouse, [purchase(n, event_time=moment) for n, moment in enumerate(said)])
    times = {row["event_time"] for row in _events(warehouse, "event_time, event_id")}
    assert times == {datetime(2026, 11, 20, 10, tzinfo=UTC)}
