"""How Data Manager processed what it took, by event where its counts leave no doubt."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from tributary import warehouse as wh
from tributary.deliver import confirm, destinations
from tributary.deliver.upload import DestinationStopped
from tributary.platforms import registry
from tributary.platforms.google_data_manager.client import DataManager

from sandbox.google import GoogleFault
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import NOW, states, take
from tests.support.to_google import (
    access,
    ask,
    configure_google,
    counted_once,
    google_sandbox,
    paused_until,
    row,
    sale,
    sales,
    send,
)

DM = "google-data-manager"
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.fixture
def sandbox(warehouse: str) -> Iterator[Sandbox]:
    configure_google(warehouse, "google_data_manager")
    with google_sandbox() as running:
        yield running


def _due(uri: str, sandbox: Sandbox) -> list[str]:
    with wh.connect(uri) as connection:
        return confirm.due(connection, sandbox.clock.now())


def test_it_is_asked_after_half_an_hour_and_then_ever_more_rarely(
    warehouse: str, sandbox: Sandbox
) -> None:
    """Google would be asked too early or too often, or never again."""
    sandbox.google.processing = timedelta(hours=10)
    sales(warehouse, range(3))
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR - timedelta(seconds=1))
    assert _due(warehouse, sandbox) == []
    assert ask(warehouse, sandbox).requests == 0
    sandbox.clock.advance(timedelta(seconds=1))
    assert _due(warehouse, sandbox) == [DM]
    steps = []
    while not states(warehouse, DM)["sent", "confirmed"]:
        found = ask(warehouse, sandbox)
        assert found.requests == 1
        then = row(warehouse, "select poll_at, state, polls from ops.upload_batches")
        if then["poll_at"] is not None:
            assert then["state"] == "PROCESSING"
            steps.append(then["poll_at"] - sandbox.clock.now())
            sandbox.clock.set(then["poll_at"])
    assert [step.total_seconds() / 60 for step in steps] == [60, 120, 240, 480]
    assert states(warehouse, DM) == {("sent", "confirmed"): 3}
    assert sandbox.google.counts["status"] == 5
    assert ask(warehouse, sandbox).requests == 0
    assert row(warehouse, "select state from ops.upload_batches")["state"] == "SUCCESS"


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("DUPLICATE_TRANSACTION_ID", ("sent", "duplicate")),
        ("CLICK_NOT_FOUND", ("sent", "unmatched")),
        ("NO_CONSENT", ("skipped", "no_consent")),
        ("INVALID_GCLID", ("dead", "INVALID_GCLID")),
    ],
)
def test_a_count_that_covers_all_rows_is_told_of_each(
    warehouse: str, sandbox: Sandbox, reason: str, state: tuple[str, str]
) -> None:
    """Rows would stay accepted although Google has said what became of them."""
    sales(warehouse, range(3))
    sandbox.google.becomes = dict.fromkeys(("T-0", "T-1", "T-2"), reason)
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    found = ask(warehouse, sandbox)
    assert states(warehouse, DM) == {state: 3}
    assert (found.states, found.reasons, found.undecided) == ({"/".join(state): 3}, {reason: 3}, 0)


def test_a_count_that_does_not_tell_which_is_kept_and_shown(
    warehouse: str, sandbox: Sandbox
) -> None:
    """Good rows would be called dead, bad ones confirmed, or the counts be lost."""
    sales(warehouse, range(5))
    sandbox.google.becomes = {"T-1": "INVALID_GCLID", "T-2": "CLICK_NOT_FOUND"}
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    found = ask(warehouse, sandbox)
    assert states(warehouse, DM) == {("sent", "accepted"): 5}
    assert found.undecided == 5
    kept = row(warehouse, "select state, poll_at, answer from ops.upload_batches")
    assert kept["state"] == "PARTIAL_SUCCESS"
    assert kept["poll_at"] is None
    assert kept["answer"] == {
        "rows": 5, "errors": {"INVALID_GCLID": 1, "CLICK_NOT_FOUND": 1}, "warnings": {},
    }  # fmt: skip


@pytest.mark.parametrize(("reason", "hours"), [("TOO_RECENT_CLICK", 6), ("INTERNAL_ERROR", 6)])
def test_what_came_too_early_comes_back(
    warehouse: str, sandbox: Sandbox, reason: str, hours: int
) -> None:
    """A conversion that came too soon would be lost, or those beside it count twice."""
    sales(warehouse, range(5))
    sandbox.google.becomes = {"T-1": reason}
    send(warehouse, sandbox, DM)
    assert counted_once(sandbox) == 4
    sandbox.clock.advance(HALF_AN_HOUR)
    ask(warehouse, sandbox)
    assert states(warehouse, DM) == {("failed", reason): 5}
    sandbox.google.becomes.clear()
    sandbox.clock.advance(timedelta(hours=hours, seconds=-1))
    assert send(warehouse, sandbox, DM).processed == 0
    sandbox.clock.advance(timedelta(seconds=1))
    assert send(warehouse, sandbox, DM).succeeded == 5
    assert counted_once(sandbox) == 5
    sandbox.clock.advance(HALF_AN_HOUR)
    ask(warehouse, sandbox)
    assert states(warehouse, DM) == {("sent", "accepted"): 5}  # four duplicates: who, is not said
    assert counted_once(sandbox) == 5


def test_a_click_of_this_morning_natively(warehouse: str, sandbox: Sandbox) -> None:
    """The sandbox's own clock of clicks and ours would not meet."""
    from sandbox.google import Click

    one = sale(1)
    take(warehouse, [one])
    sandbox.google.clicks[str(one["gclid"])] = Click("1112223333", NOW - timedelta(hours=2))
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    ask(warehouse, sandbox)
    assert states(warehouse, DM) == {("failed", "TOO_RECENT_CLICK"): 1}
    sandbox.clock.advance(timedelta(hours=6))
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    ask(warehouse, sandbox)
    assert states(warehouse, DM) == {("sent", "confirmed"): 1}


def test_a_lost_answer_ends_as_duplicate(warehouse: str, sandbox: Sandbox) -> None:
    """What was delivered twice and counted once would look undelivered."""
    sales(warehouse, range(3))
    sandbox.google.faults.append(GoogleFault("lost_ack"))
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    ask(warehouse, sandbox)
    assert states(warehouse, DM) == {("sent", "duplicate"): 3}
    assert counted_once(sandbox) == 3


def test_a_status_that_is_gone_or_never_comes(
    warehouse: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be asked for ever."""
    sales(warehouse, range(2))
    send(warehouse, sandbox, DM)
    sandbox.google.requests.clear()
    sandbox.clock.advance(HALF_AN_HOUR)
    ask(warehouse, sandbox)
    assert row(warehouse, "select state, poll_at from ops.upload_batches") == {
        "state": "GONE", "poll_at": None,
    }  # fmt: skip
    assert "is gone" in caplog.text
    sales(warehouse, range(2, 4))
    send(warehouse, sandbox, DM)
    sandbox.google.processing = timedelta(days=30)
    sandbox.clock.advance(timedelta(days=7))
    ask(warehouse, sandbox)
    found = query(warehouse, "select state from ops.upload_batches order by started_at")
    assert [one["state"] for one in found] == ["GONE", "NEVER_ENDED"]
    assert states(warehouse, DM) == {("sent", "accepted"): 4}


def test_an_outage_while_asking_is_only_a_delay(warehouse: str, sandbox: Sandbox) -> None:
    """A status that was not answered once would never be asked for again."""
    sales(warehouse, range(2))
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    sandbox.google.faults.append(GoogleFault("unavailable", api="status"))
    found = ask(warehouse, sandbox)
    assert (found.requests, found.held is not None) == (0, True)
    assert ask(warehouse, sandbox).states == {"sent/confirmed": 2}


def test_refused_credentials_stop_the_destination(warehouse: str, sandbox: Sandbox) -> None:
    """A revoked token would be tried every half an hour, once per request."""
    sales(warehouse, range(2))
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    sandbox.google.must_log_in = True
    with pytest.raises(DestinationStopped, match="refuses the access token"):
        ask(warehouse, sandbox)
    assert paused_until(warehouse, DM)[0] == sandbox.clock.now() + timedelta(hours=1)
    assert _due(warehouse, sandbox) == []


def test_what_a_person_must_mend_pauses_the_destination(warehouse: str, sandbox: Sandbox) -> None:
    """Events would be sent into an account that has not agreed to the terms."""
    terms = "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED"
    sales(warehouse, range(2))
    sandbox.google.becomes = dict.fromkeys(("T-0", "T-1"), terms)
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    ask(warehouse, sandbox)
    assert states(warehouse, DM) == {("failed", terms): 2}
    until, reason = paused_until(warehouse, DM)
    assert until == sandbox.clock.now() + timedelta(hours=1)
    assert reason is not None
    assert terms in reason


def test_asking_counts_against_the_projects_quota(warehouse: str, sandbox: Sandbox) -> None:
    """Many open requests would use up what uploads of the project need."""
    from tributary.platforms.base import Quota

    configure_google(warehouse, "google_data_manager", batch_size=1)
    sales(warehouse, range(2))
    send(warehouse, sandbox, DM)
    sandbox.clock.advance(HALF_AN_HOUR)
    with wh.connect(warehouse, autocommit=True) as connection:
        target = destinations.one(connection, DM, sandbox.clock.now())
    client = DataManager(access(sandbox), host=sandbox.url)
    sender = registry.platform(target.platform).sender(client, target.settings)
    sender.quota = Quota(client.project, 1, 100)
    found = confirm.confirm(warehouse, target, sender, clock=lambda _: sandbox.clock.now())
    assert (found.requests, sandbox.google.counts["status"]) == (1, 1)
    assert found.held is not None
    assert "used up" in found.held
