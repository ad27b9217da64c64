"""The API as Airflow mounts it: behind its login, by its roles, triggering as the caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.support.edge import Client, two_brands
from tests.support.outgoing import purchase

ROUTES = [
    ("POST", "/conversions"), ("POST", "/conversions/batch"), ("GET", "/conversions"),
    ("GET", f"/conversions/{uuid4()}"), ("PATCH", f"/conversions/{uuid4()}"),
    ("DELETE", f"/conversions/{uuid4()}"), ("POST", "/conversions/sync"),
    ("GET", "/conversions/sync"), ("GET", "/destinations"), ("PATCH", "/destinations/x"),
    ("POST", "/erasure"), ("GET", "/openapi.json"),
]  # fmt: skip


@pytest.fixture(scope="module")
def url(api_server: str, module_warehouse: str) -> Iterator[str]:
    """Airflow's own API server with the plugin of this checkout."""
    two_brands(module_warehouse)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_WAREHOUSE", module_warehouse)
        yield f"{api_server}/tributary/api"


@pytest.fixture(scope="module")
def login(url: str) -> Callable[[str], Client]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def as_(role: str) -> Client:
        user = SimpleAuthManagerUser(username=role, role=role)
        return Client(url, get_auth_manager().generate_jwt(user))

    return as_


def test_nobody_gets_in_without_a_login(url: str) -> None:
    """Plugin apps of Airflow are open to everybody unless they ask who it is."""
    for token in (None, "garbage", "tk_" + "0" * 12 + "_" + "A" * 43):
        for method, path in ROUTES:
            assert Client(url, token)(method, path).status_code == 401, (method, path)
    anonymous = Client(url)
    for path in ("/docs", "/redoc", "/webhooks/acme/stripe", "/health"):
        assert anonymous("GET", path).status_code == 404


def test_an_expired_or_forged_login_is_none(url: str, login: Callable[[str], Client]) -> None:
    """Yesterday's token still opens, or one that somebody signed himself."""
    import jwt
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    valid = str(login("admin").bearer).removeprefix("Bearer ")
    user = SimpleAuthManagerUser(username="admin", role="admin")
    expired = get_auth_manager().generate_jwt(user, expiration_time_in_seconds=-60)
    claims = jwt.decode(valid, options={"verify_signature": False})
    forged = jwt.encode(claims, "x" * 64, algorithm="HS512")
    unsigned = jwt.encode(claims, "", algorithm="none")
    assert Client(url, valid)("GET", "/conversions").status_code == 200
    for token in (expired, forged, unsigned, valid[:-4]):
        assert Client(url, token)("GET", "/conversions").status_code == 401
        assert Client(url)("GET", "/conversions", cookies={"_token": token}).status_code == 401


def test_a_cookie_is_a_login_too(url: str, login: Callable[[str], Client]) -> None:
    """The page in the browser cannot call the API."""
    token = str(login("viewer").bearer).removeprefix("Bearer ")
    cookies = {"_token": token}
    assert Client(url)("GET", "/conversions", cookies=cookies).status_code == 200
    mine = {"_token": str(login("user").bearer).removeprefix("Bearer ")}
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 409)):
        answer = Client(url)("POST", "/conversions/sync", params={"brand_id": "acme"}, cookies=mine,
                           headers={"Sec-Fetch-Site": site})  # fmt: skip
        assert answer.status_code == status  # 409: the DAG is paused


def test_a_viewer_reads_and_a_user_writes(login: Callable[[str], Client]) -> None:
    """Who may only look can erase people, or who may trigger the upload cannot use
    the API.
    """
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


def test_every_write_is_in_airflows_audit_log(login: Callable[[str], Client]) -> None:
    """Who erased a person, or handed in a sale, cannot be found; or the log names
    people.
    """
    from airflow.models import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        last = max((id for (id,) in session.query(Log.id)), default=0)
    op, viewer = login("op"), login("viewer")
    event: dict[str, Any] = json.loads(json.dumps(purchase(77, email="w@x.example"), default=str))
    event |= {"event_time": datetime.now(UTC).isoformat(), "brand": "acme"}
    id = op("POST", "/conversions", json=event).json()["id"]
    op("POST", "/conversions/batch", json={"events": [event]})
    op("PATCH", f"/conversions/{id}", json={"destination": "x", "sync_status": "pending"})
    op("PATCH", "/destinations/nowhere", json={"paused": True})
    op("DELETE", f"/conversions/{id}")
    op("DELETE", "/conversions/w@x.example")
    op("POST", "/erasure", json={"email": event["email"]})
    op("GET", f"/conversions/{id}")
    viewer("POST", "/erasure", json={"email": event["email"]})
    with create_session() as session:
        rows = session.query(Log).filter(Log.id > last).order_by(Log.id).all()
        shown = [(row.event, row.owner, row.dag_id, json.loads(row.extra or "")) for row in rows]
    who = ("op", "upload_conversions")
    assert [row for row in shown if row[0].startswith("tributary_")] == [
        ("tributary_conversions_create", *who, {"method": "POST"}),
        ("tributary_conversions_create_batch", *who, {"method": "POST"}),
        ("tributary_conversions_change", *who, {"method": "PATCH", "id": id}),
        ("tributary_destinations_change", *who, {"method": "PATCH", "name": "nowhere"}),
        ("tributary_conversions_erase", *who, {"method": "DELETE", "id": id}),
        ("tributary_conversions_erase", *who, {"method": "DELETE"}),
        ("tributary_erasure_erase", *who, {"method": "POST"}),
    ]
    assert "w@x.example" not in str(shown)


@pytest.fixture
def airflows(login: Callable[[str], Client], api_server: str) -> Callable[..., requests.Response]:
    """Airflow's own REST API, asked as an admin."""
    headers = {"Authorization": str(login("admin").bearer)}

    def ask(method: str, path: str, **arguments: Any) -> requests.Response:
        url = f"{api_server}/api/v2/{path}"
        return requests.request(method, url, headers=headers, timeout=30, **arguments)

    return ask


def test_an_upload_is_started_as_the_caller(
    login: Callable[[str], Client], airflows: Callable[..., requests.Response]
) -> None:
    """A run that waits for ever is told as started, or is not of the one who
    asked.
    """
    path, wanted = "dags/upload_conversions", {"brand_id": "acme"}
    paused = login("user")("POST", "/conversions/sync", params=wanted)
    assert (paused.status_code, "paused" in paused.json()["detail"]) == (409, True)
    assert airflows("PATCH", path, json={"is_paused": False}).ok
    try:
        answer = login("user")("POST", "/conversions/sync", params=wanted)
        again = login("user")("POST", "/conversions/sync", params=wanted)
        nobodys = login("user").faults("POST", "/conversions/sync", params={"brand_id": "x"})
    finally:
        assert airflows("PATCH", path, json={"is_paused": True}).ok
    assert (answer.status_code, nobodys) == (202, ["brand_id"])
    assert answer.json().keys() == {"dag_id", "dag_run_id", "state"}
    # Who asks again while the run has not begun queues no second one.
    assert again.json() == answer.json()
    run = airflows("GET", f"{path}/dagRuns/{answer.json()['dag_run_id']}").json()
    assert (run["conf"], run["triggering_user_name"]) == ({"brand": "acme"}, "user")


def test_airflows_own_refusals_are_told(
    login: Callable[[str], Client],
    airflows: Callable[..., requests.Response],
    sync_dags: Callable[[], None],
) -> None:
    """A missing DAG looks like a started upload."""
    assert airflows("DELETE", "dags/upload_conversions").ok
    try:
        answer = login("user")("POST", "/conversions/sync", params={"brand_id": "acme"})
    finally:
        sync_dags()
    assert answer.status_code == 502
    assert "404" in answer.json()["detail"]
