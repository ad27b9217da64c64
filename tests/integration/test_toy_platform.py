"""A destination platform in one file: its server, client, rules, errors and meanings.

It is registered by one line (the fixture `registered`), and conversions of two brands are uploaded
to it.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import requests
from pydantic import Field
from tributary import warehouse as wh
from tributary.deliver import destinations
from tributary.deliver.upload import DestinationStopped, Summary, upload
from tributary.event import Event
from tributary.platforms import meanings, registry
from tributary.platforms.base import (
    Action,
    Answer,
    ConnectionType,
    Meaning,
    Platform,
    PlatformError,
    Sender,
    Sent,
    send_one,
)
from tributary.platforms.settings import DestinationSettings

from tests.support.loads import query
from tests.support.outgoing import NOW, configure, purchase, states, take

# The platform: what a folder below `platforms/` holds.


class ToyError(PlatformError):
    """An answer of Toy that is not a success."""

    label = "no_answer"

    def __init__(
        self, text: str, *, http_status: int | None = None, wait: float | None = None
    ) -> None:
        super().__init__(text)
        self.http_status, self.wait = http_status, wait
        if http_status is not None:
            self.label = f"http_{http_status}"


class ToyLost(ToyError):
    """The connection ended before an answer came."""

    action = Action.RETRY


class ToyThrottled(ToyError):
    """Too many requests."""

    action = Action.HOLD
    is_throttle = True


class ToyEventRefused(ToyError):
    """One of the events is wrong; Toy does not say which."""

    action = Action.ISOLATE
    is_final = True
    label = "no_toys"

    def __init__(self, http_status: int) -> None:
        super().__init__("Toy refuses an event that names no toy.")
        self.http_status = http_status


class ToyKeyRefused(ToyError):
    """The key is wrong."""

    action = Action.PAUSE


class ToyClient:
    """One key's access to Toy."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key

    def post(self, box: str, events: Sequence[Mapping[str, Any]]) -> str:
        """Send events; returns the id of the request."""
        try:
            answer = requests.post(
                f"{self._url}/{box}",
                json=list(events),
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=5,
            )
        except requests.ConnectionError:
            raise ToyLost("Toy did not answer.") from None
        match answer.status_code:
            case 200:
                return str(answer.json()["request"])
            case 422:
                raise ToyEventRefused(422)
            case 429:
                wait = float(answer.headers["Retry-After"])
                raise ToyThrottled("Toy throttles the key.", http_status=429, wait=wait)
            case status:
                raise ToyKeyRefused("Toy refuses the key.", http_status=status)


class ToyDestination(DestinationSettings):
    """A box of Toy."""

    box: str = Field(description="Id of the box.")


class ToySender(Sender):
    """Sends events to one box."""

    def __init__(self, client: ToyClient, settings: ToyDestination) -> None:
        self._client, self._settings = client, settings

    def send(self, events: Sequence[Event]) -> Sent:
        request = self._client.post(
            self._settings.box,
            [
                {"id": event["event_id"], "toy": event["custom_params"].get("toy")}
                for event in events
            ],
        )
        return {}, Answer(200, None, request)


class Toy(Platform[ToyDestination]):
    """Toy keeps one event per id for two days."""

    name = "toy"
    title = "Toy"
    settings = ToyDestination
    connection = ConnectionType("toy", "Toy", "toy.hook.ToyHook", hidden=("schema",))
    errors = ToyError
    longest_age = timedelta(days=5)
    dedup_window = timedelta(days=2)
    max_batch = 8

    def deadline(self, event: Event) -> datetime:
        return event["event_time"] + self.longest_age

    def addressable(self, event: Event) -> bool:
        return event["contact_id"] is not None

    def places(self, settings: ToyDestination) -> Mapping[str, str]:
        return {"*": f"the box {settings.box}"}

    def sender(self, client: ToyClient, settings: ToyDestination) -> ToySender:
        return ToySender(client, settings)

    def send_test_event(
        self, client: ToyClient, settings: ToyDestination, event: Event, code: str | None
    ) -> str:
        tested = settings.model_copy(update={"box": "test"})
        send_one(self.sender(client, tested), event, settings.name)
        return "Toy took one event into its test box."

    def meaning(self, code: str) -> Meaning | None:
        if code == "no_toys":
            return Meaning("The event names no toy.", "Add custom_params.toy; then retry.")
        return None

    def codes(self) -> Iterable[str]:
        return ("no_toys",)


# Its server, on the wire.


class ToyServer(ThreadingHTTPServer):
    """Takes a request whole or not at all, and each id of a box once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.boxes: dict[str, Counter[str]] = {}  # how often each id came
        self.keys = {"acme-box": "key-acme", "lumen-box": "key-lumen", "test": "key-acme"}
        self.faults: deque[str] = deque()
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ToyServer

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        box = self.path.strip("/")
        self.server.requests += 1
        fault = self.server.faults.popleft() if self.server.faults else None
        if self.headers["Authorization"] != f"Bearer {self.server.keys[box]}":
            self._answer(401)
        elif fault == "throttle":
            self._answer(429, **{"Retry-After": "30"})
        elif not all(event["toy"] for event in events):
            self._answer(422)
        else:
            self.server.boxes.setdefault(box, Counter()).update(event["id"] for event in events)
            if fault == "hang up":  # the events are taken, and the answer is lost
                self.close_connection = True
            else:
                self._answer(200)

    def _answer(self, status: int, **headers: str) -> None:
        body = json.dumps({"request": f"r-{self.server.requests}"}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


# The uploads.


@pytest.fixture
def server() -> Iterator[ToyServer]:
    with ToyServer() as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.PLATFORMS, "toy", Toy())


@pytest.fixture
def ready(warehouse: str) -> str:
    """Two brands with a box each, and twenty purchases each."""
    for slug in ("acme", "lumen"):
        settings = {"name": f"{slug}-toy", "box": f"{slug}-box", "in_flight": 1}
        where = {"platform": "toy", "conn_id": "toy", "send_from": "2026-01-01T00:00:00Z"}
        configure(warehouse, slug, {**settings, **where})
    for slug in ("acme", "lumen"):
        take(warehouse, [toy(number, slug) for number in range(20)], slug)
    return warehouse


def toy(number: int, slug: str, **fields: Any) -> dict[str, Any]:
    return {
        **purchase(number),
        "event_id": f"{slug}-{number}",
        "contact_id": f"{slug}-contact-{number}",
        "custom_params": {"toy": "duck"},
        **fields,
    }


def send(uri: str, server: ToyServer, slug: str = "acme", now: datetime = NOW) -> Summary:
    clock: Callable[[wh.Connection], datetime] = lambda _: now  # noqa: E731
    with wh.connect(uri, autocommit=True) as connection:
        destination = destinations.one(connection, f"{slug}-toy", now)
    client = ToyClient(server.url, f"key-{slug}")
    platform = registry.platform(destination.platform)
    return upload(
        uri, destination, lambda: platform.sender(client, destination.settings), clock=clock
    )


def test_events_are_accepted_once_for_each_brand(ready: str, server: ToyServer) -> None:
    """A platform that keeps the protocol cannot be uploaded to, or gets another brand's events."""
    assert send(ready, server).succeeded == 20
    assert send(ready, server, "lumen").succeeded == 20
    for slug in ("acme", "lumen"):
        assert states(ready, f"{slug}-toy") == {("sent", "accepted"): 20}
        assert server.boxes[f"{slug}-box"] == {f"{slug}-{number}": 1 for number in range(20)}
    assert server.requests == 6  # of at most 8 events
    assert send(ready, server).processed == 0


def test_one_refused_event_is_isolated(ready: str, server: ToyServer) -> None:
    """One bad event keeps the others of its batch from the platform, or is not explained."""
    take(ready, [toy(20, "acme", custom_params={})], "acme")
    summary = send(ready, server)
    assert (summary.succeeded, summary.dead, summary.errors) == (20, 1, {"no_toys": 1})
    assert states(ready, "acme-toy") == {("sent", "accepted"): 20, ("dead", "no_toys"): 1}
    assert set(server.boxes["acme-box"].values()) == {1}
    assert meanings.meaning("toy", "no_toys").to_do == "Add custom_params.toy; then retry."
    assert send(ready, server, "lumen").succeeded == 20


def test_a_throttle_holds_one_destination_as_long_as_it_asks(ready: str, server: ToyServer) -> None:
    """A throttled platform is asked again at once, or the other brand waits with it."""
    server.faults.append("throttle")
    summary = send(ready, server)
    assert (summary.succeeded, summary.held) == (0, "Toy throttles the key.")
    assert server.requests == 1
    assert states(ready, "acme-toy") == {("pending", None): 20}
    (row,) = query(ready, "select paused_until from ops.destinations where name = 'acme-toy'")
    assert row["paused_until"] == NOW + timedelta(seconds=30)
    assert send(ready, server, "lumen").succeeded == 20
    with pytest.raises(DestinationStopped, match="paused until"):
        send(ready, server, now=NOW + timedelta(seconds=29))
    assert send(ready, server, now=NOW + timedelta(seconds=31)).succeeded == 20


def test_a_lost_answer_is_repeated_while_the_platform_drops_repeats(
    ready: str, server: ToyServer
) -> None:
    """Events whose answer is lost are counted twice, or are never resolved."""
    server.faults.extend(["hang up"] * 3)  # the tries of one request
    with pytest.raises(DestinationStopped, match="Toy did not answer"):
        send(ready, server)
    assert states(ready, "acme-toy") == {("failed", "no_answer"): 8, ("pending", None): 12}
    # Within two days they are sent again: Toy knows their ids.
    soon = NOW + timedelta(hours=1)
    assert send(ready, server, now=soon).succeeded == 20
    assert len(server.boxes["acme-box"]) == 20
    # After that a repeat could count twice: a person decides.
    server.faults.extend(["hang up"] * 3)
    with pytest.raises(DestinationStopped):
        send(ready, server, "lumen")
    late = NOW + timedelta(days=2, minutes=1)
    summary = send(ready, server, "lumen", late)
    assert (summary.succeeded, summary.errors) == (12, {"outcome_unknown": 8})
    assert states(ready, "lumen-toy") == {("dead", "outcome_unknown"): 8, ("sent", "accepted"): 12}


def test_its_rules_decide_what_is_sent(ready: str, server: ToyServer) -> None:
    """Another platform's rules decide: what Toy takes is skipped, or what it refuses is sent."""
    take(
        ready,
        [
            toy(21, "acme", event_time=NOW - timedelta(days=6)),
            toy(22, "acme", contact_id=None),
        ],
        "acme",
    )
    send(ready, server)
    assert states(ready, "acme-toy") == {
        ("sent", "accepted"): 20,
        ("skipped", "expired"): 1,
        ("skipped", "unaddressable"): 1,
    }


def test_its_test_event_goes_to_its_test_box(server: ToyServer) -> None:
    """`destinations test` of a new platform counts as a real event."""
    event: Any = {"event_id": "test-1", "custom_params": {"toy": "duck"}}
    settings = ToyDestination.model_validate(
        {"name": "acme-toy", "platform": "toy", "conn_id": "toy", "box": "acme-box"}
    )
    said = registry.platform("toy").send_test_event(
        ToyClient(server.url, "key-acme"), settings, event, None
    )
    assert said == "Toy took one event into its test box."
    assert server.boxes == {"test": {"test-1": 1}}
