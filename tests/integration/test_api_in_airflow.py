"""The API as Airflow mounts it: behind its login, by its roles, triggering as the caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from doors import Door, serving, two_brands
from outgoing import purchase

ROUTES = [
    ("POST", "/conversions"), ("POST", "/conversions/batch"), ("GET", "/conversions"),
    ("GET", f"/conversions/{uuid4()}"), ("PATCH", f"/conversions/{uuid4()}"),
    ("DELETE", f"/conversions/{uuid4()}"), ("POST", "/conversions/sync"),
    ("GET", "/conversions/sync"), ("GET", "/destinations"), ("PATCH", "/destinations/x"),
    ("POST", "/erasure"), ("GET", "/openapi.json"),
]  # fmt: skip


@pytest.fixture(scope="module")
def url(airflow: None, module_warehouse: str) -> Iterator[str]:
    """Airflow's own API server with the plugin of this checkout."""
    two_brands(module_warehouse)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_WAREHOUSE", module_warehouse)
        patch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "vera:viewer,ulf:user,admin:admin")
        from airflow.api_fastapi.app import create_app

        with serving(create_app()) as found:
            yield f"{found}/tributary/api"


@pytest.fixture(scope="module")
def login(url: str) -> Callable[[str], Door]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def as_(role: str) -> Door:
        user = SimpleAuthManagerUser(username=role, role=role)
        return Door(url, get_auth_manager().generate_jwt(user))

    return as_


def test_nobody_gets_in_without_a_login(url: str) -> None:
    """Red: plugin apps of Airflow are open to everybody unless they ask who it is."""
    for token in (None, "garbage", "tk_" + "0" * 12 + "_" + "A" * 43):
        for method, path in ROUTES:
            assert Door(url, token)(method, path).status_code == 401, (method, path)
    anonymous = Door(url)
    for path in ("/docs", "/redoc", "/webhooks/acme/stripe", "/health"):
        assert anonymous("GET", path).status_code == 404


def test_a_cookie_is_a_login_too(url: str, login: Callable[[str], Door]) -> None:
    """Red: the page in the browser cannot call the API."""
    token = str(login("viewer").bearer).removeprefix("Bearer ")
    answer = Door(url)("GET", "/conversions", cookies={"_token": token})
    assert answer.status_code == 200


def test_a_viewer_reads_and_a_user_writes(login: Callable[[str], Door]) -> None:
    """Red: who may only look can erase people, or who may trigger the upload cannot use the API."""
    viewer, user = login("viewer"), login("user")
    event: dict[str, Any] = json.loads(json.dumps(purchase(1), default=str))
    event["event_time"] = datetime.now(UTC).isoformat()
    for method, path in ROUTES:
        status = viewer(method, path, json={}).status_code
        if method == "GET":
            assert status in (200, 404), path
        else:
            assert status == 403, (method, path)
    assert user.faults("POST", "/conversions", json=event) == ["brand"]
    row = user("POST", "/conversions", json={**event, "brand": "acme"}).json()
    other = user("POST", "/conversions", json={**event, "brand": "lumen"})
    assert other.status_code == 201
    assert viewer("GET", f"/conversions/{row['id']}").json() == row
    assert viewer("GET", "/conversions", params={"brand": "acme"}).json()["count"] == 1
    assert len(viewer("GET", "/conversions/sync").json()["status"]) == 2
    erased = user("POST", "/erasure", json={"email": event["email"]}).json()["erased"]
    assert [(one["brand"], one["events"]) for one in erased] == [("acme", 1), ("lumen", 1)]
    assert viewer("GET", "/openapi.json").json()["info"]["title"] == "Tributary"


def test_airflows_own_refusals_are_told(login: Callable[[str], Door]) -> None:
    """Red: a missing DAG looks like a started upload."""
    answer = login("user")("POST", "/conversions/sync", params={"brand_id": "acme"})
    assert answer.status_code == 502
    assert "404" in answer.json()["detail"]
