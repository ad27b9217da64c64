"""The sandbox as a process of its own."""

import subprocess
import sys
from functools import partial
from typing import Any, cast

import requests


def test_it_says_where_it_is_and_ends_when_told() -> None:
    """`make demo` would wait for a sandbox that runs already, or leave one running."""
    command = [sys.executable, "-m", "sandbox", "--now", "2026-10-29T12:00:00"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        health = requests.get(f"{url}/_sandbox/health", timeout=10)
        assert health.json() == {"status": "ok", "now": "2026-10-29T12:00:00+00:00"}
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout.read() == ""


def test_another_process_drives_it() -> None:
    """What other processes do could be tested only with real outages and sleeps."""
    command = [sys.executable, "-m", "sandbox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        ask = partial(_ask, url)
        moment = {"set": "2026-10-29T12:00:00+00:00", "advance_per_request_seconds": 90}
        assert ask("POST", "_sandbox/clock", json=moment)["advance_per_request_seconds"] == 90
        fault = ask(
            "POST", "_sandbox/faults",
            json={"kind": "throttle_80004", "until": "2026-10-29T12:02:00Z", "edge": "ads"},
        )  # fmt: skip
        assert [_ads(url) for _ in range(3)] == [400, 400, 200]
        assert [one["hits"] for one in ask("GET", "_sandbox/faults")] == [2]
        assert ask("DELETE", f"_sandbox/faults?id={fault['id']}") == []
        assert ask("POST", "_sandbox/clock", json={"advance_seconds": 30})["now"] == (
            "2026-10-29T12:05:00+00:00"
        )
        assert ask("POST", "_sandbox/limits", json={"edge_page_limit": 10})["edge_page_limit"] == 10
        assert _ads(url) == 500
        ask("POST", "_sandbox/limits", json={"edge_page_limit": None})
        ask("POST", "_sandbox/usage", json={"account_id": "1000000001", "percent": 100})
        assert _ads(url) == 400
        assert ask("POST", "_sandbox/restate", json={"account_id": "1000000001"}) == {"revision": 1}
        assert ask("POST", "_sandbox/hidden", json={"ids": []}) == {"ids": []}
        seen = ask("GET", "_sandbox/requests?last=1")
        # A call that is refused for the account's limit does not get as far as an edge.
        by_edge = {one["edge"]: one["calls"] for one in seen["counts"]}
        assert (seen["total"], by_edge) == (5, {"ads": 4, "": 1})
        assert seen["last"] == [
            {"method": "GET", "path": "/v26.0/act_1000000001/ads", "params": {"limit": "25"}}
        ]
        assert ask("DELETE", "_sandbox/requests")["total"] == 0
        ask("POST", "_sandbox/reset")
        assert _ads(url) == 200
        for path, body in (
            ("faults", {"kind": "throttle"}),
            ("faults", {"kind": "busy", "time": 1}),
            ("clock", {"now": 1}),
            ("clock", {"set": "2026-10-29"}),
            ("limits", {"rows": 1}),
            ("usage", {"account_id": "9", "percent": 1}),
            ("restate", {"account_id": "9"}),
            ("hidden", {"ids": ["9"]}),
        ):
            answer = requests.post(f"{url}/_sandbox/{path}", json=cast(Any, body), timeout=10)
            assert (answer.status_code, answer.json().keys()) == (400, {"error"}), path
        process.terminate()
        assert process.wait(10) == 0


def _ask(url: str, method: str, path: str, **arguments: Any) -> Any:
    answer = requests.request(method, f"{url}/{path}", timeout=10, **arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _ads(url: str) -> int:
    params = {"access_token": "sandbox-token-acme", "limit": "25"}
    return requests.get(f"{url}/v26.0/act_1000000001/ads", params, timeout=10).status_code
