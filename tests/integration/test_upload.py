"""Uploads: every good event is counted once, every bad one stands alone with its own code."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from tributary.deliver.upload import DestinationStopped

from sandbox.faults import Fault
from sandbox.graph import Token
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import (
    NOW,
    OTHER_PIXEL,
    OTHER_TOKEN,
    PIXEL,
    TOKEN,
    configure,
    counted_once,
    execute,
    meta_destination,
    purchase,
    requests,
    sandbox_with_pixels,
    send,
    states,
    take,
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_with_pixels() as running:
        yield running


@pytest.mark.parametrize("bad", [1, 3, 17])
@pytest.mark.parametrize("spread", ["spread", "together"])
def test_bad_events_are_isolated_in_few_requests(
    warehouse: str, sandbox: Sandbox, bad: int, spread: str
) -> None:
    """One bad event loses the others of its batch, or needs a request per event."""
    configure(warehouse)
    step = 1000 // bad if spread == "spread" else 1
    wrong = [f"order-{number * step + step // 2}" for number in range(bad)]
    sandbox.faults.add(Fault("refuse_event", event_id=wrong, subcode=2804050))
    take(warehouse, [purchase(number) for number in range(1000)])

    summary = send(warehouse, sandbox)

    assert states(warehouse) == {("sent", "accepted"): 1000 - bad, ("dead", "100/2804050"): bad}
    dead = query(
        warehouse,
        "select e.event_id, d.sync_error from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event where d.sync_status = 'dead'",
    )
    assert {row["event_id"] for row in dead} == set(wrong)
    assert counted_once(sandbox) == 1000 - bad
    bound = 2 * bad * (math.ceil(math.log2(1000 / bad)) + 1) + 1
    assert summary.requests == requests(warehouse) <= bound
    assert (summary.succeeded, summary.dead, summary.errors) == (
        1000 - bad,
        bad,
        Counter({"100/2804050": bad}),
    )


@pytest.mark.parametrize("bad", [1, 3, 17])
def test_what_is_known_to_be_refused_never_leaves(
    warehouse: str, sandbox: Sandbox, bad: int
) -> None:
    """Most batches are rejected for events that are known to be refused."""
    configure(warehouse)
    events = [purchase(number) for number in range(1000)]
    for number in range(bad):
        events[number * 50] = purchase(number * 50, user_agent=None)  # a website without a browser
    take(warehouse, events)

    summary = send(warehouse, sandbox)

    assert summary.requests == 1
    assert states(warehouse) == {("sent", "accepted"): 1000 - bad, ("dead", "website_fields"): bad}
    assert counted_once(sandbox) == 1000 - bad


def test_without_prechecks_the_platform_says_the_same(warehouse: str, sandbox: Sandbox) -> None:
    """Our own checks refuse what Meta takes, or miss what it refuses."""
    configure(warehouse)
    events = [purchase(number) for number in range(40)]
    events[7] = purchase(7, event_source_url=None, user_agent=None)
    events[23] = {**purchase(23), "email": None, "ip": None, "city": "Berlin"}
    receipts = take(warehouse, events)
    assert [receipt.status for receipt in receipts] == ["accepted"] * 40

    send(warehouse, sandbox, prechecks=False)

    # A refusal without a subcode that we know is one verdict of five; nobody is unaddressable.
    assert states(warehouse) == {
        ("sent", "accepted"): 38,
        ("failed", "100"): 1,
        ("skipped", "unaddressable"): 1,
    }


def test_the_pixel_sent_it_too(warehouse: str, sandbox: Sandbox) -> None:
    """A purchase that browser and server both report counts twice."""
    configure(warehouse)
    for number in (1, 2):
        sandbox.pixel_sent(PIXEL, "Purchase", f"order-{number}")
    take(warehouse, [purchase(number) for number in range(4)])
    send(warehouse, sandbox)
    assert counted_once(sandbox) == 4
    assert sandbox.events.totals(PIXEL)["duplicates"] == 2


def test_five_verdicts_with_growing_delays_then_dead(warehouse: str, sandbox: Sandbox) -> None:
    """An event that may still be taken is given up early, or is tried without end."""
    configure(warehouse)
    take(warehouse, [purchase(1), purchase(2)])
    sandbox.faults.add(Fault("refuse_event", event_id="order-1", subcode=2809999))
    waits = []
    for verdict in range(1, 6):
        send(warehouse, sandbox)
        row = query(
            warehouse,
            "select d.sync_status, d.outcome, d.sync_attempts, d.next_attempt_at, d.sync_error "
            "from ops.conversion_deliveries as d inner join ops.conversion_events as e "
            "on e.id = d.event where e.event_id = 'order-1'",
        )[0]
        assert row["sync_attempts"] == verdict
        if verdict < 5:
            assert (row["sync_status"], row["outcome"]) == ("failed", "100/2809999")
            waits.append((row["next_attempt_at"] - sandbox.clock.now()).total_seconds() / 60)
            assert send(warehouse, sandbox).requests == 0  # not before its time
            sandbox.clock.set(row["next_attempt_at"])
    assert (row["sync_status"], row["outcome"]) == ("dead", "attempts")
    assert "100/2809999" in row["sync_error"]
    assert [round(math.log(wait / 5, 4)) for wait in waits] == [0, 1, 2, 3]
    assert counted_once(sandbox) == 1


def test_a_few_bad_events_delay_nobody_and_end(
    warehouse: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Three events that Meta refuses pause the destination for an hour, again and again."""
    configure(warehouse)
    configure(warehouse, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL))
    bad = [f"order-{number}" for number in (3, 30, 35)]
    sandbox.faults.add(Fault("refuse_event", event_id=bad, subcode=2804017, pixel=PIXEL))
    for brand in ("acme", "lumen"):
        take(warehouse, [purchase(number) for number in range(40)], brand)
    assert send(warehouse, sandbox).succeeded == 37
    for run in range(1, 41):  # ten hours
        sandbox.clock.advance(timedelta(minutes=15))
        if run % 5 == 0:
            take(warehouse, [purchase(100 + run)], now=sandbox.clock.now())
        caplog.clear()
        summary = send(warehouse, sandbox)  # not stopped
        assert (summary.succeeded, summary.held) == (int(run % 5 == 0), None)
        if summary.failed:
            assert f"{summary.failed} events are refused one by one" in caplog.text
    assert states(warehouse) == {("sent", "accepted"): 37 + 8, ("dead", "attempts"): 3}
    assert counted_once(sandbox) == 45
    rows = query(warehouse, "select distinct failures, paused_until from ops.destinations")
    assert rows == [{"failures": 0, "paused_until": None}]
    assert send(warehouse, sandbox, "lumen-meta", token=OTHER_TOKEN).succeeded == 40


def test_a_setting_that_breaks_later_stops_the_new_and_spares_the_old(
    warehouse: str, sandbox: Sandbox
) -> None:
    """What was taken this morning hides that nothing is taken now, and events are lost."""
    configure(warehouse)
    sandbox.faults.add(Fault("refuse_event", event_id="order-3", subcode=2804017))
    take(warehouse, [purchase(number) for number in range(10)])
    assert send(warehouse, sandbox).succeeded == 9
    every = [f"order-{number}" for number in range(20)]
    broken = sandbox.faults.add(Fault("refuse_event", event_id=every, subcode=2809999))
    take(warehouse, [purchase(number) for number in range(10, 20)])
    for _ in range(8):
        sandbox.clock.advance(timedelta(hours=7))
        with pytest.raises(DestinationStopped, match="none was taken"):
            send(warehouse, sandbox)
    assert states(warehouse) == {
        ("sent", "accepted"): 9, ("failed", "100/2804017"): 1, ("pending", None): 10,
    }  # fmt: skip
    sandbox.faults.remove(broken)
    sandbox.clock.advance(timedelta(hours=1))
    assert send(warehouse, sandbox).succeeded == 10
    assert query(warehouse, "select max(sync_attempts) as n from ops.conversion_deliveries") == [
        {"n": 2}
    ]


def test_a_limit_leaves_room_for_those_that_were_refused(warehouse: str, sandbox: Sandbox) -> None:
    """A run with a limit never tries again what was refused once."""
    configure(warehouse)
    fault = sandbox.faults.add(Fault("refuse_event", event_id="order-1", subcode=2804017))
    take(warehouse, [purchase(1), purchase(2)])
    send(warehouse, sandbox)
    sandbox.faults.remove(fault)
    sandbox.clock.advance(timedelta(minutes=15))
    take(warehouse, [purchase(3)])
    assert send(warehouse, sandbox, limit=2).succeeded == 2


def test_an_hours_outage_loses_and_kills_nothing(warehouse: str, sandbox: Sandbox) -> None:
    """An outage at Meta loses events, or uses up their attempts."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(50)])
    sandbox.faults.add(Fault("html_500", until=NOW + timedelta(hours=1)))
    runs = 0
    while sandbox.clock.now() < NOW + timedelta(hours=2):
        try:
            send(warehouse, sandbox)
        except DestinationStopped:
            runs += 1
        sandbox.clock.advance(timedelta(minutes=15))
    assert runs >= 4
    assert states(warehouse) == {("sent", "accepted"): 50}
    assert counted_once(sandbox) == 50
    assert query(warehouse, "select max(sync_attempts) as n from ops.conversion_deliveries") == [
        {"n": 0}
    ]


def test_a_days_throttling_loses_and_kills_nothing(warehouse: str, sandbox: Sandbox) -> None:
    """A throttled day loses events, or the upload does not wait as long as Meta says."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(50)])
    end = NOW + timedelta(hours=24)
    sandbox.faults.add(Fault("throttle_613", until=end, minutes=180, edge="events"))
    asked = 0
    while sandbox.clock.now() < end + timedelta(hours=4):
        if not _paused(warehouse, sandbox):
            asked += 1
            summary = send(warehouse, sandbox)
            assert (summary.held is not None) == (sandbox.clock.now() < end)
            assert not summary.needs_a_person
        sandbox.clock.advance(timedelta(minutes=15))
    assert asked <= 24 // 3 + 18  # one probe per hint, then the ordinary rhythm
    assert states(warehouse) == {("sent", "accepted"): 50}
    assert counted_once(sandbox) == 50


def _paused(warehouse: str, sandbox: Sandbox) -> bool:
    now = sandbox.clock.now().isoformat()
    row = query(
        warehouse, f"select coalesce(paused_until > '{now}', false) as paused from ops.destinations"
    )
    return bool(row[0]["paused"])


def test_throttles_without_a_hint_wait_longer_each_time(warehouse: str, sandbox: Sandbox) -> None:
    """An upload asks every minute while Meta refuses everything."""
    configure(warehouse)
    take(warehouse, [purchase(1)])
    sandbox.faults.add(Fault("throttle_4", times=6, edge="events"))
    waits = []
    for _ in range(6):
        assert send(warehouse, sandbox).held
        until = query(warehouse, "select paused_until from ops.destinations")[0]["paused_until"]
        waits.append((until - sandbox.clock.now()).total_seconds())
        sandbox.clock.set(until)
    assert waits == [60, 120, 240, 480, 900, 900]
    assert send(warehouse, sandbox).succeeded == 1
    row = query(warehouse, "select failures, paused_until, paused_reason from ops.destinations")
    assert row == [{"failures": 0, "paused_until": None, "paused_reason": None}]


def test_a_revoked_token_costs_one_request_per_cool_down(warehouse: str, sandbox: Sandbox) -> None:
    """One brand's dead token floods Meta with requests, or slows another brand."""
    configure(warehouse)
    configure(
        warehouse,
        "lumen",
        meta_destination("lumen-meta", pixel_id=OTHER_PIXEL, conn_id="meta_lumen"),
    )
    take(warehouse, [purchase(number) for number in range(3000)])
    take(warehouse, [purchase(number) for number in range(10)], "lumen")
    token = sandbox.tokens.pop(OTHER_TOKEN)
    for _ in range(8):  # two hours
        with pytest.raises(DestinationStopped, match=r"access token of|paused until") as stopped:
            send(warehouse, sandbox, "lumen-meta", token=OTHER_TOKEN)
        assert OTHER_TOKEN not in str(stopped.value)
        sandbox.clock.advance(timedelta(minutes=15))
    asked = sum(f"/{OTHER_PIXEL}/events" in one.path for one in sandbox.requests)
    assert asked == 2
    assert send(warehouse, sandbox).succeeded == 3000
    sandbox.tokens[OTHER_TOKEN] = token
    sandbox.clock.advance(timedelta(hours=1))
    assert send(warehouse, sandbox, "lumen-meta", token=OTHER_TOKEN).succeeded == 10
    assert counted_once(sandbox, OTHER_PIXEL) == 10


@pytest.mark.parametrize(
    "kind", ["permission_10", "object_missing", "blocked_368"], ids=lambda kind: kind
)
def test_what_a_person_must_mend_pauses_with_a_sentence(
    warehouse: str, sandbox: Sandbox, kind: str
) -> None:
    """A missing permission is taken for a bad event, and events are lost."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(5)])
    sandbox.faults.add(Fault(kind, edge="events"))
    with pytest.raises(DestinationStopped, match="acme-meta is stopped"):
        send(warehouse, sandbox)
    assert states(warehouse) == {("pending", None): 5}
    with pytest.raises(DestinationStopped, match="paused until 2026-11-20 13:00 UTC"):
        send(warehouse, sandbox)
    sandbox.clock.advance(timedelta(hours=1))
    assert send(warehouse, sandbox).succeeded == 5


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("hang_after", {"seconds": 5.0}),
        ("dropped_after", {}),
        ("reset_in_body", {"edge": "events"}),
        ("truncated_json", {"edge": "events"}),
        ("html_200", {"edge": "events", "taken": True}),
        ("empty_json_200", {"edge": "events", "taken": True}),
        ("html_500", {"edge": "events", "taken": True}),
        ("events_received_short", {"missing": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lost_acknowledgement_is_sent_again_and_counts_once(
    warehouse: str, sandbox: Sandbox, kind: str, details: dict[str, object]
) -> None:
    """A lost answer loses events, or counts them twice."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(20)])
    fault = sandbox.faults.add(Fault(kind, **details))  # type: ignore[arg-type]
    summary = send(warehouse, sandbox, timeout=2.0)
    assert (fault.hits, summary.succeeded, summary.requests) == (1, 20, 2)
    assert counted_once(sandbox) == 20
    assert states(warehouse) == {("sent", "accepted"): 20}
    assert query(warehouse, "select count(*)::int as n from ops.upload_batches "
                 "where ended_at is null") == [{"n": 0}]  # fmt: skip


def test_answers_that_stay_lost_end_before_the_platform_forgets(
    warehouse: str, sandbox: Sandbox
) -> None:
    """An event is sent again when Meta no longer drops the duplicate."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(5)])
    sandbox.faults.add(Fault("dropped_after", times=None))
    for _ in range(60):
        with suppress(DestinationStopped):
            send(warehouse, sandbox)
        sandbox.clock.advance(timedelta(hours=1))
    assert states(warehouse) == {("dead", "outcome_unknown"): 5}
    assert counted_once(sandbox) == 5


def test_an_event_that_is_not_received_is_never_called_sent(
    warehouse: str, sandbox: Sandbox
) -> None:
    """Meta drops an event of a batch without an error, and it is stored as sent."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(8)])
    fault = sandbox.faults.add(Fault("events_received_short", missing=1, times=None))
    with pytest.raises(DestinationStopped, match="none was taken"):
        send(warehouse, sandbox)
    assert states(warehouse) == {("failed", "not_received"): 8}
    sandbox.faults.remove(fault)
    sandbox.clock.advance(timedelta(hours=1))
    assert send(warehouse, sandbox).succeeded == 8
    assert counted_once(sandbox) == 8


def test_when_every_event_is_refused_it_is_not_the_events(warehouse: str, sandbox: Sandbox) -> None:
    """One wrong setting ends a thousand good events."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(1000)])
    every = [f"order-{number}" for number in range(1000)]
    sandbox.faults.add(Fault("refuse_event", event_id=every, subcode=2809999))
    with pytest.raises(DestinationStopped, match="none was taken"):
        send(warehouse, sandbox)
    assert states(warehouse)["pending", None] >= 900
    assert len(sandbox.requests) < 130


def test_consent_is_read_again_before_anything_leaves(warehouse: str, sandbox: Sandbox) -> None:
    """An event is sent for a person who withdrew consent before the upload."""
    configure(warehouse)
    take(warehouse, [purchase(n, contact_id=f"p{n}") for n in range(3)])
    execute(
        warehouse,
        "insert into app.profiles (profile_id, brand_slug, consent_ad_user_data, "
        "consent_ad_personalization) values ('p0', 'acme', false, null), "
        "('p1', 'acme', true, false), ('p2', 'acme', null, null), ('p2', 'acme', null, true)",
    )
    send(warehouse, sandbox)
    assert states(warehouse) == {("sent", "accepted"): 2, ("skipped", "no_consent"): 1}
    sent = {taken.event["event_id"]: taken.event for taken in sandbox.events.received}
    assert sent["order-1"]["opt_out"] is True
    assert "opt_out" not in sent["order-2"]


def test_two_workers_at_once_share_the_work(warehouse: str, sandbox: Sandbox) -> None:
    """Two runs at once send an event twice, or wait for each other."""
    from concurrent.futures import ThreadPoolExecutor

    configure(warehouse, "acme", meta_destination(batch_size=25))
    take(warehouse, [purchase(number) for number in range(1000)])
    sandbox.latency = 0.02
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(send, warehouse, sandbox) for _ in range(2)]
        succeeded = [one.result().succeeded for one in done]
    assert sum(succeeded) == 1000
    assert min(succeeded) > 0
    ledger = sandbox.events.ledger(PIXEL)
    assert set(ledger.values()) == {(1, 1)}  # counted once, and sent once


def test_the_edges_audit_log_is_kept_400_days(warehouse: str) -> None:
    """The audit log is kept without end, or is gone when a yearly audit needs it."""
    from tributary import warehouse as wh
    from tributary.deliver import retention

    configure(warehouse, "acme", meta_destination())
    with wh.connect(warehouse, autocommit=True) as connection:
        for brand in ("acme", "lumen"):
            connection.execute(
                "insert into ops.audit_log (at, event, owner, brand, extra) select "
                "%s::timestamptz - days * interval '1 day', days::text, 'k', %s, '{}' "
                "from unnest(array[0, 399, 401]) as days",
                [NOW, brand],
            )
        assert retention.enforce(connection, NOW)["audit"] == 2
        assert retention.enforce(connection, NOW)["audit"] == 0
    rows = query(warehouse, "select brand, event from ops.audit_log order by brand, at")
    assert [(row["brand"], row["event"]) for row in rows] == [
        (brand, days) for brand in ("acme", "lumen") for days in ("399", "0")
    ]


def test_the_person_is_forgotten_when_nothing_is_left_to_send(
    warehouse: str, sandbox: Sandbox
) -> None:
    """IP addresses are kept without end, or are cleared while they are needed."""
    from tributary import warehouse as wh
    from tributary.deliver import retention

    sandbox.tokens[TOKEN] = Token(frozenset({"1000000001"}), pixels=frozenset({PIXEL, "3000"}))
    second = meta_destination("acme-second", pixel_id="3000")
    configure(warehouse, "acme", meta_destination(), second)
    take(warehouse, [purchase(number) for number in range(4)])
    sandbox.faults.add(Fault("refuse_event", event_id="order-3", subcode=2804050, times=None))

    def kept() -> int:
        with wh.connect(warehouse, autocommit=True) as connection:
            retention.forget_people(connection, sandbox.clock.now())
        rows = query(
            warehouse,
            "select count(*)::int as n from ops.conversion_events where user_ip is not null",
        )
        return int(rows[0]["n"])

    send(warehouse, sandbox)
    assert kept() == 4  # the second destination still needs them
    send(warehouse, sandbox, "acme-second")
    assert kept() == 1  # the dead one can still be tried again
    sandbox.clock.advance(timedelta(days=8))
    assert kept() == 0


def test_events_expire_loudly_and_an_inactive_destination_quietly(
    warehouse: str, sandbox: Sandbox
) -> None:
    """Events that could not be sent in time disappear from the ledger."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(3)])
    sandbox.clock.advance(timedelta(days=7))
    assert send(warehouse, sandbox).dead == 3
    assert states(warehouse) == {("dead", "expired"): 3}
    later = sandbox.clock.now()
    take(warehouse, [purchase(9, event_time=later), purchase(8, event_time=NOW)], now=later)
    assert states(warehouse)["skipped", "expired"] == 1
    configure(warehouse, "acme", meta_destination(is_active=False))
    assert states(warehouse)["skipped", "inactive"] == 1


def test_what_is_sent_is_what_meta_documents(warehouse: str, sandbox: Sandbox) -> None:
    """A field of the event does not arrive, or arrives in another form."""
    configure(
        warehouse,
        "acme",
        meta_destination(limited_data_use=True, test_event_code="TEST123"),
    )
    take(
        warehouse,
        [
            purchase(
                1,
                fbclid="IwAR0abcdefghij",
                fbp="fb.1.1700000000000.1234567890",
                custom_params={"planId": "pro", "content_name": "Pro plan"},
            )
        ],
    )
    send(warehouse, sandbox)
    taken = sandbox.events.received[-1]
    assert taken.test_event_code == "TEST123"
    at = int((NOW - timedelta(hours=1)).timestamp())
    assert taken.event == {
        "event_name": "Purchase",
        "event_time": at,
        "event_id": "order-1",
        "action_source": "website",
        "event_source_url": "https://shop.example/thanks",
        "user_data": {
            "em": ["c636498e6c1fbca4a76a0f59f555dbccee6d8d90b6480d28a5f6bdb749b08be5"],
            "client_ip_address": "192.0.2.7",
            "client_user_agent": taken.event["user_data"]["client_user_agent"],
            "fbc": f"fb.1.{at}000.IwAR0abcdefghij",
            "fbp": "fb.1.1700000000000.1234567890",
        },
        "custom_data": {
            "value": 19.9,
            "currency": "USD",
            "content_ids": ["pro"],
            "content_name": "Pro plan",
            "order_id": "T-1",
        },
        "data_processing_options": ["LDU"],
        "data_processing_options_country": 0,
        "data_processing_options_state": 0,
    }
    request = [one for one in sandbox.requests if one.method == "POST"][-1]
    assert request.headers["authorization"].startswith("Bearer ")
    assert "access_token" not in request.params


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("html_500", {"status": 403, "body": "<html>no</html>"}),
        ("html_500", {"status": 302, "body": ""}),
        ("refuse_event", {"event_id": [f"order-{n}" for n in range(10)], "subcode": 2809999}),
    ],
)
def test_a_wrong_setting_never_kills_a_small_brands_events(
    warehouse: str, sandbox: Sandbox, kind: str, details: dict[str, object]
) -> None:
    """A fault of all events is counted against each, until all are dead."""
    configure(warehouse)
    take(warehouse, [purchase(number) for number in range(10)])
    edge = {} if kind == "refuse_event" else {"edge": "events"}
    sandbox.faults.add(Fault(kind, times=None, **edge, **details))  # type: ignore[arg-type]
    for _ in range(8):
        with pytest.raises(DestinationStopped):
            send(warehouse, sandbox)
        sandbox.clock.advance(timedelta(hours=7))
    assert states(warehouse) == {("pending", None): 10}
    sandbox.faults.clear()
    assert send(warehouse, sandbox).succeeded == 10


def test_an_event_that_breaks_the_platform_does_not_take_others_along(
    warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event that Meta answers with 500 stops a destination for two days."""
    configure(warehouse, "acme", meta_destination(batch_size=10))
    take(warehouse, [purchase(number) for number in range(40)])
    poison = Fault("refuse_event", event_id="order-3", subcode=2804050)
    # The same refusal as a server error without a code of its own.
    monkeypatch.setattr(sandbox.graph, "answer", _as_server_error(sandbox.graph.answer))
    sandbox.faults.add(poison)
    for _ in range(12):
        with suppress(DestinationStopped):
            send(warehouse, sandbox)
        sandbox.clock.advance(timedelta(minutes=30))
    found = states(warehouse)
    assert found["sent", "accepted"] == 39
    assert counted_once(sandbox) == 39


def _as_server_error(answer: Any) -> Any:
    def changed(call: Any) -> Any:
        said = answer(call)
        return said._replace(status=500, body=b"<html>") if said.status == 400 else said

    return changed


def test_a_probe_of_bad_events_does_not_end_the_run(warehouse: str, sandbox: Sandbox) -> None:
    """Bad events at the head of the queue let only one batch through per run."""
    configure(warehouse, "acme", meta_destination(batch_size=10))
    take(warehouse, [purchase(number) for number in range(60)])
    bad = [f"order-{number}" for number in range(60)]
    rows = query(
        warehouse,
        "select e.event_id from ops.conversion_deliveries as d inner join ops.conversion_events "
        "as e on e.id = d.event order by d.deadline, d.ctid",
    )
    bad = [row["event_id"] for row in rows][:30]
    sandbox.faults.add(Fault("refuse_event", event_id=bad, subcode=2804050))
    assert send(warehouse, sandbox).processed == 60
    assert states(warehouse) == {("sent", "accepted"): 30, ("dead", "100/2804050"): 30}


def test_a_persons_pause_holds_while_an_upload_runs(warehouse: str, sandbox: Sandbox) -> None:
    """A person presses pause, and thousands of events are still sent."""
    from concurrent.futures import ThreadPoolExecutor

    configure(warehouse, "acme", meta_destination(batch_size=10, in_flight=2))
    execute(warehouse, "update ops.destinations set failures = 1")
    take(warehouse, [purchase(number) for number in range(300)])
    sandbox.latency = 0.1
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(send, warehouse, sandbox)
        while not sandbox.requests:
            time.sleep(0.005)
        execute(
            warehouse,
            "update ops.destinations set paused_until = 'infinity', paused_reason = 'by Ana'",
        )
        summary = running.result()
    assert 0 < summary.succeeded < 100
    with pytest.raises(DestinationStopped, match="paused until it is resumed: by Ana"):
        send(warehouse, sandbox)


def test_a_retry_never_counts_twice_what_may_have_been_taken(
    warehouse: str, sandbox: Sandbox
) -> None:
    """`deliveries retry` doubles events that were taken and not acknowledged."""
    from tributary import warehouse as wh
    from tributary.deliver import outbox

    configure(warehouse)
    take(warehouse, [purchase(1)])
    sandbox.faults.add(Fault("dropped_after", times=3))
    with pytest.raises(DestinationStopped):
        send(warehouse, sandbox)
    sandbox.clock.advance(timedelta(minutes=20))
    sandbox.faults.add(Fault("refuse_event", event_id="order-1", subcode=2804050))
    send(warehouse, sandbox)
    assert states(warehouse) == {("dead", "100/2804050"): 1}
    sandbox.faults.clear()
    sandbox.clock.advance(timedelta(days=3))
    with wh.connect(warehouse, autocommit=True) as connection:
        assert outbox.retry(connection, sandbox.clock.now()) == {}
    assert counted_once(sandbox) == 1


def test_a_profile_that_moved_is_asked_again(warehouse: str, sandbox: Sandbox) -> None:
    """A person where unknown means no is sent, since the event did not say so."""
    configure(warehouse)
    take(warehouse, [purchase(0, contact_id="p0"), purchase(1, country=["US", "DE"])])
    execute(
        warehouse,
        "insert into app.profiles (profile_id, brand_slug, country) "
        "values ('p0', 'acme', 'Germany')",
    )
    send(warehouse, sandbox)
    assert states(warehouse) == {("skipped", "no_consent"): 2}


def test_a_pixel_that_breaks_stops_a_small_shop_too(warehouse: str, sandbox: Sandbox) -> None:
    """A broken pixel takes nothing, every run is green, and each sale dies of five refusals."""
    configure(warehouse)
    configure(warehouse, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL))
    take(warehouse, [purchase(number) for number in range(5)])
    send(warehouse, sandbox)
    refused = [f"order-{number}" for number in range(100, 200)]
    sandbox.faults.add(Fault("refuse_event", event_id=refused, subcode=2804017, times=None))
    held = 0
    for number in range(30):
        sandbox.clock.advance(timedelta(minutes=15))
        now = sandbox.clock.now()
        take(warehouse, [purchase(100 + number, event_time=now)], now=now)
        try:
            held += send(warehouse, sandbox).held is not None
        except DestinationStopped:
            held += 1
    assert held > 25
    assert states(warehouse)["dead", "attempts"] == 0
