"""Uploads to Google over the real clients: good events count once, bad ones are reported."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tributary.deliver.upload import DestinationStopped
from tributary.platforms.google_data_manager.destination import PLATFORM

from sandbox.google import GoogleFault
from sandbox.server import Sandbox
from tests.support.loads import query
from tests.support.outgoing import NOW, configure, execute, purchase, requests, states, take
from tests.support.to_google import (
    GCLID,
    LOGIN,
    access,
    bodies,
    configure_google,
    counted_once,
    google_destination,
    google_sandbox,
    paused_until,
    sale,
    sales,
    send,
)

DM, ADS = "google-data-manager", "google-ads"
BOTH = ["google_data_manager", "google_ads"]
MAX_BATCH = PLATFORM.max_batch


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with google_sandbox() as running:
        yield running


# What is wrong with an event, and what each API calls it.
_WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"gclid": "not a click id"}, "INVALID_FORMAT", "conversion_upload_error.UNPARSEABLE_GCLID"),
    (
        {"event_time": NOW + timedelta(minutes=5)},
        "EVENT_TIME_INVALID",
        "date_error.LATER_THAN_MAXIMUM_DATE",
    ),
    (
        {"user_hashes": {"google": {"email": ["zz"]}}},
        "INVALID_HEX_ENCODING",
        "conversion_upload_error.INVALID_USER_IDENTIFIER",
    ),
]


@pytest.mark.parametrize("bad", [1, 3, 17])
@pytest.mark.parametrize("platform", BOTH)
def test_bad_events_are_told_by_row(
    warehouse: str, sandbox: Sandbox, platform: str, bad: int
) -> None:
    """A bad event loses its batch, or is confused with another one."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    wrong = {number * (MAX_BATCH // bad): _WRONG[number % 3] for number in range(bad)}
    take(
        warehouse,
        [sale(n, **(wrong[n][0] if n in wrong else {})) for n in range(MAX_BATCH)],
        internal=True,
    )
    # What lies ahead waits for its time, by a clock that may itself be ahead of Google's.
    execute(warehouse, f"update ops.conversion_deliveries set next_attempt_at = '{NOW}'")
    # All of one identifier kind and day, so that they leave in one request.
    summary = send(warehouse, sandbox, name)
    fine = "accepted" if platform == "google_data_manager" else "confirmed"
    codes = Counter(ways[1 if platform == "google_data_manager" else 2] for ways in wrong.values())
    assert states(warehouse, name) == Counter(
        {
            ("sent", fine): MAX_BATCH - bad,
            **{("dead", code): n for code, n in codes.items()},
        }
    )
    assert counted_once(sandbox) == MAX_BATCH - bad
    limit = 2 if platform == "google_data_manager" else 1
    assert summary.requests == requests(warehouse) == limit
    dead = query(
        warehouse,
        "select e.event_id, d.outcome, d.sync_error from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event where d.sync_status = 'dead'",
    )
    place = 1 if platform == "google_data_manager" else 2
    assert {row["event_id"]: row["outcome"] for row in dead} == {
        f"order-{number}": ways[place] for number, ways in wrong.items()
    }
    for row in dead:
        assert row["sync_error"]
        assert "zz" not in row["sync_error"]
        assert "click id" not in row["sync_error"]


def test_a_second_refusal_that_names_all_that_is_left(
    warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload ends with a database error, and its events stay leased."""
    configure_google(warehouse, "google_data_manager")
    sales(warehouse, range(3))
    sandbox.google.refuse["T-0"] = "INVALID_FORMAT"
    enter = sandbox.google.enter

    def and_then_the_others(*call: Any) -> Any:
        if sandbox.google.counts["data_manager"]:
            sandbox.google.refuse |= {"T-1": "INVALID_EVENT", "T-2": "SOMETHING_NEW"}
        return enter(*call)

    monkeypatch.setattr(sandbox.google, "enter", and_then_the_others)
    summary = send(warehouse, sandbox, DM)
    assert (summary.requests, summary.dead, summary.failed) == (2, 2, 1)
    assert states(warehouse, DM) == {
        ("dead", "INVALID_FORMAT"): 1, ("dead", "INVALID_EVENT"): 1, ("failed", "SOMETHING_NEW"): 1,
    }  # fmt: skip
    assert query(warehouse, "select id from ops.upload_batches where ended_at is null") == []


@pytest.mark.parametrize("platform", BOTH)
def test_a_lost_acknowledgement_counts_once(
    warehouse: str, sandbox: Sandbox, platform: str
) -> None:
    """Events that Google took without an answer count twice or stay unresolved."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(10))
    sandbox.google.faults.append(GoogleFault("lost_ack"))
    summary = send(warehouse, sandbox, name)
    assert counted_once(sandbox) == 10
    assert summary.requests == 2
    # The Ads API says so at once; Data Manager later, as counts.
    assert states(warehouse, name) == {
        ("sent", "duplicate" if platform == "google_ads" else "accepted"): 10
    }


@pytest.mark.parametrize("platform", BOTH)
@pytest.mark.parametrize("kind", ["unavailable", "internal", "html"])
def test_a_passing_failure_loses_nothing(
    warehouse: str, sandbox: Sandbox, platform: str, kind: str
) -> None:
    """A short outage stops a destination or loses events."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(5))
    sandbox.google.faults.append(GoogleFault(kind))
    summary = send(warehouse, sandbox, name)
    assert (summary.succeeded, summary.requests, summary.held) == (5, 2, None)
    assert counted_once(sandbox) == 5


@pytest.mark.parametrize("platform", BOTH)
def test_a_request_without_an_answer_in_time_is_sent_again(
    warehouse: str, sandbox: Sandbox, platform: str
) -> None:
    """The client waits without end, since the library has no timeout."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(5))
    sandbox.google.faults.append(GoogleFault("hang_after", seconds=20))
    summary = send(warehouse, sandbox, name, timeout=0.7)
    assert (summary.succeeded, summary.requests) == (5, 2)
    assert counted_once(sandbox) == 5


@pytest.mark.parametrize("platform", BOTH)
def test_nobody_there(warehouse: str, sandbox: Sandbox, platform: str) -> None:
    """A request that never left starts the deadline of an unknown outcome."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(5))
    with pytest.raises(DestinationStopped, match="could not be reached"):
        send(warehouse, sandbox, name, host="http://127.0.0.1:9")
    assert states(warehouse, name) == {("pending", None): 5}
    unknown = query(
        warehouse, "select 1 from ops.conversion_deliveries where unknown_since is not null"
    )
    assert unknown == []
    assert paused_until(warehouse, name)[0] == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("platform", BOTH)
@pytest.mark.parametrize("delay", [0.0, 37.0, 4_000.0])
def test_a_quotas_delay_is_obeyed_to_the_second(
    warehouse: str, sandbox: Sandbox, platform: str, delay: float
) -> None:
    """We ask again too early, or wait for longer than Google wants."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(5))
    sandbox.google.faults.append(GoogleFault("quota", retry_delay=delay))
    summary = send(warehouse, sandbox, name)
    assert summary.held is not None
    assert summary.errors == {
        "RESOURCE_EXHAUSTED" if platform == "google_data_manager"
        else "quota_error.RESOURCE_EXHAUSTED": 5
    }  # fmt: skip
    until, reason = paused_until(warehouse, name)
    assert until == NOW + timedelta(seconds=delay or 60)
    assert reason is not None
    assert reason.startswith("Google throttles")
    sandbox.clock.set(until - timedelta(seconds=1))
    with pytest.raises(DestinationStopped, match="is paused until"):
        send(warehouse, sandbox, name)
    sandbox.clock.set(until)
    assert send(warehouse, sandbox, name).succeeded == 5
    assert sum(sandbox.google.counts.values()) == 2
    assert paused_until(warehouse, name) == (None, None)


@pytest.mark.parametrize("platform", BOTH)
def test_a_revoked_refresh_token_costs_one_request(
    warehouse: str, sandbox: Sandbox, platform: str
) -> None:
    """A revoked token is retried as the outage that the client takes it for."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(5))
    sandbox.google.must_log_in = True
    sandbox.google.refresh_tokens.clear()
    login = {**LOGIN, "refresh_token": f"revoked-{platform}"}
    with pytest.raises(DestinationStopped, match=r"refresh token .* was revoked"):
        send(warehouse, sandbox, name, login=login)
    assert sandbox.google.counts == {"token": 1}
    until, reason = paused_until(warehouse, name)
    assert until == NOW + timedelta(hours=1)
    assert reason is not None
    assert "Give consent anew" in reason
    assert "revoked-" not in reason
    with pytest.raises(DestinationStopped, match="is paused"):
        send(warehouse, sandbox, name, login=login)
    assert sandbox.google.counts == {"token": 1}
    sandbox.clock.set(until)
    sandbox.google.refresh_tokens.add(f"new-{platform}")
    done = send(warehouse, sandbox, name, login={**login, "refresh_token": f"new-{platform}"})
    assert done.succeeded == 5


@pytest.mark.parametrize("platform", BOTH)
def test_an_access_token_is_fetched_once_and_renewed_when_it_ends(
    warehouse: str, sandbox: Sandbox, platform: str
) -> None:
    """Every thread and run fetches a token; or one that ended early stops everything."""
    configure_google(warehouse, platform, batch_size=10)
    name = platform.replace("_", "-")
    sandbox.google.must_log_in = True
    token = f"a-refresh-token-of-{platform}"
    sandbox.google.refresh_tokens.add(token)
    login = {**LOGIN, "refresh_token": token}
    sales(warehouse, range(50))
    assert send(warehouse, sandbox, name, login=login).succeeded == 50
    assert sandbox.google.counts["token"] == 1
    sandbox.google.revoke_access()
    sales(warehouse, range(50, 55))
    assert send(warehouse, sandbox, name, login=login).succeeded == 5
    assert sandbox.google.counts["token"] == 2
    sent = [one for one in sandbox.google.received if one.api != "token"]
    assert {one.headers["authorization"][:12] for one in sent} == {"Bearer ya29."}
    stored = query(
        warehouse,
        "select coalesce(string_agg(to_jsonb(t)::text, ''), '') as text from ops.upload_batches t "
        "union all select coalesce(string_agg(to_jsonb(t)::text, ''), '') from ops.destinations t "
        "union all select coalesce(string_agg(to_jsonb(t)::text, ''), '') "
        "from ops.conversion_deliveries t",
    )
    for value in (token, "ya29.", "sandbox-client-secret"):
        assert not any(value in line["text"] for line in stored)


def test_a_service_account_logs_in(warehouse: str, sandbox: Sandbox) -> None:
    """A connection without a refresh token cannot upload."""
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    who = "robot@a-project.iam.gserviceaccount.com"
    sandbox.google.service_accounts[who] = public.decode()
    sandbox.google.must_log_in = True
    file = {
        "type": "service_account", "project_id": "a-project", "private_key_id": "1",
        "private_key": private, "client_email": who, "token_uri": f"{sandbox.url}/token",
    }  # fmt: skip
    import json

    login = {"service_account_json": json.dumps(file)}
    configure_google(warehouse, "google_data_manager")
    sales(warehouse, range(5))
    assert send(warehouse, sandbox, DM, login=login).succeeded == 5
    assert access(sandbox, **login).project == "a-project"
    assert access(sandbox, **LOGIN).project == "123456789012"


def test_consent_is_right_on_the_wire(warehouse: str, sandbox: Sandbox) -> None:
    """Consent is sent as its opposite, since the two APIs number the answers differently."""
    configure_google(warehouse, *BOTH)
    no = {"consent_ad_user_data": False}
    only_data = {"consent_ad_user_data": True, "consent_ad_personalization": False}
    take(warehouse, [sale(1), sale(2, **only_data), sale(3, **no)])
    for name in (DM, ADS):
        send(warehouse, sandbox, name)
        assert states(warehouse, name)["skipped", "no_consent"] == 1
        assert sum(states(warehouse, name).values()) == 3
    (body,) = bodies(sandbox)
    said = {one["transactionId"]: one["consent"] for one in body["events"]}
    assert said == {
        "T-1": {"adUserData": 1, "adPersonalization": 1},
        "T-2": {"adUserData": 1, "adPersonalization": 2},
    }
    (request,) = bodies(sandbox, "google_ads")
    rows = {row.order_id: row.consent for row in request.conversions}
    assert {
        order: (int(c.ad_user_data), int(c.ad_personalization)) for order, c in rows.items()
    } == {
        "T-1": (2, 2),
        "T-2": (2, 3),
    }


def test_consent_that_was_withdrawn_meanwhile(warehouse: str, sandbox: Sandbox) -> None:
    """A person who said no before the upload is sent to Google."""
    configure_google(warehouse, *BOTH)
    take(warehouse, [sale(1, contact_id="ann")])
    with_profile = (
        "insert into app.profiles (profile_id, brand_slug, consent_ad_user_data) "
        "values ('ann', 'acme', false)"
    )
    execute(warehouse, with_profile)
    for name in (DM, ADS):
        send(warehouse, sandbox, name)
        assert states(warehouse, name) == {("skipped", "no_consent"): 1}
    assert not sandbox.google.received


def test_an_event_as_each_api_wants_it(warehouse: str, sandbox: Sandbox) -> None:
    """A field is missing, has another form, or is not allowed beside another."""
    configure_google(warehouse, *BOTH)
    person = {
        "first_name": "Ann", "last_name": "Smith", "country": "US", "zip": "94035",
        "phone": "(650) 555-1212",
    }  # fmt: skip
    take(warehouse, [sale(1, gbraid="0AAAAA-gbraid-1", wbraid="CjwK-wbraid-1", **person)])
    take(warehouse, [{**purchase(2), "transaction_id": None}])
    for name in (DM, ADS):
        assert send(warehouse, sandbox, name).succeeded == 2
    events = {e["transactionId"]: e for body in bodies(sandbox) for e in body["events"]}
    full = events["T-1"]
    assert full["eventTimestamp"] == "2026-11-20T11:00:00Z"
    assert full["adIdentifiers"] == {
        "gclid": GCLID.format(1), "gbraid": "0AAAAA-gbraid-1", "wbraid": "CjwK-wbraid-1",
    }  # fmt: skip
    people = full["userData"]["userIdentifiers"]
    assert [set(one) for one in people] == [{"emailAddress"}, {"phoneNumber"}, {"address"}]
    assert people[2]["address"]["regionCode"] == "US"
    assert people[2]["address"]["postalCode"] == "94035"
    assert len(people[2]["address"]["givenName"]) == 64
    assert (full["conversionValue"], full["currency"], full["eventSource"]) == (19.9, "USD", 1)
    assert "order-2" in events  # where there is no transaction id
    first = bodies(sandbox)[0]
    assert first["encoding"] == 1
    assert first["destinations"] == [
        {
            "operatingAccount": {"accountId": "1112223333", "accountType": 1},
            "productDestinationId": "42",
        }
    ]
    rows = {row.order_id: row for r in bodies(sandbox, "google_ads") for row in r.conversions}
    row = rows["T-1"]
    assert row.conversion_action == "customers/1112223333/conversionActions/42"
    assert row.conversion_date_time == "2026-11-20 11:00:00+00:00"
    assert (row.gclid, row.gbraid, row.wbraid) == (GCLID.format(1), "", "")
    kinds = [type(one).pb(one).WhichOneof("identifier") for one in row.user_identifiers]
    assert kinds == ["hashed_email", "hashed_phone_number"]
    assert (row.conversion_value, row.currency_code) == (19.9, "USD")
    assert all(request.partial_failure for request in bodies(sandbox, "google_ads"))


def test_what_never_leaves(warehouse: str, sandbox: Sandbox) -> None:
    """An event that is not mapped, too old or without identifiers is sent."""
    configure_google(warehouse, *BOTH)
    nobody = {"email": None, "gclid": None}
    take(
        warehouse,
        [
            sale(1, event_name="AddToCart"),
            sale(2, event_time=NOW - timedelta(days=90)),
            sale(3, gclid=None, event_time=NOW - timedelta(days=63)),
            sale(4, **nobody),
            sale(5, is_test=True),
            sale(6, event_time=NOW - timedelta(days=89)),
        ],
    )
    for name in (DM, ADS):
        send(warehouse, sandbox, name)
        found = states(warehouse, name)
        found.pop(("sent", "accepted"), None)
        found.pop(("sent", "duplicate"), None)  # the second API meets what the first has sent
        assert found == {
            ("skipped", "not_mapped"): 1, ("skipped", "expired"): 2,
            ("skipped", "unaddressable"): 1, ("skipped", "test"): 1,
        }  # fmt: skip
    assert set(sandbox.google.counted()) == {"T-6"}


def test_an_event_name_that_was_taken_off_the_map_meanwhile(
    warehouse: str, sandbox: Sandbox
) -> None:
    """The upload ends with a KeyError, or the event is sent for no action."""
    configure_google(warehouse, *BOTH)
    sales(warehouse, range(2))
    configure_google(warehouse, *BOTH, events={"Lead": "43"})
    for name in (DM, ADS):
        send(warehouse, sandbox, name)
        assert states(warehouse, name) == {("skipped", "not_mapped"): 2}
    assert not sandbox.google.received


@pytest.mark.parametrize("platform", BOTH)
def test_a_test_destination_keeps_nothing(warehouse: str, sandbox: Sandbox, platform: str) -> None:
    """Events that Google only checked are stored as sent."""
    configure_google(warehouse, platform, validate_only=True)
    name = platform.replace("_", "-")
    take(warehouse, [sale(1, is_test=True), sale(2, gclid="a bad id", is_test=True)])
    send(warehouse, sandbox, name)
    code = {
        "google_data_manager": "INVALID_FORMAT",
        "google_ads": "conversion_upload_error.UNPARSEABLE_GCLID",
    }[platform]
    assert states(warehouse, name) == {("skipped", "test"): 1, ("dead", code): 1}
    assert counted_once(sandbox) == 0


@pytest.mark.parametrize("partial", [False, True])
def test_a_customer_that_is_not_allowlisted_is_told_to_move(
    warehouse: str, sandbox: Sandbox, partial: bool
) -> None:
    """A new customer's events are tried for 90 days and then lost."""
    configure_google(warehouse, "google_ads")
    sales(warehouse, range(5))
    code = "not_allowlisted_error.CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE"
    if partial:
        sandbox.google.faults.append(GoogleFault("error", code=code, partial=True))
    else:
        sandbox.google.allowlisted = False
    with pytest.raises(DestinationStopped, match="platform google_data_manager"):
        send(warehouse, sandbox, ADS)
    assert states(warehouse, ADS) == {("pending", None): 5}
    until, reason = paused_until(warehouse, ADS)
    assert until == NOW + timedelta(hours=1)
    assert reason is not None
    assert code in reason
    assert sandbox.google.counts["google_ads"] == 1


@pytest.mark.parametrize(
    ("code", "seconds", "state"),
    [
        ("conversion_upload_error.TOO_RECENT_EVENT", 6 * 3600, "failed"),
        ("internal_error.TRANSIENT_ERROR", 15 * 60, "failed"),
        ("conversion_upload_error.NO_CONVERSION_ACTION_FOUND", 3600, "failed"),
        ("conversion_upload_error.CLICK_NOT_FOUND", None, "sent/unmatched"),
        ("conversion_upload_error.CLICK_CONVERSION_ALREADY_EXISTS", None, "sent/duplicate"),
        ("conversion_upload_error.EXPIRED_EVENT", None, "dead"),
    ],
)
def test_codes_of_one_row(
    warehouse: str, sandbox: Sandbox, code: str, seconds: int | None, state: str
) -> None:
    """A row's code changes the state of others, or waits for the wrong time."""
    configure_google(warehouse, "google_ads")
    sales(warehouse, range(3))
    sandbox.google.refuse["T-1"] = code
    summary = send(warehouse, sandbox, ADS)
    status, _, outcome = state.partition("/")
    assert states(warehouse, ADS) == {("sent", "confirmed"): 2, (status, outcome or code): 1}
    assert summary.requests == 1
    if seconds is not None:
        sandbox.google.refuse.clear()
        sandbox.clock.advance(timedelta(seconds=seconds - 1))
        send(warehouse, sandbox, ADS)
        assert sandbox.google.counts["google_ads"] == 1
        sandbox.clock.advance(timedelta(seconds=1))
        assert send(warehouse, sandbox, ADS).succeeded == 1


@pytest.mark.parametrize("platform", BOTH)
def test_a_code_that_nobody_knows_is_tried_five_times_and_told(
    warehouse: str, sandbox: Sandbox, platform: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A new code is retried for 90 days without a word, or loses the event at once."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(3))
    is_ads = platform == "google_ads"
    code = "conversion_upload_error.UNKNOWN" if is_ads else "SOMETHING_NEW"
    sandbox.google.refuse["T-1"] = code
    for number in range(1, 6):
        send(warehouse, sandbox, name)
        sandbox.clock.advance(timedelta(hours=9))
        found = states(warehouse, name)
        assert found["dead", "attempts"] == (number == 5)
        assert found["failed", code] == (number < 5)
    assert [r for r in caplog.records if r.levelname == "ERROR" and code in r.getMessage()]
    assert counted_once(sandbox) == 2


@pytest.mark.parametrize("platform", BOTH)
def test_a_few_bad_sales_delay_nobody_and_end(
    warehouse: str, sandbox: Sandbox, platform: str
) -> None:
    """Three sales that Google refuses alone pause the destination again and again."""
    configure_google(warehouse, platform)
    name = platform.replace("_", "-")
    sales(warehouse, range(10))
    is_ads = platform == "google_ads"
    code = "request_error.INVALID_PAGE_TOKEN" if is_ads else "INVALID_ARGUMENT"
    sandbox.google.refuse = dict.fromkeys(("T-1", "T-4", "T-6"), code)
    assert send(warehouse, sandbox, name).succeeded == 7
    sandbox.google.refuse.clear()
    # Once more by themselves, without a word which of them it is.
    sandbox.google.faults.append(GoogleFault("error", code=code, times=None))
    for _ in range(4):
        sandbox.clock.advance(timedelta(hours=7))
        assert send(warehouse, sandbox, name).held is None
    assert states(warehouse, name)["dead", "attempts"] == 3
    assert states(warehouse, name).total() == 10
    sandbox.google.faults.clear()
    sales(warehouse, range(10, 12))
    assert send(warehouse, sandbox, name).succeeded == 2
    assert counted_once(sandbox) == 9


def test_two_destinations_share_the_quota_of_their_project(
    warehouse: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each destination counts its own requests, and Google refuses both."""
    from tributary.platforms.google_data_manager import client as data_manager

    monkeypatch.setattr(data_manager, "REQUESTS_PER_MINUTE", 3)
    sandbox.google.per_minute = 3
    targets = [
        google_destination(
            "google_data_manager", f"dm-{n}", batch_size=1, in_flight=1, events={"Purchase": action}
        )
        for n, action in enumerate(("42", "43"))
    ]
    configure(warehouse, "acme", *targets)
    sales(warehouse, range(2))
    assert send(warehouse, sandbox, "dm-0").succeeded == 2
    sandbox.clock.advance(timedelta(seconds=20))
    summary = send(warehouse, sandbox, "dm-1")
    assert summary.succeeded == 1
    assert summary.held is not None
    until, reason = paused_until(warehouse, "dm-1")
    # The first second of the minute leaves the count as a whole.
    assert until == NOW + timedelta(seconds=61)
    assert reason is not None
    assert "used up" in reason
    assert sandbox.google.counts["data_manager"] == 3  # Google itself was not bothered
    sandbox.clock.set(until)
    assert send(warehouse, sandbox, "dm-1").succeeded == 1
    assert states(warehouse, "dm-1") == {("sent", "accepted"): 2}
    assert requests(warehouse) == 4


def test_the_same_order_twice_leaves_in_two_requests(warehouse: str, sandbox: Sandbox) -> None:
    """Google processes neither of two conversions with one order id in a request."""
    configure_google(warehouse, *BOTH, events={"Purchase": "42", "Lead": "42"})
    take(warehouse, [sale(1), sale(1, event_id="another", event_name="Lead")])
    for name in (DM, ADS):
        sandbox.google.reset()
        send(warehouse, sandbox, name)
        sandbox.clock.advance(timedelta(minutes=2))
        send(warehouse, sandbox, name)
        assert counted_once(sandbox) == 1
    assert states(warehouse, ADS) == {("sent", "confirmed"): 1, ("sent", "duplicate"): 1}
    assert states(warehouse, DM) == {("sent", "accepted"): 2}


def test_requests_to_data_manager_are_alike(warehouse: str, sandbox: Sandbox) -> None:
    """A count cannot be assigned to rows of different days, actions or identifiers."""
    configure_google(warehouse, *BOTH)
    day = timedelta(days=1)
    take(
        warehouse,
        [sale(n, event_time=NOW - (n % 2) * day) for n in range(4)]
        + [sale(n, gclid=None) for n in range(4, 6)]
        + [sale(n, event_name="Lead") for n in range(6, 8)],
    )
    send(warehouse, sandbox, DM)
    sizes = sorted(len(body["events"]) for body in bodies(sandbox))
    assert sizes == [2, 2, 2, 2]
    send(warehouse, sandbox, ADS)
    assert [len(request.conversions) for request in bodies(sandbox, "google_ads")] == [8]


def test_nothing_of_a_person_is_stored_or_logged(
    warehouse: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Google quotes what it refuses, and we repeat a person's data."""
    configure_google(warehouse, *BOTH)
    take(
        warehouse,
        [
            sale(1, user_hashes={"google": {"email": ["abc123" * 10]}}),
            sale(2, gclid="bad gclid of Ann Example"),
        ],
        internal=True,
    )
    caplog.set_level("DEBUG", "tributary")
    for name in (DM, ADS):
        send(warehouse, sandbox, name)
        assert sum(n for (status, _), n in states(warehouse, name).items() if status == "dead") == 2
    stored = query(
        warehouse,
        "select coalesce(string_agg(sync_error, ' '), '') as text from ops.conversion_deliveries",
    )
    for text in (caplog.text, stored[0]["text"]):
        assert "abc123" not in text
        assert "Ann" not in text
    assert "SHA-256" in stored[0]["text"]
