"""Webhooks over HTTP: only the provider's own posts count, each once, and none is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from tributary import warehouse as wh
from tributary.config import ROOT
from tributary.deliver import brands, outbox, retention
from tributary.deliver.identity import hashed

from tests.support.edge import (
    SECRET,
    Client,
    connections,
    edge,
    empty_outbox,
    key,
    opened,
    post,
    signed,
    two_brands,
)
from tests.support.loads import query
from tests.support.outgoing import execute, states
from tests.support.stripe_events import intent, refund, session, stripe_event


@pytest.fixture(scope="module")
def uri(module_warehouse: str) -> str:
    two_brands(module_warehouse)
    return module_warehouse


@pytest.fixture(scope="module")
def http(uri: str) -> Iterator[Client]:
    with opened(uri) as client:
        yield client


@pytest.fixture(autouse=True)
def empty(uri: str) -> None:
    empty_outbox(uri)


def replay(uri: str, **only: str) -> dict[str, int]:
    from tributary.api.webhooks import take

    with wh.connect(uri, autocommit=True) as connection:
        return take.replay(connection, **only)


def said(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


def events(uri: str, columns: str = "*") -> list[dict[str, Any]]:
    return query(uri, f"select {columns} from ops.conversion_events order by created_at, revision")


def test_a_purchase_counts_once_whoever_reports_it(http: Client, uri: str) -> None:
    """Stripe tells of one purchase twice, and Meta counts two."""
    assert said(post(http, "stripe", session())) == "accepted"
    assert said(post(http, "stripe", intent())) == "duplicate"
    assert said(post(http, "stripe", intent(2))) == "accepted"
    assert said(post(http, "stripe", session(2))) == "duplicate"
    rows = events(uri)
    assert [
        (r["event_id"], r["transaction_id"], str(r["event_value"]), r["currency"]) for r in rows
    ] == [
        ("pi_3N1", "pi_3N1", "19.90", "USD"),
        ("pi_3N2", "pi_3N2", "19.90", "USD"),
    ]
    assert {row["event_name"] for row in rows} == {"Purchase"}
    # The payment intent knew nobody; the session, that came later, did.
    assert all(row["user_email_hash"] for row in rows)
    assert [row["contact_id"] for row in rows] == ["contact-1", "contact-2"]
    assert states(uri) == {("pending", None): 2}


def test_a_second_report_changes_nothing_that_has_left(http: Client, uri: str) -> None:
    """An event that a platform has is changed, and the ledger no longer says what
    was sent.
    """
    post(http, "stripe", intent(receipt_email="first@example.com"))
    execute(uri, "update ops.conversion_deliveries set sync_status = 'sent'")
    before = events(uri)
    post(http, "stripe", session())
    assert events(uri) == before
    post(http, "stripe", intent(3, receipt_email="first@example.com"))
    first = events(uri, "user_email_hash")[1]
    post(http, "stripe", session(3))
    assert events(uri, "user_email_hash")[1] == first  # what the first report said stays
    assert events(uri, "user_first_name_hash")[1]["user_first_name_hash"]


def test_the_same_purchase_from_the_users_own_transactions(http: Client, uri: str) -> None:
    """A purchase that the nightly view and Stripe both tell of is sent twice."""
    from tributary.deliver import intake

    with wh.connect(uri, autocommit=True) as connection:
        brand = brands.load(connection)["acme"]
        raw = intake.purchase("19.90", "USD", transaction_id="pi_3N1", email="jane@example.com")
        intake.take(connection, brand, [raw], source="transactions", now=outbox.now_of(connection))
    assert said(post(http, "stripe", session())) == "duplicate"
    assert len(events(uri)) == 1


def test_a_replay_changes_nothing(http: Client, uri: str) -> None:
    """Stripe's own retries, or an operator's replay, double what was taken."""
    posts = [session(), intent(), refund(500), intent(4)]
    for payload in posts:
        post(http, "stripe", payload)

    def everything() -> Any:
        tables = ("conversion_events", "conversion_deliveries", "contacts", "webhook_payloads")
        return [query(uri, f"select t::text as row from ops.{t} as t order by 1") for t in tables]

    before = everything()
    for payload in posts:
        assert said(post(http, "stripe", payload)) == "duplicate"
    assert replay(uri) == {"accepted": 0, "duplicate": 4, "ignored": 0, "refused": 0}
    assert everything() == before


def test_refunds_adjust_the_purchase(http: Client, uri: str) -> None:
    """Google keeps the value of what was given back, or an old refund undoes a newer
    one.
    """
    post(http, "stripe", session())
    assert said(post(http, "stripe", refund(500, event=1))) == "accepted"
    assert said(post(http, "stripe", refund(1990, event=3))) == "accepted"
    assert said(post(http, "stripe", refund(700, event=2))) == "duplicate"  # it comes late
    rows = events(uri)
    assert [(r["kind"], r["revision"], str(r["event_value"])) for r in rows] == [
        ("conversion", 0, "19.90"), ("adjustment", 1, "14.90"), ("adjustment", 2, "0.00"),
    ]  # fmt: skip
    assert {row["event_id"] for row in rows} == {"pi_3N1"}
    assert {row["adjusts"] for row in rows[1:]} == {rows[0]["id"]}
    assert rows[1]["user_hashes"] == rows[0]["user_hashes"]
    assert states(uri) == {("pending", None): 1, ("skipped", "not_adjustable"): 2}


def test_a_refund_waits_for_its_purchase(http: Client, uri: str) -> None:
    """A refund that overtakes its purchase is lost."""
    early = post(http, "stripe", refund(500, 7))
    assert early.status_code == 409
    assert said(post(http, "stripe", session(7))) == "accepted"
    assert said(post(http, "stripe", refund(500, 7))) == "accepted"
    client = Client(http.url, key(uri))
    billed = {"billing_details": {"email": "jane.9@example.com"}}
    assert post(http, "stripe", refund(500, 9, 10, **billed)).status_code == 409
    erased = client("POST", "/erasure", json={"email": "jane.9@example.com"}).json()["erased"][0]
    assert erased["webhook_payloads"] == 1
    long_ago = int(time.time()) - 10 * 86_400
    assert said(post(http, "stripe", refund(500, 8, 8, created=long_ago))) == "ignored"
    assert post(http, "stripe", refund(500, 7, 9, currency="eur")).status_code == 422
    assert len(events(uri)) == 2


@pytest.mark.parametrize(
    ("currency", "amount", "value"),
    [("jpy", 1990, "1990"), ("kwd", 1990, "1.990"), ("eur", 1, "0.01")],
)
def test_stripes_minor_units(
    http: Client, uri: str, currency: str, amount: int, value: str
) -> None:
    """A purchase in yen is worth a hundredth."""
    post(http, "stripe", intent(5, currency=currency, amount_received=amount))
    assert str(events(uri)[0]["event_value"]) == value


def test_what_is_no_purchase_is_left_alone(http: Client, uri: str) -> None:
    """Stripe is asked to post again what will never be used, or an unpaid session
    counts.
    """
    unpaid = session(payment_status="unpaid", metadata={"fbp": "fb.1.1700000000000.5"})
    assert said(post(http, "stripe", unpaid)) == "ignored"
    assert (
        said(post(http, "stripe", session(2, mode="subscription", payment_intent=None)))
        == "ignored"
    )
    assert (
        said(post(http, "stripe", stripe_event("customer.created", {"id": "cus_1"}))) == "ignored"
    )
    assert events(uri) == []
    # Both sessions wait for their payments; the customer says nothing.
    kept = query(uri, "select status, count(*) as n from ops.webhook_payloads group by 1")
    assert kept == [{"status": "waiting", "n": 2}]
    assert query(uri, "select contact_id, fbp from ops.contacts order by 1")[0] == {
        "contact_id": "contact-1", "fbp": "fb.1.1700000000000.5",
    }  # fmt: skip


def test_test_mode_is_test(http: Client, uri: str) -> None:
    """A purchase of Stripe's test mode reaches the campaign."""
    post(http, "stripe", {**session(), "livemode": False})
    assert states(uri) == {("skipped", "test"): 1}


def test_only_stripe_is_believed(http: Client, uri: str) -> None:
    """Anybody who knows the address makes up purchases."""
    payload = session()
    body = json.dumps(payload).encode()
    good = signed(body)
    forged: dict[str, dict[str, Any]] = {
        "changed byte": {"sent": body.replace(b"1990", b"9990", 1), "body": body},
        "old timestamp": {"header": signed(body, time.time() - 301), "body": body},
        "ahead": {"header": signed(body, time.time() + 310), "body": body},
        "wrong secret": {"header": signed(body, secret="whsec_other"), "body": body},
        "no header": {"headers": {"X": "y"}, "body": body},
        "garbage": {"header": "t=now,v1=ÄÖ".encode("latin-1"), "body": body},
        "no signature": {"header": good.split(",")[0], "body": body},
        "wrong header": {"headers": {"X-Tributary-Signature": good}, "body": body},
        "the secret itself": {"headers": {"X-Webhook-Secret": SECRET}, "body": body},
    }
    for why, changes in forged.items():
        answer = post(http, "stripe", payload, **changes)
        assert answer.status_code == 401, why
        assert "jane" not in answer.text
        assert SECRET not in answer.text
    not_utf8: dict[str, Any] = {"sent": body + b"\xff", "body": body}
    assert post(http, "stripe", payload, **not_utf8).status_code == 401
    assert post(http, "stripe", payload, brand="lumen").status_code == 404
    assert post(http, "stripe", payload, brand="nobody").status_code == 404
    assert post(http, "paypal", payload).status_code == 404
    assert events(uri) == []
    assert (
        said(post(http, "stripe", payload, body=body, header=signed(body, time.time() - 299)))
        == "accepted"
    )


def test_a_body_that_is_no_event_is_refused(http: Client, uri: str) -> None:
    """A provider's change of format raises a 500 for ever and nobody knows which
    field.
    """
    bad: list[tuple[dict[str, Any], list[str]]] = [
        ({"type": "checkout.session.completed"}, ["id"]),
        ({"id": "evt_1", "type": "checkout.session.completed", "data": []}, ["data"]),
        (session(amount_total=None), ["value"]),
        (session(currency=None), ["currency"]),
        (session(2, currency="zzz"), ["currency"]),
        ({**session(3), "id": "x" * 300}, ["id"]),
    ]
    for payload, fields in bad:
        answer = post(http, "stripe", payload)
        assert answer.status_code == 422, payload
        assert [fault["field"] for fault in answer.json()["errors"]] == fields
        assert "jane" not in answer.text
    for body in (b"[]", b"x", b"", b'{"id": NaN}'):
        answer = post(http, "stripe", {}, body=body or None, sent=body, header=signed(body))
        assert answer.status_code == 400, body
    assert events(uri) == []


def test_what_intake_refused_is_kept_until_its_cause_is_mended(http: Client, uri: str) -> None:
    """A purchase is lost because of a setting that a person mends an hour later."""
    payload: dict[str, Any] = {
        "event_id": "d-1", "data": {"contract_id": "K1", "amount": "$1,200.50",
               "currency": "points", "customer": {"email": "jane@example.com"}}}  # fmt: skip
    assert post(http, "denefits", payload).status_code == 422
    stored = query(uri, "select status, reason, payload from ops.webhook_payloads")[0]
    assert (stored["status"], stored["reason"][:9]) == ("refused", "currency:")
    assert b"jane" not in bytes(stored["payload"])
    assert replay(uri)["refused"] == 1
    payload["data"]["currency"] = "usd"
    with wh.connect(uri, autocommit=True) as connection:
        mended = Fernet(os.environ["TRIBUTARY_SECRET_KEY"]).encrypt(json.dumps(payload).encode())
        connection.execute("update ops.webhook_payloads set payload = %s", [mended])
    assert replay(uri, brand="lumen")["accepted"] == 0
    assert replay(uri, brand="acme", source="denefits")["accepted"] == 1
    assert replay(uri)["duplicate"] == 1
    assert [str(row["event_value"]) for row in events(uri)] == ["1200.50"]


def test_a_replay_makes_nothing_younger(http: Client, uri: str) -> None:
    """A nightly replay keeps personal data for ever, or moves a call to the
    night.
    """
    appointment = {
        "id": "A1",
        "contactId": "c-1",
        "fbclid": "IwAR_abcdef",
        "consent_ad_user_data": "?",
    }
    assert post(http, "ghl", {"appointment": appointment}).status_code == 422
    execute(uri, "update ops.webhook_payloads set received_at = received_at - interval '2 days'")
    received = query(uri, "select received_at from ops.webhook_payloads")
    assert replay(uri)["refused"] == 1
    assert query(uri, "select received_at from ops.webhook_payloads") == received
    appointment["consent_ad_user_data"] = "yes"
    body = json.dumps({"appointment": appointment}).encode()
    with wh.connect(uri, autocommit=True) as connection:
        mended = Fernet(os.environ["TRIBUTARY_SECRET_KEY"]).encrypt(body)
        connection.execute("update ops.webhook_payloads set payload = %s", [mended])
    assert replay(uri)["accepted"] == 1
    assert query(uri, "select received_at from ops.webhook_payloads") == received
    assert [row["event_time"] for row in events(uri)] == [received[0]["received_at"]]
    first_seen = query(uri, "select first_seen_at from ops.contacts")[0]["first_seen_at"]
    assert first_seen == received[0]["received_at"]


def test_a_payload_of_a_lost_key_stops_no_replay(http: Client, uri: str) -> None:
    """After the key was changed without keeping the old one, nothing can be
    replayed.
    """
    for number in (1, 2):
        assert post(http, "stripe", session(number, currency="zzz")).status_code == 422
    with wh.connect(uri, autocommit=True) as connection:
        for number, key_ in ((1, Fernet.generate_key()), (2, os.environ["TRIBUTARY_SECRET_KEY"])):
            connection.execute(
                "update ops.webhook_payloads set payload = %s where provider_id like %s",
                [Fernet(key_).encrypt(json.dumps(session(number)).encode()), f"evt%{number}"],
            )
    assert replay(uri) == {
        "accepted": 1, "duplicate": 0, "ignored": 0, "refused": 0, "of another key": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "payload", "expected"),
    [
        (
            "denefits",
            {"event": "contract.active", "id": "w1", "data": {
                "contract_id": "K-77", "amount": "$1,200.00", "status": "Active",
                "customer": {"first_name": "Jane", "email": "jane@example.com"}}},
            ("Purchase", None, "K-77", "1200.00", "USD"),
        ),
        (
            "ghl",
            {"type": "AppointmentCreate", "locationId": "0007BWpSzSwfiuSl0tR2", "appointment": {
                "id": "0007BWpSzSwfiuSl0tR2", "title": "Call", "calendarId": "BqTwX8QFwXzpegMve9EQ",
                "contactId": "9NkT25Vor1v4aQatFsv2", "appointmentStatus": "confirmed",
                "startTime": "2026-09-25T16:00:00+05:30"}},
            ("AddToCart", "ghl-0007BWpSzSwfiuSl0tR2", None, None, None),
        ),
        (
            "ghl",
            {"contact_id": "9NkT", "first_name": "Jane", "email": "jane@example.com",
             "calendar": {"id": "C1", "appointmentId": "A1", "calendarName": "Demo",
                          "status": "booked"},
             "contact": {"attributionSource": {"fbclid": "IwAR_abcdef", "gclid": "g1"}},
             "customData": {"consent_ad_user_data": "yes"}},
            ("AddToCart", "ghl-A1", None, None, None),
        ),
        (
            "perspective",
            {"id": "P1", "funnelName": "Quiz", "meta": {"converted": True},
             "profile": {"email": {"value": "jane@example.com", "title": "E-mail"}}},
            ("InitiateCheckout", "perspective-P1-Quiz", None, None, None),
        ),
        (
            "chatbot",
            {"id": "m1", "qualified": True, "contact": {"id": "B1", "phone": "+12125550123"}},
            ("Lead", "chatbot-B1", None, None, None),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_source_becomes_its_event(
    http: Client, uri: str, source: str, payload: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """A booked call, a form, a qualified chat or a plan does not reach the
    campaign.
    """
    assert said(post(http, source, payload)) == "accepted"
    assert said(post(http, source, payload)) == "duplicate"
    row = events(uri)[0]
    value = None if row["event_value"] is None else str(row["event_value"])
    name, event_id, transaction, amount, currency = expected
    assert row["event_name"] == name
    assert row["event_id"] == (event_id or transaction)
    assert (row["transaction_id"], value, row["currency"]) == (transaction, amount, currency)
    assert row["source"] == source
    if name != "Purchase":
        contact = query(uri, "select * from ops.contacts")[0]
        assert contact["contact_id"] == row["contact_id"]
    for header in (None, "t=1,v1=0"):
        answer = post(http, source, payload, headers={"X-Tributary-Signature": header or ""})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        ("denefits", {"event": "contract.cancelled", "data": {"contract_id": "K"}}),
        ("ghl", {"type": "AppointmentUpdate", "appointment": {
            "id": "A", "contactId": "c", "appointmentStatus": "cancelled"}}),
        ("perspective", {"id": "P1", "funnelName": "Quiz", "meta": {"converted": False}}),
        ("chatbot", {"contact_id": "B1", "status": "talking", "fbclid": "IwAR_abcdef"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_not_yet_an_event_teaches_the_contact(
    http: Client, uri: str, source: str, payload: dict[str, Any]
) -> None:
    """A cancelled call counts as booked, or the click of a chat is forgotten."""
    assert said(post(http, source, payload)) == "ignored"
    assert events(uri) == []
    if source == "chatbot":
        first = query(uri, "select * from ops.contacts")[0]
        assert first["fbc"].endswith(".IwAR_abcdef")
        later = {"id": "m2", "contact_id": "B1", "qualified": "yes", "email": "jane@example.com"}
        assert said(post(http, source, later)) == "accepted"
        assert events(uri)[0]["fbc"] == first["fbc"]
        assert (
            query(uri, "select first_seen_at from ops.contacts")[0]["first_seen_at"]
            == first["first_seen_at"]
        )


def test_a_sender_without_hmac_may_send_the_secret_where_allowed(http: Client, uri: str) -> None:
    """A funnel builder that can only set a header is locked out, or a wrong one is
    let in.
    """
    payload = {"id": "P1", "funnelName": "Quiz", "profile": {"email": "jane@example.com"}}
    wrong = {"X-Webhook-Secret": SECRET[:-1] + "x"}
    assert post(http, "perspective", payload, headers=wrong).status_code == 401
    right = {"X-Webhook-Secret": SECRET}
    assert said(post(http, "perspective", payload, headers=right)) == "accepted"
    assert post(http, "chatbot", {"contact_id": "B"}, headers=right).status_code == 401


def test_an_erased_person_stays_away_and_so_do_the_payloads(http: Client, uri: str) -> None:
    """The raw payload outlives the person's erasure, or a retry of Stripe brings
    them back.
    """
    post(http, "stripe", session())
    post(http, "stripe", refund(500))
    client = Client(http.url, key(uri))
    erased = client("POST", "/erasure", json={"email": "jane.1@example.com"}).json()["erased"][0]
    assert (erased["events"], erased["webhook_payloads"]) == (2, 2)
    assert query(uri, "select count(*) as n from ops.webhook_payloads") == [{"n": 0}]
    assert said(post(http, "stripe", session())) == "ignored"
    assert said(post(http, "stripe", refund(1990, event=5))) == "ignored"
    assert (
        said(post(http, "stripe", session(9, customer_details={"email": "jane.1@example.com"})))
        == "ignored"
    )
    assert [row["user_hashes"] for row in events(uri)] == [{}, {}]
    assert query(uri, "select count(*) as n from ops.webhook_payloads") == [{"n": 0}]


def test_no_payload_outlives_its_person(http: Client, uri: str) -> None:
    """A payload that only filled in an event, or was refused, keeps an erased
    address.
    """
    client = Client(http.url, key(uri))

    def erase(email: str) -> int:
        erased = client("POST", "/erasure", json={"email": email}).json()["erased"]
        return int(erased[0]["webhook_payloads"])

    def kept() -> list[str]:
        rows = query(uri, "select provider_id as id from ops.webhook_payloads order by 1")
        return [row["id"] for row in rows]

    # The event has left, so that the second report's address gets nowhere but into its payload.
    first = intent()
    post(http, "stripe", first)
    execute(uri, "update ops.conversion_deliveries set sync_status = 'sent'")
    assert said(post(http, "stripe", session())) == "duplicate"
    post(http, "stripe", refund(500, receipt_email="jane.1@example.com"))
    assert erase("jane.1@example.com") == 2
    assert kept() == [first["id"]]
    # Nor do they come back: as a second report, as a refund, as what cannot be taken.
    assert said(post(http, "stripe", session())) == "ignored"
    assert said(post(http, "stripe", refund(700, 1, 2, receipt_email="jane.1@example.com")))
    assert said(post(http, "stripe", session(1, currency="zzz"))) == "ignored"
    assert kept() == [first["id"]]


def test_an_erased_contact_stays_away(http: Client, uri: str) -> None:
    """The next payload that names only the contact's id brings the person's click
    back.
    """
    client = Client(http.url, key(uri))
    post(http, "stripe", session())
    seen = {"contact_id": "contact-1", "status": "talking", "fbclid": "IwAR_abcdef"}
    assert said(post(http, "chatbot", {**seen, "id": "m0", "qualified": 1})) == "accepted"
    erased = client("POST", "/erasure", json={"email": "jane.1@example.com"}).json()["erased"][0]
    assert (erased["events"], erased["contacts"], erased["webhook_payloads"]) == (2, 1, 2)
    assert said(post(http, "chatbot", seen)) == "ignored"
    assert said(post(http, "chatbot", {**seen, "id": "m1", "qualified": True})) == "ignored"
    answer = post(http, "stripe", session(2, client_reference_id="contact-1"))
    assert said(answer) == "ignored"
    assert {row["contact_id"] for row in events(uri)} == {None}
    for table in ("contacts", "webhook_payloads"):
        assert query(uri, f"select * from ops.{table}") == []
    hashes = query(uri, "select string_agg(hash, '') as all from ops.erasures")[0]["all"]
    assert "contact-1" not in hashes
    assert said(post(http, "stripe", session(3))) == "accepted"


def test_ids_that_are_addresses_or_numbers_are_not_kept_in_clear(http: Client, uri: str) -> None:
    """A chat bot whose ids are phone numbers is refused, or numbers are kept as
    ids.
    """
    seen = {"contact_id": "+1 212 555 0144", "id": "wa-jane@example.com", "qualified": True}
    assert said(post(http, "chatbot", seen)) == "accepted"
    assert said(post(http, "chatbot", seen)) == "duplicate"
    assert said(post(http, "chatbot", {**seen, "id": "m2"})) == "duplicate"  # still one lead
    (row,) = events(uri)
    assert row["contact_id"] is None
    assert row["user_hashes"]["meta"]["ph"] == [hashed("meta", "ph", "+12125550144")]
    kept = query(uri, "select provider_id as id from ops.webhook_payloads order by 1")
    assert [len(one["id"]) for one in kept] == [64, 2]


def test_the_click_of_this_visit_goes_before_an_older_one(http: Client, uri: str) -> None:
    """A purchase is credited to the click of a visit weeks ago, though its page
    names one.
    """
    old = {
        "contact_id": "c-1",
        "status": "talking",
        "fbclid": "IwAR_of_long_ago",
        "gclid": "Cj-old",
    }
    assert said(post(http, "chatbot", old)) == "ignored"
    page = "https://shop.example/?fbclid=IwAR_of_today&gclid=Cj-new"
    new = {"contact_id": "c-1", "id": "m1", "qualified": True, "page_url": page}
    assert said(post(http, "chatbot", new)) == "accepted"
    (row,) = events(uri)
    assert (row["fbc"].rpartition(".")[2], row["gclid"]) == ("IwAR_of_today", "Cj-new")


def test_payloads_go_after_a_week(http: Client, uri: str) -> None:
    """Raw personal data is kept for ever."""
    post(http, "stripe", session())
    with wh.connect(uri, autocommit=True) as connection:
        now = outbox.now_of(connection)
        assert retention.forget_payloads(connection, now + timedelta(days=6, hours=23)) == 0
        assert retention.forget_payloads(connection, now + timedelta(days=7, minutes=1)) == 1
    assert said(post(http, "stripe", session())) == "duplicate"  # the event itself is known


def test_the_same_post_many_times_at_once(http: Client, uri: str) -> None:
    """Two workers of a provider post at the same moment, and both count."""
    with ThreadPoolExecutor(16) as pool:
        jobs = [
            lambda: post(Client(http.url), "stripe", session()),
            lambda: post(Client(http.url), "stripe", intent()),
        ]
        answers = [job.result() for job in [pool.submit(jobs[n % 2]) for n in range(32)]]
    assert sorted({said(answer) for answer in answers}) == ["accepted", "duplicate"]
    assert sum(said(answer) == "accepted" for answer in answers) == 1
    assert len(events(uri)) == 1


def test_without_its_secret_a_webhook_says_what_is_missing(uri: str) -> None:
    """A forgotten setting looks like an outage, or posts are taken unproven."""
    with pytest.MonkeyPatch.context() as patch:
        connections(patch)
        patch.delenv("AIRFLOW_CONN_GHL_ACME")
        with edge(uri) as url:
            missing = post(Client(url), "ghl", {"id": "1"})
            assert missing.status_code == 503
            assert "ghl_acme" in missing.json()["detail"]
            patch.delenv("TRIBUTARY_SECRET_KEY")
            keyless = post(Client(url), "stripe", session())
            assert keyless.status_code == 503
            assert "TRIBUTARY_SECRET_KEY" in keyless.json()["detail"]
            patch.setenv("TRIBUTARY_SECRET_KEY", "short")
            assert post(Client(url), "stripe", session()).status_code == 503
    assert events(uri) == []


def _started(uri: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "uvicorn", "tributary.api.edge:app", "--port", str(port)]
    with log.open("ab") as words:
        running = subprocess.Popen(
            command, cwd=ROOT, stdout=words, stderr=words,
            env={**os.environ, "TRIBUTARY_WAREHOUSE": uri, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    deadline = time.monotonic() + 60
    while True:
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                return running
        except requests.ConnectionError:
            pass
        assert running.poll() is None
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_server_loses_no_acknowledged_event(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe got a 200, and the purchase is nowhere; or the log names the person."""
    connections(monkeypatch)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", tmp_path / "edge.log"
    running = _started(uri, port, log)
    try:
        acknowledged = set()
        with ThreadPoolExecutor(8) as pool:

            def send(number: int) -> None:
                try:
                    answer = post(Client(url), "stripe", session(number))
                except requests.RequestException:  # also an answer that breaks off
                    return
                if answer.status_code == 200:
                    acknowledged.add(f"pi_3N{number}")

            jobs = [pool.submit(send, number) for number in range(200)]
            while len(acknowledged) < 20:
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
            running.wait()
            for job in jobs:
                job.result()
        assert 20 <= len(acknowledged) < 200
        assert acknowledged <= {row["event_id"] for row in events(uri)}
        running = _started(uri, port, log)
        again = Client(url)
        for number in range(200):  # as Stripe does with what was not acknowledged
            assert said(post(again, "stripe", session(number))) in ("accepted", "duplicate")
        post(again, "stripe", session(0), header="t=1,v1=00")
        again("GET", "/conversions?email=jane@example.com")
        with socket.create_connection(("127.0.0.1", port), 10) as one:  # bounds need no option
            one.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)
            assert one.recv(12) == b"HTTP/1.1 431"
        assert len(events(uri)) == 200
        assert sum(states(uri).values()) == 200
    finally:
        running.kill()
        running.wait()
    words = log.read_text().lower()
    assert "post /webhooks/acme/stripe" in words
    assert "get /conversions 401" in words
    for secret in ("jane", "roe", "example.com", SECRET, "78701", "t=1,v1"):
        assert secret not in words


def test_what_was_sold_is_not_who_bought_it(http: Client, uri: str) -> None:
    """The plan's name and state are hashed as the person's, and the platforms match
    nobody.
    """
    post(http, "stripe", session())
    post(http, "stripe", session(2, metadata={"name": "Gold plan", "state": "new",
                                              "email": "shop@example.com"}))  # fmt: skip
    post(http, "stripe", intent(3, metadata={"name": "Gold plan", "email": "jane.3@example.com"}))
    plain, sold, alone = (row["user_hashes"]["meta"] for row in events(uri))
    assert sold == {**plain, "em": sold["em"]}
    assert alone.keys() == {"em"}
    hashes = [hashed("meta", "em", f"jane.{number}@example.com") for number in (1, 2, 3)]
    assert [one["em"][0] for one in (plain, sold, alone)] == hashes


@pytest.mark.parametrize("status", ["paid", "unpaid"])
def test_an_address_is_no_contacts_id(http: Client, uri: str, status: str) -> None:
    """An e-mail address stands in clear among the contacts, or its purchase is never
    taken.
    """
    paid = session(
        client_reference_id="jane@example.com", customer_details=None, payment_status=status,
        metadata={"fbclid": "IwAR_abcdef"},
    )  # fmt: skip
    assert said(post(http, "stripe", paid)) == ("accepted" if status == "paid" else "ignored")
    assert [row["contact_id"] for row in query(uri, "select * from ops.contacts")] == ["cus_QbKv"]
    for row in events(uri):
        assert row["contact_id"] == "cus_QbKv"
        assert row["user_email_hash"]


def test_an_odd_contact_id_is_no_servers_error(http: Client, uri: str) -> None:
    """One character raises a 500, and the provider posts it for three days."""
    seen = {"contact_id": "B\x001", "status": "talking", "fbclid": "IwAR_abcdef"}
    assert said(post(http, "chatbot", seen)) == "ignored"
    assert said(post(http, "chatbot", {**seen, "contact_id": "B" * 9000, "id": "m"})) == "ignored"
    assert [row["contact_id"] for row in query(uri, "select * from ops.contacts")] == ["B1"]
    whom = {"id": "m2", "contact_id": "jane@example.com", "qualified": True}
    assert said(post(http, "chatbot", whom)) == "accepted"
    email = hashed("meta", "em", "jane@example.com")
    assert email is not None
    own = f"chatbot-{email[:32]}"
    assert [(row["event_id"], row["contact_id"]) for row in events(uri)] == [(own, None)]


def test_who_saw_the_contact_first(http: Client, uri: str) -> None:
    """Each post of a contact makes it look newer."""
    at = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    booked = {"id": "A1", "contactId": "c-1", "fbclid": "IwAR_abcdef", "dateAdded": at}
    post(http, "ghl", {"appointment": booked})
    first = query(uri, "select * from ops.contacts")[0]
    post(http, "chatbot", {"contact_id": "c-1", "qualified": True, "ad_id": "77",
                           "email": "jane@example.com"})  # fmt: skip
    contact = query(uri, "select * from ops.contacts")[0]
    assert contact["first_seen_at"] == first["first_seen_at"]
    assert contact["last_seen_at"] > first["last_seen_at"]
    assert (contact["ad_id"], contact["fbc"]) == ("77", first["fbc"])
    assert {row["fbc"] for row in events(uri)} == {first["fbc"]}


def test_a_new_source_is_a_file_and_a_line(
    http: Client, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adding a provider would need changes in the receiving code, too."""
    from tributary.api.webhooks.base import Parsed, Payload, Settings, Source
    from tributary.api.webhooks.fields import contact_of, fields_of, required
    from tributary.api.webhooks.registry import SOURCES
    from tributary.api.webhooks.signatures import Signature

    def parse(payload: Payload, now: datetime, settings: Settings) -> Parsed:
        id_ = required("uid", payload.get("uid"))
        fields = fields_of(payload.get("attendee"))
        event = {"event_name": "Schedule", "action_source": "system_generated", "event_id": id_,
                 "event_time": now, **fields}  # fmt: skip
        return Parsed(id_, event=event, contact=contact_of(fields), own_id=id_)

    signature = Signature("X-Toy-Signature", "As Stripe's.")
    monkeypatch.setitem(SOURCES, "toy", Source("toy", parse, ("Schedule",), signature))
    execute(
        uri, "insert into ops.webhooks (brand_id, source, conn_id, settings) "
        "select id, 'toy', 'ghl_acme', '{}' from ops.brands where slug = 'acme'",
    )  # fmt: skip
    payload = {"uid": "booking-1", "attendee": {"email": "jane@example.com"}}
    body = json.dumps(payload, indent=1).encode()
    try:
        assert post(http, "toy", payload).status_code == 401  # it is another header that proves it
        headers = {"X-Toy-Signature": signed(body)}
        assert said(post(http, "toy", payload, headers=headers)) == "accepted"
        assert said(post(http, "toy", payload, headers=headers)) == "duplicate"
        assert [(row["event_name"], row["source"]) for row in events(uri)] == [("Schedule", "toy")]
        wrong = {"X-Toy-Signature": signed(b"{}")}
        assert post(http, "toy", {}, body=b"{}", headers=wrong).status_code == 422
        assert replay(uri, source="toy") == {
            "accepted": 0, "duplicate": 1, "ignored": 0, "refused": 0,
        }  # fmt: skip
    finally:
        execute(uri, "delete from ops.webhooks where source = 'toy'")
