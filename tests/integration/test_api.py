"""The REST API over HTTP: what it takes, shows and changes, and whom it lets do so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tributary import warehouse as wh
from tributary.warehouse import api_keys as keys

from tests.support.edge import Client, connections, edge, empty_outbox, key, serving, two_brands
from tests.support.loads import query
from tests.support.outgoing import execute, states


@pytest.fixture(scope="module")
def uri(module_warehouse: str) -> str:
    two_brands(module_warehouse)
    return module_warehouse


@pytest.fixture(scope="module")
def url(uri: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        connections(patch)
        patch.setenv("TRIBUTARY_RATE_LIMIT", "100000/minute")
        with edge(uri) as found:
            yield found


@pytest.fixture(scope="module")
def acme(url: str, uri: str) -> Client:
    return Client(url, key(uri))


@pytest.fixture(scope="module")
def lumen(url: str, uri: str) -> Client:
    return Client(url, key(uri, "lumen"))


@pytest.fixture(autouse=True)
def empty(uri: str) -> None:
    empty_outbox(uri)


PERSON = {"email": "Jane.Roe@example.com", "phone": "+1 212 555 0123", "first_name": "Janet"}


def sale(number: int = 1, **changes: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(hours=1)
    return {
        "event_name": "Purchase",
        "event_id": f"order-{number}",
        "event_time": at.isoformat(),
        "value": "19.90",
        "currency": "USD",
        "transaction_id": f"T-{number}",
        "ip": "192.0.2.7",
        "user_agent": "A browser",
        **PERSON,
        **changes,
    }


def test_a_conversion_comes_in_once(acme: Client, uri: str) -> None:
    """A client that posts again after a timeout would double a purchase."""
    first = acme("POST", "/conversions", json=sale())
    assert first.status_code == 201
    row = first.json()
    assert (row["event_name"], row["event_id"], row["event_value"]) == (
        "Purchase",
        "order-1",
        "19.90",
    )
    assert row["deliveries"][0]["sync_status"] == "pending"
    again = acme("POST", "/conversions", json=sale(value="5"))
    assert again.status_code == 200
    assert again.json() == row
    assert states(uri) == {("pending", None): 1}


def test_nobody_is_shown(acme: Client, uri: str) -> None:
    """Who has a key could read whom the conversions are about."""
    made = acme("POST", "/conversions", json=sale(contact_id="c-1", fbclid="IwAR_abcdef")).json()
    page = acme("GET", "/conversions").text
    stored = query(uri, "select user_hashes, fbc from ops.conversion_events")[0]
    hashes = [
        one for some in stored["user_hashes"].values() for all_ in some.values() for one in all_
    ]
    assert len(hashes) >= 5
    for secret in (*hashes, *PERSON.values(), "192.0.2.7", "A browser", stored["fbc"]):
        assert secret.lower() not in page.lower()
    assert made["has_email"]
    assert made["has_phone"]
    assert made["has_name"]
    assert made["has_fbc"]
    assert made["has_ip"]
    assert not made["has_gclid"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_name": None}, "event_name"),
        ({"event_name": ""}, "event_name"),
        ({"currency": None}, "currency"),
        ({"value": "much"}, "value"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"colour": "red"}, "colour"),
        ({"user_hashes": {"meta": {"em": ["x"]}}}, "user_hashes"),
        ({"kind": "adjustment"}, "kind"),
        ({"contact_id": "jane.roe@example.com"}, "contact_id"),
        ({"brand": "lumen"}, "brand"),
        ({"brand": "nobody"}, "brand"),
        ({"jane.roe@example.com": "x"}, "an unknown field"),
        ({"event_name": ["Purchase"]}, "event_name"),
        ({"custom_params": {"\ud800": 1}}, "custom_params"),
    ],
    ids=str,
)
def test_a_wrong_conversion_is_refused_by_field(
    acme: Client, changes: dict[str, Any], field: str
) -> None:
    """The sender does not learn what to fix, or reads a person's data."""
    answer = acme("POST", "/conversions", json=sale(**changes))
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert "jane" not in answer.text.lower()
    assert acme("GET", "/conversions").json()["count"] == 0


def test_all_faults_of_a_conversion_are_in_one_answer(acme: Client) -> None:
    """A caller corrects one field, and learns of the next one only by the next request."""
    wrong = sale(value="much", currency="DOLLAR", event_time="yesterday", colour="red")
    one = acme("POST", "/conversions", json=wrong)
    assert one.status_code == 422
    fields = ["colour", "event_time", "value", "currency"]
    assert [fault["field"] for fault in one.json()["errors"]] == fields
    batch = acme("POST", "/conversions/batch", json={"events": [wrong]}).json()
    assert batch["results"][0]["errors"] == one.json()["errors"]


def test_what_is_no_json_is_refused(acme: Client) -> None:
    """A broken client gets a 500, and what it sent is in the log."""
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"\xff", b"[" * 100_000, b'{"event_name": "Lead", "value": NaN}'):
        answer = acme("POST", "/conversions", data=body, headers=headers)
        assert answer.status_code in (400, 422), body[:20]
    huge = b'{"event_name": "' + b"x" * 5 * 2**20 + b'"}'
    assert acme("POST", "/conversions", data=huge, headers=headers).status_code == 413
    assert acme("PUT", "/conversions").status_code == 405
    assert acme("GET", "/nowhere").status_code == 404


def test_a_batch_is_judged_item_by_item(acme: Client, uri: str) -> None:
    """One wrong item costs the others, or nobody knows which one it was."""
    items = [
        sale(1),
        sale(2, value="-1"),
        sale(1),
        sale(3, brand="lumen"),
        {"event_name": 7},
        sale(4),
    ]
    answer = acme("POST", "/conversions/batch", json={"events": items})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["accepted"], found["duplicate"], found["refused"]) == (2, 1, 3)
    said = [(one["status"], [e["field"] for e in one["errors"]]) for one in found["results"]]
    assert said == [
        ("accepted", []),
        ("refused", ["value"]),
        ("duplicate", []),
        ("refused", ["brand"]),
        ("refused", ["event_name"]),
        ("accepted", []),
    ]
    assert found["results"][2]["id"] == found["results"][0]["id"]
    again = acme(
        "POST", "/conversions/batch", json={"events": [sale(n) for n in range(1000)]}
    ).json()
    assert (again["accepted"], again["duplicate"]) == (998, 2)
    too_many = {"events": [sale(n) for n in range(1001)]}
    assert acme.faults("POST", "/conversions/batch", json=too_many) == ["events"]
    assert acme.faults("POST", "/conversions/batch", json={"events": []}) == ["events"]
    assert len(query(uri, "select from ops.conversion_events")) == 1000


def test_conversions_are_found(acme: Client, lumen: Client) -> None:
    """A growth team looks for its events and sees others, or none."""
    now = datetime.now(UTC)
    for number in range(5):
        at = (now - timedelta(hours=number + 1)).isoformat()
        acme("POST", "/conversions", json=sale(number, event_time=at, campaign_id=f"c{number % 2}"))
    acme("POST", "/conversions", json={"event_name": "Lead", "consent_ad_user_data": False})
    lumen("POST", "/conversions", json=sale(9))

    def found(**filters: Any) -> list[str]:
        page = acme("GET", "/conversions", params=filters).json()
        assert page["count"] == len(page["data"])
        return [row["event_id"] for row in page["data"] if row["event_name"] == "Purchase"]

    assert found() == [f"order-{n}" for n in (4, 3, 2, 1, 0)]
    assert found(event_name="Lead") == []
    assert found(status="skipped") == []
    assert len(found(status="pending")) == 5
    assert found(status="dead") == []
    assert found(brand="lumen") == []
    assert found(campaign_id="c1") == ["order-3", "order-1"]
    since, until = now - timedelta(hours=4, minutes=30), now - timedelta(hours=2)
    assert found(since=since.isoformat(), until=until.isoformat()) == ["order-3", "order-2"]
    page = acme("GET", "/conversions", params={"limit": 2, "offset": 1}).json()
    assert (page["count"], page["limit"], page["offset"], len(page["data"])) == (6, 2, 1, 2)
    for wrong in ({"limit": 0}, {"limit": 1001}, {"offset": -1}, {"status": "lost"},
                  {"since": "soon"}, {"brand": "a\x00"}):  # fmt: skip
        assert acme.faults("GET", "/conversions", params=wrong) == list(wrong)
    assert (
        acme("GET", "/conversions", params={"since": "0001-01-01T00:00:00+14:00"}).status_code
        == 422
    )


def test_a_brand_never_sees_another_ones_rows(acme: Client, lumen: Client, uri: str) -> None:
    """A client of one brand reads, changes or erases another brand's conversions."""
    row = acme("POST", "/conversions", json=sale()).json()
    path = f"/conversions/{row['id']}"
    change = {"destination": "acme-meta", "sync_status": "skipped"}
    assert lumen("GET", path).status_code == 404
    assert lumen("PATCH", path, json=change).status_code == 404
    assert lumen("DELETE", path).status_code == 404
    assert lumen("GET", "/conversions").json()["count"] == 0
    assert lumen("GET", "/conversions", params={"brand": "acme"}).json()["count"] == 0
    assert lumen("PATCH", "/destinations/acme-meta", json={"paused": True}).status_code == 404
    assert [one["name"] for one in lumen("GET", "/destinations").json()["data"]] == ["lumen-meta"]
    assert [one["brand"] for one in lumen("GET", "/conversions/sync").json()["status"]] == ["lumen"]
    assert lumen.faults("POST", "/conversions/sync", params={"brand_id": "acme"}) == ["brand_id"]
    assert lumen.faults("POST", "/erasure", json={"email": PERSON["email"], "brand": "acme"})
    erased = lumen("POST", "/erasure", json={"email": PERSON["email"]}).json()["erased"]
    assert [(one["brand"], one["events"]) for one in erased] == [("lumen", 0)]
    assert acme("GET", path).json() == row
    assert states(uri) == {("pending", None): 1}


def test_what_is_another_brands_does_not_exist(acme: Client, lumen: Client, uri: str) -> None:
    """A client of one brand learns what another brand, its destinations or its
    events are.
    """
    row = acme("POST", "/conversions", json=sale()).json()
    skip = {"sync_status": "skipped"}

    def ask(id: str, destination: str, brand: str) -> list[tuple[int, str]]:
        own = lumen("POST", "/conversions", json=sale(event_id="own", brand=None)).json()["id"]
        answers = [
            lumen("GET", f"/conversions/{id}"),
            lumen("PATCH", f"/conversions/{id}", json={"destination": destination, **skip}),
            lumen("DELETE", f"/conversions/{id}"),
            lumen("PATCH", f"/conversions/{own}", json={"destination": destination, **skip}),
            lumen("GET", "/conversions", params={"brand": brand}),
            lumen("POST", "/conversions", json=sale(5, brand=brand)),
            lumen("POST", "/conversions/batch", json={"events": [sale(5, brand=brand)]}),
            lumen("POST", "/conversions/sync", params={"brand_id": brand}),
            lumen("PATCH", f"/destinations/{destination}", json={"paused": True}),
            lumen("PATCH", f"/destinations/{destination}", json={"settings": {"batch_size": 5}}),
            lumen("POST", "/erasure", json={"email": PERSON["email"], "brand": brand}),
        ]
        return [(one.status_code, one.text) for one in answers]

    brand = query(uri, "select id::text as id from ops.brands where slug = 'acme'")[0]["id"]
    theirs = ask(row["id"], "acme-meta", "acme")
    assert theirs == ask(str(uuid4()), "nowhere", "nobodys")
    assert theirs[7] == ask(row["id"], "acme-meta", brand)[7]
    assert [status for status, _ in theirs] == [
        404, 404, 404, 422, 200, 422, 200, 422, 404, 404, 422,
    ]  # fmt: skip
    pixel = acme("GET", "/destinations").json()["data"][0]["settings"]["pixel_id"]
    taken = lumen("PATCH", "/destinations/lumen-meta", json={"settings": {"pixel_id": pixel}})
    assert (taken.status_code, taken.json()["detail"]) == (
        409,
        "Another destination of this installation sends there already, and events would be "
        "counted twice: ask those who run it.",
    )
    listed = [lumen("GET", path).text for path in ("/conversions", "/destinations",
                                                   "/conversions/sync")]  # fmt: skip
    shown = str([theirs, taken.text, listed])
    assert [word for word in ("acme-meta", "Acme", '"acme"') if word in shown] == []
    assert acme("GET", f"/conversions/{row['id']}").json() == row


def test_a_twin_of_ones_own_is_named(lumen: Client, uri: str) -> None:
    """A client asks those who run it about a destination that it sees itself."""
    execute(
        uri,
        "insert into ops.destinations (name, brand_id, platform, conn_id, is_active, settings) "
        "select 'lumen-twin', brand_id, platform, conn_id, true, settings || "
        """'{"name": "lumen-twin", "pixel_id": "2000000011"}' """
        "from ops.destinations where name = 'lumen-meta'",
    )
    changes = {"settings": {"pixel_id": "2000000011"}}
    answer = lumen("PATCH", "/destinations/lumen-meta", json=changes)
    execute(uri, "delete from ops.destinations where name = 'lumen-twin'")
    assert answer.status_code == 409
    assert "lumen-meta and lumen-twin have the same pixel_id" in answer.json()["detail"]


def test_no_answer_has_anything_of_a_person(acme: Client, lumen: Client) -> None:
    """The documentation promises it, and a contact, a page or a name goes out."""
    of_them: dict[str, Any] = {
        "contact_id": "contact-4711", "event_source_url": "https://shop.example/ann?utm_source=x",
        "custom_params": {"content_name": "Call with Ann"}, "external_id": "crm-4711",
        "first_name": "Ann", "fbclid": "IwAR_abcdef", "gclid": "Cj0-abcdefghijklmnopqrstuvwxyz",
        "fbp": "fb.1.1700000000000.4711",
    }  # fmt: skip
    for http in (acme, lumen):
        made = http("POST", "/conversions", json=sale(**of_them))
        id = made.json()["id"]
        target = {"destination": made.json()["deliveries"][0]["destination"]}
        answers = [
            made,
            http("POST", "/conversions", json=sale(**of_them)),
            http("POST", "/conversions/batch", json={"events": [sale(**of_them), sale(2)]}),
            http("GET", "/conversions"),
            http("GET", f"/conversions/{id}"),
            http("PATCH", f"/conversions/{id}", json={**target, "sync_status": "skipped"}),
            http("GET", "/destinations"),
            http("GET", "/conversions/sync"),
            http("POST", "/erasure", json={"email": PERSON["email"]}),
        ]
        assert [one.status_code for one in answers] == [201, *[200] * 8]
        shown = " ".join(one.text for one in answers).lower()
        # Longer than "4711", which an id or a time may hold by chance.
        mine = ("contact-4711", "crm-4711", "000.4711", "shop.example")
        for word in (*mine, "ann", "iwar", "cj0-", "jane", "192.0.2"):
            assert word not in shown, word
        assert (made.json()["has_contact_id"], "contact_id" in made.json()) == (True, False)


def test_who_has_no_valid_key_is_refused(url: str, uri: str, acme: Client) -> None:
    """Anybody may read and write conversions."""
    valid = key(uri)
    expired = key(uri, expires=datetime.now(UTC) - timedelta(seconds=1))
    later = key(uri, expires=datetime.now(UTC) + timedelta(minutes=1))
    revoked = key(uri)
    with wh.connect(uri, autocommit=True) as connection:
        keys.revoke(connection, revoked.split("_")[1])
        shown = str(keys.listed(connection))
    forged = valid[:-2] + ("AA" if not valid.endswith("AA") else "BB")
    other_id = f"tk_{'0' * 12}_{valid.split('_', 2)[2]}"
    routes = [
        ("POST", "/conversions"), ("POST", "/conversions/batch"), ("GET", "/conversions"),
        ("GET", f"/conversions/{uuid4()}"), ("PATCH", f"/conversions/{uuid4()}"),
        ("DELETE", f"/conversions/{uuid4()}"), ("POST", "/conversions/sync"),
        ("GET", "/conversions/sync"), ("GET", "/destinations"), ("PATCH", "/destinations/x"),
        ("POST", "/erasure"),
    ]  # fmt: skip
    for bad in (None, "", "tk_", "x" * 60, expired, revoked, forged, other_id):
        for method, path in routes:
            answer = Client(url, bad)(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert Client(url, later)("GET", "/conversions").status_code == 200
    stored = query(uri, "select string_agg(k::text, '') as all from ops.api_keys as k")[0]["all"]
    for one in (valid, later, revoked):
        assert one.split("_", 2)[2] not in stored + shown


def test_a_key_has_so_many_requests_a_minute(uri: str) -> None:
    """A client in a loop takes the API away from all others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIBUTARY_RATE_LIMIT", "3/minute")
        with edge(uri) as url:
            busy, calm = Client(url, key(uri)), Client(url, key(uri))
            answers = [busy("GET", "/conversions/sync") for _ in range(5)]
            assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
            assert calm("GET", "/conversions/sync").status_code == 200


def _set(uri: str, status: str, outcome: str | None = None) -> None:
    said = f"'{outcome}'" if outcome else "null"
    execute(uri, f"update ops.conversion_deliveries set sync_status = '{status}', outcome = {said}")


def test_deliveries_change_by_hand_where_they_may(acme: Client, uri: str) -> None:
    """A person cannot mend what is dead, or sends twice what was sent."""
    made = acme("POST", "/conversions", json=sale()).json()
    path = f"/conversions/{made['id']}"

    def change(wanted: str, destination: str = "acme-meta") -> dict[str, str]:
        return {"destination": destination, "sync_status": wanted}

    row = acme("PATCH", path, json=change("skipped")).json()
    assert [(d["sync_status"], d["outcome"]) for d in row["deliveries"]] == [("skipped", "by_hand")]
    for status in ("skipped", "failed", "dead"):
        _set(uri, status, "attempts")
        row = acme("PATCH", path, json=change("pending")).json()
        assert [(d["sync_status"], d["sync_attempts"]) for d in row["deliveries"]] == [
            ("pending", 0)
        ]
    never = {"pending": ("sent", "queued", "pending"), "skipped": ("failed", "sent", "dead")}
    for status, wanted in ((s, w) for w, some in never.items() for s in some):
        _set(uri, status)
        assert acme.faults("PATCH", path, json=change(wanted)) == ["sync_status"], (status, wanted)
    assert acme.faults("PATCH", path, json=change("sent")) == ["sync_status"]
    assert acme.faults("PATCH", path, json=change("pending", "other")) == ["destination"]
    assert acme.faults("PATCH", path, json={**change("pending"), "synced_at": "x"}) == ["synced_at"]
    assert acme.faults("PATCH", path, json={"sync_status": "pending"}) == ["destination"]
    _set(uri, "dead")
    execute(uri, "update ops.conversion_events set event_time = now() - interval '8 days'")
    assert acme.faults("PATCH", path, json=change("pending")) == ["sync_status"]
    execute(uri, "update ops.conversion_events set event_time = now(), "
                 "consent = '{\"ad_user_data\": false}'")  # fmt: skip
    assert acme.faults("PATCH", path, json=change("pending")) == ["sync_status"]
    assert acme("PATCH", f"/conversions/{uuid4()}", json=change("pending")).status_code == 404
    assert acme.faults("GET", "/conversions/one") == ["id"]


_PERSONAL = (
    "user_hashes, google_address, consent, custom_params, user_ip, user_agent, event_source_url, "
    "contact_id, fbp, fbc, gclid, gbraid, wbraid, user_email_hash, user_phone_hash"
)


def test_a_deleted_conversion_leaves_its_count_and_does_not_come_back(
    acme: Client, uri: str
) -> None:
    """Personal data stays after the request to delete it, or returns with the next
    import.
    """
    full = sale(
        contact_id="c-1", fbclid="IwAR_abcdef", fbp="fb.1.1700000000000.1", gclid="g",
        gbraid="g", wbraid="w", event_source_url="https://shop.example/x",
        custom_params={"content_name": "x"}, zip="10001", country="US", consent_ad_user_data=True,
    )  # fmt: skip
    both = [{**full, "event_id": f"e{n}", "transaction_id": f"T-{n}"} for n in (1, 2)]
    ids = [acme("POST", "/conversions", json=one).json()["id"] for one in both]
    execute(
        uri, f"update ops.conversion_deliveries set sync_status = 'sent' where event = '{ids[1]}'"
    )
    for id_ in ids:
        assert query(uri, "select contact_id from ops.contacts") == [{"contact_id": "c-1"}]
        assert acme("DELETE", f"/conversions/{id_}").status_code == 204
        assert acme("GET", f"/conversions/{id_}").status_code == 404
        assert acme("DELETE", f"/conversions/{id_}").status_code == 404
    assert acme("GET", "/conversions").json()["count"] == 0
    assert query(uri, "select fbc from ops.contacts") == []  # it came with what was deleted
    assert states(uri) == {("skipped", "erased"): 1, ("sent", None): 1}
    for row in query(uri, f"select {_PERSONAL} from ops.conversion_events"):
        assert not any(row.values()), row
    assert acme.faults("POST", "/conversions", json=both[0]) == ["event_id"]
    assert acme.faults("POST", "/conversions", json={**both[0], "event_id": "e9"}) == ["event_id"]
    other = {**full, "event_id": "e3", "transaction_id": "T-3"}  # the person may buy again
    assert acme("POST", "/conversions", json=other).status_code == 201


def test_a_person_is_forgotten(acme: Client, uri: str) -> None:
    """A data-subject request leaves something, takes somebody else's, or is undone
    later.
    """
    gmail = {"email": "j.roe@gmail.com", "phone": None}
    acme("POST", "/conversions", json=sale(1, contact_id="c-1", fbp="fb.1.1700000000000.1"))
    acme(
        "POST", "/conversions", json={"event_name": "Lead", "contact_id": "c-1", "ip": "192.0.2.1"}
    )
    acme(
        "POST",
        "/conversions",
        json=sale(2, email="somebody@example.com", phone=None, contact_id="c-2"),
    )
    acme("POST", "/conversions", json=sale(3, **gmail))
    execute(
        uri,
        "update ops.conversion_deliveries set sync_status = 'sent' from "
        "ops.conversion_events as e where e.id = event and e.event_name = 'Lead'",
    )
    found = acme("POST", "/erasure", json={"email": " JANE.ROE@example.com"})
    assert found.status_code == 200
    assert found.json()["erased"] == [
        {
            "brand": "acme", "events": 2, "deliveries_skipped": 1, "contacts": 1,
            "webhook_payloads": 0, "already_sent": {"acme-meta": 1},
        }
    ]  # fmt: skip
    assert "jane" not in found.text.lower()
    left = acme("GET", "/conversions").json()
    assert sorted(row["event_id"] for row in left["data"]) == ["order-2", "order-3"]
    assert query(uri, "select contact_id from ops.contacts") == [{"contact_id": "c-2"}]
    again = sale(7, email="Jane.Roe@example.com", phone=None)
    assert acme.faults("POST", "/conversions", json=again) == ["event_id"]
    # Google reads a Gmail address without its dots: it is the same person.
    assert (
        acme("POST", "/erasure", json={"email": "jroe@gmail.com"}).json()["erased"][0]["events"]
        == 1
    )
    assert acme.faults("POST", "/conversions", json=sale(8, **gmail)) == ["event_id"]
    by_phone = {"phone": "(212) 555-0123", "country": "US"}
    assert acme("POST", "/erasure", json=by_phone).json()["erased"][0]["events"] == 0
    assert acme.faults("POST", "/conversions", json=sale(9, email=None)) == ["event_id"]
    assert acme.faults("POST", "/erasure", json={}) == ["email"]
    assert acme.faults("POST", "/erasure", json={"phone": "twelve"}) == ["phone"]
    assert acme("POST", "/erasure", json={"email": "a\x00b"}).status_code == 422


def test_what_was_erased_never_leaves(acme: Client, uri: str) -> None:
    """A delivery that was with a worker, or is retried, sends an erased person's
    event.
    """
    from tributary.deliver import destinations, outbox
    from tributary.deliver.upload import upload
    from tributary.platforms.meta.client import Graph

    from tests.support.outgoing import sandbox_with_pixels

    made = acme("POST", "/conversions", json=sale()).json()
    execute(uri, "update ops.conversion_deliveries set sync_status = 'dead', outcome = 'attempts'")
    assert acme("DELETE", f"/conversions/{made['id']}").status_code == 204
    with wh.connect(uri, autocommit=True) as connection:
        now = outbox.now_of(connection)
        assert outbox.retry(connection, now) == {"acme-meta": 1}
        target = destinations.one(connection, "acme-meta", now)

    from tributary.platforms import registry

    from tests.support.outgoing import TOKEN

    with sandbox_with_pixels() as sandbox:
        client = Graph(TOKEN, host=sandbox.url)
        upload(uri, target, lambda: registry.platform("meta").sender(client, target.settings))
        assert sandbox.events.ledger("2000000077") == {}
    assert states(uri) == {("skipped", "erased"): 1}


def test_a_contact_keeps_its_click(acme: Client, uri: str) -> None:
    """Meta attributes a purchase to the day it was made, not to the click weeks
    before.
    """
    at = datetime.now(UTC) - timedelta(days=3)
    acme("POST", "/conversions", json={
        "event_name": "Lead", "contact_id": "c-1", "fbclid": "IwAR_abcdef", "ad_id": "77",
        "event_time": at.isoformat()})  # fmt: skip
    acme("POST", "/conversions", json=sale(1, contact_id="c-1", fbclid="IwAR_abcdef"))
    acme("POST", "/conversions", json=sale(2, contact_id="c-1", fbclid="IwAR_another"))
    acme("POST", "/conversions", json=sale(3, contact_id="c-1", fbp="fb.1.1700000000000.1"))
    found = query(
        uri, "select fbc from ops.conversion_events where fbc is not null order by event_id"
    )
    fbcs = [row["fbc"] for row in found]
    first = f"fb.1.{int(at.timestamp() * 1000)}.IwAR_abcdef"
    assert fbcs.count(first) == 2
    contact = query(uri, "select * from ops.contacts")[0]
    assert (contact["fbclid"], contact["ad_id"], contact["fbp"]) == (
        "IwAR_another", "77", "fb.1.1700000000000.1",
    )  # fmt: skip
    assert abs(contact["first_seen_at"] - at) < timedelta(seconds=1)


def test_destinations_pause_and_resume(acme: Client, uri: str) -> None:
    """A person cannot stop a destination, or an upload under way resumes it."""
    from tributary.deliver import destinations

    paused = acme("PATCH", "/destinations/acme-meta", json={"paused": True, "reason": "Audit"})
    row = paused.json()
    assert (row["is_paused"], row["paused_reason"], row["paused_until"]) == (True, "Audit", None)
    with wh.connect(uri, autocommit=True) as connection:
        now = datetime.now(UTC)
        destinations.hold(connection, "acme-meta", now, "a throttle", 60)
        destinations.recovered(connection, "acme-meta", now)
        assert destinations.one(connection, "acme-meta", now).paused == "until it is resumed: Audit"
    row = acme("PATCH", "/destinations/acme-meta", json={"paused": False}).json()
    assert (row["is_paused"], row["paused_reason"]) == (False, None)
    assert acme("PATCH", "/destinations/nowhere", json={"paused": True}).status_code == 404
    assert acme.faults("PATCH", "/destinations/acme-meta", json={"is_active": False}) == [
        "is_active"
    ]


def test_only_the_apis_own_settings_change(acme: Client, lumen: Client) -> None:
    """The settings file and the API overwrite each other, or nonsense is stored."""
    refused = acme("PATCH", "/destinations/acme-meta", json={"settings": {"batch_size": 10}})
    assert refused.status_code == 409
    assert "managed_by" in refused.json()["detail"]
    path = "/destinations/lumen-meta"
    changed = lumen("PATCH", path, json={"settings": {"batch_size": 10, "events": ["Purchase"]}})
    assert changed.json()["settings"]["batch_size"] == 10
    assert changed.json()["settings"]["pixel_id"]
    for wrong, field in (
        ({"batch_size": 0}, "settings.batch_size"),
        ({"colour": "red"}, "settings"),
        ({"conn_id": "meta_acme2"}, "settings"),
        ({"platform": "posthog"}, "settings"),
    ):
        assert lumen.faults("PATCH", path, json={"settings": wrong}) == [field]
    assert lumen("GET", "/destinations").json()["data"][0]["settings"] == changed.json()["settings"]
    nul = lumen("PATCH", path, json={"settings": {"test_event_code": "a\u0000"}})
    assert (nul.status_code, "NUL" in nul.json()["detail"]) == (422, True)


def test_sync_status_counts_what_waits(acme: Client, uri: str) -> None:
    """The growth team sees that all is sent while events wait."""
    acme("POST", "/conversions", json=sale())
    execute(uri, "update ops.destinations set last_sync_at = now(), last_sync_status = 'ok', "
                 "last_sync_count = 3 where name = 'acme-meta'")  # fmt: skip
    status = acme("GET", "/conversions/sync").json()["status"]
    brand = query(uri, "select id::text as id from ops.brands where slug = 'acme'")[0]["id"]
    assert len(status) == 1
    assert status[0].pop("last_sync_at")
    assert status == [
        {
            "brand_id": brand, "brand_name": "Acme", "brand": "acme", "is_active": True,
            "last_sync_status": "ok", "last_sync_count": 3, "pending_events": 1,
        }
    ]  # fmt: skip


def test_nothing_can_be_triggered_without_an_airflow(acme: Client) -> None:
    """The caller believes that an upload has started."""
    answer = acme("POST", "/conversions/sync")
    assert answer.status_code == 503
    assert "TRIBUTARY_AIRFLOW_URL" in answer.json()["detail"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIBUTARY_AIRFLOW_URL", "http://127.0.0.1:9")
        patch.setenv("TRIBUTARY_AIRFLOW_TOKEN", "a-token-that-nobody-must-see")
        answer = acme("POST", "/conversions/sync")
    assert answer.status_code == 502
    assert "token-that" not in answer.text


def test_a_restart_of_the_warehouse_is_not_noticed(acme: Client, uri: str) -> None:
    """After a restart as many requests fail as the pool had connections."""
    assert acme("GET", "/conversions").status_code == 200
    gone = query(  # and waits, up to 10 s, until they are
        uri, "select pg_terminate_backend(pid, 10000) as done from pg_stat_activity "
             "where application_name = 'tributary-api' and datname = current_database()",
    )  # fmt: skip
    assert gone
    assert all(row["done"] for row in gone)
    assert acme("POST", "/conversions", json=sale()).status_code == 201


def test_a_warehouse_that_moved_is_followed(uri: str) -> None:
    """After a change of the connection's password the API is down until it is
    restarted.
    """
    from tributary.api.app import edge as make

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIBUTARY_WAREHOUSE", uri.replace("postgresql://", "postgresql://nobody-"))
        app = make()
        app.state.database.patience = 0.3
        with serving(app) as url:
            http = Client(url, key(uri))
            assert http("GET", "/conversions").status_code == 503
            patch.setenv("TRIBUTARY_WAREHOUSE", uri)
            assert http("GET", "/conversions").status_code == 200


def test_a_warehouse_that_is_down_is_told_so(uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A client gives up on an outage, or the log names the password."""
    from tributary.api.app import edge as make

    before = os.environ.get("TRIBUTARY_WAREHOUSE")
    try:
        os.environ["TRIBUTARY_WAREHOUSE"] = uri.replace("postgresql://", "postgresql://nobody-")
        app = make()
        app.state.database.patience = 0.5
        with serving(app) as url:
            answer = Client(url, "tk_" + "0" * 12 + "_" + "A" * 43)("GET", "/conversions")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
    finally:
        if before is not None:
            os.environ["TRIBUTARY_WAREHOUSE"] = before
        else:
            del os.environ["TRIBUTARY_WAREHOUSE"]
