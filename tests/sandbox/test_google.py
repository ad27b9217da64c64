"""Google's sandbox is as strict as Google: what is wrong on the wire does not pass."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from sandbox.google import GoogleFault
from sandbox.server import Sandbox
from sandbox.world import Clock

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HASH = "6915771be1c5" + "0" * 52


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(clock=Clock(NOW)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


def _event(**changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "transactionId": "T-1",
        "eventTimestamp": "2026-11-20T11:00:00Z",
        "eventSource": 1,
        "consent": {"adUserData": 1, "adPersonalization": 1},
        "userData": {"userIdentifiers": [{"emailAddress": HASH}]},
        "conversionValue": 5,
        "currency": "USD",
        **changes,
    }
    return {key: value for key, value in event.items() if value is not None}


def _post(sandbox: Sandbox, *events: dict[str, Any], **changes: Any) -> requests.Response:
    body = {
        "destinations": [
            {
                "operatingAccount": {"accountType": 1, "accountId": "1112223333"},
                "productDestinationId": "42",
            }
        ],
        "events": list(events) or [_event()],
        "encoding": 1,
        **changes,
    }
    return requests.post(f"{sandbox.url}/v1/events:ingest", json=body, timeout=10)


def _reasons(answer: requests.Response) -> list[tuple[str, str]]:
    details = answer.json()["error"]["details"]
    return [(v["field"], v["reason"]) for one in details for v in one.get("fieldViolations", ())]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"consent": {"adUserData": 3}}, "INVALID_ENUM_VALUE"),
        ({"currency": "DOLLAR"}, "INVALID_CURRENCY_CODE"),
        ({"conversionValue": -1}, "INVALID_NUMBER_FORMAT"),
        ({"eventTimestamp": None}, "REQUIRED_FIELD_MISSING"),
        ({"eventTimestamp": "2026-11-20T13:00:00Z"}, "EVENT_TIME_INVALID"),
        ({"userData": None}, "NO_IDENTIFIERS_PROVIDED"),
        ({"userData": {"userIdentifiers": [{"emailAddress": "a@b.c"}]}}, "INVALID_HEX_ENCODING"),
        ({"userData": {"userIdentifiers": [{"emailAddress": "abcd"}]}}, "INVALID_SHA256_FORMAT"),
        (
            {"userData": {"userIdentifiers": [{"emailAddress": HASH}] * 11}},
            "TOO_MANY_USER_IDENTIFIERS",
        ),
        ({"adIdentifiers": {"gclid": "no click"}}, "INVALID_FORMAT"),
    ],
)
def test_an_event_that_is_wrong_has_all_refused(
    sandbox: Sandbox, changes: dict[str, Any], reason: str
) -> None:
    """A request that Google refuses would pass in our tests."""
    bad = _event(transactionId="T-2", **changes)
    answer = _post(sandbox, _event(), bad, _event(transactionId="T-3"), bad)
    assert answer.status_code == 400
    found = _reasons(answer)
    assert [field.split(".")[1] for field, _ in found] == ["events[1]", "events[3]"]
    assert {one for _, one in found} == {reason}
    assert not sandbox.google.conversions


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": 0},
        {"events": []},
        {"destinations": []},
        {"events": [_event(transactionId=str(n)) for n in range(2001)]},
        {
            "destinations": [
                {
                    "operatingAccount": {"accountType": 1, "accountId": "1112223333"},
                    "productDestinationId": "52",
                }
            ]
        },
        {"anything": 1},
        {"events": [_event(unknownName=1)]},
        {"events": [_event(conversionValue="much")]},
    ],
)
def test_a_request_that_is_wrong_is_refused(sandbox: Sandbox, changes: dict[str, Any]) -> None:
    """A request that Google refuses would pass in our tests."""
    assert _post(sandbox, **changes).status_code == 400
    assert not sandbox.google.conversions


def test_a_strange_account_and_a_strange_token(sandbox: Sandbox) -> None:
    """Events would be accepted for any account that a request names."""
    place = {
        "operatingAccount": {"accountType": 1, "accountId": "1234567890"},
        "productDestinationId": "42",
    }
    assert _post(sandbox, destinations=[place]).status_code == 403
    header = {"Authorization": "Bearer ya29.stolen"}
    url = f"{sandbox.url}/v1/requestStatus:retrieve"
    assert requests.get(url, headers=header, timeout=10).status_code == 401
    sandbox.google.must_log_in = True
    assert _post(sandbox).status_code == 401


def test_the_books(sandbox: Sandbox) -> None:
    """A repeated conversion would count twice, or an adjustment would not count."""
    first = _post(sandbox, _event()).json()["requestId"]
    again = _post(sandbox, _event()).json()["requestId"]
    changed = _post(sandbox, _event(conversionValue=3)).json()["requestId"]
    assert sandbox.google.counted() == {"T-1": 1}
    assert sandbox.google.conversions["42", "T-1"].value == 3

    def status(request_id: str) -> dict[str, Any]:
        url = f"{sandbox.url}/v1/requestStatus:retrieve"
        answer = requests.get(url, params={"requestId": request_id}, timeout=10).json()
        return dict(answer["requestStatusPerDestination"][0])

    assert status(first)["requestStatus"] == "PROCESSING"
    sandbox.clock.set(NOW.replace(minute=30))
    try:
        assert status(first)["requestStatus"] == "SUCCESS"
        assert status(changed)["requestStatus"] == "SUCCESS"
        failed = status(again)
    finally:
        sandbox.clock.set(NOW)
    assert failed["requestStatus"] == "FAILED"
    assert failed["errorInfo"]["errorCounts"] == [
        {"reason": "PROCESSING_ERROR_REASON_DUPLICATE_TRANSACTION_ID", "recordCount": "1"}
    ]


def test_the_quota_of_a_minute(sandbox: Sandbox) -> None:
    """A client that exceeds Google's quota would pass our tests."""
    sandbox.google.per_minute = 2
    assert [_post(sandbox).status_code for _ in range(3)] == [200, 200, 429]
    waits = [d.get("retryDelay") for d in _post(sandbox).json()["error"]["details"]]
    assert "60s" in waits


def test_it_is_driven_from_another_process(sandbox: Sandbox) -> None:
    """The demo and tests of processes could not make anything go wrong."""
    url = f"{sandbox.url}/_sandbox/google"
    said = requests.post(url, json={"unmatched_percent": 100, "processing_seconds": 0}, timeout=10)
    assert said.json()["unmatched_percent"] == 100
    assert requests.post(url, json={"unmatched": 1}, timeout=10).status_code == 400
    assert requests.post(url, json={"allowlisted": "no"}, timeout=10).status_code == 400
    requests.post(f"{url}/faults", json={"kind": "unavailable"}, timeout=10).raise_for_status()
    assert requests.post(f"{url}/faults", json={"kind": "rain"}, timeout=10).status_code == 400
    assert _post(sandbox).status_code == 503
    assert _post(sandbox).status_code == 200
    assert requests.get(f"{url}/ledger", timeout=10).json() == []
    tag: dict[str, str | int] = {"action": "44", "order_id": "T-9", "value": 5, "currency": "USD"}
    requests.post(f"{url}/tag", json=dict(tag), timeout=10).raise_for_status()
    assert requests.get(f"{url}/ledger", timeout=10).json() == [["44", "T-9", 1, 1, 5.0]]
    revoked = {"refresh_token": "sandbox-refresh-token"}
    requests.delete(f"{url}/tokens", json=revoked, timeout=10).raise_for_status()
    assert sandbox.google.refresh_tokens == set()
    assert requests.delete(f"{url}/faults", timeout=10).json() == []


def test_faults_that_make_no_sense(sandbox: Sandbox) -> None:
    """A misspelt fault would never strike."""
    with pytest.raises(ValueError, match="unknown kind"):
        GoogleFault("rain")
    with pytest.raises(ValueError, match="needs code"):
        GoogleFault("error")
