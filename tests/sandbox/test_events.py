"""The Conversions API as a client meets it: what it refuses, what it counts, and how it fails."""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import requests
from facebook_business.adobjects.adspixel import AdsPixel
from facebook_business.adobjects.serverside.action_source import ActionSource
from facebook_business.adobjects.serverside.custom_data import CustomData
from facebook_business.adobjects.serverside.event import Event
from facebook_business.adobjects.serverside.event_request import EventRequest
from facebook_business.adobjects.serverside.gender import Gender
from facebook_business.adobjects.serverside.user_data import UserData
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession

from sandbox import requests as kept_requests
from sandbox.conversions import ACTION_SOURCES
from sandbox.faults import Fault
from sandbox.graph import Token
from sandbox.server import Sandbox
from sandbox.world import World
from tests.support.graph import EU, ID, LUMEN, NOON, PROOF, START, US

ACME, PIXEL, LUMEN_PIXEL = "sandbox-token-acme", "2000000001", "2000000003"

NOW = int(NOON.timestamp())
DAY = 86_400
HASH = sha256(b"jane@example.com").hexdigest()
AGENT = "Mozilla/5.0 (X11; Linux x86_64)"
GONE = object()
NOT_HASHES: list[Any] = [
    "jane@example.com", HASH.upper(), HASH[:-1], "", [], [HASH, "jane"], None, 5, {},
]  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(World(START)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    running.clock.set(NOON)
    return running


def purchase(event_id: Any = "order-1", **changes: Any) -> dict[str, Any]:
    """A sound event of a website; a change to GONE takes a key away."""
    event: dict[str, Any] = {
        "event_name": "Purchase",
        "event_time": NOW - 60,
        "event_id": event_id,
        "action_source": "website",
        "event_source_url": "https://shop.example/thanks?order=1",
        "user_data": {"em": [HASH], "client_user_agent": AGENT, "client_ip_address": "192.0.2.7"},
        "custom_data": {"value": 12.5, "currency": "EUR", "size": "XL"},
        **changes,
    }
    if event_id is None:
        del event["event_id"]
    return {key: value for key, value in event.items() if value is not GONE}


def of_person(**user_data: Any) -> dict[str, Any]:
    """A sound event, but for these keys of its user data."""
    known = {"em": HASH, "client_user_agent": AGENT, **user_data}
    return purchase(user_data={k: v for k, v in known.items() if v is not GONE})


def post(
    sandbox: Sandbox, *events: Any, pixel: str = PIXEL, token: str = ACME, **more: Any
) -> requests.Response:
    """As a client of ours does it: JSON, the token in a header."""
    return requests.post(
        f"{sandbox.url}/v26.0/{pixel}/events",
        json={"data": list(events), **more},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )


def refused(response: requests.Response) -> tuple[int, int | None]:
    """Code and subcode of the error, which must be a complete Graph error."""
    error = response.json()["error"]
    assert response.status_code >= 400
    assert {"message", "type", "code", "is_transient", "fbtrace_id"} <= error.keys()
    return error["code"], error.get("error_subcode")


def totals(sandbox: Sandbox, pixel: str = PIXEL) -> tuple[int, int, int]:
    """Events that count, duplicates, requests."""
    found = sandbox.events.totals(pixel)
    assert found["received"] == found["events"] + found["duplicates"]  # no browser here
    return found["events"], found["duplicates"], found["requests"]


def add(sandbox: Sandbox, kind: str, **arguments: Any) -> Fault:
    return sandbox.faults.add(Fault(kind, **arguments))


# What is taken.


def test_the_sdk_posts_purchases(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox would refuse what Meta's own client sends."""
    monkeypatch.setattr(FacebookSession, "GRAPH", sandbox.url)
    session = FacebookSession(app_secret="sandbox-app-secret", access_token=LUMEN)
    pixel = AdsPixel(LUMEN_PIXEL, api=FacebookAdsApi(session))
    person = UserData(
        emails=["Jane@Example.com "], phones=["+1 415 555 0100"], first_names=["Jane"],
        genders=[Gender.FEMALE], dates_of_birth=["19800131"], external_ids=["u-1", "u-2"],
        client_ip_address="2001:db8::7", client_user_agent=AGENT, f5first="janed",
        fbc="fb.1.1767225600000.IwAR2_x-y", fbp="fb.1.1767225600000.1098115397",
        lead_id="123456789012345",
    )  # fmt: skip
    events = [
        Event(
            event_name="Purchase", event_time=NOW, event_id=f"sdk-{n}", user_data=person,
            event_source_url="https://lumen.example/", action_source=ActionSource.WEBSITE,
            custom_data=CustomData(value=9.9 * n, currency="EUR", content_ids=["sku"]),
            data_processing_options=[], opt_out=False,
        )
        for n in range(3)
    ]  # fmt: skip
    sent = EventRequest(pixel_id=LUMEN_PIXEL, events=events, test_event_code="TEST1")
    answer = pixel.create_event(fields=[], params=sent.get_params())
    assert answer["events_received"] == 3
    assert answer["messages"] == []
    assert answer["fbtrace_id"]
    assert totals(sandbox, LUMEN_PIXEL) == (3, 0, 1)
    last = sandbox.events.received[-1]
    assert last.event["user_data"]["em"] == [HASH]
    assert last.event["custom_data"] == {"value": 19.8, "currency": "eur", "content_ids": ["sku"]}
    assert (last.pixel, last.when, last.counted) == (LUMEN_PIXEL, NOON, True)
    assert last.test_event_code == "TEST1"
    events[1].custom_data = CustomData(value=1.0)
    sent = EventRequest(pixel_id=LUMEN_PIXEL, events=events)
    with pytest.raises(FacebookRequestError) as error:
        pixel.create_event(fields=[], params=sent.get_params())
    assert (error.value.api_error_code(), error.value.api_error_subcode()) == (100, 2804009)
    assert totals(sandbox, LUMEN_PIXEL) == (3, 0, 1)


def test_every_form_of_a_request(sandbox: Sandbox) -> None:
    """A client would work here that Meta does not understand, or the other way round."""
    named = purchase(custom_data={"value": 1, "currency": "EUR", "name": "50 % & é+=\n"})
    objects = orjson.dumps([named]).decode()
    texts = orjson.dumps([orjson.dumps(named).decode()]).decode()
    bearer = {"Authorization": f"Bearer {ACME}"}
    token = {"access_token": ACME}
    big = {"data": objects, "upload_tag": "x" * 2_000_000}
    for request in (
        {"json": {"data": [named], **token}},
        {"json": {"data": objects}, "headers": bearer},
        {"json": {"data": [orjson.dumps(named).decode()]}, "params": token},
        {"data": {"data": objects, **token}},
        {"data": {"data": texts}, "params": token},
        {"data": f"data={quote(objects)}&access_token={ACME}", "headers": {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8"}},
        {"files": {"data": (None, objects), "access_token": (None, ACME)}},
        {"files": {"data": (None, texts), "upload_tag": (None, "x")}, "headers": bearer},
        {"data": big, "headers": bearer},
        {"files": {k: (None, v) for k, v in big.items()}, "headers": bearer},
    ):  # fmt: skip
        answer = requests.post(f"{sandbox.url}/v26.0/{PIXEL}/events", timeout=10, **request)
        body = answer.json()
        assert answer.status_code == 200, body
        assert body.pop("fbtrace_id") == answer.headers["x-fb-trace-id"]
        assert body == {"events_received": 1, "messages": []}
        assert sandbox.events.received[-1].event == named
    assert totals(sandbox) == (1, 9, 10)
    for broken in ("a=%zz&data=x", "data=%", "data", "", "data=[{]"):
        answer = requests.post(
            f"{sandbox.url}/v26.0/{PIXEL}/events", broken, timeout=10,
            headers={**bearer, "content-type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        assert refused(answer) == (100, None)


@pytest.mark.parametrize(
    "parameters",
    [
        {"data": []},
        {"data": {}},
        {"data": None},
        {"data": 5},
        {"data": "purchase"},
        {"data": [1]},
        {"data": ["{"]},
        {"data": ["[]"]},
        {"data": [purchase()] * 1001},
        {"namespace": "x"},
        {"upload_id": "1"},
        {"test_event_code": ""},
        {"partner_agent": "x" * 23},
        {"partner_agent": "x-1"},
    ],
)
def test_parameters_are_refused(sandbox: Sandbox, parameters: dict[str, Any]) -> None:
    """The sandbox would accept a request that Meta refuses completely."""
    assert refused(post(sandbox, **{"data": [purchase()], **parameters})) == (100, None)
    assert totals(sandbox) == (0, 0, 0)


def test_a_request_of_all_parameters_and_a_thousand_events(sandbox: Sandbox) -> None:
    """A batch of 1000 events, Meta's maximum, could not be sent."""
    more = {"partner_agent": "x" * 22, "upload_tag": "a", "namespace_id": "b"}
    events = [purchase(f"order-{n}") for n in range(1000)]
    answer = post(sandbox, *events, **more, test_event_code="TEST2")
    assert answer.json()["events_received"] == 1000
    assert totals(sandbox) == (1000, 0, 1)


@pytest.mark.parametrize(
    ("event", "subcode"),
    [
        *((purchase(**{key: GONE}), None) for key in (
            "event_name", "event_time", "user_data", "action_source"
        )),
        (purchase(event_name=""), None),
        (purchase(event_name=None), None),
        (purchase(event_time=str(NOW)), None),
        (purchase(event_time=NOW + 0.5), None),
        (purchase(event_time=True), None),
        (purchase(event_id=7), None),
        (purchase(""), None),
        (purchase(action_source="web"), None),
        (purchase(action_source=["website"]), None),
        (purchase(user_data=[]), None),
        (purchase(event="Purchase"), None),
        (purchase(opt_out="true"), None),
        (purchase(event_source_url="shop.example"), None),
        (purchase(event_source_url=GONE), None),
        (of_person(client_user_agent=GONE), None),
        (purchase(event_time=NOW - 7 * DAY - 1), 2804003),
        (purchase(event_time=NOW + 1), 2804003),  # what lies ahead has the same code
        (purchase(event_time=NOW - 62 * DAY - 1, action_source="physical_store"), 2804003),
        (purchase(custom_data=GONE), 2804009),
        (purchase(custom_data={"value": 1}), 2804009),
        (purchase(custom_data={"currency": "EUR"}), 2804009),
        *((purchase(custom_data={"value": value, "currency": "EUR"}), None) for value in (
            "12.50", -0.01, None, True, [1]
        )),
        *((purchase(custom_data={"value": 1, "currency": currency}), None) for currency in (
            "EURO", "XXX", "", None, 978
        )),
        *((of_person(em=value), 2804016) for value in NOT_HASHES),
        *((of_person(**{key: "berlin"}), 2804016) for key in (
            "ph", "fn", "ln", "db", "ge", "ct", "st", "zp", "country"
        )),
        *((of_person(client_ip_address=ip), None) for ip in ("192.0.2.256", "localhost", 7, HASH)),
        *((of_person(client_user_agent=agent), None) for agent in ("", HASH, None, [AGENT])),
        *((of_person(fbc=fbc), None) for fbc in (
            "IwAR2", "fb.1.1767225600.IwAR2", "fb.1.1767225600000.", HASH, ["fb.1"]
        )),
        *((of_person(fbp=fbp), None) for fbp in (
            "fb.1.1767225600000.IwAR2", "fb.x.1767225600000.5", "fb.1.1767225600000.5.x", HASH
        )),
        *((of_person(lead_id=lead_id), 2804036) for lead_id in ("12", 12, 10**16, "x" * 15, True)),
        (of_person(external_id=[""]), None),
        (of_person(external_id=5), None),
        (of_person(email=HASH), None),
        (of_person(page_id=HASH), None),
        (purchase(user_data={}), 2804050),
        (purchase(action_source="app"), 2804043),
        (purchase(action_source="app", app_data={"extinfo": ["a2"] * 15}), 2804043),
        (purchase(action_source="app", app_data={"extinfo": ["x"] * 16}), 2804043),
        (purchase(app_data="x"), None),
        (purchase(action_source="business_messaging"), None),
        (purchase(action_source="business_messaging", messaging_channel="sms"), None),
        (purchase(action_source="business_messaging", messaging_channel="whatsapp"), 2804116),
        (purchase(action_source="business_messaging", messaging_channel="whatsapp",
                  event_name="Lead"), 2804066),
        (purchase(data_processing_options=["LDU"]), None),
        (purchase(data_processing_options=["LDU"], data_processing_options_country=1), None),
        (purchase(data_processing_options=["GDPR"]), None),
        (purchase(data_processing_options=[], data_processing_options_country=2), None),
        (purchase(data_processing_options=[], data_processing_options_state=1014), None),
    ],
)  # fmt: skip
def test_one_bad_event_has_all_refused(
    sandbox: Sandbox, event: dict[str, Any], subcode: int | None
) -> None:
    """The sandbox would accept what Meta refuses, and the mistake would show in production."""
    answer = post(sandbox, *(purchase(f"sound-{n}") for n in range(20)), event, purchase("last"))
    assert answer.status_code == 400
    assert refused(answer) == (100, subcode)
    assert totals(sandbox) == (0, 0, 0)
    assert sandbox.events.ledger(PIXEL) == {}


@pytest.mark.parametrize(
    "event",
    [
        purchase(None),
        purchase(event_name="Bought a sofa", custom_data=GONE),
        purchase(event_time=NOW - 7 * DAY),
        purchase(event_time=NOW),
        purchase(event_time=NOW - 62 * DAY, action_source="physical_store"),
        purchase(custom_data={"value": 0, "currency": "idr"}),
        *(purchase(action_source=source, event_source_url=GONE, user_data={"em": HASH})
          for source in ACTION_SOURCES
          if source not in ("website", "app", "business_messaging")),
        of_person(em=[HASH, HASH], external_id=["ü 1", "2"], lead_id=123456789012345),
        of_person(em=GONE, client_ip_address="2001:db8::1"),
        of_person(fbc="fb.1.1767225600000.IwAR2_x-y.AQ", fbp="fb.0.1767225600000.5.AQYBAQAA"),
        purchase(action_source="app", app_data={"extinfo": ["i2", *[""] * 15]}),
        purchase(action_source="business_messaging", messaging_channel="whatsapp",
                 event_name="LeadSubmitted", user_data={"page_id": "1", "ctwa_clid": "x"}),
        purchase(action_source="business_messaging", messaging_channel="messenger",
                 user_data={"page_id": "1", "page_scoped_user_id": "2"}),
        purchase(action_source="business_messaging", messaging_channel="instagram",
                 user_data={"ig_account_id": "1", "ig_sid": "2"}),
        purchase(data_processing_options=[], opt_out=True),
        purchase(data_processing_options=["LDU"], data_processing_options_country=1,
                 data_processing_options_state=1013),
        purchase(referrer_url="https://x.example", customer_segmentation="new_customer_to_business",
                 original_event_data={"event_name": "Purchase"}, attribution_data={}),
    ],
)  # fmt: skip
def test_sound_events_are_taken(sandbox: Sandbox, event: dict[str, Any]) -> None:
    """The sandbox would refuse what Meta accepts."""
    answer = post(sandbox, event)
    assert answer.status_code == 200, answer.text
    assert totals(sandbox) == (1, 0, 1)


@pytest.mark.parametrize(
    "keys",
    [
        ("ct", "country", "st", "zp", "ge", "client_user_agent"),
        ("db", "client_user_agent"),
        ("fn", "ge"),
        ("ln", "ge"),
    ],
)
def test_people_must_be_told_apart(sandbox: Sandbox, keys: tuple[str, ...]) -> None:
    """Events with too little about a person would fail at Meta only."""
    known = {key: AGENT if key == "client_user_agent" else HASH for key in keys}
    for few in (known, *({key: value} for key, value in known.items())):
        said = purchase(action_source="email", user_data=few)
        assert refused(post(sandbox, said)) == (100, 2804050)
    enough = purchase(action_source="email", user_data={**known, "external_id": "7"})
    assert post(sandbox, enough).status_code == 200


def test_a_website_can_be_taken_as_it_was_observed(sandbox: Sandbox) -> None:
    """Only one of two readings of Meta's rules could be tested."""
    bare = purchase(event_source_url=GONE, user_data={"em": HASH})
    assert refused(post(sandbox, bare)) == (100, None)
    sandbox.graph.strict_website = False
    assert post(sandbox, bare).status_code == 200
    sandbox.reset()
    assert refused(post(sandbox, bare)) == (100, None)


def test_a_refusal_quotes_the_event_in_the_owners_language(sandbox: Sandbox) -> None:
    """A client could depend on error texts or event indexes, or log quoted personal data, without
    a failing test.
    """
    bad = of_person(em="jane.doe@example.com")
    error = post(sandbox, *[purchase()] * 7, bad).json()["error"]
    assert "jane.doe@example.com" in error["message"]
    assert "jane.doe@example.com" in error["error_user_msg"]
    assert "pelanggan" in error["error_user_msg"]
    assert "Tidak" in error["error_user_title"]
    assert not any(sign in error["message"] for sign in ("7", "[", "data."))


# Who may send.


def test_pixels_belong_to_tokens(sandbox: Sandbox) -> None:
    """One brand could write into the data of another, or with a token that is gone."""
    assert refused(post(sandbox, purchase(), token=LUMEN)) == (100, None)  # without proof
    assert post(
        sandbox, purchase(), token=LUMEN, pixel=LUMEN_PIXEL, appsecret_proof=PROOF
    ).status_code == 200  # fmt: skip
    assert refused(post(sandbox, purchase(), token=LUMEN, appsecret_proof=PROOF)) == (100, 33)
    assert refused(post(sandbox, purchase(), pixel=LUMEN_PIXEL)) == (100, 33)
    assert refused(post(sandbox, purchase(), pixel="9")) == (100, 33)
    assert refused(post(sandbox, purchase(), pixel=f"act_{US}")) == (100, 33)
    assert refused(post(sandbox, purchase(), token="nobody")) == (190, 467)
    own = Token(frozenset({ID}), pixels=frozenset({"77", PIXEL}))
    sandbox.tokens["own"] = own
    sandbox.tokens["bare"] = Token(frozenset(), pixels=frozenset({"78"}))
    for token, pixel, account in (("own", "77", ID), ("own", PIXEL, US), ("bare", "78", None)):
        assert post(sandbox, purchase(), token=token, pixel=pixel).status_code == 200
        assert sandbox.graph.tally["POST", "events", account] == 1
    revoked = sandbox.tokens.pop("own")
    answer = post(sandbox, purchase(), token="own", pixel="77")
    assert (answer.status_code, refused(answer)) == (401, (190, 467))
    sandbox.tokens["own"] = revoked
    assert post(sandbox, purchase(), token="own", pixel="77").status_code == 200
    sandbox.reset()
    assert sandbox.tokens.keys() == {ACME, LUMEN}


def test_a_pixel_can_be_looked_at(sandbox: Sandbox) -> None:
    """A connection could be tested only by sending an event."""
    url, bearer = f"{sandbox.url}/v26.0/{PIXEL}", {"Authorization": f"Bearer {ACME}"}

    def get(path: str = "", **params: str) -> requests.Response:
        return requests.get(url + path, params, headers=bearer, timeout=10)

    assert get(fields="id,name").json() == {"id": PIXEL, "name": f"Pixel {PIXEL}"}
    assert get().json() == {"id": PIXEL}
    assert get(fields="id,owner_business").json() == {"id": PIXEL}
    assert refused(get(fields="nom")) == (100, None)
    assert refused(get("/events")) == (100, None)
    assert refused(get("/insights")) == (100, None)
    assert refused(requests.post(url, headers=bearer, timeout=10)) == (100, 33)
    fault = add(sandbox, "object_missing", edge="object", pixel=PIXEL)
    assert refused(get(fields="id")) == (100, 33)
    assert fault.hits == 1


def test_events_count_against_the_accounts_calls(sandbox: Sandbox) -> None:
    """A client that ignores the usage headers would pass."""
    sandbox.set_usage(US, 86)
    usage = orjson.loads(post(sandbox, purchase()).headers["x-business-use-case-usage"])
    assert usage[US][0]["call_count"] == 86
    sandbox.set_usage(US, 100, minutes=3)
    answer = post(sandbox, purchase())
    assert refused(answer) == (80004, 2446079)
    usage = orjson.loads(answer.headers["x-business-use-case-usage"])
    assert usage[US][0]["estimated_time_to_regain_access"] == 3
    assert totals(sandbox) == (1, 0, 1)


# What counts.


def test_an_event_counts_once_in_48_hours(sandbox: Sandbox) -> None:
    """An event that is repeated too late, or with another id, would look as if it counted once."""
    event = purchase(event_time=NOW)
    for hours, counted, received in ((0, 1, 1), (1, 1, 2), (46.9, 1, 3), (0.1, 2, 4), (47, 2, 5)):
        sandbox.clock.advance(timedelta(hours=hours))
        assert post(sandbox, event).json()["events_received"] == 1
        assert sandbox.events.ledger(PIXEL) == {("Purchase", "order-1"): (counted, received)}
        assert sandbox.events.counted(PIXEL, "Purchase", "order-1") == counted
    assert [taken.counted for taken in sandbox.events.received] == [True, False, False, True, False]
    assert totals(sandbox) == (2, 3, 5)
    assert sandbox.events.counted(PIXEL, "Purchase", "order-2") == 0


def test_what_makes_two_events_the_same(sandbox: Sandbox) -> None:
    """The ledger would count different events as one, or one event as several."""
    named = purchase(event_name="AddToCart")
    changed = purchase(custom_data={"value": 99, "currency": "USD"})
    answer = post(sandbox, purchase(), purchase(), changed, named, purchase(None), purchase(None))
    assert answer.json()["events_received"] == 6
    assert totals(sandbox) == (4, 2, 1)
    sandbox.tokens["own"] = Token(frozenset({US}), pixels=frozenset({"77"}))
    post(sandbox, purchase(), token="own", pixel="77", test_event_code="TEST3")
    assert totals(sandbox, "77") == (1, 0, 1)
    post(sandbox, purchase(), token="own", pixel="77")  # the code changed nothing
    assert totals(sandbox, "77") == (1, 1, 2)
    assert sandbox.events.ledger(PIXEL) == {
        ("Purchase", "order-1"): (1, 3),
        ("AddToCart", "order-1"): (1, 1),
    }
    sandbox.events.clear()
    assert totals(sandbox) == (0, 0, 0)


def test_the_browser_may_have_been_first(sandbox: Sandbox) -> None:
    """An id that differs from the browser's would not show as an event counted twice."""
    sandbox.pixel_sent(PIXEL, "Purchase", "order-1")
    post(sandbox, purchase("order-1"), purchase("order-2"))
    sandbox.pixel_sent(PIXEL, "Purchase", "order-2")
    assert sandbox.events.ledger(PIXEL) == {
        ("Purchase", "order-1"): (1, 1),
        ("Purchase", "order-2"): (1, 1),
    }
    assert sandbox.events.totals(PIXEL) == {
        "events": 2, "duplicates": 1, "received": 2, "requests": 1,
    }  # fmt: skip
    sandbox.clock.advance(timedelta(hours=48))
    sandbox.pixel_sent(PIXEL, "Purchase", "order-1")
    assert sandbox.events.counted(PIXEL, "Purchase", "order-1") == 2


# What goes wrong.

REFUSALS = {
    "throttle_4": (400, 4, 1504022),
    "throttle_17": (400, 17, 2446079),
    "throttle_613": (400, 613, None),
    "throttle_80004": (400, 80004, 2446079),
    "blocked_368": (400, 368, 1390008),
    "token_expired": (401, 190, 463),
    "token_revoked": (401, 190, 460),
    "permission_10": (403, 10, None),
    "forbidden": (403, 200, None),
    "object_missing": (400, 100, 33),
    "busy": (500, 2, None),
    "error": (500, 1, None),
}


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize(("kind", "expected"), REFUSALS.items())
def test_refusals(
    sandbox: Sandbox, kind: str, expected: tuple[int, int, int | None], taken: bool
) -> None:
    """A client's handling of this code, with the events accepted or not, would not be tested."""
    fault = add(sandbox, kind, edge="events", taken=taken)
    answer = post(sandbox, purchase())
    assert (answer.status_code, *refused(answer)) == expected
    assert totals(sandbox) == ((1, 0, 1) if taken else (0, 0, 0))
    assert post(sandbox, purchase()).status_code == 200
    assert sandbox.events.counted(PIXEL, "Purchase", "order-1") == 1
    assert fault.hits == 1


@pytest.mark.parametrize("kind", [kind for kind in REFUSALS if kind.startswith("throttle")])
def test_throttles_hint_in_minutes(sandbox: Sandbox, kind: str) -> None:
    """A client that waits too little, or without end, would pass."""
    add(sandbox, kind, edge="events", minutes=7)
    answer = post(sandbox, purchase())
    (usage,) = orjson.loads(answer.headers["x-business-use-case-usage"])[US]
    assert usage["estimated_time_to_regain_access"] == 7
    fault = add(sandbox, kind, edge="events", until=NOON + timedelta(minutes=20))
    for left in (20, 10):
        (usage,) = orjson.loads(post(sandbox, purchase()).headers["x-business-use-case-usage"])[US]
        assert usage["estimated_time_to_regain_access"] == left
        sandbox.clock.advance(timedelta(minutes=10))
    assert post(sandbox, purchase()).status_code == 200
    assert fault.hits == 2


@pytest.mark.parametrize("taken", [False, True])
def test_answers_that_are_not_graphs(sandbox: Sandbox, taken: bool) -> None:
    """A client that treats any 200 as accepted would pass."""
    kinds = {"html_500": 500, "html_502": 502, "html_200": 200, "json_502": 502}
    for kind, status in kinds.items():
        add(sandbox, kind, edge="events", taken=taken)
        answer = post(sandbox, purchase(kind))
        assert (answer.status_code, "events_received" in answer.text) == (status, False)
        assert sandbox.events.counted(PIXEL, "Purchase", kind) == taken
    add(sandbox, "empty_json_200", edge="events", taken=taken)
    answer = post(sandbox, purchase())
    assert (answer.status_code, answer.json()) == (200, {})
    assert totals(sandbox)[0] == 5 * taken


def test_events_are_lost_and_the_answer_says_so(sandbox: Sandbox) -> None:
    """A client that does not compare `events_received` would lose events without an error."""
    fault = add(sandbox, "events_received_short", missing=2)
    events = [purchase(f"order-{n}") for n in range(5)]
    assert post(sandbox, *events).json()["events_received"] == 3
    assert [key[1] for key in sandbox.events.ledger(PIXEL)] == ["order-0", "order-1", "order-2"]
    assert post(sandbox, *events).json()["events_received"] == 5
    assert totals(sandbox) == (5, 3, 2)
    assert fault.hits == 1
    add(sandbox, "events_received_short", missing=9)
    assert post(sandbox, purchase()).json()["events_received"] == 0


def test_an_event_is_refused_for_no_reason_that_shows(sandbox: Sandbox) -> None:
    """A client that cannot find the bad event of a batch, or loses the others, would pass."""
    fault = add(sandbox, "refuse_event", event_id=["order-3", "order-5"], subcode=2804016)
    events = [purchase(f"order-{n}") for n in range(8)]
    sent = 0

    def send(part: list[dict[str, Any]]) -> None:
        nonlocal sent
        sent += 1
        if post(sandbox, *part).status_code == 400 and len(part) > 1:
            send(part[: len(part) // 2])
            send(part[len(part) // 2 :])

    error = post(sandbox, *events).json()["error"]
    assert (error["code"], error["error_subcode"]) == (100, 2804016)
    assert HASH in error["message"]
    assert "order-3" not in error["message"]
    send(events)
    left = {key[1] for key in sandbox.events.ledger(PIXEL)}
    assert left == {f"order-{n}" for n in (0, 1, 2, 4, 6, 7)}
    assert totals(sandbox) == (6, 0, sent - fault.hits + 1)
    assert post(sandbox, purchase("order-5")).status_code == 400  # each time, and alone
    add(sandbox, "refuse_event", event_id="alone", times=1)
    assert refused(post(sandbox, purchase("alone"))) == (100, 2804050)
    assert post(sandbox, purchase("alone")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        ("dropped", 0),
        ("dropped_after", 1),
        ("reset_in_body", 1),
        ("closed_in_body", 1),
        ("truncated_json", 1),
    ],
)
def test_the_connection_breaks(sandbox: Sandbox, kind: str, counted: int) -> None:
    """An unknown outcome could be taken for a failure, or for a success."""
    fault = add(sandbox, kind, edge="events")
    with pytest.raises((requests.RequestException, ValueError)):
        post(sandbox, purchase()).json()
    assert sandbox.events.counted(PIXEL, "Purchase", "order-1") == counted
    assert post(sandbox, purchase()).status_code == 200
    assert sandbox.events.ledger(PIXEL) == {("Purchase", "order-1"): (1, counted + 1)}
    assert fault.hits == 1


@pytest.mark.parametrize(("kind", "counted"), [("hang", 0), ("hang_after", 1)])
def test_an_answer_hangs(sandbox: Sandbox, kind: str, counted: int) -> None:
    """A test could not tell a lost response from a lost request."""
    add(sandbox, kind, edge="events", seconds=0.3)
    url = f"{sandbox.url}/v26.0/{PIXEL}/events?access_token={ACME}"
    with pytest.raises(requests.Timeout):
        requests.post(url, json={"data": [purchase()]}, timeout=0.1)
    time.sleep(0.3)
    assert sandbox.events.counted(PIXEL, "Purchase", "order-1") == counted
    for seconds in (0.1, 0):  # who waits, gets its answer and its events
        add(sandbox, kind, edge="events", seconds=seconds)
        assert post(sandbox, purchase(f"slow-{seconds}")).json()["events_received"] == 1
        assert sandbox.events.counted(PIXEL, "Purchase", f"slow-{seconds}") == 1


def test_a_client_dies_while_it_sends(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a request could be accepted, or stop the sandbox."""
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    address = ("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
    with socket.create_connection(address) as connection:
        head = f"POST /v26.0/{PIXEL}/events?access_token={ACME} HTTP/1.1\r\nHost: x\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 10000\r\n\r\n"
        connection.sendall(head.encode() + orjson.dumps({"data": [purchase()]}))
    time.sleep(0.1)
    assert post(sandbox, purchase("order-2")).status_code == 200
    assert sandbox.events.ledger(PIXEL) == {("Purchase", "order-2"): (1, 1)}
    assert len(sandbox.requests) == 1
    assert caplog.records == []


def test_a_fault_strikes_one_pixel(sandbox: Sandbox) -> None:
    """A test could not show that one brand's failures leave the others alone."""
    sandbox.tokens["own"] = Token(frozenset({US, ID}), pixels=frozenset({PIXEL, "77"}))
    faults = [
        add(sandbox, "busy", pixel="77"),
        add(sandbox, "busy", params={"pixel": "77"}),
        add(sandbox, "busy", edge="events", account_id=EU),
    ]
    assert post(sandbox, purchase(), token="own").status_code == 200
    statuses = [post(sandbox, purchase(), token="own", pixel="77").status_code for _ in range(3)]
    assert statuses == [500, 500, 200]
    lumen = {"token": LUMEN, "pixel": LUMEN_PIXEL, "appsecret_proof": PROOF}
    assert [post(sandbox, purchase(), **lumen).status_code for _ in range(2)] == [500, 200]
    assert [fault.hits for fault in faults] == [1, 1, 1]
    for kind, arguments in (
        ("busy", {"taken": True}),
        ("busy", {"taken": 1, "edge": "events"}),
        ("refuse_event", {}),
        ("refuse_event", {"event_id": 5}),
        ("events_received_short", {"missing": 0}),
        ("hang_after", {"seconds": 1, "edge": "ads"}),
        ("dropped_after", {"method": "GET"}),
    ):
        with pytest.raises(ValueError, match=kind + r"|must"):
            Fault(kind, **arguments)


# What tests look at.


def test_bodies_do_not_fill_the_memory(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run would use up the memory, or a test would search a body that is gone and find
    nothing.
    """
    monkeypatch.setattr(kept_requests, "_BODY_BYTES_KEPT", 3_000)
    for n in range(10):
        post(sandbox, purchase(f"order-{n}", referrer_url="x" * 500))
    assert len(sandbox.requests) == 10
    assert b"order-9" in sandbox.requests[-1].body
    assert sandbox.requests[-1].shown_params().keys() == {"data"}
    with pytest.raises(LookupError):
        _ = sandbox.requests[0].body
    assert sandbox.requests[0].shown_params() == {}
    sandbox.requests.clear()
    post(sandbox, purchase(), access_token="secret")
    (request,) = sandbox.requests
    assert b"secret" in request.body
    assert "secret" not in str(request.shown_params())


def test_another_process_looks_and_drives() -> None:
    """A test could not see what a killed client had sent."""
    command = [sys.executable, "-m", "sandbox", "--now", NOON.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        def ask(method: str, path: str, status: int = 200, **given: Any) -> Any:
            answer = requests.request(method, f"{url}/_sandbox/{path}", json=given, timeout=10)
            assert answer.status_code == status, answer.text
            return answer.json()

        def send(event_id: str, **more: Any) -> int:
            return requests.post(
                f"{url}/v26.0/77/events", timeout=10,
                json={"data": [purchase(event_id)], "access_token": "own", **more},
            ).status_code  # fmt: skip

        assert send("a") == 401
        token: dict[str, Any] = {
            "token": "own",
            "accounts": [US],
            "pixels": ["77"],
            "app_secret": None,
        }
        assert ask("POST", "tokens", **token) == token
        assert [send("a"), send("b", test_event_code="TEST4"), send("a")] == [200, 200, 200]
        ask("POST", "events", pixel="77", event_name="Purchase", event_id="c")
        assert [send("c"), send("d")] == [200, 200]
        assert ask("GET", "events/ledger?pixel=77") == {
            "totals": {"events": 4, "duplicates": 2, "received": 5, "requests": 5},
            "ledger": [
                ["Purchase", "a", 1, 2], ["Purchase", "b", 1, 1], ["Purchase", "c", 1, 1],
                ["Purchase", "d", 1, 1],
            ],
        }  # fmt: skip
        seen = ask("GET", "events?pixel=77&last=3")
        assert seen["totals"]["77"]["events"] == 4
        assert [(one["event"]["event_id"], one["counted"]) for one in seen["events"]] == [
            ("d", True), ("c", False), ("a", False),
        ]  # fmt: skip
        assert "own" not in str(seen)
        tested = ask("GET", "events?test_event_code=TEST4")["events"]
        assert [one["event"] for one in tested] == [purchase("b")]
        assert tested[0]["when"] == NOON.isoformat()
        assert ask("GET", "events?pixel=78")["events"] == []
        revoked = ask("DELETE", "tokens", token="own")
        assert revoked == {**token, "expires": None}
        assert send("e") == 401
        ask("POST", "tokens", **revoked)
        assert ask("POST", "latency", seconds=0.2) == ask("GET", "latency") == {"seconds": 0.2}
        began = time.monotonic()
        assert send("e") == 200
        assert time.monotonic() - began > 0.2
        assert ask("POST", "website", strict=False) == ask("GET", "website") == {"strict": False}
        ask("POST", "faults", kind="refuse_event", event_id="f", pixel="77")
        assert send("f") == 400
        (fault,) = ask("GET", "faults")
        assert (fault["hits"], fault["event_id"]) == (1, "f")
        assert ask("DELETE", "events") == {"totals": {}, "events": []}
        ask("POST", "reset")
        assert ask("GET", "latency") == {"seconds": 0}
        assert ask("GET", "website") == {"strict": True}
        assert send("g") == 401
        for method, path, given in (
            ("POST", "tokens", {"token": ""}),
            ("POST", "tokens", {"token": "x", "pixels": "77"}),
            ("POST", "tokens", {"token": "x", "expires": "2026-10-29"}),
            ("POST", "tokens", {"token": "x", "pixel": "77"}),
            ("DELETE", "tokens", {"token": "x"}),
            ("POST", "latency", {"seconds": -1}),
            ("POST", "latency", {}),
            ("POST", "website", {"strict": 1}),
            ("POST", "events", {"pixel": "77"}),
            ("GET", "events/ledger", {}),
        ):
            assert ask(method, path, 400, **given).keys() == {"error"}
        process.terminate()
        assert process.wait(10) == 0
