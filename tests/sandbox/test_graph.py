"""The sandbox as a client meets it: real HTTP requests against a running server."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import orjson
import pytest
import requests

from sandbox.graph import Token
from sandbox.server import Sandbox
from sandbox.world import AccountSpec, Clock, World
from tests.support.graph import (
    ACCOUNTS,
    EU,
    EVERY_STATUS,
    ID,
    LUMEN,
    NOON,
    START,
    US,
    Client,
    days,
)


@pytest.fixture
def client(running: Sandbox) -> Client:
    running.clock.set(NOON)
    running.graph.empty_pages = True
    return Client(running)


def test_paging_gives_each_object_once(client: Client) -> None:
    """A loader that pages correctly would lose or double objects."""
    for account in ACCOUNTS:
        for edge in ("campaigns", "adsets", "ads"):
            complete = client.all(f"/act_{account}/{edge}", limit=500)
            pages = list(client.pages(f"/act_{account}/{edge}", limit=3))
            paged = [item for page in pages for item in page["data"]]
            assert paged == complete
            assert len({item["id"] for item in paged}) == len(paged) > 0
            assert "cursors" in pages[-1]["paging"]


def test_empty_pages_still_say_next(client: Client) -> None:
    """A client that stops at an empty page would pass."""
    window = {"time_range": days(START, NOON.date()), "level": "ad", "time_increment": 1}
    for path, params in (("campaigns", {}), ("insights", window)):
        pages = list(client.pages(f"/act_{US}/{path}", limit=500, **params))
        empty = [page for page in pages if not page["data"]]
        assert len(empty) == 1
        assert "next" in empty[0]["paging"]
        client.sandbox.graph.empty_pages = False
        rows = client.all(f"/act_{US}/{path}", limit=500, **params)
        client.sandbox.graph.empty_pages = True
        assert rows == [item for page in pages for item in page["data"]]


def test_next_is_a_whole_url_with_the_token(client: Client) -> None:
    """A client that leaks its token by logging `next` would pass."""
    page = client.get(f"/act_{US}/ads", limit=2, fields="name").json()
    assert page["paging"]["next"].startswith(f"{client.sandbox.url}/v26.0/act_{US}/ads?")
    assert "access_token=sandbox-token-acme" in page["paging"]["next"]
    following = requests.get(page["paging"]["next"], timeout=10).json()
    assert len(following["data"]) == 2
    assert following["data"][0].keys() == {"id", "name"}
    assert client.sandbox.requests[-1].params["access_token"] == "sandbox-token-acme"
    assert "access_token" not in client.sandbox.requests[-2].params


def test_empty_result_has_no_paging(client: Client) -> None:
    """Clients would not meet the bare form of an empty answer."""
    response = client.get(f"/act_{US}/ads", effective_status=["PENDING_REVIEW"])
    assert response.json() == {"data": []}


@pytest.mark.parametrize("edge", ["campaigns", "adsets", "ads"])
def test_deleted_objects_hide_unless_asked_for(client: Client, edge: str) -> None:
    """A loader that never asks for deleted objects would look complete."""
    gone = {"ARCHIVED", "DELETED"}
    shown = client.all(f"/act_{US}/{edge}", fields="effective_status", limit=500)
    asked = client.all(
        f"/act_{US}/{edge}", fields="effective_status", limit=500, effective_status=sorted(gone)
    )
    assert not {item["effective_status"] for item in shown} & gone
    assert {item["effective_status"] for item in asked} == gone


def test_effective_status_follows_the_parents(client: Client) -> None:
    """Ads under a paused parent would look as if they were running."""
    fields = "status,effective_status,adset{effective_status},campaign{effective_status}"
    ads = client.all(f"/act_{US}/ads", fields=fields, effective_status=EVERY_STATUS, limit=500)
    assert {ad["effective_status"] for ad in ads} == set(EVERY_STATUS)
    for ad in ads:
        if ad["effective_status"] == "CAMPAIGN_PAUSED":
            assert (ad["status"], ad["campaign"]["effective_status"]) == ("ACTIVE", "PAUSED")
        if ad["campaign"]["effective_status"] in ("DELETED", "ARCHIVED"):
            assert ad["effective_status"] in ("DELETED", "ARCHIVED")


@pytest.mark.parametrize("account", ACCOUNTS)
def test_account_totals_equal_the_sum_of_ads(client: Client, account: str) -> None:
    """The account's totals would be wrong, or a load without deleted ads would reconcile."""
    query: dict[str, Any] = {
        "time_range": days(START, NOON.date()),
        "time_increment": 1,
        "limit": 1000,
    }
    metrics = {"fields": "spend,impressions"}
    totals = client.all(f"/act_{account}/insights", level="account", **query, **metrics)
    every = {"field": "ad.effective_status", "operator": "IN", "value": EVERY_STATUS}
    with_deleted = client.all(
        f"/act_{account}/insights", level="ad", filtering=[every], **query, **metrics
    )
    without = client.all(f"/act_{account}/insights", level="ad", **query, **metrics)
    assert _by_day(with_deleted) == _by_day(totals)
    assert len(totals) >= 120
    assert sum(day[0] for day in _by_day(without).values()) < sum(
        day[0] for day in _by_day(totals).values()
    )
    world = client.sandbox.world.account_totals(account, START, NOON.date(), NOON)
    assert {str(day): (total.spend, total.impressions) for day, total in world.items()} == (
        _by_day(totals)
    )


def _by_day(rows: list[dict[str, Any]]) -> dict[str, tuple[Decimal, int]]:
    sums: dict[str, tuple[Decimal, int]] = defaultdict(lambda: (Decimal(0), 0))
    for row in rows:
        spend, impressions = sums[row["date_start"]]
        sums[row["date_start"]] = (
            spend + Decimal(row["spend"]),
            impressions + int(row["impressions"]),
        )
    return dict(sums)


@pytest.mark.parametrize("level", ["campaign", "adset"])
def test_levels_in_between_add_up(client: Client, level: str) -> None:
    """Rows of campaigns and ad sets would disagree with their ads."""
    every = {
        "field": f"{level}.effective_status",
        "operator": "IN",
        "value": EVERY_STATUS[:4] + (["CAMPAIGN_PAUSED"] if level == "adset" else []),
    }
    query: dict[str, Any] = {
        "time_range": days(START, NOON.date()),
        "fields": "spend,impressions",
        "limit": 500,
    }
    rows = client.all(f"/act_{US}/insights", level=level, filtering=[every], **query)
    assert _by_day(rows) == _by_day(client.all(f"/act_{US}/insights", **query))


def test_a_deleted_ad_still_answers_itself(client: Client) -> None:
    """The filter for deleted ads that Meta documents could not be tested."""
    ads = client.all(f"/act_{US}/ads", effective_status=["DELETED"], limit=500)
    spent = [
        row
        for ad in ads
        for row in client.all(
            f"/{ad['id']}/insights", fields="spend", time_range=days(START, NOON.date())
        )
    ]
    assert len(spent) > len(ads) / 2


def test_the_open_day_is_partial_and_only_grows(client: Client) -> None:
    """A load of an open day could pass for a load of a finished one."""
    query: dict[str, Any] = {
        "time_range": days(NOON.date(), NOON.date()),
        "fields": "spend,impressions,clicks",
    }
    seen = []
    for hour in range(-6, 30, 3):
        client.sandbox.clock.set(NOON + timedelta(hours=hour))
        rows = client.get(f"/act_{ID}/insights", **query).json()["data"]
        seen.append([Decimal(rows[0][name]) if rows else Decimal(0) for name in _METRICS])
    for before, after in pairwise(seen):
        assert all(a <= b for a, b in zip(before, after, strict=True))
    assert seen[0] < seen[2] < seen[-1]
    # The day ends at 17:00 UTC in Jakarta; from then on it does not change.
    assert seen[4] == seen[-1]


_METRICS = ("spend", "impressions", "clicks")


def test_the_future_has_no_rows_and_the_past_stays(client: Client) -> None:
    """Backfills of one day on different days would disagree."""
    query: dict[str, Any] = {
        "time_range": days(date(2026, 9, 1), date(2026, 11, 30)),
        "level": "ad",
    }
    every = {"field": "ad.effective_status", "operator": "IN", "value": EVERY_STATUS}
    query |= {"time_increment": 1, "limit": 5000, "filtering": [every], "fields": "ad_id,spend"}
    early = client.all(f"/act_{EU}/insights", **query)
    assert max(row["date_start"] for row in early) == "2026-10-29"
    client.sandbox.clock.set(NOON + timedelta(days=20))
    late = client.all(f"/act_{EU}/insights", **query)
    ended = [row for row in early if row["date_start"] < "2026-10-29"]
    assert [row for row in late if row["date_start"] < "2026-10-29"] == ended
    assert max(row["date_start"] for row in late) == "2026-11-18"


def test_two_servers_answer_with_identical_bytes(client: Client) -> None:
    """The demo and the tests would see other figures on each start."""
    query: dict[str, Any] = {
        "time_range": days(START, NOON.date()),
        "level": "ad",
        "time_increment": 7,
    }
    query |= {"fields": "ad_id,spend,actions,action_values", "limit": 500}
    with Sandbox(World(START), clock=Clock(NOON)) as other:
        for path, params in ((f"/act_{US}/insights", query), (f"/act_{US}/ads", {"limit": 99})):
            here, there = client.get(path, **params), Client(other).get(path, **params)
            first, second = (r.content.split(b'"next"')[0] for r in (here, there))
            assert first == second
            assert len(first) > 1000


def test_budgets_are_minor_units_by_metas_table(client: Client) -> None:
    """Budgets in rupiah could be wrong by a factor of 100 without a failing test."""
    fields = "daily_budget,lifetime_budget,budget_remaining,created_time"
    for account, low, high in ((US, 5_000, 200_000), (ID, 500_000, 40_000_000)):
        campaigns = client.all(f"/act_{account}/campaigns", fields=f"{fields},stop_time")
        dailies = [int(item["daily_budget"]) for item in campaigns if "daily_budget" in item]
        assert dailies
        assert all(low < budget < high for budget in dailies)
        for campaign in campaigns:
            if "lifetime_budget" in campaign:
                assert "daily_budget" not in campaign
                assert "stop_time" in campaign
            own = {"daily_budget", "lifetime_budget"} & campaign.keys()
            for adset in client.all(f"/{campaign['id']}/adsets", fields=fields):
                assert bool({"daily_budget", "lifetime_budget"} & adset.keys()) != bool(own)
    assert campaigns[0]["created_time"].endswith("+0700")


def test_money_of_insights_is_in_major_units(client: Client) -> None:
    """Spend in rupiah could carry cents, spend in dollars none."""
    query: dict[str, Any] = {
        "time_range": days(START, NOON.date()),
        "fields": "spend,account_currency",
    }
    dollars = client.get(f"/act_{US}/insights", **query).json()["data"][0]
    rupiah = client.get(f"/act_{ID}/insights", **query).json()["data"][0]
    assert dollars["account_currency"] == "USD"
    assert len(dollars["spend"].partition(".")[2]) == 2
    assert rupiah["account_currency"] == "IDR"
    assert rupiah["spend"].isdecimal()


def test_action_windows_appear_only_when_asked_for(client: Client) -> None:
    """A client would rely on windows that Meta no longer returns."""
    query: dict[str, Any] = {
        "time_range": days(START, NOON.date()),
        "fields": "actions,action_values",
    }
    plain = client.get(f"/act_{US}/insights", **query).json()["data"][0]
    assert all(item.keys() == {"action_type", "value"} for item in plain["actions"])
    windows = ["1d_click", "7d_click", "1d_view", "7d_view"]
    asked = client.get(f"/act_{US}/insights", **query, action_attribution_windows=windows).json()[
        "data"
    ][0]
    purchase = next(item for item in asked["actions"] if item["action_type"] == "purchase")
    assert purchase.keys() == {"action_type", "value", "1d_click", "7d_click", "1d_view"}
    assert int(purchase["7d_click"]) + int(purchase["1d_view"]) == int(purchase["value"])
    kinds = {item["action_type"] for item in plain["actions"]}
    assert {"omni_purchase", "purchase", "link_click", "landing_page_view", "lead"} <= kinds


def test_rows_leave_out_what_is_not_there(client: Client) -> None:
    """Clients would not meet missing keys, or the two spellings of a purchase."""
    rows = client.all(
        f"/act_{US}/insights",
        level="ad",
        time_increment=1,
        limit=5000,
        time_range=days(START, NOON.date()),
        fields="impressions,actions,action_values",
    )
    kinds = [{item["action_type"] for item in row.get("action_values", [])} for row in rows]
    assert set() in kinds
    assert any("omni_purchase" in found for found in kinds)
    assert any("purchase" in found and "omni_purchase" not in found for found in kinds)
    assert all(int(row["impressions"]) > 0 for row in rows)
    assert not any("action_values" in row and not row["action_values"] for row in rows)


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        (f"/act_{US}", {"fields": "nme"}, (100, None)),
        (f"/act_{US}/insights", {"fields": "spnd"}, (100, None)),
        (f"/act_{US}/insights", {"level": "creative"}, (100, None)),
        (f"/act_{US}/insights", {"time_increment": 91}, (100, None)),
        (f"/act_{US}/insights", {"action_attribution_windows": ["2d_click"]}, (100, None)),
        (f"/act_{US}/insights", {"breakdowns": ["age"]}, (100, None)),
        (f"/act_{US}/insights", {"time_range": days(NOON.date(), START)}, (100, None)),
        (f"/act_{US}/insights", {"time_range": {"since": "2026-10-01"}}, (100, None)),
        (f"/act_{US}/insights", {"time_range": days(START, START), "time_ranges": []}, (100, None)),
        (
            f"/act_{US}/insights",
            {"time_range": days(date(2026, 10, 30), date(2026, 10, 31))},
            (100, None),
        ),
        (f"/act_{US}/insights", {"time_range": days(date(2023, 9, 28), START)}, (3018, None)),
        (f"/act_{US}/ads", {"limit": 5001}, (100, None)),
        (f"/act_{US}/ads", {"after": "bm90IG1pbmU="}, (2642, None)),
        (f"/act_{US}/ads", {"effective_status": ["RUNNING"]}, (100, None)),
        (f"/act_{US}/campaigns", {"effective_status": ["ADSET_PAUSED"]}, (100, None)),
        (
            f"/act_{US}/ads",
            {"filtering": [{"field": "ad.name", "operator": "CONTAIN", "value": "a"}]},
            (100, None),
        ),
        (f"/act_{US}/pixels", {}, (100, None)),
        (f"/act_{EU}", {"token": "sandbox-token-acme"}, (200, None)),
        ("/act_9", {}, (100, 33)),
        (f"/{US}", {}, (100, 33)),
        ("/me", {"token": "stolen"}, (190, 467)),
        ("/me", {"fields": "friends"}, (100, None)),
        (f"/act_{EU}", {"token": LUMEN, "appsecret_proof": "wrong"}, (100, None)),
        ("/me/friends/all", {}, (2500, None)),
        ("/", {"ids": ",".join(["1"] * 51)}, (100, None)),
        ("/", {"ids": f"act_{US},1,2"}, (803, None)),
    ],
)
def test_refusals(
    client: Client, path: str, params: dict[str, Any], code: tuple[int, int | None]
) -> None:
    """The sandbox would accept what Meta refuses, and the mistake would show in production."""
    assert client.refusal(path, **params) == code


def test_a_cursor_belongs_to_its_query(client: Client) -> None:
    """A client that mixes up or stores cursors would pass."""
    after = client.get(f"/act_{US}/ads", limit=2).json()["paging"]["cursors"]["after"]
    assert client.refusal(f"/act_{ID}/ads", after=after) == (2642, None)
    client.sandbox.clock.advance(timedelta(days=2))
    assert client.refusal(f"/act_{US}/ads", after=after) == (2642, None)


def test_versions_tokens_and_proofs(client: Client) -> None:
    """A client without a version, token or proof would work here and nowhere else."""
    url, bearer = client.sandbox.url, {"Authorization": f"OAuth {LUMEN}"}
    for path, headers, code in (
        (f"/v21.0/act_{EU}", bearer, 2635),
        (f"/v99.0/act_{EU}", bearer, 2500),
        (f"/act_{EU}", bearer, 2500),
        ("/v26.0/me", {}, 2500),
        (f"/v26.0/act_{EU}", {}, 104),
        (f"/v26.0/act_{EU}", bearer, 100),
    ):
        response = requests.get(url + path, headers=headers, timeout=10)
        assert response.json()["error"]["code"] == code, path
    message = response.json()["error"]["message"]
    assert message == "API calls from the server require an appsecret_proof argument"


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_other_methods_get_a_graph_error(client: Client, method: str) -> None:
    """Clients would meet an error page that Meta never sends."""
    for path in (f"/v26.0/act_{US}/nothing", "/v26.0/", "/", "/favicon.ico"):
        response = requests.request(
            method,
            client.sandbox.url + path,
            headers={"Authorization": "Bearer sandbox-token-acme"},
            timeout=10,
        )
        assert response.json()["error"]["fbtrace_id"]
        assert response.status_code == 400


def test_several_objects_at_once(client: Client) -> None:
    """Fetching objects that only insights mention would not be testable."""
    ads = client.all(f"/act_{US}/ads", effective_status=["DELETED"], limit=3)[:3]
    found = client.get("/", ids=",".join(ad["id"] for ad in ads), fields="name,creative{id}").json()
    assert found.keys() == {ad["id"] for ad in ads}
    assert all(item["creative"].keys() == {"id"} for item in found.values())


def test_filtering_by_update_time(client: Client) -> None:
    """Incremental listings could leave out what changed."""
    every = {"effective_status": ["ACTIVE", "PAUSED", "DELETED", "ARCHIVED"], "limit": 500}
    fields = {"fields": "updated_time"}
    since = datetime(2026, 9, 1, tzinfo=UTC)
    changed = client.all(
        f"/act_{US}/campaigns",
        **every,
        **fields,
        filtering=[
            {
                "field": "campaign.updated_time",
                "operator": "GREATER_THAN",
                "value": int(since.timestamp()),
            }
        ],
    )
    all_of_them = client.all(f"/act_{US}/campaigns", **every, **fields)
    stamps = {item["id"]: datetime.fromisoformat(item["updated_time"]) for item in all_of_them}
    assert {item["id"] for item in changed} == {i for i, at in stamps.items() if at > since}
    assert 0 < len(changed) < len(all_of_them)


def test_a_token_lists_its_accounts(client: Client) -> None:
    """One brand could read the accounts of another."""
    accounts = client.all("/me/adaccounts", fields="account_id,currency,timezone_name")
    assert [account["account_id"] for account in accounts] == [US, ID]
    assert [account["id"] for account in accounts] == [f"act_{US}", f"act_{ID}"]
    lumen = client.all("/me/adaccounts", token=LUMEN, fields="timezone_name")
    assert lumen == [{"timezone_name": "Europe/Berlin", "id": f"act_{EU}"}]


def test_usage_headers_tell_the_account(client: Client) -> None:
    """Clients would have no usage headers to slow down by."""
    headers = client.get(f"/act_{US}/insights").headers
    usage = orjson.loads(headers["x-business-use-case-usage"])[US][0]
    assert usage["type"] == "ads_insights"
    assert usage["estimated_time_to_regain_access"] == 0
    for name in ("x-ad-account-usage", "x-fb-ads-insights-throttle", "x-app-usage"):
        assert orjson.loads(headers[name])


@pytest.mark.parametrize("days", [1, 5, 400])
def test_other_worlds_can_be_made(days: int) -> None:
    """Tests and benches could only use the accounts of the demo."""
    spec = AccountSpec("42", "tiny", "Tiny", "JPY", "Asia/Tokyo", campaigns=2, adsets=1, ads=3)
    world = World(START, days=days, accounts=[spec])
    rows = world.insight_rows("42", START, START + timedelta(days=20), NOON)
    assert rows
    assert all(row["spend"].isdecimal() for row in rows)
    with Sandbox(world, tokens={"t": Token(frozenset({"42", "43"}))}, clock=Clock(NOON)) as sandbox:
        listed = Client(sandbox).all("/me/adaccounts", token="t", fields="name")
    assert listed == [{"name": "Tiny", "id": "act_42"}]
