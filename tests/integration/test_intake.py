"""Intake: every event enters once, under the right name and id, with one delivery a destination."""

import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tributary import warehouse as wh
from tributary.deliver import brands, contacts, erasure, intake, ledger, outbox
from tributary.deliver.clicks import with_clicks
from tributary.deliver.reading import contact_clicks
from tributary.errors import SettingsError, WarehouseError
from tributary.event import COLUMNS, FIELDS

from tests.support.loads import query
from tests.support.outgoing import (
    AGENT,
    NOW,
    OTHER_PIXEL,
    OTHER_TOKEN,
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
    """Events reach Meta under names that no campaign optimises for."""
    configure(module_warehouse, event_names={"quiz_done": "Contact"})
    receipt = take(module_warehouse, [purchase(1, event_name=said, event_id=f"name-{said}")])[0]
    row = query(
        module_warehouse,
        f"select event_name from ops.conversion_events where id = '{receipt.id}'",
    )
    assert row == [{"event_name": stored}]


def test_an_events_id_is_given_or_templated_or_made(make_warehouse: Any) -> None:
    """The pixel's id is lost, and browser and server count twice."""
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
    """A repeated delivery doubles an event, or changes what was sent."""
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
    """Personal data is stored in clear."""
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
    assert row["event_source_url"] == "https://shop.example/_/x"
    assert sorted(row["user_hashes"]["meta"]) == sorted(
        ["em", "ph", "fn", "ln", "ct", "st", "zp", "country", "ge", "db", "external_id"]
    )
    assert row["user_email_hash"] == row["user_hashes"]["meta"]["em"][0]
    assert row["user_phone_hash"] != row["user_hashes"]["google"]["phone"][0]
    assert row["google_address"] == {"region_code": "GB", "postal_code": "LU7 0AA"}


def test_deliveries_are_born_with_their_reason(warehouse: str) -> None:
    """An event is sent that must not be, or is skipped without a reason."""
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
    """A destination misses events, or gets them though it is not active."""
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
    """A wrong event is stored, or the sender does not learn what to correct."""
    configure(module_warehouse)
    receipt = take(module_warehouse, [purchase(999, **changes)])[0]
    assert (receipt.status, receipt.field) == ("refused", field)
    assert receipt.reason
    assert receipt.reason.startswith(f"{field}: ")
    assert "jane" not in receipt.reason


@pytest.mark.parametrize("unit", ["a", "#", "a%40", "a@", "a.", "\u0316\u0300", " ", "1"])
def test_long_values_cost_no_more_than_their_length(module_warehouse: str, unit: str) -> None:
    """A few long values keep a worker of the REST API busy for minutes."""
    configure(module_warehouse)
    long = (unit * 200_000)[:200_000]
    dear: list[dict[str, Any]] = [{field: long} for field in FIELDS if field != "brand"]
    dear.append({"custom_params": {"note": (unit * 16_000)[: 16_000 // len(unit.encode())]}})
    dear.append({"custom_params": {"phone": [f"+1212555{n:04}" for n in range(10_000)]}})
    dear.append({"event_source_url": f"https://{long}@x"})
    before = time.process_time()
    receipts = take(module_warehouse, [purchase(900 + n, **one) for n, one in enumerate(dear)])
    assert time.process_time() - before < 2
    assert len(receipts) == len(dear)


def test_the_list_of_fields_has_every_column_of_the_table(module_warehouse: str) -> None:
    """A column that the list does not have is never filled, or an insert fails."""
    found = query(
        module_warehouse,
        "select column_name from information_schema.columns where table_schema = 'ops' "
        "and table_name = 'conversion_events' and is_generated = 'NEVER'",
    )
    assert {row["column_name"] for row in found} == set(COLUMNS)


def test_aliases_find_their_fields(warehouse: str) -> None:
    """An amount called price is lost, and the purchase with it."""
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
    """Meta cannot match the click, or attributes it to the purchase's time."""
    configure(warehouse)
    at = int((NOW - timedelta(hours=1)).timestamp()) * 1000
    take(
        warehouse,
        [
            purchase(1, fbc="fb.1.1794000000000.IwAR_AbC", fbclid="IwAR_other"),
            purchase(2, fbclid="IwAR_AbC"),
            purchase(3, fbc="rubbish", fbp="rubbish"),
        ],
    )
    rows = _events(warehouse, "fbc, fbp, event_time, event_id")
    assert [row["fbc"] for row in rows] == [
        "fb.1.1794000000000.IwAR_AbC",
        f"fb.1.{at}.IwAR_AbC",
        None,
    ]
    assert rows[2]["fbp"] is None


def test_builders_ask_for_what_their_event_needs(warehouse: str) -> None:
    """An adapter sends a Purchase without an amount."""
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
        intake.purchase(**person)  # type: ignore[arg-type]


def test_what_was_erased_does_not_come_back(warehouse: str) -> None:
    """The next import brings an erased person back."""
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
        brand = brands.load(connection)["acme"]
        return erasure.erase_person(connection, brand.id, {"email": email}, NOW)


def test_an_erasure_reports_what_an_upload_claims_meanwhile(warehouse: str) -> None:
    """The answer to the person says that nothing was sent, though it was."""
    configure(warehouse)
    take(warehouse, [purchase(1)])
    with wh.connect(warehouse) as upload:
        upload.execute("update ops.conversion_deliveries set sync_status = 'queued'")
        done = _when_it_waits(
            warehouse, upload.commit, lambda: _erased(warehouse, "person.1@example.com")
        )
    assert (done.events, done.deliveries_skipped, done.already_sent) == (1, 0, {"acme-meta": 1})


def test_the_search_for_a_person_holds_nobody_up(warehouse: str) -> None:
    """No purchase of the brand is stored while all its events are searched."""
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
    """An event is stored during the erasure, where no destination is active."""
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
@given(st.dictionaries(st.sampled_from(list(FIELDS)), _ANY, max_size=8))
def test_whatever_comes_in_is_taken_or_refused(module_warehouse: str, raw: dict[str, Any]) -> None:
    """One odd event stops the import of all the others."""
    configure(module_warehouse)
    raw.pop("brand", None)
    receipts = take(module_warehouse, [raw, purchase(5)])
    assert receipts[0].status in ("accepted", "duplicate", "refused")
    assert receipts[1].status in ("accepted", "duplicate")


def test_dead_deliveries_can_be_retried_by_hand(warehouse: str) -> None:
    """Dead deliveries cannot be sent after their cause is repaired."""
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
    """Connecting a destination floods it, or its past can never be sent."""
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
    """Two sources give a purchase two ids, and it counts twice; or two purchases
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
    """Two people who look at a page in the same second are one event."""
    configure(warehouse)
    view = {"event_name": "PageView", "event_time": NOW, "user_agent": "UA"}
    receipts = take(warehouse, [{**view, "ip": "192.0.2.1"}, {**view, "ip": "192.0.2.2"}])
    assert [receipt.status for receipt in receipts] == ["accepted", "accepted"]


def test_intakes_in_opposite_order_do_not_lock_each_other_out(warehouse: str) -> None:
    """Two imports at once end in a deadlock."""
    from concurrent.futures import ThreadPoolExecutor

    configure(warehouse)
    events = [purchase(number) for number in range(1500)]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(take, warehouse, one) for one in (events, events[::-1])]
        accepted = sum(receipt.status == "accepted" for one in both for receipt in one.result())
    assert accepted == 1500


def test_what_the_warehouse_refuses_quotes_nobody(warehouse: str) -> None:
    """A person's hashes appear in an exception."""
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
    """One brand's people are sent to another's pixel, or counted twice."""
    configure(warehouse)
    take(warehouse, [purchase(1)])
    with pytest.raises(SettingsError, match="give the new one another name"):
        configure(warehouse, "beta", meta_destination(pixel_id="99"))
    with pytest.raises(SettingsError, match="have the same pixel_id"):
        configure(warehouse, "acme", meta_destination("second-name"))


def test_addresses_in_urls_are_dropped_however_they_are_written(warehouse: str) -> None:
    """An e-mail address is stored and sent in a URL."""
    configure(warehouse)
    urls = [
        "?jane@example.com&utm_id=1",
        "?email=jane%2540example.com&utm_id=1",
        "?utm_id=1#jane@example.com",
        "?utm_id=1&utm_term=jane＠example.com",  # noqa: RUF001
    ]
    take(
        warehouse,
        [
            purchase(number, event_source_url=f"https://shop.example/x{url}")
            for number, url in enumerate(urls)
        ],
    )
    rows = _events(warehouse, "event_source_url, event_time, event_id")
    assert {row["event_source_url"] for row in rows} == {"https://shop.example/x?utm_id=1"}


def test_times_without_an_offset_are_in_the_brands_zone(warehouse: str) -> None:
    """Events are shifted by hours, and refused or attributed to another day."""
    configure(warehouse)
    configure(warehouse, "beta", meta_destination("beta-meta", pixel_id="99"),
              time_zone="Asia/Jakarta")  # fmt: skip
    said = ["2026-11-20T10:00:00", "2026-11-20T17:00:00+07:00", 1_795_168_800, "1795168800000"]
    take(warehouse, [purchase(n, event_time=moment) for n, moment in enumerate(said)])
    times = {row["event_time"] for row in _events(warehouse, "event_time, event_id")}
    assert times == {datetime(2026, 11, 20, 10, tzinfo=UTC)}
    here = ["2026-11-20T17:00:00", "2026-11-20 17:00", datetime(2026, 11, 20, 17), *said[1:]]
    receipts = take(
        warehouse, [purchase(n, event_time=moment) for n, moment in enumerate(here)], "beta"
    )
    assert [receipt.status for receipt in receipts] == ["accepted"] * 6
    times = {row["event_time"] for row in _events(warehouse, "event_time, event_id")}
    assert times == {datetime(2026, 11, 20, 10, tzinfo=UTC)}


def test_a_clock_that_is_put_back_or_forward(warehouse: str) -> None:
    """Twice a year an hour's purchases are refused, or get a wrong time."""
    configure(warehouse, time_zone="Europe/Berlin")
    times = ["2026-10-25T02:30:00", "2026-10-25T03:30:00", "2026-03-29T02:30:00"]
    take(warehouse, [purchase(n, event_time=at) for n, at in enumerate(times)])
    rows = query(warehouse, "select event_time from ops.conversion_events order by transaction_id")
    assert [row["event_time"] for row in rows] == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # the first of the two
        datetime(2026, 10, 25, 2, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),  # 03:30, as the clock then showed
    ]


def _stored(uri: str, columns: str, *events: Mapping[str, Any]) -> list[Any]:
    """The columns of accepted events, in the order of the events: a list each, or values of one."""
    receipts = take(uri, list(events))
    assert [receipt.reason for receipt in receipts] == [None] * len(events)
    rows = {
        row.pop("id"): row for row in query(uri, f"select id, {columns} from ops.conversion_events")
    }
    found = [tuple(rows[receipt.id].values()) for receipt in receipts]
    return [one[0] for one in found] if "," not in columns else found


def test_an_event_of_a_clock_ahead_waits_until_its_time(warehouse: str) -> None:
    """An event of a clock four minutes ahead is sent now, and is dead at once."""
    configure(warehouse)
    configure(warehouse, "beta", meta_destination("beta-meta", pixel_id=OTHER_PIXEL))
    ahead = [purchase(n, event_time=NOW + timedelta(minutes=n)) for n in (0, 4, 9)]
    take(warehouse, ahead)
    take(warehouse, ahead[1:2], "beta")
    assert take(warehouse, [purchase(7, event_time=NOW + timedelta(minutes=11))])[0].field == (
        "event_time"
    )
    due = query(
        warehouse,
        "select next_attempt_at from ops.conversion_deliveries "
        "where destination = 'acme-meta' order by 1",
    )
    assert [row["next_attempt_at"] for row in due] == [
        NOW + timedelta(minutes=n) for n in (0, 4, 9)
    ]
    with sandbox_with_pixels() as sandbox:
        for minutes, sent in ((0, 1), (3, 1), (2, 2), (5, 3)):
            sandbox.clock.advance(timedelta(minutes=minutes))
            send(warehouse, sandbox)
            assert counted_once(sandbox) == sent
        send(warehouse, sandbox, "beta-meta", token=OTHER_TOKEN)
        assert counted_once(sandbox, OTHER_PIXEL) == 1
    assert states(warehouse) == {("sent", "accepted"): 3}
    assert states(warehouse, "beta-meta") == {("sent", "accepted"): 1}


@pytest.mark.parametrize(
    ("url", "fields", "found"),
    [
        ("?gclid=Cj0-a_b&gbraid=0AA&wbraid=0BB", {}, ("Cj0-a_b", "0AA", "0BB", None)),
        ("#/cart?fbclid=IwAR_AbC", {}, (None, None, None, "IwAR_AbC")),
        (
            "?to=https%3A%2F%2Fx%2F%3Fgclid%3DCj0%26fbclid%3DIwAR_x",
            {},
            ("Cj0", None, None, "IwAR_x"),
        ),
        ("?gclid=in-the-url", {"gclid": "its-own"}, ("its-own", None, None, None)),
        ("?gclid=in-the-url", {"gclid": "undefined"}, ("in-the-url", None, None, None)),
        ("?fbclid=IwAR_url", {"fbclid": "IwAR_own"}, (None, None, None, "IwAR_own")),
        ("?gclid={gclid}&fbclid=", {}, (None, None, None, None)),
        ("?mygclid=x&gclidx=y", {}, (None, None, None, None)),
    ],
)
def test_click_ids_are_read_from_the_pages_address(
    module_warehouse: str, url: str, fields: dict[str, Any], found: tuple[Any, ...]
) -> None:
    """A purchase loses its ad where only its page's URL has the click."""
    configure(module_warehouse)
    given = purchase(0, event_id=f"{url}|{fields}", transaction_id=None, **fields,
                     event_source_url=f"https://shop.example/x{url}")  # fmt: skip
    (row,) = _stored(module_warehouse, "gclid, gbraid, wbraid, split_part(fbc, '.', 4)", given)
    assert tuple(value or None for value in row) == found


_HOLLOW = ["undefined", "NULL", "nan", "n/a", "0", "-", "{{user_id}}"]


@pytest.mark.parametrize("text", _HOLLOW)
def test_a_placeholder_is_absent_or_refused(module_warehouse: str, text: str) -> None:
    """All whose shop wrote `undefined` are one person and one click; or the second
    sale of the order `undefined` is taken for the first, without a word.
    """
    configure(module_warehouse)
    fields = ("external_id", "last_name", "phone", "contact_id", "gclid", "fbclid", "fbp",
              "campaign_id", "ad_id", "user_agent", "event_source_url")  # fmt: skip
    given = purchase(0, event_id=f"hollow {_HOLLOW.index(text)}", transaction_id=None,
                     action_source="other", **dict.fromkeys(fields, text))  # fmt: skip
    (row,) = _stored(
        module_warehouse,
        "user_hashes, contact_id, gclid, fbc, fbp, campaign_id, ad_id, user_agent, "
        "event_source_url, notes",
        given,
    )
    assert set(row[0]["meta"]) == {"em"}
    assert row[1:9] == (None,) * 8
    assert row[9] == sorted(f"{field} left out: it is a placeholder" for field in fields)
    for field in ("event_id", "transaction_id", "event_name"):
        receipt = take(module_warehouse, [purchase(1, **{field: text})])[0]
        assert (receipt.status, receipt.field) == ("refused", field)
        assert str(receipt.reason).startswith(f"{field}: is a placeholder")
        assert ("leave the field out" in str(receipt.reason)) == (field != "event_name")
    receipt = take(module_warehouse, [purchase(1, transaction_id="1.23457E+11")])[0]
    assert "Format the column as text" in str(receipt.reason)


def test_the_default_country_of_a_brand(warehouse: str) -> None:
    """A shop of one country loses every phone that is written as at home, or sends
    a country that was not said, or sends people whom it must ask first.
    """
    configure(warehouse, default_country="US")
    configure(warehouse, "beta", meta_destination("beta-meta", pixel_id="99"))
    configure(warehouse, "gamma", meta_destination("gamma-meta", pixel_id="98"),
              default_country="DE")  # fmt: skip
    given = purchase(1, phone="(555) 123-4567")
    for slug in ("acme", "beta", "gamma"):
        take(warehouse, [given], slug)
    take(warehouse, [purchase(2, phone="0151 23456789", country="US")], "gamma")
    rows = query(
        warehouse,
        "select b.slug, e.transaction_id as t, e.user_hashes -> 'meta' -> 'ph' ->> 0 as phone, "
        "e.user_hashes -> 'meta' ? 'country' as country, e.google_address, d.outcome "
        "from ops.conversion_events as e inner join ops.brands as b on b.id = e.brand_id "
        "inner join ops.conversion_deliveries as d on d.event = e.id order by 1, 2",
    )
    american = hashlib.sha256(b"15551234567").hexdigest()
    assert [tuple(row.values()) for row in rows] == [
        ("acme", "T-1", american, False, {}, None),
        ("beta", "T-1", None, False, {}, None),  # never guessed
        # Of whom no country is known, the default one asks for consent; one that is said does not.
        ("gamma", "T-1", rows[2]["phone"], False, {}, "no_consent"),
        ("gamma", "T-2", None, True, {"region_code": "US"}, None),
    ]
    assert rows[2]["phone"] not in (None, american)


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("10.0.0.1, unknown, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51234", "203.0.113.9"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        *((one, None) for one in (
            "10.1.2.3", "172.31.0.1", "192.168.0.1", "127.0.0.1", "169.254.1.1", "0.0.0.0",
            "100.64.0.1", "255.255.255.255", "224.0.0.1", "::1", "::", "fe80::1%eth0", "fd00::1",
            "::ffff:10.0.0.1", "unknown", "203.0.113",
        )),
    ],
)  # fmt: skip
def test_the_visitors_address(module_warehouse: str, said: str, stored: str | None) -> None:
    """Meta matches by the address of a proxy, or cannot read the visitor's."""
    configure(module_warehouse)
    given = purchase(0, event_id=f"ip {said}", transaction_id=None, ip=said)
    assert _stored(module_warehouse, "user_ip", given) == [stored]


def test_clicks_are_repaired_and_old_ones_left_out(warehouse: str) -> None:
    """A click in a form that shops write is lost, or one is sent that Meta counts
    no longer, and the ledger does not say why.
    """
    configure(warehouse)
    at = int((NOW - timedelta(hours=1)).timestamp())
    old = int((NOW - timedelta(days=120)).timestamp())
    edge = at - 90 * 86_400
    click = "IwAR0Xy_AbC-dEf"
    events = [
        {"fbc": click},
        {"fbc": f"fb.1.{at}.{click}"},
        {"fbc": f"fb.1.{old}000.{click}"},
        {"fbc": f"fb.1.{edge}000.{click}"},
        {"fbc": f"fb.1.{edge - 1}999.{click}"},
        {"fbc": f"fb.1.{old}000.{click}", "fbclid": "IwAR_newer"},
        {"fbc": "rubbish"},
        {
            "fbc": f"fb.1.{at}000.{'a' * 1001}",
            "fbp": f"fb.1.{at}000.{'1' * 21}",
            "gclid": "a" * 513,
        },
    ]
    given = [purchase(number, **one) for number, one in enumerate(events)]
    late = "fbc left out: its click is more than 90 days before the event"
    assert _stored(warehouse, "fbc, notes", *given) == [
        (f"fb.1.{at}000.{click}", []),
        (f"fb.1.{at}000.{click}", []),
        (None, [late]),
        (f"fb.1.{edge}000.{click}", []),
        (None, [late]),
        (f"fb.1.{at}000.IwAR_newer", []),
        (None, []),
        (None, []),
    ]
    assert _stored(warehouse, "fbp, gclid", purchase(7)) == [(None, None)]
    with wh.connect(warehouse) as connection:
        rows, _ = ledger.find(connection, None, {}, limit=10, offset=0)
    assert sorted(row["notes"] for row in rows)[-1] == [late]


def test_business_messaging_is_refused(warehouse: str) -> None:
    """An event is taken that Meta refuses, with its whole batch."""
    configure(warehouse)
    receipt = take(warehouse, [purchase(1, action_source="business_messaging")])[0]
    assert receipt.reason == (
        "action_source: business_messaging needs ids of the message, which an event cannot bring: "
        "write chat"
    )


_PERSONAL = ["иван@почта.рф", "jane＠example.com", "jane%2540example.com",  # noqa: RUF001
             "jane%25252540example.com", "jane@exam\u00adple.com", "+49 151 12345678",
             "%2B4915112345678", "tel:0151-2345678"]  # fmt: skip


@pytest.mark.parametrize("text", _PERSONAL)
def test_what_is_kept_in_clear_names_no_person(module_warehouse: str, text: str) -> None:
    """An e-mail address or phone number is stored and sent in clear."""
    configure(module_warehouse)
    for field in ("event_id", "transaction_id", "contact_id", "campaign_id", "ad_id", "event_name"):
        receipt = take(module_warehouse, [purchase(1, **{field: text})])[0]
        assert (receipt.status, receipt.field) == ("refused", field)
        assert text not in str(receipt.reason)
    for custom in ({"note": text}, {text: 1}, {"deep": [{"a": [text]}]}):
        receipt = take(module_warehouse, [purchase(1, custom_params=custom)])[0]
        assert (receipt.status, receipt.field) == ("refused", "custom_params")
    given = purchase(
        1, event_id=f"own {_PERSONAL.index(text)}", transaction_id=None, gclid=text,
        user_agent=f"Bot ({text})",
        event_source_url=f"https://shop.example/a/{text}/b?utm_term={text}&utm_id=1",
    )  # fmt: skip
    (row,) = _stored(module_warehouse, "event_source_url, user_agent, gclid, notes", given)
    assert row[:3] == ("https://shop.example/a/_/b?utm_id=1", None, None)
    assert row[3][0].startswith("user_agent left out: it holds a")


def test_numbers_that_are_no_phones(warehouse: str) -> None:
    """Sales are refused because their order numbers look like phones."""
    configure(warehouse)
    numbers = ["1001", "4155551212", "1795168800", "00012345600012", "4006381333931",
               "0151-2345678", "ORD+1234567", "a+b", "100%"]  # fmt: skip
    params: dict[str, Any] = {
              "phone_model": "iPhone 15", "phone_sku": "8806095123456", "order": 4155551212,
              "rating": "+5", "gtin": ["00012345600012"], "note": "100% +20 points"}  # fmt: skip
    receipts = take(
        warehouse,
        [purchase(n, event_id=one, transaction_id=one, contact_id=one, custom_params=params)
         for n, one in enumerate(numbers)],
    )  # fmt: skip
    assert [receipt.reason for receipt in receipts] == [None] * len(numbers)
    for params in ({"tel": "0151 2345678"}, {"customerPhone": 4155551212},
                   {"x": {"mobile_number": ["555-123-4567"]}}):  # fmt: skip
        assert take(warehouse, [purchase(99, custom_params=params)])[0].reason == (
            "custom_params: holds a phone number; it would be sent in clear"
        )


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("/p?utm_source=a&UTM_Term=b+c&phone=1&name=Jane&token=t&gclid=g&sku=7",
         "/p?utm_source=a&UTM_Term=b+c&gclid=g&sku=7"),
        ("/p#access_token=t", "/p"),
        ("/p;jsessionid=t/q?fbclid=x;name=Jane", "/p/q?fbclid=x"),
        ("/p%3Fname%3DJane", "/_"),
        ("/%C3%BCber/ok", "/%C3%BCber/ok"),
        ("/p?" + "n=" + "1" * 9_000, "/p"),
    ],
)  # fmt: skip
def test_only_known_parameters_stay_in_addresses(warehouse: str, said: str, stored: str) -> None:
    """A name, number or token in a page's address is kept and sent; or what says
    where a visit came from is not.
    """
    configure(warehouse, url_parameters=["sku"])
    configure(warehouse, "beta", meta_destination("beta-meta", pixel_id="99"))
    given = purchase(1, event_source_url=f"https://jane:pw@shop.example{said}")
    assert _stored(warehouse, "event_source_url", given) == [f"https://shop.example{stored}"]
    take(warehouse, [given], "beta")
    rows = query(warehouse, "select event_source_url as url from ops.conversion_events")
    assert f"https://shop.example{stored.replace('&sku=7', '')}" in {row["url"] for row in rows}


def test_pages_that_are_kept_alike_are_told_apart(warehouse: str) -> None:
    """Of two pages that one visitor opened in one second, one is lost."""
    configure(warehouse)
    view = {"event_name": "PageView", "event_time": NOW, "user_agent": AGENT, "ip": "192.0.2.1"}
    receipts = take(
        warehouse,
        [{**view, "event_source_url": f"https://shop.example/p?id={n}"} for n in (1, 2)],
    )
    assert [receipt.status for receipt in receipts] == ["accepted", "accepted"]


def test_contacts_are_one_person_and_not_in_clear(warehouse: str) -> None:
    """All contacts `undefined` share one click, or a phone is a contact's id."""
    configure(warehouse)
    with wh.connect(warehouse, autocommit=True) as connection:
        brand = brands.load(connection)["acme"]
        said = {"event_source_url": "https://shop.example/?fbclid=IwAR_page", "gclid": "null",
                "fbp": "{{fbp}}"}  # fmt: skip
        found = contact_clicks(said, NOW, None)
        for contact in ("undefined", "{{contact.id}}", "+49 151 12345678", "c-1"):
            contacts.remember(connection, brand.id, contact, found, NOW, [])
    assert query(warehouse, "select contact_id, fbclid, fbc, fbp, gclid from ops.contacts") == [
        {"contact_id": "c-1", "fbclid": "IwAR_page", "fbp": None, "gclid": None,
         "fbc": f"fb.1.{int(NOW.timestamp())}000.IwAR_page"},
    ]  # fmt: skip
    assert with_clicks({"gclid": "own", **said})["fbclid"] == "IwAR_page"
    assert with_clicks({**said, "fbclid": "null"})["fbclid"] == "IwAR_page"
    assert with_clicks({**said, "fbclid": "IwAR_own"})["fbclid"] == "IwAR_own"
