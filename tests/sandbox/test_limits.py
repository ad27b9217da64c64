"""What the sandbox will not do at once, and what it says about how much is left."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from tests.support.graph import ID, QUERY, US, Client, batch, start

INSIGHTS = f"/act_{US}/insights"


def usage(client: Client, path: str = f"/act_{US}") -> dict[str, Any]:
    """The usage headers, each as one object."""
    headers = client.get(path).headers
    found = {name: orjson.loads(text) for name, text in headers.items() if "usage" in name}
    (business,) = found["x-business-use-case-usage"].values()
    return {
        "business": business[0],
        "account": found["x-ad-account-usage"],
        "app": found["x-app-usage"],
        "insights": orjson.loads(headers["x-fb-ads-insights-throttle"]),
    }


def test_a_query_of_too_many_rows_needs_another_strategy(client: Client) -> None:
    """A client that does not split a request that is too large for Meta would pass."""
    client.sandbox.limits.change(sync_row_limit=500)
    assert client.refusal(INSIGHTS, **QUERY) == (100, 1504018)
    client.sandbox.limits.change(sync_refusal=2)
    answer = client.get(INSIGHTS, **QUERY, limit=10)
    assert (answer.status_code, answer.json()["error"]["error_subcode"]) == (500, 1504038)
    assert client.get(INSIGHTS, **{**QUERY, "level": "account"}).status_code == 200
    client.sandbox.limits.change(fields_limit=2)
    few = {**QUERY, "level": "account", "fields": "spend,impressions"}
    assert client.get(INSIGHTS, **few).status_code == 200
    assert client.refusal(INSIGHTS, **{**few, "fields": "spend,reach,clicks"}) == (2, 1504038)


def test_a_report_of_too_many_rows_fails_or_is_refused(client: Client) -> None:
    """A client that cannot split a report would look complete."""
    client.sandbox.limits.change(async_row_limit=500)
    run_id = start(client)
    client.sandbox.clock.advance(timedelta(seconds=10))
    failed = client.get(f"/{run_id}").json()
    assert failed["async_status"] == "Job Failed"
    assert (failed["error_code"], failed["error_subcode"]) == (-2, 2490547)
    assert failed.keys() > {"error_message", "error_user_title", "error_user_msg"}
    assert client.refusal(f"/{run_id}/insights") == (100, 33)
    client.sandbox.limits.change(async_refusal="refused")
    refused = client.call("POST", INSIGHTS, **QUERY).json()["error"]
    assert (refused["code"], refused["error_subcode"]) == (100, 1487534)


def test_a_page_may_be_too_big(client: Client) -> None:
    """A client that never asks for smaller pages would pass."""
    client.sandbox.limits.change(page_row_limit=100, edge_page_limit=50, report_seconds=0)
    run_id = start(client)
    client.sandbox.clock.advance(timedelta(seconds=1))
    for path, query, fits in (
        (INSIGHTS, QUERY, 100),
        (f"/{run_id}/insights", {}, 100),
        (f"/act_{US}/ads", {}, 50),
    ):
        assert client.get(path, **query, limit=fits).status_code == 200
        answer = client.get(path, **query, limit=fits + 1)
        assert answer.status_code == 500
        assert answer.json()["error"].keys() == {"code", "message"}
        assert answer.json()["error"]["code"] == 1


def test_impossible_limits_are_refused(client: Client) -> None:
    """A test with a misspelt limit would limit nothing."""
    for change in (
        {"rows": 1},
        {"sync_row_limit": 0},
        {"sync_refusal": 3},
        {"async_refusal": ""},
        {"report_seconds": -1},
        {"calls_per_hour_of": {US: "x"}},
    ):
        with pytest.raises(ValueError, match=r"limit|must be"):
            client.sandbox.limits.change(**change)
    assert client.sandbox.limits.sync_row_limit is None


def test_a_level_that_was_set_is_told(client: Client) -> None:
    """Pacing by the headers could not be tested."""
    client.sandbox.set_usage(US, 86)
    said = usage(client)
    assert said["business"]["call_count"] == said["business"]["total_time"] == 86
    assert said["account"]["acc_id_util_pct"] == said["insights"]["acc_id_util_pct"] == 86
    assert said["business"]["estimated_time_to_regain_access"] == 0
    assert usage(client, f"/act_{ID}")["account"]["acc_id_util_pct"] < 1
    client.sandbox.set_usage(US, 100, minutes=3)
    assert client.refusal(INSIGHTS) == (80004, 2446079)
    said = usage(client)
    assert said["business"]["estimated_time_to_regain_access"] == 3  # minutes
    assert said["account"]["reset_time_duration"] == 180  # seconds
    client.sandbox.clock.advance(timedelta(minutes=3))
    assert client.get(INSIGHTS).status_code == 200
    with pytest.raises(ValueError, match="no account"):
        client.sandbox.set_usage("9", 50)


def test_calls_are_counted_and_refused_until_there_is_room(client: Client) -> None:
    """The usage headers would be wrong, or a throttle would end early, late or hit another
    account.
    """
    client.sandbox.limits.change(calls_per_hour_of={US: 4})
    shares = []
    for _ in range(4):
        shares.append(usage(client)["account"]["acc_id_util_pct"])
        client.sandbox.clock.advance(timedelta(minutes=5))
    assert shares == [25, 50, 75, 100]
    refused = client.get(INSIGHTS)
    assert refused.status_code == 400
    said = usage(client)
    assert said["business"]["estimated_time_to_regain_access"] == 40
    assert said["account"]["reset_time_duration"] == 2400
    assert client.get(f"/act_{ID}").status_code == 200
    client.sandbox.clock.advance(timedelta(seconds=2399))
    assert client.refusal(INSIGHTS) == (80004, 2446079)
    client.sandbox.clock.advance(timedelta(seconds=1))
    assert client.get(INSIGHTS).status_code == 200
    assert client.refusal(INSIGHTS) == (80004, 2446079)


def test_a_batch_answers_each_call_as_if_it_were_alone(client: Client) -> None:
    """Fetching many objects in one request could not be tested."""
    ads = [ad.id for ad in client.sandbox.world.ads[US][:3]]
    client.sandbox.limits.change(calls_per_hour_of={US: 7})
    answers = batch(client, *(f"{ad}?fields=name" for ad in ads), "act_9", f"v25.0/act_{ID}")
    assert [answer["code"] for answer in answers] == [200, 200, 200, 400, 200]
    for ad, answer in zip(ads, answers, strict=False):
        assert orjson.loads(answer["body"]) == client.get(f"/{ad}", fields="name").json()
    headers = {item["name"]: item["value"] for item in answers[2]["headers"]}
    assert orjson.loads(headers["x-ad-account-usage"])["acc_id_util_pct"] == round(300 / 7, 2)
    assert orjson.loads(answers[3]["body"])["error"]["error_subcode"] == 33
    plain = batch(client, f"act_{US}", f"act_{US}", include_headers="false")
    assert [answer["code"] for answer in plain] == [200, 400]
    assert "headers" not in plain[0]
    assert batch(client, *["me"] * 50)[49]["code"] == 200
    assert batch(client, *["me"] * 51)["error"]["type"] == "GraphBatchException"
    wrong = client.call("POST", "/", batch=[{"method": "POST", "relative_url": "me"}]).json()
    assert wrong["error"]["code"] == 100
