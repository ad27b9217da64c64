"""Erasure: a person who is known by every way in is gone from every table and every file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tributary import warehouse as wh
from tributary.deliver import brands, erasure, files, intake, outbox, transactions
from tributary.errors import WarehouseError

from tests.support.edge import Client, empty_outbox, key, opened, post, two_brands
from tests.support.loads import query
from tests.support.outgoing import execute

PHONE = "+12125550199"
# In clear, and as hashes: nothing of it may be left.
MARKS = {
    "mail": "Wanda.Quill@example.com", "phone": PHONE, "first": "Wandaxyz", "last": "Quillxyz",
    "external": "crm-wanda-77", "contact": "wandas-contact-1", "chat": "wandas-chat-2",
    "profile": "wandas-profile-3", "seen": "wandas-visit-4", "ip": "198.51.100.77",
    "agent": "Mozilla/5.0 (Wandas browser)", "fbclid": "IwAR_wandas_click",
    "fbp": "fb.1.1764000000000.7700770077", "gclid": "Cj0wandasgclid",
}  # fmt: skip
HER = {"email": MARKS["mail"], "phone": PHONE, "first_name": MARKS["first"]}


@pytest.fixture(scope="module")
def uri(module_warehouse: str) -> str:
    two_brands(module_warehouse, default_country="US")
    return module_warehouse


@pytest.fixture(scope="module")
def http(uri: str) -> Iterator[Client]:
    with opened(uri) as client:
        yield client


@pytest.fixture(autouse=True)
def empty(uri: str) -> None:
    empty_outbox(uri, "ops.refused_files", "app.transactions", "app.profiles")


def _erase(http: Client, uri: str, brand: str = "acme", **person: str) -> dict[str, Any]:
    answer = Client(http.url, key(uri, brand))("POST", "/erasure", json=person)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["erased"][0]
    return found


def _take(uri: str, *events: dict[str, Any], brand: str = "acme") -> list[str]:
    with wh.connect(uri, autocommit=True) as connection:
        receipts = intake.take(
            connection, brands.load(connection)[brand],
            [{"event_name": "Lead", **event} for event in events],
            source="test", now=outbox.now_of(connection),
        )  # fmt: skip
    return [receipt.status for receipt in receipts]


def _posted(http: Client, source: str, payload: dict[str, Any]) -> str:
    return str(post(http, source, payload).json()["status"])


def _everything(uri: str) -> str:
    """All rows of `ops` as text; of the suppressions, whose hashes are their purpose, not those."""
    tables = query(uri, "select table_name as name from information_schema.tables "
                        "where table_schema = 'ops' and table_type = 'BASE TABLE'")  # fmt: skip
    text = []
    for table in tables:
        left_out = "hash" if table["name"] == "erasures" else ""
        rows = f"select (to_jsonb(t) - '{left_out}')::text as row from ops.{table['name']} as t"
        text += [row["row"] for row in query(uri, rows)]
    assert len(tables) > 10
    return "\n".join(text)


def _traces(uri: str, *folders: Path) -> list[str]:
    """Which marks are left, in clear or hashed, in the tables or in files."""
    hay = _everything(uri) + "".join(
        path.read_text(errors="replace")
        for folder in folders for path in folder.rglob("*") if path.is_file()
    )  # fmt: skip
    hay = hay.lower()
    forms = {
        (name, form)
        for name, mark in MARKS.items()
        for text in (mark.lower(), mark.lower().lstrip("+"), f"contact|{mark}")
        for form in (text, hashlib.sha256(text.encode()).hexdigest())
    }
    return sorted({name for name, form in forms if form in hay})


def test_a_person_known_by_every_way_in_is_gone_from_every_table_and_file(
    http: Client, uri: str, tmp_path: Path
) -> None:
    """A person asks to be erased, reads that it is done, and is still stored."""
    # REST: with everything; by the phone alone; by the external id alone; by the contact alone.
    api = Client(http.url, key(uri))
    whole = {
        "event_name": "Purchase", "event_id": "order-1", "transaction_id": "T-1", "value": "9.90",
        "currency": "USD", **HER, "last_name": MARKS["last"], "external_id": MARKS["external"],
        "contact_id": MARKS["contact"], "ip": MARKS["ip"], "user_agent": MARKS["agent"],
        "fbp": MARKS["fbp"], "fbclid": MARKS["fbclid"], "gclid": MARKS["gclid"],
        "event_source_url": "https://shop.example/thanks", "country": "US",
    }  # fmt: skip
    for event in (
        whole,
        {"event_name": "Lead", "event_id": "by-phone", "phone": PHONE},
        {"event_name": "Lead", "event_id": "by-crm", "external_id": MARKS["external"]},
        {"event_name": "Lead", "event_id": "by-contact", "contact_id": MARKS["contact"]},
    ):
        assert api("POST", "/conversions", json=event).status_code == 201
    # Webhooks: taken, with the contact in the event's id; ignored; refused; a repetition.
    chat = {"contact_id": MARKS["chat"], "email": MARKS["mail"], "fbclid": MARKS["fbclid"]}
    assert _posted(http, "chatbot", {**chat, "id": "m1", "qualified": 1}) == "accepted"
    funnel = {"id": MARKS["chat"], "profile": {"email": MARKS["mail"]}, "funnelId": "f"}
    assert _posted(http, "perspective", funnel) == "accepted"
    seen = {"contact_id": MARKS["seen"], "phone": PHONE, "status": "talking",
            "fbclid": MARKS["fbclid"]}  # fmt: skip
    assert _posted(http, "chatbot", seen) == "ignored"
    refused = {**chat, "id": "m2", "qualified": 1, "timestamp": "1850-01-01T00:00:00Z"}
    assert post(http, "chatbot", refused).status_code == 422
    # The user's own tables, and a file with lines that are taken and lines that are refused.
    execute(uri, "insert into app.profiles (profile_id, brand_slug, email) values (%s, 'acme', %s)",
            [MARKS["profile"], MARKS["mail"]])  # fmt: skip
    execute(uri, "insert into app.transactions (transaction_id, brand_slug, profile_id, status, "
                 "amount, currency, transacted_at, ip, user_agent) values ('T-9', 'acme', %s, "
                 "'completed', 5, 'USD', now() - interval '1 hour', %s, %s)",
            [MARKS["profile"], MARKS["ip"], MARKS["agent"]])  # fmt: skip
    assert transactions.enqueue(uri)["acme"]["accepted"] == 1
    drop = tmp_path / "in" / "leads.csv"
    drop.parent.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    drop.write_text(
        "event_name,event_id,email,phone,value\n"
        f"Lead,f-1,{MARKS['mail']},,\n"
        f"Lead,f-2,,{PHONE},twelve\n"
        "Lead,f-3,other@example.com,,eleven\n"
    )
    with wh.connect(uri, autocommit=True) as connection:
        report = files.import_file(connection, drop, "acme", outbox.now_of(connection))
    assert (report.accepted, len(report.refused)) == (1, 2)
    file = report.refused_file
    assert file is not None
    file.rename(out / file.name)  # an own folder, to be searched without the user's file
    execute(uri, "update ops.refused_files set path = %s", [str(out / file.name)])
    # Somebody else of the brand, and herself at another brand, stay.
    _take(uri, {"event_id": "else", "email": "other@example.com", "phone": "+12125550111"})
    _take(uri, {"event_id": "hers", **HER}, brand="lumen")
    assert len(_traces(uri, out)) == len(MARKS)

    done = _erase(http, uri, email=MARKS["mail"])
    others = query(uri, "select event_id, user_hashes <> '{}' as kept from ops.conversion_events "
                        "as e where event_id in ('else', 'hers') order by 1")  # fmt: skip
    assert others == [{"event_id": "else", "kept": True}, {"event_id": "hers", "kept": True}]
    _erase(http, uri, "lumen", email=MARKS["mail"])
    assert _traces(uri, out) == []
    assert (done["events"], done["contacts"], done["refused_files"]) == (8, 3, 1)
    assert not (out / file.name).exists()

    # By each of her ways back in, too.
    assert _take(uri, {"phone": PHONE}, {"contact_id": MARKS["seen"]}) == ["refused", "refused"]
    assert _posted(http, "chatbot", {**chat, "id": "m3", "qualified": 1}) == "ignored"
    assert _posted(http, "chatbot", {**seen, "id": "m4", "phone": None}) == "ignored"
    assert _posted(http, "perspective", funnel) == "ignored"
    assert transactions.enqueue(uri)["acme"]["accepted"] == 0
    with wh.connect(uri, autocommit=True) as connection:
        again = files.import_file(connection, drop, "acme", outbox.now_of(connection))
    assert (again.accepted, len(again.refused)) == (0, 3)
    assert again.refused_file is not None
    assert again.refused_file.read_text().count("\n") == 2  # the header, and somebody else's line
    assert _traces(uri, out) == []


def test_what_others_carry_as_well_says_nothing_of_a_person(http: Client, uri: str) -> None:
    """Erasing one customer erases all customers for whom the till writes the shop's phone."""
    shop = "+12125550123"
    _take(uri, *({"event_id": f"till-{n}", "email": f"till.{n}@example.com", "phone": shop,
                  "external_id": "guest", "contact_id": f"c-{n}"} for n in range(3)),
          {"event_id": "guest", "external_id": "guest"})  # fmt: skip
    assert _erase(http, uri, email="till.0@example.com")["events"] == 1
    left = query(uri, "select event_id from ops.conversion_events where erased_at is null "
                      "order by 1")  # fmt: skip
    assert [row["event_id"] for row in left] == ["guest", "till-1", "till-2"]
    assert _take(uri, {"email": "till.9@example.com", "phone": shop}) == ["accepted"]
    assert _take(uri, {"email": "till.0@example.com"}) == ["refused"]


def test_a_contact_that_many_people_have_is_no_person(http: Client, uri: str) -> None:
    """Erasing one walk-in customer refuses all others, or the rest of a household."""
    _take(uri, *({"event_id": f"till-{n}", "email": f"till.{n}@example.com", "contact_id": "guest"}
                 for n in range(5)))  # fmt: skip
    assert _erase(http, uri, email="till.0@example.com")["events"] == 1
    assert _take(uri, {"email": "till.3@example.com", "contact_id": "guest"}) == ["accepted"]
    home = "+12125550177"
    _take(uri, {"event_id": "his", "email": "v@example.com", "phone": home},
          {"event_id": "both", "email": "w@example.com", "phone": home},
          {"event_id": "hers", "email": "w@example.com"})  # fmt: skip
    assert _erase(http, uri, email="v@example.com", phone=home)["events"] == 2
    assert _take(uri, {"event_id": "later", "email": "w@example.com"}) == ["accepted"]


def test_a_phone_is_read_for_an_erasure_as_it_was_at_intake(
    http: Client, uri: str, tmp_path: Path
) -> None:
    """Who gives the number as the shop has it is not found, and reads that all is erased."""
    phone = "(212) 555-0188"
    assert _take(uri, {"event_id": "national", "phone": phone}) == ["accepted"]
    assert _erase(http, uri, phone=phone)["events"] == 1
    assert _take(uri, {"phone": "+1 212 555 0188"}) == ["refused"]
    file = tmp_path / "leads.csv"
    file.write_text(f"event_name,phone,value\nLead,{phone},many\n")
    with wh.connect(uri, autocommit=True) as connection:
        report = files.import_file(connection, file, "acme", outbox.now_of(connection))
    assert report.refused_file is None  # she was erased before
    lumen = Client(http.url, key(uri, "lumen"))  # has no default country
    assert lumen.faults("POST", "/erasure", json={"phone": phone}) == ["phone"]


def test_a_file_on_another_machine_is_said_to_be_left(http: Client, uri: str) -> None:
    """The answer says that everything is erased, though a file elsewhere has her address."""
    hashes = erasure.person_hashes({"email": MARKS["mail"]})
    execute(uri, "insert into ops.refused_files (host, path, brand_id, hashes) select "
                 "'elsewhere', '/data/leads.refused.csv', id, %s from ops.brands where "
                 "slug = 'acme'", [hashes])  # fmt: skip
    assert "refused_files" not in _erase(http, uri, "lumen", email=MARKS["mail"])
    assert _erase(http, uri, email=MARKS["mail"])["refused_files_left"] == 1


def test_no_downgrade_forgets_who_is_to_be_forgotten(warehouse: str) -> None:
    """A release is taken back and up again, and erased people are taken as new ones."""
    two_brands(warehouse)
    _take(warehouse, {"event_id": "e-1", **HER})
    with wh.connect(warehouse, autocommit=True) as connection:
        brand = brands.load(connection)["acme"]
        now = outbox.now_of(connection)
        erasure.erase_person(connection, brand.id, {"email": MARKS["mail"]}, now)
    before = query(warehouse, "select hash, event_id from ops.erasures order by id")
    assert len(before) > 2
    erased = "select erased_at from ops.conversion_events"
    was = query(warehouse, erased)
    wh.migrate(warehouse, "0005")
    wh.migrate(warehouse)
    assert query(warehouse, erased) == was
    with pytest.raises(WarehouseError, match="asked to be forgotten"):
        wh.migrate(warehouse, "base")
    assert query(warehouse, "select hash, event_id from ops.erasures order by id") == before
    assert _take(warehouse, HER) == ["refused"]
