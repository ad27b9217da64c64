"""What tests of the REST API share: a real uvicorn, a real warehouse, keys, signed webhooks."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
import requests
import uvicorn
from stripe import WebhookSignature
from tributary import warehouse as wh
from tributary.warehouse import api_keys

from tests.support.outgoing import OTHER_PIXEL, configure, execute, meta_destination

SECRET = "whsec_of-the-tests-0123456789abcdef"
SOURCES = ("stripe", "denefits", "ghl", "perspective", "chatbot")
HOOKS = [{"source": source, "conn_id": f"{source}_acme"} for source in SOURCES]


def connections(monkeypatch: Any) -> None:
    """The signing secrets as Airflow connections, and the key that payloads are encrypted with."""
    for source in SOURCES:
        extra = {"scheme": "secret"} if source == "perspective" else {}
        value = {"conn_type": "tributary_webhook", "password": SECRET, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{source.upper()}_ACME", json.dumps(value))
    monkeypatch.setenv("TRIBUTARY_SECRET_KEY", "A" * 43 + "=")


def two_brands(uri: str, **acme: Any) -> None:
    configure(uri, "acme", meta_destination(), webhooks=HOOKS, **acme)
    configure(uri, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL), managed_by="api")


def key(uri: str, brand: str = "acme", expires: datetime | None = None) -> str:
    with wh.connect(uri, autocommit=True) as connection:
        return api_keys.create(connection, brand, "test", expires)


class Client:
    """A client of the API; answers are checked to be what the API promises of all answers."""

    def __init__(self, url: str, bearer: str | None = None) -> None:
        self.url = url
        self.bearer = f"Bearer {bearer}" if bearer else None
        self._session = requests.Session()
        if self.bearer:
            self._session.headers["Authorization"] = self.bearer

    def __call__(self, method: str, path: str, **arguments: Any) -> requests.Response:
        answer = self._session.request(method, self.url + path, timeout=30, **arguments)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", answer.text
            assert answer.json()["status"] == answer.status_code
        return answer

    def faults(self, method: str, path: str, **arguments: Any) -> list[str]:
        """The fields that a 422 names."""
        answer = self(method, path, **arguments)
        assert answer.status_code == 422, answer.text
        return [fault["field"] for fault in answer.json()["errors"]]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The app behind a real uvicorn, in a thread of this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def edge(uri: str, **options: Any) -> Iterator[str]:
    from tributary.api.app import edge as make

    before = os.environ.get("TRIBUTARY_WAREHOUSE")
    os.environ["TRIBUTARY_WAREHOUSE"] = uri
    try:
        with serving(make(**options)) as url:
            yield url
    finally:
        if before is None:
            del os.environ["TRIBUTARY_WAREHOUSE"]
        else:
            os.environ["TRIBUTARY_WAREHOUSE"] = before


@contextmanager
def opened(uri: str) -> Iterator[Client]:
    """A client of the edge, which knows the webhooks of `two_brands`."""
    with pytest.MonkeyPatch.context() as patch:
        connections(patch)
        with edge(uri) as url:
            yield Client(url)


def empty_outbox(uri: str, *more: str) -> None:
    """Truncate what came in, and more tables."""
    tables = ("conversion_events", "conversion_deliveries", "contacts", "erasures",
              "webhook_payloads")  # fmt: skip
    execute(uri, f"truncate {', '.join([*(f'ops.{name}' for name in tables), *more])}")


def signed(body: bytes, at: float | None = None, secret: str = SECRET) -> str:
    stamp = None if at is None else int(at)
    return str(WebhookSignature.generate_signature_header(body.decode(), secret, stamp))


def post(
    http: Client, source: str, payload: dict[str, Any], brand: str = "acme", **changes: Any
) -> requests.Response:
    """A webhook as the provider posts it."""
    body = changes.get("body") or json.dumps(payload, indent=1).encode()
    name = "Stripe-Signature" if source == "stripe" else "X-Tributary-Signature"
    headers = {name: changes.get("header") or signed(body, changes.get("at"))}
    return http(
        "POST", f"/webhooks/{brand}/{source}", data=changes.get("sent", body),
        headers={"Content-Type": "application/json", **changes.get("headers", headers)},
    )  # fmt: skip
