"""Who may do what: every route of the page and the API, by one table, and what the trail keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.support.edge import Client, connections, edge, key, two_brands
from tests.support.loads import query

# The least that a user of Airflow must be allowed; each may what those before may. Airflow's own
# simple roles know a viewer, and a user who may do all of it.
ROLES = ("viewer", "trigger", "editor", "eraser")
LEAST = {
    "GET /api/conversions": "viewer",
    "GET /api/conversions/{id}": "viewer",
    "GET /api/conversions/sync": "viewer",
    "GET /api/destinations": "viewer",
    "GET /api/openapi.json": "viewer",
    "POST /api/conversions": "trigger",
    "POST /api/conversions/batch": "trigger",
    "POST /api/conversions/sync": "trigger",
    "PATCH /api/conversions/{id}": "editor",
    "PATCH /api/destinations/{name}": "editor",
    "DELETE /api/conversions/{id}": "eraser",
    "POST /api/erasure": "eraser",
}
# In Airflow alone: figures of all brands, Airflow's own state.
OPERATIONS = {
    "GET /api/overview": "viewer",
    "GET /api/loads": "viewer",
    "GET /api/problems": "viewer",
    "GET /api/match-quality": "viewer",
    "POST /api/destinations/{name}/retry": "editor",
    "POST /api/accounts/{platform}/{account_id}/resume": "editor",
}
LEAST |= OPERATIONS
PUBLIC = {"GET /page/", "GET /page/static/{name}"}
ID = str(uuid4())
FILLED = {"id": ID, "name": "nowhere", "platform": "meta", "account_id": "1000000009"}


def _routes(app: FastAPI, prefix: str = "") -> list[str]:
    return [
        f"{method} {prefix}{route.path}"
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    ]


@pytest.fixture(scope="module")
def as_(api_server: str, module_warehouse: str) -> Iterator[Callable[..., Client]]:
    """A client by user name: one of `ROLES`, or a role of Airflow's own."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    two_brands(module_warehouse)
    manager = get_auth_manager()
    allow = manager.is_authorized_dag
    may: dict[str | None, set[tuple[str, str | None]]] = {
        "trigger": {("POST", "RUN")},
        "editor": {("POST", "RUN"), ("PUT", None)},
        "eraser": {("POST", "RUN"), ("PUT", None), ("DELETE", None)},
    }

    def finer(*, method: str, user: Any, access_entity: Any = None, **about: Any) -> bool:
        if method != "GET" and user.get_name() in may:
            asked = (method, access_entity and access_entity.name)
            return asked in may[user.get_name()]
        return allow(method=method, user=user, access_entity=access_entity, **about)  # type: ignore[arg-type]

    def login(name: str) -> Client:
        role = "user" if name in may else name
        token = manager.generate_jwt(SimpleAuthManagerUser(username=name, role=role))
        return Client(f"{api_server}/tributary", token)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_WAREHOUSE", module_warehouse)
        patch.setattr(manager, "is_authorized_dag", finer)
        yield login


def _ask(http: Client, route: str) -> int:
    method, path = route.split(" ")
    body: dict[str, Any] = {} if method == "GET" else {"json": {}}
    return http(method, path.format(**FILLED), **body).status_code


def _log(since: int = 0) -> list[tuple[int, str, str | None, str | None, Any]]:
    from airflow.models import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(Log).filter(Log.id > since, Log.event.like("tributary%"))
        return [
            (row.id, row.event, row.owner, row.dag_id, json.loads(row.extra or ""))
            for row in rows.order_by(Log.id)
        ]


def test_no_route_is_without_a_permission(airflow: None) -> None:
    """A new route is open to whoever may see, because nobody wrote who may use
    it.
    """
    from tributary.api import app, permissions
    from tributary.api.page import app as page

    rest = app.in_airflow()
    assert {*_routes(rest, "/api"), *_routes(page)} == LEAST.keys() | PUBLIC
    assert {*_routes(app.edge())} == {
        route.replace("/api/", "/") for route in LEAST if route not in OPERATIONS
    } - {"GET /openapi.json"} | {"GET /health", "POST /webhooks/{brand}/{source}"}

    @rest.post("/new")
    def forgotten() -> None: ...

    with pytest.raises(LookupError, match=r"does not say who may: test_permissions\.forgotten"):
        permissions.check(rest)


@pytest.mark.parametrize("route", LEAST)
def test_each_route_asks_for_its_permission(as_: Callable[..., Client], route: str) -> None:
    """Who may only start an upload pauses a destination, or erases people."""
    least = ROLES.index(LEAST[route])
    for number, role in enumerate(ROLES):
        refused = _ask(as_(role), route) in (401, 403)
        assert refused == (number < least), role
    for role in ("op", "admin"):
        assert _ask(as_(role), route) not in (401, 403), role
    assert _ask(Client(as_("viewer").url), route) == 401


def test_the_page_offers_what_a_person_may(as_: Callable[..., Client]) -> None:
    """A button is dead for whom the API obeys, or alive for whom it refuses."""
    shown = {
        role: as_(role)("GET", "/api/overview").json() for role in ("viewer", "trigger", "editor")
    }
    assert {role: (one["may_sync"], one["may_act"]) for role, one in shown.items()} == {
        "viewer": (False, False), "trigger": (True, False), "editor": (True, True),
    }  # fmt: skip


def test_every_change_leaves_the_same_kind_of_row(as_: Callable[..., Client]) -> None:
    """A person is erased, or a destination paused, and it is nowhere written by
    whom.
    """
    changes = [route for route in LEAST if LEAST[route] != "viewer"]
    last = max((id for id, *_ in _log()), default=0)
    for route in changes:
        _ask(as_("viewer"), route)
    assert _log(last) == []  # it was refused
    for route in changes:
        _ask(as_("op"), route)
    shown_texts = _log(last)
    assert [(owner, dag) for _, _, owner, dag, _ in shown_texts] == [
        ("op", "extract_meta_ads" if "accounts" in route else "upload_conversions")
        for route in changes
    ]
    assert [extra for *_, extra in shown_texts] == [
        {
            "method": route.split(" ")[0],
            **{key: FILLED[key] for key in FILLED if f"{{{key}}}" in route},
        }
        for route in changes
    ]
    assert [event for _, event, *_ in shown_texts] == [
        "tributary_conversions_create", "tributary_conversions_create_batch",
        "tributary_sync_start", "tributary_conversions_change", "tributary_destinations_change",
        "tributary_conversions_erase", "tributary_erasure_erase", "tributary_retry_dead",
        "tributary_resume_account",
    ]  # fmt: skip
    last = shown_texts[-1][0]
    for path in ("/api/destinations/jane@example.com", "/api/conversions/jane@example.com"):
        as_("op")("PATCH", path, json={"reason": "jane@example.com"})
    retry = "/api/destinations/nowhere/retry"
    as_("op")("POST", retry, json={"outcome": "jane@example.com asked for it"})
    assert len(_log(last)) == 3
    assert "jane" not in str(_log(last))


def test_the_edge_keeps_the_same_trail(as_: Callable[..., Client], module_warehouse: str) -> None:
    """Which key of a brand erased a person, or stopped its uploads, cannot be
    found.
    """
    uri = module_warehouse
    rest = [route.replace("/api", "") for route in LEAST if route not in OPERATIONS]
    keys = {brand: key(uri, brand) for brand in ("acme", "lumen")}
    with pytest.MonkeyPatch.context() as patch:
        connections(patch)
        with edge(uri) as url:
            for brand in keys:
                for route in rest:
                    _ask(Client(url, keys[brand]), route)
            _ask(Client(url, "tk_" + "0" * 12 + "_" + "A" * 43), "POST /erasure")
    rows = query(uri, "select event, owner, brand, extra from ops.audit_log order by id")
    changes = [route for route in rest if not route.startswith("GET ")]
    assert [(row["owner"], row["brand"]) for row in rows] == [
        (keys[brand].split("_")[1], brand) for brand in keys for _ in changes
    ]
    last = max((id for id, *_ in _log()), default=0)
    for route in changes:
        _ask(as_("op"), route.replace(" /", " /api/"))
    in_airflow = [(event, extra) for _, event, _, _, extra in _log(last)]
    assert [(row["event"], row["extra"]) for row in rows] == in_airflow * 2


PAGES = {
    "ours": {},
    "ours, named": {"Origin": "http://{host}"},
    "ours behind TLS": {"Origin": "https://{host}", "Sec-Fetch-Site": "none"},
    "ours by another name": {"Origin": "https://airflow.example.com"},
    "ours, says the browser": {"Origin": "https://inside.example", "Sec-Fetch-Site": "same-origin"},
    "another": {"Origin": "https://evil.example"},
    "another, typed": {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "a neighbour": {"Origin": "https://airflow.example.com.evil.example"},
    "a file": {"Origin": "null"},
    "a bad one": {"Origin": "http://[:0"},
    "another, says the browser": {"Sec-Fetch-Site": "cross-site"},
    "a subdomain": {"Origin": "http://{host}", "Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("page", [*PAGES, "no base_url: ours, named", "no base_url: another"])
def test_only_our_own_pages_change_anything(
    as_: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """A page that a person opens elsewhere stops a brand's conversions with their
    cookie.

    Or, where `[api] base_url` is not set, which Airflow does not ask for, every change fails.
    """
    http = as_("op")
    page, without = page.removeprefix("no base_url: "), page.startswith("no base_url: ")
    if without:
        monkeypatch.delenv("AIRFLOW__API__BASE_URL", raising=False)
    else:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/airflow")
    host = http.url.split("/")[2]
    headers = {name: value.format(host=host) for name, value in PAGES[page].items()}
    cookies = {"_token": str(http.bearer).removeprefix("Bearer ")}
    stranger, ours = Client(http.url), page.startswith("ours")
    for method, path in (
        ("POST", "/api/destinations/nowhere/retry"),
        ("PATCH", "/api/destinations/nowhere"),
        ("DELETE", f"/api/conversions/{ID}"),
        ("POST", "/api/conversions/sync?brand_id=none"),
    ):
        body: dict[str, Any] = {"json": {}} if method != "DELETE" else {}
        answer = stranger(method, path, cookies=cookies, headers=headers, **body)
        assert (answer.status_code == 403) == (not ours), (path, answer.text)
        assert answer.status_code < 500, (path, answer.text)
    # Who shows a token of their own is no page that borrows a cookie.
    assert http("PATCH", "/api/destinations/nowhere", json={}, headers=headers).status_code == 404
