"""Reports that Graph computes while the caller polls, on a clock that the test moves."""

import time
from datetime import timedelta

import pytest
import requests

from tests.support.graph import EU, EVERY, NOON, QUERY, START, US, Client, start, state


def test_a_report_takes_its_time(client: Client) -> None:
    """A client that reads a report before it is done, or never polls, would pass."""
    client.sandbox.limits.change(report_seconds=100, report_rows_per_second=0)
    run_id = start(client)
    seen = []
    for _ in range(6):
        seen.append(state(client, run_id))
        if seen[-1][0] != "Job Completed":
            assert client.refusal(f"/{run_id}/insights") == (100, 33)
        client.sandbox.clock.advance(timedelta(seconds=20 if len(seen) > 2 else 10))
    assert [status for status, _ in seen] == [
        "Job Not Started",
        "Job Started",
        "Job Running",
        "Job Running",
        "Job Running",
        "Job Running",
    ]
    assert [percent for _, percent in seen] == sorted(percent for _, percent in seen)
    client.sandbox.clock.advance(timedelta(seconds=100))
    report = client.get(f"/{run_id}").json()
    assert report == {
        "id": run_id,
        "account_id": US,
        "time_ref": int(NOON.timestamp()),
        "time_completed": int(NOON.timestamp()) + 100,
        "async_status": "Job Completed",
        "async_percent_completion": 100,
        "date_start": START.isoformat(),
        "date_stop": NOON.date().isoformat(),
    }
    only = client.get(f"/{run_id}", fields="async_status").json()
    assert only == {"async_status": "Job Completed", "id": run_id}


def test_on_real_time_it_is_quick(client: Client) -> None:
    """The demo would wait for its reports, or not meet one that is not ready."""
    client.sandbox.clock.follow()
    query = {"level": "account", "date_preset": "last_3d"}
    began = time.monotonic()
    run_id = client.call("POST", f"/act_{US}/insights", **query).json()["report_run_id"]
    assert state(client, run_id)[0] != "Job Completed"
    while state(client, run_id)[0] != "Job Completed":
        time.sleep(0.01)
    assert 0.15 < time.monotonic() - began < 5


def test_its_rows_are_those_of_the_query(client: Client) -> None:
    """A report and a query would give different rows for the same question."""
    client.sandbox.clock.advance_per_request = timedelta(milliseconds=60)
    run_id, polls = start(client), 0
    while state(client, run_id)[0] != "Job Completed":
        polls += 1
    assert polls > 1
    pages = list(client.pages(f"/{run_id}/insights", limit=500))
    assert [] in [page["data"] for page in pages]
    rows = [row for page in pages for row in page["data"]]
    client.sandbox.clock.set(NOON)
    asked = client.all(f"/act_{US}/insights", **QUERY, limit=400)
    assert len(rows) > 1000
    assert rows == asked
    spend = client.get(f"/{run_id}/insights", fields="spend", limit=1).json()["data"][0]
    assert spend.keys() == {"spend", "date_start", "date_stop"}


def test_figures_are_those_of_the_moment_it_was_made(client: Client) -> None:
    """Rows that arrive later than the report was made would be attributed to it."""
    run_id = start(client)
    before = client.all(f"/act_{US}/insights", **QUERY, limit=500)
    client.sandbox.restate(US, percent=50)
    client.sandbox.clock.advance(timedelta(hours=3))
    assert client.all(f"/{run_id}/insights", limit=500) == before
    assert client.all(f"/act_{US}/insights", **QUERY, limit=500) != before


def test_it_is_its_accounts_own_and_is_kept_for_30_days(client: Client) -> None:
    """A client could read another brand's report, or use report ids that have expired."""
    run_id = start(client)
    lumen = client.get(f"/{run_id}", token="sandbox-token-lumen").json()
    assert lumen["error"]["code"] == 100
    client.sandbox.clock.advance(timedelta(days=30))
    assert state(client, run_id) == ("Job Completed", 100)
    client.sandbox.clock.advance(timedelta(seconds=1))
    assert client.refusal(f"/{run_id}") == (100, 33)


@pytest.mark.parametrize("kind", ["campaign", "adset", "ad"])
def test_parts_of_an_account_add_up(client: Client, kind: str) -> None:
    """A client that splits by ids could lose rows, deleted ads first of all."""
    client.sandbox.limits.change(report_seconds=0, report_rows_per_second=0)
    complete = client.all(f"/act_{US}/insights", **QUERY, limit=5000)
    ids = sorted({ad.id for ad in client.sandbox.world.ads[US]})
    if kind != "ad":
        ids = sorted({getattr(ad, kind).id for ad in client.sandbox.world.ads[US]})
    half = len(ids) // 2
    rows = []
    for part in (ids[:half], ids[half:]):
        chosen = {"field": f"{kind}.id", "operator": "IN", "value": part}
        query = {**QUERY, "filtering": [EVERY, chosen]}
        found = client.all(f"/act_{US}/insights", **query, limit=5000)
        run_id = start(client, filtering=[EVERY, chosen])
        assert client.all(f"/{run_id}/insights", limit=5000) == found
        rows += found
    assert sorted(map(str, rows)) == sorted(map(str, complete))


def test_a_campaign_answers_for_its_own_ads(client: Client) -> None:
    """Splitting by campaign through the campaign itself would give other rows."""
    client.sandbox.limits.change(report_seconds=0, report_rows_per_second=0)
    campaign = client.sandbox.world.accounts[US].campaigns[0]
    adset = {"field": "adset.id", "operator": "IN", "value": [campaign.adsets[0].id]}
    query = {**QUERY, "filtering": [EVERY, adset]}
    rows = client.all(f"/act_{US}/insights", **query, limit=5000)
    assert rows
    assert client.all(f"/{campaign.id}/insights", **query, limit=5000) == rows
    run_id = start(client, f"/{campaign.id}/insights", filtering=[EVERY, adset])
    assert client.all(f"/{run_id}/insights", limit=5000) == rows


def test_it_is_checked_like_a_query(client: Client) -> None:
    """Mistakes in a report's parameters would show only at Meta."""
    for change in ({"level": "creative"}, {"fields": "spnd"}, {"breakdowns": ["age"]}):
        answer = client.call("POST", f"/act_{US}/insights", **{**QUERY, **change})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)
    run_id = start(client)
    client.sandbox.clock.advance(timedelta(seconds=10))
    for params in ({"fields": "reach"}, {"level": "ad"}, {"after": "x"}):
        assert client.refusal(f"/{run_id}/insights", **params)[0] in (100, 2642)
    assert client.call("POST", f"/{run_id}").json()["error"]["code"] == 100
    assert client.refusal(f"/{run_id}/ads") == (100, None)
    posted = requests.post(
        f"{client.sandbox.url}/v26.0/act_{US}/insights",
        params={"access_token": "sandbox-token-acme", "level": "ad"},
        timeout=10,
    )
    assert posted.json().keys() == {"report_run_id"}
    assert client.call("POST", f"/act_{EU}/insights").json().keys() == {"report_run_id"}
