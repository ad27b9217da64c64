"""The worked examples of docs/extending.md, run as they are written there."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from tributary import warehouse as wh
from tributary.config import ROOT
from tributary.deliver import destinations
from tributary.deliver.upload import upload
from tributary.platforms import registry

from tests.support.outgoing import NOW, configure, purchase, states, take

PAGE = (ROOT / "docs" / "extending.md").read_text()


def code_under(heading: str) -> list[str]:
    """The blocks of Python below a heading of the page."""
    section = re.split(r"^## ", PAGE.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def module(monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> Any:
    """The code as an imported module."""
    made = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(compile(code, name, "exec"), made.__dict__)
    return made


def test_examples_are_short() -> None:
    """An example is longer than what a reader takes in at once."""
    for heading in ("A destination platform", "A webhook source"):
        for code in code_under(heading):
            assert len(code.splitlines()) < 60, heading


class Client:
    """Echo's client, without the network: refuses events without a name of its own."""

    def __init__(self) -> None:
        self.boxes: dict[str, list[str]] = {}

    def post(self, box: str, events: Sequence[Mapping[str, str]]) -> int:
        if any(event["name"] == "Lead" for event in events):
            return 422
        self.boxes.setdefault(box, []).extend(event["id"] for event in events)
        return 200


def test_the_platform_uploads(warehouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who copies the example gets a platform that does not work."""
    settings, destination, hook = code_under("A destination platform")
    echo = "tributary.platforms.echo"
    module(monkeypatch, echo, "")
    module(monkeypatch, f"{echo}.settings", settings)
    platform = module(monkeypatch, f"{echo}.destination", destination).PLATFORM
    monkeypatch.setitem(registry.PLATFORMS, "echo", platform)
    module(monkeypatch, f"{echo}.client", "class EchoClient: pass")
    assert module(monkeypatch, f"{echo}.hook", hook).EchoHook.conn_type == "echo"
    clients = {}
    for slug in ("acme", "lumen"):
        configure(
            warehouse,
            slug,
            {"name": f"{slug}-echo", "platform": "echo", "conn_id": "echo", "box": slug}
            | {"send_from": "2026-01-01T00:00:00Z", "in_flight": 1},
        )
        events = [
            {**purchase(number), "event_id": f"{slug}-{number}", "contact_id": f"{slug}-c{number}"}
            for number in range(3)
        ]
        lead = {"event_name": "Lead", "event_id": "lead", "contact_id": "c", "event_time": NOW}
        late = {**purchase(9), "contact_id": "c9", "event_time": NOW - timedelta(days=8)}
        take(warehouse, [*events, lead, late], slug)
        with wh.connect(warehouse, autocommit=True) as connection:
            found = destinations.one(connection, f"{slug}-echo", NOW)
        clients[slug] = Client()
        sender = platform.sender(clients[slug], found.settings)
        upload(warehouse, found, lambda sender=sender: sender, clock=lambda _: NOW)  # type: ignore[misc]
        assert states(warehouse, f"{slug}-echo") == {
            ("sent", "accepted"): 3,
            ("dead", "bad_event"): 1,
            ("skipped", "expired"): 1,
        }
        assert sorted(clients[slug].boxes[slug]) == [f"{slug}-{number}" for number in range(3)]


def test_the_webhook_source_makes_an_event(warehouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who copies the example gets a source whose events are refused."""
    (code,) = code_under("A webhook source")
    source = module(monkeypatch, "tributary.api.webhooks.calcom", code).SOURCE
    person = {"email": "jane@example.com", "name": "Jane Roe"}
    payload = {
        "triggerEvent": "BOOKING_CREATED",
        "createdAt": NOW.isoformat(),
        "payload": {"uid": "b-1", "attendees": [person], "metadata": {"gclid": "Cj0K-1"}},
    }
    parsed = source.parse(payload, NOW, {})
    assert parsed.id == "b-1"
    configure(warehouse)
    receipts = take(warehouse, [parsed.event, parsed.event], "acme")
    assert [receipt.status for receipt in receipts] == ["accepted", "duplicate"]
    cancelled = source.parse({**payload, "triggerEvent": "BOOKING_CANCELLED"}, NOW, {})
    assert cancelled.event is None
    assert cancelled.ignored == "no booking was created: BOOKING_CANCELLED"
