"""Each fault does on the wire what it says, to the calls it is meant for, and counts itself."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
import requests
from dateutil.relativedelta import relativedelta

from sandbox.faults import Fault
from sandbox.presets import KINDS
from sandbox.server import Sandbox
from sandbox.world import World
from tests.support.graph import (
    EVERY,
    EVERY_STATUS,
    ID,
    NOON,
    QUERY,
    START,
    US,
    Client,
    batch,
    start,
    state,
)

INSIGHTS = f"/act_{US}/insights"

ADS = f"/act_{US}/ads"
LAST_WEEK = [(NOON - timedelta(days=n)).date() for n in range(1, 8)]
TOTALS: dict[str, Any] = {**QUERY, "level": "account", "limit": 500}


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(World(START), empty_pages=False) as sandbox:
        yield sandbox


@pytest.fixture
def client(running: Sandbox) -> Client:
    running.reset()
    running.clock.set(NOON)
    running.limits.change(report_seconds=0, report_rows_per_second=0)
    return Client(running)


def add(client: Client, kind: str, **arguments: Any) -> Fault:
    return client.sandbox.faults.add(Fault(kind, **arguments))


def rows(client: Client, **changes: Any) -> list[dict[str, Any]]:
    return client.all(INSIGHTS, **{**QUERY, "limit": 500, **changes})


def sums(found: list[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in found:
        total[row["date_start"]] += int(row["impressions"])
    return total


REFUSALS = {
    "error": (500, 1, None),
    "page_too_big": (500, 1, None),
    "too_much_data": (400, 100, 1487534),
    "sync_timeout_100": (400, 100, 1504018),
    "sync_timeout_2": (500, 2, 1504038),
    "throttle_4": (400, 4, 1504022),
    "throttle_17": (400, 17, 2446079),
    "throttle_613": (400, 613, None),
    "throttle_613_1487742": (400, 613, 1487742),
    "throttle_80000": (400, 80000, None),
    "throttle_80004": (400, 80004, 2446079),
    "unknown_1_99": (500, 1, 99),
    "busy": (500, 2, None),
    "busy_unflagged": (500, 2, None),
    "busy_1504043": (500, 2, 1504043),
    "fatal_1504042": (400, 2, 1504042),
    "token_expired": (401, 190, 463),
    "forbidden": (403, 200, None),
}


@pytest.mark.parametrize(("kind", "expected"), REFUSALS.items())
def test_refusals(client: Client, kind: str, expected: tuple[int, int, int | None]) -> None:
    """A client's answer to this code would be tested against another."""
    fault = add(client, kind)
    answer = client.get(ADS)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("error_subcode")) == expected
    assert error.get("is_transient", False) == (kind in ("busy", "sync_timeout_2"))
    if kind == "page_too_big":
        assert error.keys() == {"code", "message"}
    assert client.get(ADS).status_code == 200
    assert fault.hits == 1


def test_every_kind_is_tried() -> None:
    """A kind of fault could be broken without a test noticing."""
    here = Path(__file__)
    text = here.read_text() + here.with_name("test_events.py").read_text()
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []


@pytest.mark.parametrize("kind", [kind for kind in REFUSALS if kind.startswith("throttle")])
def test_throttles_hint_in_minutes_or_not_at_all(client: Client, kind: str) -> None:
    """A client could wait seconds in place of minutes, or guess a wait that Meta has given."""
    add(client, kind)
    add(client, kind, minutes=3)
    names = ("x-business-use-case-usage", "x-ad-account-usage")
    for minutes in (0, 3):
        answer = client.get(INSIGHTS)
        business, account = (orjson.loads(answer.headers[name]) for name in names)
        assert answer.status_code == 400
        assert business[US][0]["estimated_time_to_regain_access"] == minutes
        assert business[US][0]["type"] == "ads_insights"
        if kind == "throttle_17":
            assert (account["acc_id_util_pct"] == 100) == (minutes > 0)
            assert account["reset_time_duration"] == 60 * minutes or minutes == 0


def test_a_throttle_can_last_until_a_moment(client: Client) -> None:
    """A client that gives up in the middle of a long block would not be found."""
    fault = add(client, "throttle_80004", until=NOON + timedelta(minutes=20), account_id=US)
    for left in (20, 15, 10, 5):
        answer = client.get(ADS)
        business = orjson.loads(answer.headers["x-business-use-case-usage"])[US][0]
        assert business["estimated_time_to_regain_access"] == left
        assert client.get(f"/act_{ID}/ads").status_code == 200
        client.sandbox.clock.advance(timedelta(minutes=5))
    assert client.get(ADS).status_code == 200
    assert fault.hits == 4


def test_an_error_says_what_it_is_told(client: Client) -> None:
    """Codes without a preset could not be tested."""
    add(
        client, "error", status=429, code=368, subcode=7, message="No", is_transient=True,
        type="Odd", user_title="T", user_message="M", headers={"x-app-usage": None, "x-odd": "1"},
    )  # fmt: skip
    answer = client.get(ADS)
    assert answer.status_code == 429
    assert answer.headers["x-odd"] == "1"
    assert "x-app-usage" not in answer.headers
    error = answer.json()["error"]
    assert error.pop("fbtrace_id")
    assert error == {
        "message": "No", "type": "Odd", "code": 368, "error_subcode": 7, "is_transient": True,
        "error_user_title": "T", "error_user_msg": "M",
    }  # fmt: skip


def test_answers_that_are_not_graphs(client: Client) -> None:
    """A client that treats any JSON, or any 200, as data would pass."""
    for kind in ("json_502", "html_502", "truncated_json"):
        add(client, kind)
    first, second, third = (client.get(ADS, limit=100) for _ in range(3))
    assert (first.status_code, "error" in first.json()) == (502, False)
    assert (second.status_code, second.headers["content-type"]) == (502, "text/html")
    assert third.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        third.json()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["reset_in_body", "closed_in_body"])
def test_the_connection_breaks_in_the_body(client: Client, kind: str, chunked: bool) -> None:
    """A client that treats half a body as complete would pass."""
    fault = add(client, kind, chunked=chunked)
    url = f"{client.sandbox.url}/v26.0{ADS}?access_token=sandbox-token-acme&limit=100"
    got: list[bytes] = []
    with requests.get(url, stream=True, timeout=10) as answer:
        assert answer.status_code == 200
        assert ("content-length" in answer.headers) != chunked
        with pytest.raises(requests.exceptions.ChunkedEncodingError) as broken:
            got.extend(answer.iter_content(100))
    assert ("reset by peer" in str(broken.value)) == (kind == "reset_in_body")
    assert got[0].startswith(b'{"data":[')
    assert fault.hits == 1
    assert client.get(ADS).status_code == 200


def test_the_connection_is_dropped(client: Client) -> None:
    """A client that does not survive a dropped connection would pass."""
    add(client, "dropped", times=2)
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            client.get(ADS)
    assert client.get(ADS).status_code == 200


def test_an_answer_hangs(client: Client) -> None:
    """A client without a timeout would pass, or a hanging one would stop the others."""
    fault = add(client, "hang", seconds=0.3)
    began = time.monotonic()
    url = f"{client.sandbox.url}/v26.0{ADS}?access_token=sandbox-token-acme"
    with pytest.raises(requests.Timeout):
        requests.get(url, timeout=0.1)
    assert client.get(ADS).status_code == 200
    assert time.monotonic() - began < 0.28
    fault.times = 2
    assert client.get(ADS).json()["data"]
    assert time.monotonic() - began > 0.38


def test_a_fault_strikes_only_what_it_is_meant_for(client: Client) -> None:
    """A test's fault could strike no call, or another call."""
    fault = add(
        client, "busy", times=2, after=1, method="GET", edge="insights", account_id=US,
        level="ad", params={"time_increment": "1", "limit": True, "after": None},
    )  # fmt: skip
    for path, params in (
        (ADS, {}),
        (f"/act_{ID}/insights", {**QUERY, "limit": 5}),
        (INSIGHTS, QUERY),
        (INSIGHTS, {**QUERY, "limit": 5, "level": "adset", "filtering": []}),
        (INSIGHTS, {**QUERY, "limit": 5}),  # the one it lets pass
    ):
        assert client.get(path, **params).status_code == 200
    assert client.call("POST", INSIGHTS, **QUERY, limit=5).status_code == 200
    assert (fault.seen, fault.hits) == (1, 0)
    statuses = [client.get(INSIGHTS, **QUERY, limit=5).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]
    for kind, arguments in (
        ("nonsense", {}),
        ("busy", {"rows": 1}),
        ("busy", {"edge": "pixels"}),
        ("busy", {"times": 0}),
        ("report_failed", {"method": "GET"}),
        ("drop_ads", {}),
        ("drop_rows", {"rows": "1"}),
        ("hang", {"seconds": -1}),
        ("restate", {}),
        ("throttle_4", {"until": "2026-10-29T12:00:00"}),
    ):
        with pytest.raises(ValueError, match=kind + r"|must|until"):
            Fault(kind, **arguments)


def test_reports_fail_are_skipped_or_stick(client: Client) -> None:
    """A client could wait without end, or treat a failed report as an empty one."""
    kinds = ("report_failed", "report_skipped", "report_stuck")
    faults = [add(client, kind, level="ad") for kind in kinds]
    add(client, "not_there_yet", edge="report")
    runs = [start(client) for _ in range(4)]
    # All three meet the first report: the last word counts, and it is stuck.
    assert client.refusal(f"/{runs[0]}") == (100, 33)
    client.sandbox.clock.advance(timedelta(days=1))
    assert state(client, runs[0]) == ("Job Running", 50)
    assert [state(client, run_id)[0] for run_id in runs[1:]] == ["Job Completed"] * 3
    assert [fault.hits for fault in faults] == [1, 1, 1]
    for kind, status in (("report_failed", "Job Failed"), ("report_skipped", "Job Skipped")):
        add(client, kind)
        run_id = start(client)
        report = client.get(f"/{run_id}").json()
        assert report["async_status"] == status
        assert ("error_code" in report) == (status == "Job Failed")
        assert client.refusal(f"/{run_id}/insights") == (100, 33)
    old = client.get(f"/{run_id}").url.replace("v26.0", "v24.0")
    answer = requests.get(old, headers={"Authorization": "Bearer sandbox-token-acme"}, timeout=10)
    assert "error_code" not in answer.json()


def test_a_cursor_expires_on_the_way(client: Client) -> None:
    """A client that cannot begin a listing again would pass."""
    fault = add(client, "cursor_expired", after=1)
    seen: list[dict[str, Any]] = []
    with pytest.raises(AssertionError, match="2642"):
        seen.extend(client.pages(ADS, limit=10))
    assert (len(seen), fault.hits) == (2, 1)
    assert len(client.all(ADS, limit=10)) > 20


def test_an_empty_page_says_next(client: Client) -> None:
    """A client that stops at an empty page, wherever it comes, would pass."""
    complete = rows(client)
    fault = add(client, "empty_page", page=1, times=2)
    pages = list(client.pages(INSIGHTS, **QUERY, limit=500))
    assert [len(page["data"]) for page in pages][:3] == [500, 0, 500]
    assert "next" in pages[1]["paging"]
    assert [row for page in pages for row in page["data"]] == complete
    run_id = start(client)
    assert client.all(f"/{run_id}/insights", limit=500) == complete
    assert fault.hits == 2
    add(client, "empty_page")
    nothing = list(client.pages(ADS, effective_status=["PENDING_REVIEW"]))
    assert [page["data"] for page in nothing] == [[], []]


def test_pages_lose_or_repeat_rows(client: Client) -> None:
    """A load that does not notice missing or repeated rows would pass."""
    complete = rows(client)
    fault = add(client, "drop_rows", rows=3, after=1)
    short = rows(client)
    assert len(short) == len(complete) - 3
    assert [row for row in complete if row not in short] == complete[997:1000]
    assert client.sandbox.faults.add(Fault("duplicate_rows", rows=2)).hits == 0
    twice = rows(client)
    assert twice[500:502] == twice[498:500] == complete[498:500]
    assert twice[:500] + twice[502:] == complete
    assert fault.hits == 1


@pytest.mark.parametrize("edge", ["results", "insights"])
def test_a_report_and_a_query_disagree_about_an_ad(client: Client, edge: str) -> None:
    """A client that reads only one of two endpoints would look complete."""
    complete = rows(client)
    ad = complete[0]["ad_id"]
    fault = add(client, "drop_ads", ads=[ad], edge=edge)
    ways = {
        "results": client.all(f"/{start(client)}/insights", limit=500),
        "insights": rows(client),
    }
    assert ways.pop(edge) == [row for row in complete if row["ad_id"] != ad]
    assert list(ways.values()) == [complete]
    assert fault.hits > 1
    assert sums(rows(client, **TOTALS)) == sums(complete)


def test_a_day_moves_between_two_reads(client: Client) -> None:
    """A test could not tell late data from a wrong load."""
    days = LAST_WEEK[0].isoformat()
    fault = add(client, "moving", spend=250, impressions=7)
    before, after, ads = rows(client, **TOTALS), rows(client, **TOTALS), rows(client)
    assert sums(after) - sums(before) == Counter(dict.fromkeys(sums(before), 7)) - Counter(
        {NOON.date().isoformat(): 7}
    )
    assert sums(ads) == sums(after)
    spend = [
        next(float(row["spend"]) for row in read if row["date_start"] == days)
        for read in (before, after)
    ]
    assert spend[1] - spend[0] == pytest.approx(2.5)
    assert fault.hits == 1


def test_the_past_is_restated(client: Client) -> None:
    """A load that never reads a day again would keep figures and rows that Meta has withdrawn."""
    before = rows(client)
    on_day = [row for row in before if row["date_start"] == LAST_WEEK[2].isoformat()]
    grown, gone = on_day[0]["ad_id"], on_day[1]["ad_id"]
    days = [LAST_WEEK[2].isoformat()]
    fault = add(
        client, "restate", account_id=US, days=days, ads=[grown], percent=10, vanish=[gone], after=1
    )  # fmt: skip
    assert client.get(ADS).status_code == 200
    after = rows(client)
    assert [row for row in after if row["date_start"] != days[0]] == [
        row for row in before if row["date_start"] != days[0]
    ]
    now = {row["ad_id"]: row for row in after if row["date_start"] == days[0]}
    assert gone not in now
    assert int(now[grown]["impressions"]) == int(on_day[0]["impressions"]) * 110 // 100
    assert [now[row["ad_id"]] for row in on_day[2:]] == on_day[2:]
    assert sums(rows(client, **TOTALS)) == sums(after)
    assert rows(client) == after
    assert fault.hits == 1
    client.sandbox.restate(US, days=[LAST_WEEK[3]], percent=-50)
    assert sums(rows(client))[LAST_WEEK[3].isoformat()] < sums(after)[LAST_WEEK[3].isoformat()]
    with pytest.raises(ValueError, match="not ads"):
        client.sandbox.restate(US, ads=["1"])


@pytest.mark.parametrize("edge", ["ads", "adsets", "campaigns"])
def test_objects_hide_from_their_edges(client: Client, edge: str) -> None:
    """An id that only insights mention would never have to be fetched by itself."""
    everything = {"effective_status": EVERY_STATUS[:4], "limit": 500}
    listed = [item["id"] for item in client.all(f"/act_{US}/{edge}", **everything)]
    client.sandbox.world.hide(listed[:2])
    assert [item["id"] for item in client.all(f"/act_{US}/{edge}", **everything)] == listed[2:]
    assert client.get("/", ids=",".join(listed[:2]), fields="name").json().keys() == {*listed[:2]}
    assert client.get(f"/{listed[0]}", fields="id").json() == {"id": listed[0]}
    level = edge[:-1]
    statuses = [*EVERY_STATUS[:4], *(["CAMPAIGN_PAUSED"] if level != "campaign" else [])]
    named = {**EVERY, "field": f"{level}.effective_status", "value": statuses}
    query = {"level": level, "fields": f"{level}_id", "filtering": [named]}
    assert {row[f"{level}_id"] for row in rows(client, **query)} & set(listed[:2])


def test_a_call_of_a_batch_times_out(client: Client) -> None:
    """A client would meet null where it expects an object only at Meta."""
    add(client, "batch_null", edge="ads")
    add(client, "throttle_613", edge="object")
    urls = (f"act_{US}", f"act_{US}/ads", f"act_{US}/adsets")
    assert client.get(ADS).status_code == 200
    first, second, third = batch(client, *urls)
    assert (first["code"], second, third["code"]) == (400, None, 200)
    assert [answer["code"] for answer in batch(client, *urls)] == [200, 200, 200]


# Faults that were seen in the field.


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("empty_500", 500, b""),
        ("html_504", 504, b"<html><body><h1>504 Gateway Time-out</h1></body></html>\n"),
        ("login_page", 302, b""),
        ("error_text", 400, b'{"error": "invalid_request"}'),
    ],
)
def test_something_else_answers(client: Client, kind: str, status: int, body: bytes) -> None:
    """A client would not meet what proxies and gateways put in Graph's place."""
    add(client, kind)
    answer = requests.get(
        f"{client.sandbox.url}/v26.0{ADS}",
        headers={"Authorization": "Bearer sandbox-token-acme"},
        timeout=10,
        allow_redirects=False,
    )
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers.get("location") == (
        "https://login.example/?next=graph" if kind == "login_page" else None
    )


def test_a_cursor_is_too_far(client: Client) -> None:
    """A client would not meet a cursor that is too deep in a listing."""
    add(client, "cursor_too_far")
    with pytest.raises(AssertionError, match="1487833"):
        client.all(ADS, limit=10)


@pytest.mark.parametrize(("to", "pages"), [("first", [0, 1, 2, 0]), ("itself", [0, 1, 2, 2])])
def test_the_last_page_leads_back(client: Client, to: str, pages: list[int]) -> None:
    """A client that pages in circles would pass."""
    complete = [row["id"] for row in client.all(ADS, limit=500)]
    size = -(-len(complete) // 3)
    add(client, "circle", to=to)
    asked: dict[str, Any] = {"limit": size}
    for number in pages:
        page = client.get(ADS, **asked).json()
        found = [row["id"] for row in page["data"]]
        assert found == complete[number * size : (number + 1) * size]
        asked = dict(parse_qsl(urlsplit(page["paging"]["next"]).query))


def test_empty_pages_go_on_for_ever(client: Client) -> None:
    """A client that never stops would pass."""
    complete = client.all(ADS, limit=5000)
    add(client, "endless")
    pages = list(itertools.islice(client.pages(ADS, limit=5000), 6))
    assert [len(page["data"]) for page in pages] == [len(complete), 0, 0, 0, 0, 0]
    assert len({page["paging"]["next"] for page in pages}) == 6


def test_days_have_no_data(client: Client) -> None:
    """A client would not meet an outage that looks like days without delivery."""
    complete = rows(client)
    day = complete[0]["date_start"]
    add(client, "no_data", days=[day])
    assert rows(client) == [row for row in complete if row["date_start"] != day]
    add(client, "no_data")
    assert rows(client) == []


def test_rows_say_something_else(client: Client) -> None:
    """A client would not meet rows with unexpected shapes."""
    complete = rows(client)
    fault = add(client, "changed_rows", set={"spend": ""}, without=["clicks"], rows=2)
    odd = rows(client)
    assert odd[2:500] == complete[2:500]
    for before, after in zip(complete[:2], odd[:2], strict=True):
        assert after == {k: v for k, v in before.items() if k != "clicks"} | {"spend": ""}
    client.sandbox.faults.remove(fault)
    add(client, "json_numbers")
    assert [row["spend"] for row in rows(client)] == [float(row["spend"]) for row in complete]


def test_more_days_than_graph_can_answer(client: Client) -> None:
    """A client would not meet a query that Meta answers only for fewer days."""
    add(client, "above_days", days=1)
    add(client, "above_days", days=2, status=500, code=1)
    days = [START + timedelta(days=n) for n in range(3)]
    spans = [{"since": str(days[0]), "until": str(day)} for day in days]
    found = [client.get(INSIGHTS, time_range=orjson.dumps(span).decode()) for span in spans]
    assert [answer.status_code for answer in found] == [200, 504, 504]
    client.sandbox.faults.remove(next(iter(client.sandbox.faults)))
    answer = client.get(INSIGHTS, time_range=orjson.dumps(spans[2]).decode())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, 1)


def test_a_field_an_object_or_a_status_is_refused(client: Client) -> None:
    """A client would not meet a field, a creative or a status that Graph no longer gives."""
    ads = client.all(ADS, limit=500)
    add(client, "broken_object", id=ads[3]["id"])
    asked: dict[str, Any] = {"fields": "id,creative{id}", "limit": 10}
    error = client.get(ADS, **asked).json()["error"]
    assert (error["code"], error["error_subcode"]) == (100, 2446289)
    assert error["error_user_title"] == "Ad Creative Is Incomplete"
    assert client.get("/", ids=ads[3]["id"], fields="creative{id}").status_code == 400
    assert client.get("/", ids=ads[4]["id"], fields="creative{id}").status_code == 200
    assert client.get(ADS, fields="id,name", limit=10).status_code == 200
    add(client, "field_refused", field="targeting", status=500)
    add(client, "field_refused", field="bid_strategy")
    sets = ADS.replace("ads", "adsets")
    answers = [client.get(sets, fields=f"id,{name}") for name in ("targeting", "bid_strategy")]
    assert [answer.status_code for answer in answers] == [500, 400]
    assert answers[0].content == b""
    add(client, "status_refused", value="PREAPPROVED")
    refused = client.get(ADS, effective_status='["ACTIVE","PREAPPROVED"]')
    assert 'got "PREAPPROVED"' in refused.json()["error"]["message"]
    assert client.get(ADS, effective_status='["ACTIVE"]').status_code == 200


def test_what_is_kept_may_end_a_day_earlier(client: Client) -> None:
    """A client that computes the limit of 37 months in another way than Meta would pass."""
    today = client.sandbox.world.accounts[US].local(NOON).date()
    first = str(today - relativedelta(months=37))
    span = orjson.dumps({"since": first, "until": first}).decode()
    assert client.get(INSIGHTS, time_range=span).status_code == 200
    client.sandbox.limits.change(retention_days_less=1)
    assert client.get(INSIGHTS, time_range=span).json()["error"]["code"] == 3018
