"""A client of the sandbox's Graph API, and what its tests ask."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from hashlib import sha256
from hmac import new as hmac
from typing import Any

import orjson
import requests

from sandbox.server import Sandbox

START = date(2026, 7, 1)
NOON = datetime(2026, 10, 29, 12, 0, tzinfo=UTC)
US, ID, EU = "1000000001", "1000000002", "1000000003"
ACCOUNTS = (US, ID, EU)
LUMEN = "sandbox-token-lumen"
PROOF = hmac(b"sandbox-app-secret", LUMEN.encode(), sha256).hexdigest()
EVERY_STATUS = ["ACTIVE", "PAUSED", "DELETED", "ARCHIVED", "CAMPAIGN_PAUSED", "ADSET_PAUSED"]
EVERY_STATUS.append("DISAPPROVED")


class Client:
    """Asks as the account's owner does: token in the header, proof where it is required."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def get(self, path: str, token: str | None = None, **params: Any) -> requests.Response:
        return self.call("GET", path, token, **params)

    def call(
        self, method: str, path: str, token: str | None = None, **params: Any
    ) -> requests.Response:
        """GET with a query string, POST with a form."""
        token = token or (LUMEN if EU in path else "sandbox-token-acme")
        if token == LUMEN:
            params.setdefault("appsecret_proof", PROOF)
        sent = {
            name: value if isinstance(value, str | int) else orjson.dumps(value).decode()
            for name, value in params.items()
        }
        headers = {"Authorization": f"Bearer {token}"}
        where: dict[str, Any] = {"params" if method == "GET" else "data": sent}
        url = f"{self.sandbox.url}/v26.0{path}"
        return requests.request(method, url, headers=headers, timeout=10, **where)

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every page, by its cursor, until `next` is absent."""
        while True:
            response = self.get(path, **params)
            assert response.status_code == 200, response.text
            page: dict[str, Any] = response.json()
            yield page
            if "next" not in page.get("paging", {}):
                return
            params["after"] = page["paging"]["cursors"]["after"]

    def all(self, path: str, **params: Any) -> list[dict[str, Any]]:
        return [item for page in self.pages(path, **params) for item in page["data"]]

    def refusal(self, path: str, **params: Any) -> tuple[int, int | None]:
        """Code and subcode of the error, which must be a whole Graph error."""
        response = self.get(path, **params)
        error: dict[str, Any] = response.json()["error"]
        assert response.status_code >= 400
        assert {"message", "type", "code", "fbtrace_id"} <= error.keys()
        assert "x-business-use-case-usage" in response.headers
        return error["code"], error.get("error_subcode")


def days(since: date, until: date) -> dict[str, str]:
    return {"since": since.isoformat(), "until": until.isoformat()}


EVERY = {"field": "ad.effective_status", "operator": "IN", "value": EVERY_STATUS}
QUERY: dict[str, Any] = {
    "level": "ad",
    "time_increment": 1,
    "time_range": days(START, NOON.date()),
    "fields": "ad_id,spend,impressions,actions",
    "filtering": [EVERY],
}


def start(client: Client, path: str = f"/act_{US}/insights", **changes: Any) -> str:
    """The id of a new report."""
    response = client.call("POST", path, **{**QUERY, **changes})
    assert response.status_code == 200, response.text
    run_id: str = response.json()["report_run_id"]
    return run_id


def state(client: Client, run_id: str) -> tuple[str, int]:
    report = client.get(f"/{run_id}").json()
    return report["async_status"], report["async_percent_completion"]


def batch(client: Client, *urls: str, **params: Any) -> Any:
    calls = [{"method": "GET", "relative_url": url} for url in urls]
    return client.call("POST", "/", batch=calls, **params).json()
