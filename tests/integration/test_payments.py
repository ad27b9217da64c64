"""One payment of Stripe, whoever reports it and in whatever order: once, and with all that is said.

Three brands: acme with the defaults, lumen that skips renewals and counts disputes as refunds,
umbra that sends renewals as Subscribe.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from tributary import warehouse as wh
from tributary.deliver import brands, intake, outbox, retention
from tributary.deliver.identity import hashed

from tests.support.edge import HOOKS, Client, empty_outbox, key, opened, post
from tests.support.loads import query
from tests.support.outgoing import (
    OTHER_PIXEL,
    OTHER_TOKEN,
    PIXEL,
    configure,
    execute,
    meta_destination,
    sandbox_with_pixels,
    send,
    states,
)
from tests.support.stripe_events import (
    OLD,
    charge,
    customer,
    dispute,
    intent,
    invoice,
    invoice_payment,
    refund,
    session,
    stripe_event,
)
from tests.support.to_google import google_destination

Payload = dict[str, Any]
# Of yesterday: a click of more than 90 days ago is left out.
CLICK = f"fb.1.{(int(time.time()) - 86_400) * 1000}.IwAR_abcdef"
ACME, LUMEN = ("acme-meta", "acme-google"), ("lumen-meta", "lumen-google")


@pytest.fixture(scope="module")
def uri(module_warehouse: str) -> str:
    mapped = {"Purchase": "42", "Lead": "43"}

    def google(name: str, number: str) -> dict[str, Any]:
        return google_destination("google_data_manager", name, customer_id=number, events=mapped)

    events = {"ContactCreate": "Lead", "InvoicePaid": "Purchase"}
    hooks = [{**one, **({"events": events} if one["source"] == "ghl" else {})} for one in HOOKS]
    stripe = {"source": "stripe", "conn_id": "stripe_acme"}
    configure(module_warehouse, "acme", meta_destination(), google("acme-google", "1112223333"),
              webhooks=hooks)  # fmt: skip
    configure(
        module_warehouse, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL),
        google("lumen-google", "4445556666"),
        webhooks=[{**stripe, "renewals": "skip", "disputes": "refund"},
                  {"source": "ghl", "conn_id": "ghl_acme"}],
    )  # fmt: skip
    configure(module_warehouse, "umbra", meta_destination("umbra-meta", pixel_id="2000000099"),
              webhooks=[{**stripe, "renewals": "Subscribe"},
                        *(one for one in hooks if one["source"] != "stripe")])  # fmt: skip
    return module_warehouse


@pytest.fixture(scope="module")
def http(uri: str) -> Iterator[Client]:
    with opened(uri) as client:
        yield client


@pytest.fixture(autouse=True)
def empty(uri: str) -> None:
    empty_outbox(uri)


def hand(http: Client, payloads: Sequence[Payload], brand: str = "acme") -> list[dict[str, Any]]:
    """Post them one after the other; the answers, which are all 200."""
    answers = [post(http, "stripe", payload, brand=brand) for payload in payloads]
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers]
    return [answer.json() for answer in answers]


def rows(uri: str, number: int | None = None, columns: str = "e.*") -> list[dict[str, Any]]:
    where = "true" if number is None else f"e.transaction_id = 'pi_3N{number}'"
    return query(
        uri,
        f"select {columns} from ops.conversion_events as e where {where} "
        "order by e.created_at, e.revision",
    )


def said(payload: Payload, **changes: Any) -> Payload:
    """The event about an object that says something else."""
    thing = {**payload["data"]["object"], **changes}
    return {**payload, "data": {"object": thing}}


def email(number: int) -> str:
    return str(hashed("meta", "em", f"jane.{number}@example.com"))


def numbered(number: int, *payloads: Payload) -> list[Payload]:
    return list(payloads)


NOBODY = {"customer_details": None, "client_reference_id": None, "customer": None}


SOURCES_OF = ("acme", "umbra")  # brands that have a webhook of every source

# Rows 1 and 2: all reports of one payment complete it.


def delayed(number: int) -> list[Payload]:
    """A method that pays days later: only the sessions know whose payment it is."""
    unpaid = session(number, payment_status="unpaid")
    paid = session(number, payment_status="paid", **NOBODY)
    paid = {**paid, "id": f"evt_async{number}", "type": "checkout.session.async_payment_succeeded"}
    return [unpaid, paid, intent(number)]


def subscribed(number: int) -> list[Payload]:
    """The new API: neither the invoice nor the payment names the other."""
    whose = {"customer": f"cus_Q{number}"}
    opened = session(
        number, mode="subscription", payment_intent=None, invoice=f"in_1{number}",
        subscription=f"sub_1{number}", customer_details=None, client_reference_id=f"user-{number}",
        metadata={"fbc": CLICK}, **whose,
    )  # fmt: skip
    billed = charge(number, billing_details={"name": "Jane Roe", "email": None}, **whose)
    return [opened, intent(number, **whose), billed, invoice(number), invoice_payment(number)]


def of_old(number: int) -> list[Payload]:
    """The old API: payments, charges and invoices name each other."""
    names = {"customer": f"cus_Q{number}", "invoice": f"in_1{number}"}
    return [
        intent(number, **names), charge(number, **names),
        invoice(number, version=OLD, customer_name="Jane Roe"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [delayed, of_old])
def test_every_order_of_the_reports_makes_the_same_purchase(
    http: Client, uri: str, kind: Any
) -> None:
    """The purchase is not sent, or sent twice, because of the order of Stripe's
    posts.
    """
    orders = list(permutations(kind(0)))
    for number in range(len(orders)):
        hand(http, list(permutations(kind(number)))[number])
        (row,) = rows(uri, number)
        assert row["user_hashes"]["meta"]["em"] == [email(number)], number
        assert row["user_hashes"]["meta"]["fn"] == [hashed("meta", "fn", "Jane")], number
        assert (row["event_name"], row["event_id"]) == ("Purchase", f"pi_3N{number}")
        assert str(row["event_value"]) == "19.90"
    for name in ACME:
        assert states(uri, name) == {("pending", None): len(orders)}


def test_a_subscription_of_the_new_api_in_every_order(http: Client, uri: str) -> None:
    """The first payment of a subscription leaves without e-mail, click and the
    shop's own id of the customer, by which the consent is known.
    """
    orders = [one for n, one in enumerate(permutations(range(5))) if n % 5 == 0]
    for number, order in enumerate(orders):
        reports = subscribed(number)
        hand(http, [reports[place] for place in order])
        (row,) = rows(uri, number)
        meta = row["user_hashes"]["meta"]
        assert (meta["em"], meta["fn"]) == ([email(number)], [hashed("meta", "fn", "Jane")]), order
        assert row["contact_id"] == f"user-{number}", order
        assert row["fbc"] == CLICK, order
    assert states(uri) == {("pending", None): len(orders)}


@pytest.mark.parametrize("turned", [False, True])
def test_an_unpaid_session_is_kept_for_its_payment(http: Client, uri: str, turned: bool) -> None:
    """What the customer typed in at the checkout is forgotten before the money
    comes.
    """
    reports = [session(payment_status="unpaid"), intent()]
    first, second = hand(http, reports[::-1] if turned else reports)
    assert (first["status"], second["status"]) == (
        ("accepted", "duplicate") if turned else ("ignored", "accepted")
    )
    (row,) = rows(uri)
    assert row["user_hashes"]["meta"]["em"] == [email(1)]
    kept = query(uri, "select status, payload, links from ops.webhook_payloads order by status")
    assert [one["status"] for one in kept] == ["taken", "waiting"]
    assert not any(b"jane" in bytes(one["payload"]) for one in kept)
    assert "jane" not in str([one["links"] for one in kept])


def test_a_charge_brings_the_address_that_its_payment_lacks(http: Client, uri: str) -> None:
    """Payments of Stripe's elements name no person since `latest_charge` is an id
    only.
    """
    billed = {"email": "jane.1@example.com", "phone": "+12125550123"}
    hand(http, [intent(), charge(billing_details=billed)])
    meta = rows(uri)[0]["user_hashes"]["meta"]
    assert meta["em"] == [email(1)]
    assert meta["ph"] == [hashed("meta", "ph", "+12125550123")]
    # And an expanded one, and an expanded customer, as a shop's own endpoint may ask for.
    hand(http, [intent(2, latest_charge={"id": "ch_3N2", "object": "charge", "billing_details":
                                         {"email": "jane.2@example.com"}}),
                intent(3, customer={"id": "cus_Q3", "object": "customer", "metadata": {},
                                    "email": "jane.3@example.com"})])  # fmt: skip
    assert [row["user_hashes"]["meta"]["em"][0] for row in rows(uri)[1:]] == [email(2), email(3)]
    assert rows(uri, 3)[0]["contact_id"] == "cus_Q3"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_customer_fills_in_and_never_overrides(
    http: Client, uri: str, order: tuple[int, ...]
) -> None:
    """A customer's stale address replaces the one of the payment, or is not used at
    all.
    """
    other = customer(1, email="old@example.com", phone="+12125550123", name="Somebody Else")
    whose = {"customer": "cus_Q1"}
    reports = [other, intent(1, **whose), session(1, **whose)]
    hand(http, [reports[place] for place in order])
    (row,) = rows(uri, 1)
    meta = row["user_hashes"]["meta"]
    assert meta["em"] == [email(1)]
    assert meta["fn"] == [hashed("meta", "fn", "Jane")]
    hand(http, [customer(2), intent(2, customer="cus_Q2")])
    hand(http, [intent(3, customer="cus_Q3"), customer(3)])
    assert [rows(uri, n)[0]["user_hashes"]["meta"]["em"][0] for n in (2, 3)] == [email(2), email(3)]


def test_nobody_elses_data_is_mixed_in(http: Client, uri: str) -> None:
    """A payment is sent with the hashes of another customer, payment or brand."""
    hand(http, [customer(1), session(2, payment_status="unpaid", customer="cus_Q2")])
    hand(http, [session(1, payment_status="unpaid", customer="cus_Q1")], "lumen")
    hand(http, [intent(3, customer="cus_Q3"), intent(1, customer=None)])
    hand(http, [intent(4, customer="cus_Q2", receipt_email="jane.4@example.com")])
    hand(http, [invoice(5), invoice_payment(6)])
    assert [row["user_hashes"] for row in (*rows(uri, 3), *rows(uri, 1))] == [{}, {}]
    # The same customer under another address: the payment's own alone.
    hand(http, [charge(4, customer="cus_Q2"), customer(2)])
    (row,) = rows(uri, 4)
    assert row["user_hashes"]["meta"] == {"em": [email(4)]}
    assert row["contact_id"] == "cus_Q2"
    assert len(rows(uri)) == 3


def test_two_people_of_one_customer_are_never_mixed(http: Client, uri: str) -> None:
    """A payment is sent with the name of one colleague and the phone of the other;
    or the customer's phone stays on a payment that turns out to be another person's.
    """
    ann = {"email": "a@example.com", "name": "Ann Aa"}
    bob = {"email": "b@example.com", "phone": "+12125550123", "address": {"country": "US"}}
    whose = {"customer": "cus_Q9", "client_reference_id": None}
    opened = [session(n, payment_status="unpaid", customer_details=one, **whose)
              for n, one in ((1, ann), (2, bob))]  # fmt: skip
    paid = intent(3, customer="cus_Q9")
    known = []
    for brand, reports in (("acme", [*opened, paid]), ("lumen", [paid, *opened])):
        hand(http, [*reports, charge(3, customer="cus_Q9")], brand)
        known.append(rows(uri, 3)[-1]["user_hashes"]["meta"])
    for meta in known:
        assert meta["em"] == [hashed("meta", "em", "a@example.com")]
        assert meta["fn"] == [hashed("meta", "fn", "Ann")]
        assert meta.keys() <= {"em", "fn", "ln"}
    first = customer(4, email="a@example.com", phone="+12125550199")
    mine = session(4, customer="cus_Q4", customer_details={"email": "b@example.com"})
    for brand in ("acme", "lumen"):
        hand(http, [first, intent(4, customer="cus_Q4"), mine], brand)
        assert rows(uri, 4)[-1]["user_hashes"]["meta"] == {
            "em": [hashed("meta", "em", "b@example.com")]
        }


def test_a_second_report_brings_the_click_of_its_contact(http: Client, uri: str) -> None:
    """The click that a chat brought is lost, since the intent came before the
    session.
    """
    seen = {"contact_id": "contact-1", "status": "talking", "fbclid": "IwAR_abcdef"}
    assert post(http, "chatbot", seen).json()["status"] == "ignored"
    hand(http, [intent(1)])
    hand(http, [session(1)])
    assert str(rows(uri, 1)[0]["fbc"]).endswith(".IwAR_abcdef")


def test_what_has_left_is_not_changed_by_a_kept_report(http: Client, uri: str) -> None:
    """The ledger says what was never sent."""
    hand(http, [intent(1, customer="cus_Q1", receipt_email="first@example.com")])
    execute(uri, "update ops.conversion_deliveries set sync_status = 'sent'")
    before = rows(uri)
    hand(http, [customer(1), invoice(1), invoice_payment(1), charge(1)])
    assert rows(uri) == before


def test_kept_reports_reach_the_wire(http: Client, uri: str) -> None:
    """The outbox has the address, and Meta does not get it; or the browser counts
    beside.
    """
    hand(http, [*delayed(1)[::-1], said(session(2), metadata={"event_id": "browser-2"})])
    hand(http, [session(2, payment_status="unpaid"), intent(2)], "lumen")
    with sandbox_with_pixels() as sandbox:
        now = datetime.now(UTC) + timedelta(minutes=1)
        sandbox.clock.set(now)
        sandbox.events.pixel_sent(PIXEL, "Purchase", "browser-2", now)
        send(uri, sandbox)
        send(uri, sandbox, "lumen-meta", token=OTHER_TOKEN)
        got = [(one.pixel, one.event["event_id"], one.event["user_data"]["em"],
                one.event["custom_data"]["value"]) for one in sandbox.events.received]  # fmt: skip
        assert sorted(got) == [
            (PIXEL, "browser-2", [email(2)], 19.9), (PIXEL, "pi_3N1", [email(1)], 19.9),
            (OTHER_PIXEL, "pi_3N2", [email(2)], 19.9),
        ]  # fmt: skip
        assert sandbox.events.counted(PIXEL, "Purchase", "browser-2") == 1


def test_what_is_no_payment_makes_no_purchase(http: Client, uri: str) -> None:
    """An authorisation, a failed method or a free invoice is sent as a purchase."""
    failed = {**session(1, payment_status="unpaid"), "id": "evt_f",
              "type": "checkout.session.async_payment_failed"}  # fmt: skip
    authorised = charge(2, captured=False, billing_details={"email": "jane.2@example.com"})
    answers = hand(http, [
        failed, authorised, invoice(3, amount_paid=0), invoice(4, version=OLD, amount_paid=0),
        invoice_payment(5), charge(6, payment_intent=None),
    ])  # fmt: skip
    assert {answer["status"] for answer in answers} == {"ignored"}
    assert all(answer["reason"] for answer in answers)
    assert rows(uri) == []
    hand(http, [charge(2, "charge.captured")])  # the money
    (row,) = rows(uri)
    assert row["user_hashes"]["meta"]["em"] == [email(2)]


def test_kept_reports_go_with_their_person(http: Client, uri: str) -> None:
    """Somebody asks to be forgotten, and the next payment brings the address
    back.
    """
    client = Client(http.url, key(uri))
    hand(http, [session(1, payment_status="unpaid", customer="cus_Q1"), customer(1),
                # It has no address, yet it is this person's.
                charge(1, captured=False, billing_details={"name": "Jane Roe"}),
                session(2, payment_status="unpaid", customer="cus_Q2")])  # fmt: skip
    hand(http, [session(1, payment_status="unpaid")], "lumen")
    erased = client("POST", "/erasure", json={"email": "jane.1@example.com"}).json()["erased"][0]
    assert erased["webhook_payloads"] == 3
    kept = query(uri, "select links from ops.webhook_payloads where brand_id = (select id "
                      "from ops.brands where slug = 'acme')")  # fmt: skip
    assert [sorted(one["links"])[-1] for one in kept] == ["pi_3N2"]
    assert hand(http, [customer(1, "customer.updated")])[0]["status"] == "ignored"
    hand(http, [intent(1)])
    assert rows(uri, 1)[0]["user_hashes"] == {}
    # Erasing the event that a kept report completed takes the report, too.
    hand(http, [intent(2)])
    client("DELETE", f"/conversions/{rows(uri, 2)[0]['id']}")
    left = query(uri, "select 1 from ops.webhook_payloads where 'pi_3N2' = any(links)")
    assert left == []


@pytest.mark.parametrize("status", ["paid", "unpaid"])
def test_erasing_one_person_leaves_the_others_of_the_customer(
    http: Client, uri: str, status: str
) -> None:
    """One of a firm's people asks to be forgotten, and their colleague's purchases
    are erased, too, and dropped from then on; or what names neither of them is kept.
    """
    firm: Payload = {"customer": "cus_firm"}
    for brand in ("acme", "lumen"):
        hand(http, [customer(9, id="cus_firm", email=None, name="Firm"),
                    session(1, payment_status=status, **firm), session(2, **firm),
                    invoice(3, customer_email=None, **firm)], brand)  # fmt: skip
    client = Client(http.url, key(uri))
    erased = client("POST", "/erasure", json={"email": "jane.1@example.com"}).json()["erased"][0]
    assert erased["events"] == (status == "paid")
    kept = query(uri, "select links from ops.webhook_payloads as p inner join ops.brands as b "
                      "on b.id = p.brand_id where slug = 'acme'")  # fmt: skip
    names = {link for one in kept for link in one["links"]}
    assert "pi_3N2" in names
    assert "pi_3N1" not in names
    hand(http, [session(4, customer_details={"email": "jane.2@example.com"}, **firm)])
    mine = [row for row in (*rows(uri, 2), *rows(uri, 4)) if row["erased_at"] is None]
    assert [row["user_hashes"]["meta"]["em"] for row in mine] == [[email(2)]] * 3
    assert hand(http, [session(5, customer_details={"email": "jane.1@example.com"}, **firm)])[0][
        "status"
    ] == "ignored"  # fmt: skip


def test_a_report_that_cannot_be_read_costs_no_payment(http: Client, uri: str) -> None:
    """One wrong word in a session's or a refund's metadata refuses the payment
    itself.
    """
    odd = {"consent_ad_user_data": "perhaps"}
    answer = post(http, "stripe", session(1, payment_status="unpaid", metadata=odd))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "consent_ad_user_data"
    hand(http, [intent(1)])
    hand(http, [refund(500, 1, metadata=odd), charge(1, billing_details={"email": "j@x.com"})])
    bought, less = rows(uri, 1)
    assert bought["user_hashes"]["meta"]["em"] == [hashed("meta", "em", "j@x.com")]
    assert str(less["event_value"]) == "14.90"


def test_what_waits_for_a_payment_stays_for_thirty_days(http: Client, uri: str) -> None:
    """A bank transfer takes nine days, and by then nothing is known of who made
    it.
    """
    hand(http, [session(1, payment_status="unpaid"), session(2)])
    with wh.connect(uri, autocommit=True) as connection:
        now = outbox.now_of(connection)
        assert retention.forget_payloads(connection, now + timedelta(days=8)) == 1
        assert retention.forget_payloads(connection, now + timedelta(days=29, hours=23)) == 0
        assert retention.forget_payloads(connection, now + timedelta(days=30, minutes=1)) == 1


def test_reports_of_the_same_moment_find_each_other(http: Client, uri: str) -> None:
    """Two posts of one payment at once each miss the other, and no person is
    named.
    """
    with ThreadPoolExecutor(8) as pool:
        jobs = []
        for number in range(1, 13):
            whose = {"customer": f"cus_Q{number}"}
            for payload in (session(number, payment_status="unpaid", **whose),
                            intent(number, **whose), customer(number)):  # fmt: skip
                jobs.append(pool.submit(post, Client(http.url), "stripe", payload))
        assert {job.result().status_code for job in jobs} == {200}
    assert [len(row["user_hashes"]["meta"]["em"]) for row in rows(uri)] == [1] * 12
    assert states(uri) == {("pending", None): 12}


# Row 2: renewals.


def renewed(number: int, reason: str = "subscription_cycle") -> list[Payload]:
    return [
        intent(number, customer=f"cus_Q{number}"),
        invoice(number, reason),
        invoice_payment(number),
    ]


def deliveries(uri: str, number: int) -> list[dict[str, Any]]:
    return query(
        uri,
        "select d.destination, d.sync_status, d.outcome, e.event_name, "
        "d.next_attempt_at > now() + interval '50 minutes' as waits "
        "from ops.conversion_deliveries as d inner join ops.conversion_events as e "
        f"on e.id = d.event where e.transaction_id = 'pi_3N{number}' and e.kind = 'conversion' "
        "order by 1",
    )


@pytest.mark.parametrize("brand", ["acme", "lumen", "umbra"])
def test_renewals_are_what_the_setting_says(http: Client, uri: str, brand: str) -> None:
    """Each month's renewal counts as a new sale, or is lost, by the order of the
    posts.
    """
    name = "Subscribe" if brand == "umbra" else "Purchase"
    state = ("skipped", "renewal") if brand == "lumen" else ("pending", None)
    for number, order in enumerate(permutations(range(3)), 1):
        hand(http, [renewed(number)[place] for place in order], brand)
        assert len(rows(uri, number)) == 1
        for one in deliveries(uri, number):
            assert (one["sync_status"], one["outcome"], one["event_name"]) == (*state, name), order
            assert not one["waits"]
        # A report that comes later makes no second event of it.
        hand(http, [charge(number, customer=f"cus_Q{number}")], brand)
        assert [row["event_name"] for row in rows(uri, number)] == [name]
        assert {one["outcome"] for one in deliveries(uri, number)} == {state[1]}
    # The first payment of a subscription, and what belongs to none, are sales everywhere.
    first = 11
    for order in permutations(range(3)):
        hand(http, [renewed(first, "subscription_create")[place] for place in order], brand)
        first += 1
    hand(http, [session(first), intent(first + 1)], brand)
    for number in range(11, first + 1):
        for one in deliveries(uri, number):
            assert (one["sync_status"], one["event_name"]) == ("pending", "Purchase"), number
            assert not one["waits"]


def test_a_payment_that_may_be_a_renewal_waits_for_its_invoice(http: Client, uri: str) -> None:
    """A renewal leaves as a sale before Stripe's next post says what it is; or a
    sale waits for ever for an invoice that never comes.
    """
    alone = intent(1, customer="cus_Q1", receipt_email="jane.1@example.com")
    for brand in ("acme", "lumen"):
        hand(http, [alone], brand)
    found = query(
        uri,
        "select d.destination, d.sync_status, d.next_attempt_at - e.created_at as wait "
        "from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event order by 1",
    )
    assert [(one["destination"], one["sync_status"], one["wait"]) for one in found] == [
        ("acme-google", "pending", timedelta(0)), ("acme-meta", "pending", timedelta(0)),
        ("lumen-google", "pending", timedelta(hours=1)),
        ("lumen-meta", "pending", timedelta(hours=1)),
    ]  # fmt: skip
    # A charge says no more about it: it goes on waiting.
    hand(http, [charge(1, customer="cus_Q1")], "lumen")
    assert [one["waits"] for one in deliveries(uri, 1) if one["destination"] in LUMEN] == [True] * 2
    # It has left by the time that its invoice comes: it stays what it was, and the answer says so.
    execute(uri, "update ops.conversion_deliveries set sync_status = 'sent'")
    answer = hand(http, [invoice(1, "subscription_cycle")], "lumen")[0]
    assert "has left as a Purchase" in answer["reason"]
    assert {row["event_name"] for row in rows(uri)} == {"Purchase"}


def test_without_the_link_an_invoice_of_the_same_amount_decides(http: Client, uri: str) -> None:
    """An endpoint that does not ask for invoice_payment.paid sends renewals as
    sales.
    """
    for number, order in ((1, 1), (2, -1)):
        hand(http, renewed(number)[:2][::order], "lumen")
        assert {one["outcome"] for one in deliveries(uri, number)} == {"renewal"}
    # Another amount is another payment's invoice.
    hand(http, [intent(3, customer="cus_Q3"), invoice(3, "subscription_cycle", amount_paid=500)],
         "lumen")  # fmt: skip
    assert {one["sync_status"] for one in deliveries(uri, 3)} == {"pending"}


def test_an_older_invoice_makes_no_sale_a_renewal(http: Client, uri: str) -> None:
    """Whoever has a subscription buys something else, or subscribes anew, and the
    sale is skipped as a renewal; or a renewal is sent as a sale because of the first month's
    invoice.
    """
    whose = {"customer": "cus_Q1"}
    hand(http, [intent(1, **whose), invoice(1, "subscription_cycle")], "lumen")
    hand(http, [session(2, mode="payment", **whose)], "lumen")
    assert {one["sync_status"] for one in deliveries(uri, 2)} == {"pending"}
    execute(uri, "delete from ops.webhook_payloads")
    earlier = {**invoice(4, "subscription_cycle", **whose)}
    hand(http, [{**earlier, "created": earlier["created"] - 7 * 86_400}, intent(5, **whose)],
         "lumen")  # fmt: skip
    assert [(one["outcome"], one["waits"]) for one in deliveries(uri, 5)] == [(None, True)] * 2


@pytest.mark.parametrize("brand", ["lumen", "umbra"])
def test_a_wrong_guess_is_undone(http: Client, uri: str, brand: str) -> None:
    """A sale that was taken for a renewal stays one when its own invoice comes."""
    whose = {"customer": "cus_Q1"}
    hand(http, [invoice(1, "subscription_cycle"), intent(2, **whose)], brand)
    name = "Subscribe" if brand == "umbra" else "Purchase"
    assert {one["event_name"] for one in deliveries(uri, 2)} == {name}
    assert {one["outcome"] for one in deliveries(uri, 2)} == (
        {"renewal"} if brand == "lumen" else {None}
    )
    hand(http, [invoice(2, "subscription_create", **whose), invoice_payment(2)], brand)
    for one in deliveries(uri, 2):
        assert (one["sync_status"], one["outcome"], one["event_name"]) == (
            "pending", None, "Purchase",
        )  # fmt: skip


def test_the_first_payment_after_a_trial_is_a_sale(http: Client, uri: str) -> None:
    """Whoever pays after a free trial is skipped as a renewal: those are the
    sales.
    """
    trial = said(invoice(1, amount_paid=0), id="in_trial")
    hand(http, [{**trial, "id": "evt_trial"}, *renewed(1)], "lumen")
    assert {one["sync_status"] for one in deliveries(uri, 1)} == {"pending"}
    month = [intent(2, customer="cus_Q1"),
             said(invoice(2, "subscription_cycle", customer="cus_Q1"),
                  parent=invoice(1)["data"]["object"]["parent"]), invoice_payment(2)]  # fmt: skip
    hand(http, month, "lumen")
    assert {one["outcome"] for one in deliveries(uri, 2)} == {"renewal"}


# Row 3: adjustments.


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_a_completed_purchase_completes_its_refund(
    http: Client, uri: str, order: tuple[int, ...]
) -> None:
    """Google gets the purchase and never the refund, which names no person."""
    for brand, names in (("acme", ACME), ("lumen", LUMEN)):
        reports = [intent(), refund(500), session(payment_status="unpaid")]
        hand(http, [reports[place] for place in order], brand)
        execute(uri, "update ops.conversion_deliveries set outcome = 'original_not_sent' "
                     "where outcome = 'unaddressable'")  # fmt: skip
        hand(http, [session()], brand)
        assert states(uri, names[1]) == {("pending", None): 2}
    for brand in ("acme", "lumen"):
        bought, less = query(
            uri,
            "select e.* from ops.conversion_events as e inner join ops.brands as b "
            f"on b.id = e.brand_id where b.slug = '{brand}' order by revision",
        )
        same = ("event_id", "contact_id", "user_hashes", "google_address", "consent")
        assert [bought[name] for name in same] == [less[name] for name in same]
        assert less["user_hashes"]["google"]["email"] == [
            hashed("google", "email", "jane.1@example.com")
        ]
        assert str(less["event_value"]) == "14.90"


# Row 4: disputes and thin events.


def values(uri: str, brand: str) -> list[str]:
    found = query(
        uri,
        "select e.event_value from ops.conversion_events as e inner join ops.brands as b "
        f"on b.id = e.brand_id where b.slug = '{brand}' order by revision",
    )
    return [str(one["event_value"]) for one in found]


def test_a_thin_event_is_ignored_with_a_reason(http: Client, uri: str) -> None:
    """Stripe is answered with 422, posts it for three days and switches the endpoint
    off.
    """
    thin = {
        "id": "evt_test_65R9Ijk8dKEYZcXeRWn16R9A7j1FSQ3w3TGDPLLGSM4CW0", "object": "v2.core.event",
        "type": "v1.payment_intent.succeeded", "livemode": True,
        "created": "2026-11-27T22:26:33.664Z",
        "related_object": {"id": "pi_3N1", "type": "payment_intent",
                           "url": "/v1/payment_intents/pi_3N1"},
    }  # fmt: skip
    (answer,) = hand(http, [thin])
    assert answer["status"] == "ignored"
    assert "thin" in answer["reason"]
    assert query(uri, "select 1 from ops.webhook_payloads") == []


def test_a_dispute_is_a_refund_where_the_setting_says_so(http: Client, uri: str) -> None:
    """What the bank took back counts as revenue for ever, or is not given back when
    won.
    """
    opened, taken = dispute("created", "needs_response"), dispute("funds_withdrawn", "under_review")
    for brand in ("acme", "lumen"):
        hand(http, [session()], brand)
    answers = hand(http, [opened, taken])
    assert [(one["status"], one["reason"]) for one in answers] == [
        ("ignored", "the webhook's setting `disputes` is ignore")
    ] * 2
    assert values(uri, "acme") == ["19.90"]
    hand(http, [opened, taken], "lumen")
    assert values(uri, "lumen") == ["19.90", "0.00"]
    hand(http, [dispute("closed", "won", at=9), dispute("funds_reinstated", "won", at=9)], "lumen")
    assert values(uri, "lumen") == ["19.90", "0.00", "19.90"]
    # A loss changes nothing more; an inquiry takes no money.
    hand(http, [session(2), dispute("created", "warning_needs_response", 2),
                dispute("closed", "warning_closed", 2)], "lumen")  # fmt: skip
    hand(http, [session(3), dispute("created", "needs_response", 3, amount=1000),
                dispute("closed", "lost", 3, amount=1000, at=9)], "lumen")  # fmt: skip
    assert [str(row["event_value"]) for row in rows(uri, 2)] == ["19.90"]
    assert [str(row["event_value"]) for row in rows(uri, 3)] == ["19.90", "9.90"]
    assert hand(http, [dispute("created", "needs_response", 9)], "lumen")[0]["status"] == "ignored"


def test_disputes_and_refunds_add_up_in_every_order(http: Client, uri: str) -> None:
    """A dispute that is won gives back what was refunded, or keeps what was not."""
    for number, order in enumerate(permutations(range(4)), 1):
        for end, left in (("won", "14.90"), ("lost", "4.90"))[: 2 if number % 4 == 0 else 1]:
            one = 2 * number + (end == "won")
            opened = {**dispute("created", "needs_response", one, 1000), "id": f"evt_c{one}"}
            reports = [refund(500, one, one), opened,
                       dispute("funds_withdrawn", "needs_response", one, 1000, at=1),
                       dispute("closed", end, one, 1000, at=99)]  # fmt: skip
            hand(http, [session(one)], "lumen")
            hand(http, [reports[place] for place in order], "lumen")
            assert str(rows(uri, one)[-1]["event_value"]) == left, (order, end)


# Row 5: the browser's id.


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_pixels_id_is_the_events(http: Client, uri: str, order: tuple[int, ...]) -> None:
    """The browser's pixel and the server count one purchase twice."""
    for brand in ("acme", "lumen"):
        reports = [session(metadata={"event_id": "browser-1"}), intent(), refund(500)]
        if order.index(2) == 0:
            assert post(http, "stripe", reports[2], brand=brand).status_code == 409
        posts = [reports[place] for place in order if place != 2 or order.index(2)]
        hand(http, posts + ([reports[2]] if order.index(2) == 0 else []), brand)
    assert {row["event_id"] for row in rows(uri)} == {"browser-1"}
    assert len(rows(uri)) == 4


def test_a_payment_links_id_loses_no_purchase(http: Client, uri: str) -> None:
    """A payment link copies its metadata to each purchase, and the second one is
    refused.
    """
    first, second = hand(http, [session(n, metadata={"event_id": "of-the-link"}) for n in (1, 2)])
    assert (first["status"], first["reason"]) == ("accepted", None)
    assert second["status"] == "accepted"
    assert "belongs to another transaction" in second["reason"]
    again = hand(http, [intent(2, metadata={"event_id": "of-the-link"}), intent(3)])
    assert [one["status"] for one in again] == ["duplicate", "accepted"]
    answer = hand(http, [session(3, metadata={"event_id": "of-the-link"})])[0]
    assert "belongs to another transaction" in answer["reason"]
    assert [row["event_id"] for row in rows(uri)] == ["of-the-link", "pi_3N2", "pi_3N3"]
    # The other brand's link is its own.
    hand(http, [session(4, metadata={"event_id": "of-the-link"})], "lumen")
    assert rows(uri, 4)[0]["event_id"] == "of-the-link"


def test_erasing_one_buyer_of_a_payment_link_costs_no_other(http: Client, uri: str) -> None:
    """One buyer asks to be forgotten, and all later sales of the link are
    dropped.
    """
    link: dict[str, Any] = {"metadata": {"event_id": "of-the-link"}}
    for brand in ("acme", "lumen"):
        hand(http, [session(1, **link)], brand)
    for client in (Client(http.url, key(uri)), Client(http.url, key(uri, "lumen"))):
        client("POST", "/erasure", json={"email": "jane.1@example.com"})
    for brand in ("acme", "lumen"):
        first = hand(http, [session(2, **link), intent(3), session(3, **link)], brand)
        assert [one["status"] for one in first] == ["accepted", "accepted", "duplicate"]
        assert "belongs to another transaction" in first[0]["reason"]
        # The erased purchase itself does not come back.
        assert hand(http, [charge(1, **link)], brand)[0]["status"] == "ignored"
    for number in (2, 3):
        for row in rows(uri, number):
            assert row["event_id"] == f"pi_3N{number}"
            assert row["user_hashes"]["meta"]["em"] == [email(number)]
    assert [len(rows(uri, number)) for number in (1, 2, 3)] == [2, 2, 2]
    assert {str(row["user_hashes"]) for row in rows(uri, 1)} == {"{}"}


@pytest.mark.parametrize("odd", ["undefined", "0", "+4915112345678"])
@pytest.mark.parametrize("turned", [False, True])
def test_an_id_that_is_none_refuses_no_report(
    http: Client, uri: str, odd: str, turned: bool
) -> None:
    """An unfilled variable refuses every later report of its payment, and its
    refunds.
    """
    reports = [session(1, metadata={"event_id": odd}), intent(1)]
    answers = hand(http, reports[::-1] if turned else reports)
    assert any("event_id" in (one["reason"] or "") for one in answers)
    hand(http, [session(2, payment_status="unpaid", metadata={"event_id": odd}), intent(2)])
    for one in hand(http, [refund(500), charge(1)]):
        assert one["status"] in ("accepted", "duplicate")
    bought, less = rows(uri, 1)
    assert (bought["event_id"], str(less["event_value"])) == ("pi_3N1", "14.90")
    for row in (bought, *rows(uri, 2)):
        assert row["user_hashes"]["meta"]["em"] == [email(int(row["transaction_id"][-1]))]


def test_an_odd_ad_or_campaign_costs_no_payment(http: Client, uri: str) -> None:
    """A phone number in `metadata.ad_id` refuses the payment."""
    odd = {"ad_id": "+4915112345678", "campaign_id": "z" * 300}
    answers = hand(http, [session(1, metadata=odd), intent(2), session(2, metadata=odd)])
    assert "ad_id" in answers[0]["reason"]
    assert "campaign_id" in answers[2]["reason"]
    hand(http, [session(3, payment_status="unpaid", metadata=odd), intent(3)])
    found = rows(uri)
    assert [(row["ad_id"], row["campaign_id"]) for row in found] == [(None, None)] * 3
    assert all("em" in row["user_hashes"]["meta"] for row in found)


def both(http: Client, *payloads: Payload) -> list[Any]:
    with ThreadPoolExecutor(len(payloads)) as pool:
        jobs = [pool.submit(post, Client(http.url), "stripe", one) for one in payloads]
        return [job.result() for job in jobs]


def test_two_payments_want_one_id_at_the_same_moment(http: Client, uri: str) -> None:
    """One of them is answered with 500, and its person is not named."""
    for number in range(1, 20, 2):
        hand(http, [intent(number), intent(number + 1)])
        link = {"metadata": {"event_id": f"link-{number}"}}
        answers = both(http, session(number, **link), session(number + 1, **link))
        assert [one.status_code for one in answers] == [200, 200], [one.text for one in answers]
        ids = {row["event_id"] for n in (number, number + 1) for row in rows(uri, n)}
        assert len(ids) == 2
        assert f"link-{number}" in ids
    assert all("em" in row["user_hashes"]["meta"] for row in rows(uri))


def test_a_deadlock_is_tried_again(http: Client, uri: str) -> None:
    """A report of two payments meets one who holds the other first, and gets 503."""
    whose = {"customer": "cus_Q1"}
    hand(http, [intent(1, **whose), intent(2, **whose)])
    first, last = query(uri, "select id from ops.conversion_events order by id")
    lock = "select 1 from ops.conversion_events where id = %s for update"
    waits = ("select 1 from pg_stat_activity where wait_event_type = 'Lock' "
             "and datname = current_database()")  # fmt: skip
    with ThreadPoolExecutor(1) as pool, wh.connect(uri) as other:
        other.execute(lock, [last["id"]])
        job = pool.submit(post, Client(http.url), "stripe", customer(1))
        while not query(uri, waits):
            assert not job.done()
        other.execute(lock, [first["id"]])
        other.commit()
        assert job.result().status_code == 200, job.result().text
    assert [row["user_hashes"]["meta"]["em"] for row in rows(uri)] == [[email(1)]] * 2


def test_a_refund_locks_as_everybody_else(http: Client, uri: str) -> None:
    """A refund and an import of the same order wait for each other for ever."""
    hand(http, [session(1)])
    (row,) = rows(uri)
    waits = ("select 1 from pg_stat_activity where wait_event_type = 'Lock' "
             "and datname = current_database()")  # fmt: skip
    with ThreadPoolExecutor(1) as pool, wh.connect(uri) as other:
        other.execute("select 1 from ops.conversion_deliveries where event = %s for update",
                      [row["id"]])  # fmt: skip
        job = pool.submit(post, Client(http.url), "stripe", refund(500))
        while not query(uri, waits):
            assert not job.done()
        other.execute("select 1 from ops.conversion_events where id = %s for update nowait",
                      [row["id"]])  # fmt: skip
        other.commit()
        assert job.result().json()["status"] == "accepted"


def test_a_pixels_id_that_comes_too_late_is_said(http: Client, uri: str) -> None:
    """The purchase counts twice, and nothing says why."""
    hand(http, [intent(receipt_email="jane.1@example.com")])
    execute(uri, "update ops.conversion_deliveries set sync_status = 'sent'")
    answer = hand(http, [session(metadata={"event_id": "browser-1"})])[0]
    assert "payment_intent_data.metadata" in answer["reason"]
    assert [row["event_id"] for row in rows(uri)] == ["pi_3N1"]
    # What is no id at all costs no purchase.
    for number, odd in ((2, "jane@example.com"), (3, "x" * 300), (4, "")):
        hand(http, [session(number, metadata={"event_id": odd})])
        assert rows(uri, number)[0]["event_id"] == f"pi_3N{number}"


def test_an_id_of_the_users_own_transaction_stays(http: Client, uri: str) -> None:
    """What the shop's own table says of its pixel is overwritten by a payment
    link.
    """
    with wh.connect(uri, autocommit=True) as connection:
        brand = brands.load(connection)["acme"]
        raw = intake.purchase("19.90", "USD", transaction_id="pi_3N1", event_id="order-7",
                              email="jane@example.com")  # fmt: skip
        intake.take(connection, brand, [raw], source="transactions", now=outbox.now_of(connection))
    hand(http, [session(metadata={"event_id": "browser-1"}), intent()])
    assert [row["event_id"] for row in rows(uri)] == ["order-7"]


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        ("denefits", {"id": "w1", "metadata": {"event_id": "px"}, "data": {
            "contract_id": "K-77", "amount": "$1,200.00", "email": "jane@example.com"}}),
        ("ghl", {"calendar": {"appointmentId": "A1"}, "contact_id": "c-1",
                 "email": "jane@example.com", "customData": {"event_id": "px"}}),
        ("perspective", {"id": "P1", "funnelName": "Quiz", "values": {"event_id": {"value": "px"}},
                         "profile": {"email": "jane@example.com"}}),
        ("chatbot", {"contact_id": "B1", "qualified": True, "metadata": {"event_id": "px"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_other_sources_bring_the_pixels_id_too(
    http: Client, uri: str, source: str, payload: Payload
) -> None:
    """A form or a booking with a browser pixel counts twice; or one id for all of
    them makes the second person's a duplicate.
    """
    assert post(http, source, payload).json()["status"] == "accepted"
    assert [row["event_id"] for row in rows(uri)] == ["px"]
    text = str(payload)
    for mine, theirs in (("K-77", "K-78"), ("'A1'", "'A2'"), ("c-1", "c-2"), ("P1", "P2"),
                         ("B1", "B2"), ("w1", "w2")):  # fmt: skip
        text = text.replace(mine, theirs)
    answer = post(http, source, eval(text)).json()
    assert answer["status"] == "accepted"
    assert "belongs to another" in answer["reason"]
    assert len({row["event_id"] for row in rows(uri)}) == 2


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("source", "name", "own", "plain", "with_pixel"),
    [
        ("ghl", "AddToCart", "ghl-A1",
         {"type": "AppointmentCreate", "webhookId": "h1",
          "appointment": {"id": "A1", "contactId": "c-1", "calendarId": "k"}},
         {"calendar": {"appointmentId": "A1"}, "contact_id": "c-1",
          "customData": {"event_id": "px"}}),
        ("perspective", "InitiateCheckout", "perspective-P1-Quiz",
         {"id": "P1", "funnelName": "Quiz", "profile": {"email": "jane@example.com"}},
         {"id": "P1", "funnelName": "Quiz", "values": {"event_id": {"value": "px"}},
          "profile": {"email": "jane@example.com"}}),
        ("chatbot", "Lead", "chatbot-B1",
         {"id": "m1", "contact_id": "B1", "qualified": True},
         {"id": "m2", "contact_id": "B1", "qualified": True, "metadata": {"event_id": "px"}}),
    ],
)  # fmt: skip
def test_a_pixels_id_makes_no_second_event(
    http: Client, uri: str, source: str, name: str, own: str, plain: Payload, with_pixel: Payload,
    turned: bool,
) -> None:  # fmt: skip
    """A booking, form or lead that is posted with the pixel's id and without it
    counts twice; so does one that is posted again after an update.
    """
    posts = [with_pixel, plain] if turned else [plain, with_pixel]
    anew = {**with_pixel, "id": with_pixel.get("id", "")}
    for brand in SOURCES_OF:
        for payload in (*posts, anew):
            answer = post(http, source, payload, brand=brand)
            assert answer.status_code == 200, answer.text
            execute(uri, "delete from ops.webhook_payloads")
    assert [row["event_id"] for row in rows(uri)] == ["px"] * len(SOURCES_OF)
    # What was taken before the row's id was made of the event's own.
    execute(uri, "delete from ops.conversion_deliveries")
    execute(uri, f"update ops.conversion_events set id = gen_random_uuid(), event_id = '{own}'")
    for payload in posts:
        assert post(http, source, payload).json()["status"] == "duplicate"
        execute(uri, "delete from ops.webhook_payloads")
    assert len(rows(uri)) == len(SOURCES_OF)


# Rows 6 and 7: what is not known makes no event.


GHL: dict[str, dict[str, Any]] = {
    "ContactCreate": {"id": "nmFmQEsNgz6AVpgLVUJ0", "email": "jane@example.com",
                      "firstName": "Jane", "country": "US"},
    "OpportunityCreate": {"id": "wWhVuzqpRuOA1ZVWi4FC", "contactId": "cJAWDskpkJHbRbhAT7bs",
                          "monetaryValue": 40, "status": "open"},
    "NoteCreate": {"id": "otg8dTQqGLh3Q6iQI55w", "contactId": "cJAWDskpkJHbRbhAT7bs",
                   "body": "Loram ipsum"},
    "InboundMessage": {"messageId": "dVcFgGQ6VgMfBdJ0", "contactId": "cJAWDskpkJHbRbhAT7bs",
                       "messageType": "SMS", "body": "hello"},
    "InvoicePaid": {"_id": "6578278e879ad2646715ba9c", "name": "New Invoice", "amountPaid": 999,
                    "currency": "USD", "total": 999,
                    "contactDetails": {"id": "c-9", "email": "jane@example.com"}},
}  # fmt: skip


def test_only_appointments_are_booked_calls(http: Client, uri: str) -> None:
    """Each new contact, note and message is sent to Meta as a booked call."""
    for kind, payload in GHL.items():
        answer = post(http, "ghl", {"type": kind, "locationId": "ve9EPM428h8vShlRW1KT", **payload},
                      brand="lumen").json()  # fmt: skip
        assert answer == {"status": "ignored", "reason": f"no appointment: {kind}"}
    odd = post(http, "ghl", {"id": "1", "type": "jane@example.com"}, brand="lumen")
    assert odd.json() == {"status": "ignored", "reason": "no appointment:"}
    assert post(http, "ghl", {"id": "1", "email": "j@example.com"}, brand="lumen").json()[
        "status"
    ] == "ignored"  # fmt: skip
    assert rows(uri) == []


def test_a_mapping_makes_events_of_other_types(http: Client, uri: str) -> None:
    """A shop that wants its new contacts as leads cannot have them; or they come
    twice.
    """
    for kind, payload in GHL.items():
        for webhook in ("h1", "h2"):  # the provider posts it twice
            answer = post(http, "ghl", {"type": kind, "webhookId": f"{kind}{webhook}", **payload})
            assert answer.status_code == 200, answer.text
    found = rows(uri)
    assert [row["event_name"] for row in found] == ["Lead", "Purchase"]
    assert {row["user_hashes"]["meta"]["em"][0] for row in found} == {
        hashed("meta", "em", "jane@example.com")
    }
    assert (str(found[1]["event_value"]), found[1]["currency"]) == ("999", "USD")
    assert "nmFmQEsNgz6AVpgLVUJ0" not in found[0]["event_id"]
    assert "fn" not in found[1]["user_hashes"]["meta"]  # the name is the invoice's
    assert [row["contact_id"] for row in found] == ["nmFmQEsNgz6AVpgLVUJ0", "c-9"]
    assert states(uri) == {("pending", None): 2}


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        ("denefits", {"event": "payment.received", "id": "p1", "data": {
            "contract_id": "K-1", "payment_id": "P-9", "amount": "100.00"}}),
        ("denefits", {"event": "installment_paid", "data": {"contract_id": "K", "amount": "100"}}),
        ("denefits", {"event": "recurring payment", "contract_id": "K-1", "amount": "100.00"}),
        ("denefits", {"id": "p2", "data": {"contract_id": "K-1", "installment_number": 3,
                                           "amount": "100.00"}}),
        ("denefits", {"id": "p3", "data": {"contract_id": "K-1", "payment": {"id": "P-1"},
                                           "amount": "100.00"}}),
        ("denefits", {"event": "contract.updated", "data": {"contract_id": "K", "amount": "9"}}),
        ("denefits", {"event": "payment_plan.payment_posted", "plan_id": "K", "amount": "9"}),
        ("perspective", {"id": "P1", "event": "contact.deleted",
                         "profile": {"email": "jane@example.com"}}),
        ("perspective", {"id": "P1", "type": "visit", "profile": {"email": "jane@example.com"}}),
        ("chatbot", {"contact_id": "B1", "event": "message", "status": "1"}),
        ("chatbot", {"contact_id": "B1", "qualified": False, "status": "qualified"}),
    ],
)  # fmt: skip
def test_an_unknown_kind_is_no_event(http: Client, uri: str, source: str, payload: Payload) -> None:
    """An instalment, a deleted contact or a chat message is sent as a conversion."""
    answer = post(http, source, {**payload, "email": "jane@example.com"}).json()
    assert answer["status"] == "ignored"
    assert answer["reason"]
    assert rows(uri) == []


def test_new_plans_are_purchases_still(http: Client, uri: str) -> None:
    """With the instalments the plans are gone, too."""
    for number, kind in enumerate(
        (
            "contract.active",
            "payment_plan.created",
            "plan",
            "",
            "installment_plan.created",
            "Recurring Plan Created",
        )
    ):
        plan = {"event": kind, "data": {"contract_id": f"K-{number}", "amount": "1200.00",
                                        "email": "jane@example.com",
                                        "installment": "100.00", "payment": {"amount": "100.00"},
                                        }}  # fmt: skip
        assert post(http, "denefits", plan).json()["status"] == "accepted", kind
    assert [str(row["event_value"]) for row in rows(uri)] == ["1200.00"] * 6


# Row 18: ManyChat's fields; row 31: times ahead.


@pytest.mark.parametrize("as_list", [False, True])
def test_manychats_custom_fields_are_read(http: Client, uri: str, as_list: bool) -> None:
    """The click that the bot has kept for its lead is dropped."""
    custom: Any = {"fbclid": "IwAR_abcdef", "Consent Ad User Data": "no", "qualified": True,
                   "prop_county": None}  # fmt: skip
    if as_list:
        custom = [{"id": n, "name": k, "type": "text", "value": v}
                  for n, (k, v) in enumerate(custom.items())]  # fmt: skip
    contact = {"key": "user:1", "id": "4711", "page_id": "1", "status": "active",
               "first_name": "Jane", "email": "j@example.com", "custom_fields": custom}  # fmt: skip
    assert post(http, "chatbot", contact).json()["status"] == "accepted"
    (row,) = rows(uri)
    assert row["contact_id"] == "4711"
    assert row["fbc"].endswith(".IwAR_abcdef")
    assert row["consent"]["ad_user_data"] is False
    assert states(uri) == {("skipped", "no_consent"): 1}


def test_an_id_among_manychats_fields_is_no_contact(http: Client, uri: str) -> None:
    """The bot's own field `lead_id` makes all partners one contact, or one two."""
    for number in (1, 2):
        contact = {"key": "user:1", "id": f"47{number}", "custom_fields": {
            "lead_id": "campaign-7", "qualified": True}}  # fmt: skip
        assert post(http, "chatbot", contact).json()["status"] == "accepted"
    assert [row["contact_id"] for row in rows(uri)] == ["471", "472"]


def test_a_time_ahead_is_the_receipts(http: Client, uri: str) -> None:
    """A provider's wrong clock refuses a payment, or it is sent as of a day to
    come.
    """
    ahead = int(time.time()) + 40 * 86_400
    hand(http, [{**session(1), "created": ahead}, {**intent(2), "created": ahead}])
    later = (datetime.now(UTC) + timedelta(days=40)).isoformat()
    plans = [("created_at", later), ("created_at", str(ahead)), ("created_at", "2150-01-01"),
             ("created_at", "soon")]  # fmt: skip
    for number, (name, at) in enumerate(plans):
        plan = {"event": "contract.created", "data": {
            "contract_id": f"K-{number}", "amount": "1200", name: at}}  # fmt: skip
        answer = post(http, "denefits", plan)
        assert answer.status_code == 200, answer.text
        assert "event_time" in answer.json()["reason"]
    found = rows(uri, columns="e.event_time, e.created_at")
    assert len(found) == 6
    for row in found:
        assert abs(row["event_time"] - row["created_at"]) < timedelta(seconds=5)


def test_the_event_of_an_unknown_type_is_ignored(http: Client, uri: str) -> None:
    """A new type of Stripe's is answered with an error."""
    assert hand(http, [stripe_event("payout.paid", {"id": "po_1"})])[0]["status"] == "ignored"
