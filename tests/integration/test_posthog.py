"""Conversions to PostHog: once, each of its own person, and nobody by an address."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from tributary import warehouse as wh
from tributary.deliver import destinations
from tributary.deliver.upload import DestinationStopped, Summary, upload
from tributary.platforms.posthog.client import Posthog
from tributary.platforms.posthog.destination import PosthogSender

from sandbox.posthog import PosthogFault
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import (
    NOW,
    configure,
    execute,
    purchase,
    requests,
    sandbox_with_pixels,
    states,
    take,
    virtual,
)

KEY = "phc_sandbox_acme"
NAME = "acme-posthog"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_with_pixels() as running:
        yield running


@pytest.fixture
def ready(warehouse: str, sandbox: Sandbox) -> str:
    target = {
        "name": NAME,
        "platform": "posthog",
        "conn_id": "posthog_acme",
        "send_from": "2026-01-01T00:00:00+00:00",
        "in_flight": 1,  # claims that meet may come short of a full batch
    }
    configure(warehouse, "acme", target)
    return warehouse


def send(uri: str, sandbox: Sandbox, key: str = KEY, host: str | None = None) -> Summary:
    clock = virtual(sandbox)
    with wh.connect(uri, autocommit=True) as connection:
        destination = destinations.one(connection, NAME, clock(connection))

    def make() -> PosthogSender:
        client = Posthog(key, host or sandbox.url, who="connection 'posthog_acme'", timeout=(2, 5))
        return PosthogSender(client)

    return upload(uri, destination, make, clock=clock)


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {**purchase(number), "contact_id": f"contact-{number}", **fields}


def test_events_arrive_once_as_product_analytics(ready: str, sandbox: Sandbox) -> None:
    """PostHog counts twice, or shows other figures than the ledger."""
    take(ready, [event(number) for number in range(1_200)])
    summary = send(ready, sandbox)
    assert (summary.succeeded, summary.requests) == (1_200, 3)  # 500 in one
    assert states(ready, NAME) == {("sent", "accepted"): 1_200}
    assert sandbox.posthog.counted(KEY) == 1_200
    # The same event, sent again by hand: another try, another day of the server, one event.
    execute(ready, "update ops.conversion_deliveries set sync_status = 'pending'")
    sandbox.clock.advance(timedelta(days=5))
    send(ready, sandbox)
    assert sandbox.posthog.counted(KEY) == 1_200
    assert set(sandbox.posthog.ledger[KEY].values()) == {2}

    one = next(e for e in sandbox.posthog.events if e["distinct_id"] == "contact-7")
    assert one["event"] == "Purchase"
    assert one["timestamp"] == (NOW - timedelta(hours=1)).isoformat()
    assert one["properties"] == {
        "value": 19.9,
        "currency": "USD",
        "transaction_id": "T-7",
        "action_source": "website",
        "$current_url": "https://shop.example/thanks",
        "$lib": "tributary",
        "$geoip_disable": True,
        "$ignore_sent_at": True,
    }


def test_an_event_is_of_its_contact_else_of_its_external_ids_hash(
    ready: str, sandbox: Sandbox
) -> None:
    """Two people become one, one becomes two, or an event without a person is sent."""
    take(
        ready,
        [
            event(1),
            event(2, contact_id=None, external_id="CRM-2"),
            event(3, contact_id=None, email=None, phone="+1 415 555 0100", external_id="CRM-3"),
            event(4, contact_id=None, external_id="person.4@example.com"),
            event(5, contact_id=None),
        ],
    )
    send(ready, sandbox)
    assert states(ready, NAME) == {("sent", "accepted"): 3, ("skipped", "unaddressable"): 2}
    hashes = query(
        ready,
        "select user_hashes #>> '{meta,external_id,0}' as hash from ops.conversion_events "
        "where event_id in ('order-2', 'order-3') order by event_id",
    )
    assert {
        one["properties"]["transaction_id"]: one["distinct_id"] for one in sandbox.posthog.events
    } == {
        "T-1": "contact-1",
        "T-2": hashes[0]["hash"],
        "T-3": hashes[1]["hash"],
    }


def test_no_address_travels(ready: str, sandbox: Sandbox) -> None:
    """An e-mail, or something else that identifies a person, reaches a third party."""
    seen: list[bytes] = []
    read = sandbox.posthog._read

    def listen(raw: bytes, headers: dict[str, str]) -> Any:
        seen.append(gzip.decompress(raw))
        return read(raw, headers)

    sandbox.posthog._read = listen  # type: ignore[method-assign]
    take(
        ready,
        [
            event(
                1,
                phone="+1 415 555 0100",
                first_name="Wilhelmina",
                fbp="fb.1.1787075598000.5343014732",
                event_source_url="https://shop.example/thanks?email=person.1%40example.com&n=1",
                custom_params={"content_ids": ["c-1"]},
            ),
        ],
    )
    send(ready, sandbox)
    (body,) = seen
    sent = orjson.loads(body)["batch"][0]
    assert sent["properties"]["content_ids"] == ["c-1"]
    for secret in (
        b"example.com",
        b"@",
        b"415",
        b"ilhelmina",
        b"192.0.2.7",
        b"Mozilla",
        b"?",
        b"fb.1.",
    ):
        assert secret not in body
    hashes = query(ready, "select user_email_hash as h from ops.conversion_events")
    assert hashes[0]["h"].encode() not in body


def test_a_lost_answer_is_asked_for_again_and_counts_once(ready: str, sandbox: Sandbox) -> None:
    """A lost answer doubles a batch, or loses it."""
    take(ready, [event(number) for number in range(20)])
    sandbox.posthog.faults += [PosthogFault("lost_answer"), PosthogFault("failure", status=503)]
    summary = send(ready, sandbox)
    assert summary.requests == 3
    assert states(ready, NAME) == {("sent", "accepted"): 20}
    assert sandbox.posthog.counted(KEY) == 20
    assert set(sandbox.posthog.ledger[KEY].values()) == {2}


def test_a_bad_event_stands_alone(ready: str, sandbox: Sandbox) -> None:
    """One event that PostHog refuses holds up its batch."""
    take(ready, [event(number) for number in range(64)])
    fault = PosthogFault("refuse", times=None, transaction_id="T-11")
    sandbox.posthog.faults.append(fault)
    send(ready, sandbox)
    assert states(ready, NAME) == {("sent", "accepted"): 63, ("failed", "http_400"): 1}
    assert sandbox.posthog.counted(KEY) == 63
    assert requests(ready) <= 2 * 6 + 1
    for _ in range(4):
        sandbox.clock.advance(timedelta(hours=12))
        send(ready, sandbox)
    assert states(ready, NAME) == {("sent", "accepted"): 63, ("dead", "attempts"): 1}


@pytest.mark.parametrize(
    ("fault", "key", "outcome", "sentence"),
    [
        (PosthogFault("quota"), KEY, "quota", "raise the project's limit"),
        (None, "phx_personal", "http_401", "key that begins with phc_"),
        (None, "phc_of_nobody", "http_401", "key that begins with phc_"),  # else taken and dropped
    ],
)
def test_what_a_person_must_mend_pauses_and_loses_nothing(
    ready: str, sandbox: Sandbox, fault: Any, key: str, outcome: str, sentence: str
) -> None:
    """Events that PostHog drops with a success become `sent`."""
    take(ready, [event(number) for number in range(3)])
    sandbox.posthog.faults += [fault] if fault else []
    with pytest.raises(DestinationStopped, match=sentence):
        send(ready, sandbox, key)
    assert states(ready, NAME) == {("pending", None): 3}
    batch = query(ready, "select error_code from ops.upload_batches")
    assert [row["error_code"] for row in batch] == [outcome]
    sandbox.clock.advance(timedelta(hours=2))
    send(ready, sandbox)
    assert states(ready, NAME) == {("sent", "accepted"): 3}
    assert sandbox.posthog.counted(KEY) == 3


def test_a_throttle_waits_as_it_is_told(ready: str, sandbox: Sandbox) -> None:
    """A throttle counts as a verdict about events, or turns a run red."""
    take(ready, [event(number) for number in range(3)])
    sandbox.posthog.faults.append(PosthogFault("throttle", seconds=90))
    summary = send(ready, sandbox)
    assert (summary.held, summary.succeeded) == (
        "PostHog throttles connection 'posthog_acme'. (HTTP 429)",
        0,
    )
    row = query(ready, "select extract(epoch from paused_until)::int as t from ops.destinations")
    assert row[0]["t"] == int((NOW + timedelta(seconds=90)).timestamp())
    sandbox.clock.advance(timedelta(seconds=91))
    send(ready, sandbox)
    assert states(ready, NAME) == {("sent", "accepted"): 3}


def test_a_host_that_is_not_posthogs_kills_no_event(ready: str, sandbox: Sandbox) -> None:
    """A typing mistake in the host makes event after event dead."""
    take(ready, [event(number) for number in range(3)])
    with pytest.raises(DestinationStopped, match="is not PostHog's"):
        send(ready, sandbox, host=sandbox.url + "/v26.0/me?")
    with pytest.raises(DestinationStopped, match="paused until"):
        send(ready, sandbox)
    assert states(ready, NAME) == {("pending", None): 3}
    execute(ready, "update ops.destinations set paused_until = null")
    with pytest.raises(DestinationStopped, match="cannot be reached"):
        send(ready, sandbox, host="http://127.0.0.1:9")
    assert states(ready, NAME) == {("pending", None): 3}
