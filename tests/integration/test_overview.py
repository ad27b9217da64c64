"""The figures of the page, held against figures that are counted here from the plain rows."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tributary import warehouse as wh
from tributary.deliver import destinations, overview
from tributary.deliver.upload import DestinationStopped
from tributary.errors import SettingsError
from tributary.platforms import meanings
from tributary.warehouse import account_days

from tests.support.loads import query
from tests.support.outgoing import (
    configure,
    execute,
    meta_destination,
    purchase,
    sandbox_with_pixels,
    send,
    take,
)

HOUR = timedelta(hours=1)
STATES = (
    ("sent", "accepted"), ("sent", "duplicate"), ("pending", None), ("queued", None),
    ("failed", "http_502"), ("dead", "100/2804009"), ("dead", "outcome_unknown"),
    ("dead", "attempts"), ("skipped", "no_consent"), ("skipped", "expired"),
)  # fmt: skip


@pytest.fixture
def ledger(warehouse: str) -> str:
    """Some hundred deliveries of three destinations, in every state, over ten days."""
    dice = random.Random(11)
    now = datetime.now(UTC)
    configure(warehouse, "acme", meta_destination())
    others = [
        meta_destination("lumen-meta", pixel_id="2000000088"),
        {
            "name": "lumen-posthog", "platform": "posthog", "conn_id": "posthog_lumen",
            "send_from": "2026-01-01T00:00:00+00:00",
        },
    ]  # fmt: skip
    configure(warehouse, "lumen", *others)
    for slug in ("acme", "lumen"):
        events = [
            purchase(
                number,
                event_time=now - dice.random() * 6 * timedelta(days=1),
                email=f"p{number}@example.com" if dice.random() < 0.8 else None,
                phone=f"+1415555{number:04}" if dice.random() < 0.5 else None,
                fbc=f"fb.1.1787079973150.click{number}" if dice.random() < 0.3 else None,
                external_id=f"crm-{number}" if dice.random() < 0.6 else None,
                contact_id=f"contact-{number}",
                custom_params={"content_ids": [str(number)]},
            )
            for number in range(150)
        ]
        take(warehouse, events, slug, now)
    with wh.connect(warehouse, autocommit=True) as connection:
        for row in connection.execute(
            "select d.event, d.destination, e.event_time from ops.conversion_deliveries as d "
            "inner join ops.conversion_events as e on e.id = d.event"
        ).fetchall():
            status, outcome = dice.choice(STATES)
            moment = min(now, row["event_time"] + dice.random() * timedelta(days=2))
            connection.execute(
                "update ops.conversion_deliveries set sync_status = %s, outcome = %s, "
                "synced_at = %s, updated_at = %s, created_at = %s, deadline = %s, "
                "sync_error = case when %s = 'dead' then 'It says why.' end "
                "where event = %s and destination = %s",
                [
                    status, outcome, moment if status == "sent" else None, moment,
                    now - dice.random() * timedelta(days=40),
                    now + (dice.random() * 8 - 1) * timedelta(days=1), status,
                    row["event"], row["destination"],
                ],
            )  # fmt: skip
    return warehouse


def seen(uri: str) -> dict[str, Any]:
    with wh.connect(uri, autocommit=True) as connection:
        return overview.overview(connection)


def rows_of(uri: str) -> list[dict[str, Any]]:
    return query(
        uri,
        "select d.*, e.event_time, e.event_id, e.user_hashes, e.fbc, t.platform "
        "from ops.conversion_deliveries as d "
        "inner join ops.conversion_events as e on e.id = d.event "
        "inner join ops.destinations as t on t.name = d.destination",
    )


def test_counts_are_the_ledgers(ledger: str) -> None:
    """A person would act on other figures than there are."""
    found, rows = seen(ledger), rows_of(ledger)
    states = Counter((row["destination"], row["sync_status"]) for row in rows)
    retryable = Counter(
        row["destination"]
        for row in rows
        if row["sync_status"] == "dead"
        and row["outcome"] != "outcome_unknown"
        and row["deadline"] > found["now"]
    )
    assert len(rows) > 400
    assert [one["name"] for one in found["destinations"]] == [
        "acme-meta", "lumen-meta", "lumen-posthog",
    ]  # fmt: skip
    for one in found["destinations"]:
        for state in ("pending", "queued", "sent", "failed", "dead", "skipped"):
            assert one[state] == states[one["name"], state] > 0
        assert one["retryable"] == retryable[one["name"]] > 0

    edge = found["now"].replace(minute=0, second=0, microsecond=0) - 47 * HOUR
    hours: Counter[Any] = Counter()
    for row in rows:
        moment = row["synced_at"] or row["updated_at"]
        if moment >= edge:
            hour = moment.replace(minute=0, second=0, microsecond=0)
            hours[row["destination"], row["sync_status"], hour] += 1
    shown = {
        (row["destination"], row["sync_status"], row["hour"]): row["deliveries"]
        for row in found["per_hour"]
    }
    assert shown == dict(hours)
    assert len(shown) > 50


def test_errors_are_by_code_with_a_sample_and_words(ledger: str) -> None:
    """An error would be miscounted, or leave a person with a number."""
    found, rows = seen(ledger), rows_of(ledger)
    counts = Counter((row["destination"], row["sync_status"], row["outcome"]) for row in rows)
    shown = {
        (row["destination"], row["sync_status"], row["outcome"]): row
        for row in found["errors"] + found["not_sent"]
    }
    expected = {key: n for key, n in counts.items() if key[1] in ("failed", "dead", "skipped")}
    assert {key: row["deliveries"] for key, row in shown.items()} == expected
    samples = {(row["destination"], row["event_id"]): row for row in rows}
    for (destination, status, outcome), row in shown.items():
        sample = samples[destination, row["sample_event_id"]]
        assert (sample["sync_status"], sample["outcome"]) == (status, outcome)
        assert row["means"]
        assert row["to_do"]
    assert all(row["sync_status"] == "skipped" for row in found["not_sent"])
    codes = {row["outcome"]: row["means"] for row in found["errors"] if row["platform"] == "meta"}
    assert codes["100/2804009"] == "Meta: a Purchase needs value and currency."


def test_lag_and_match_keys_are_computed_right(ledger: str) -> None:
    """Delays and gaps in match keys would be embellished."""
    found, rows = seen(ledger), rows_of(ledger)
    lags, keys = defaultdict(list), defaultdict(list)
    for row in rows:
        if row["sync_status"] == "sent" and row["synced_at"] >= found["now"] - 7 * 24 * HOUR:
            lags[row["destination"]].append((row["synced_at"] - row["event_time"]).total_seconds())
        if (
            row["sync_status"] != "skipped"
            and row["platform"] != "posthog"
            and row["created_at"] >= found["now"] - 28 * 24 * HOUR
        ):
            hashes = row["user_hashes"].get("meta", {})
            has = [key in hashes for key in ("em", "ph", "external_id")]
            keys[row["destination"]].append((has[0], has[1], row["fbc"] is not None, has[2]))
    for row in found["lag"]:
        values = sorted(lags[row["destination"]])
        assert row["deliveries"] == len(values) > 10
        assert row["p50_seconds"] == pytest.approx(_quantile(values, 0.5))
        assert row["p95_seconds"] == pytest.approx(_quantile(values, 0.95))
    assert {row["destination"] for row in found["coverage"]} == {"acme-meta", "lumen-meta"}
    for row in found["coverage"]:
        all_ = keys[row["destination"]]
        assert row["events"] == len(all_) > 20
        shares = [sum(one[i] for one in all_) / len(all_) for i in range(4)]
        shown = [row[key] for key in ("email", "phone", "click_id", "external_id")]
        assert shown == pytest.approx(shares)
        points = sum(p * share for p, share in zip((4, 3, 2, 1), shares, strict=True))
        assert row["estimate"] == pytest.approx(points)


def _quantile(values: list[float], q: float) -> float:
    at = q * (len(values) - 1)
    low = int(at)
    return values[low] + (at - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def test_what_expires_soon(ledger: str) -> None:
    """Events would expire unseen."""
    found, rows = seen(ledger), rows_of(ledger)
    for one in found["expiring"]:
        left = [
            row["deadline"] - found["now"]
            for row in rows
            if row["destination"] == one["destination"]
            and row["sync_status"] in ("pending", "failed")
        ]
        for hours in (6, 24, 72):
            number = sum(rest <= hours * HOUR for rest in left)
            assert one[f"within_{hours}_hours"] == number
        assert one["first_deadline"] == found["now"] + min(left)
    assert len(found["expiring"]) == 3


def test_no_person_is_on_the_page(ledger: str) -> None:
    """A hash, an address or a contact id would be shown to whoever may see DAGs."""
    text = str(seen(ledger))
    with wh.connect(ledger) as connection:
        text += str(account_days.days(connection, 92))
    rows = query(
        ledger,
        "select user_email_hash as a, contact_id as b, user_ip as c, fbc as d "
        "from ops.conversion_events",
    )
    for row in rows:
        for value in row.values():
            assert value is None or value not in text


def test_days_are_reconciled_unreconciled_missing_or_open(warehouse: str) -> None:
    """A day that was never loaded would not be seen, or today be called missing."""
    account = {"platform": "meta", "account_id": "1000000009", "conn_id": "m", "name": "Nine"}
    never = {"platform": "meta", "account_id": "1000000010", "conn_id": "m", "name": "Ten"}
    gone = {**account, "account_id": "1000000011", "name": "Zero", "is_active": False}
    configure(warehouse, "acme", ad_accounts=[account, never, gone])
    today = query(
        warehouse,
        "select (date_trunc('day', now() - interval '3 hours', 'UTC') "
        "at time zone 'Asia/Jakarta')::date as day",
    )[0]["day"]
    execute(
        warehouse,
        "insert into raw.meta_ad_accounts values ('1000000009', '1000000009', "
        """'{"currency": "IDR", "timezone_name": "Asia/Jakarta"}', now(), 'r')""",
    )
    for ago, status in ((9, "reconciled"), (8, "unreconciled"), (6, "reconciled"), (0, "loaded")):
        for one in ("1000000009", "1000000011"):
            execute(
                warehouse,
                "insert into ops.loads values "
                f"('{one}', 'ad_insights', '{today - timedelta(days=ago)}', 3, 12.5, 7, 12.5, 7, "
                f"'{status}', 'run-{ago}', 0, now(), now())",
            )
    with wh.connect(warehouse) as connection:
        rows = account_days.days(connection, 92)
    days = {row["day"]: row["status"] for row in rows if row["name"] == "Nine"}
    assert days == {
        today - timedelta(days=9): "reconciled",
        today - timedelta(days=8): "unreconciled",
        today - timedelta(days=7): "missing",
        today - timedelta(days=6): "reconciled",
        **{today - timedelta(days=ago): "missing" for ago in range(1, 6)},
        today: "open",
    }
    assert [row["day"] for row in rows if row["name"] == "Ten"] == [None]
    zero = [row["status"] for row in rows if row["name"] == "Zero"]
    assert len(zero) == 10
    with wh.connect(warehouse) as connection:
        few = account_days.days(connection, 3)
    assert sum(row["name"] == "Nine" for row in few) == 4  # three that are due, and the open one


def test_a_persons_pause_ends_only_with_a_person(warehouse: str) -> None:
    """An upload, a success or a throttle would lift what a person decided."""
    configure(warehouse)
    with sandbox_with_pixels() as sandbox:
        take(warehouse, [purchase(number) for number in range(4)])
        with wh.connect(warehouse, autocommit=True) as connection:
            now = sandbox.clock.now()
            destinations.pause(connection, "acme-meta", now, "the token is refused")
            destinations.stop(connection, "acme-meta", "olga paused it: audit.")
            assert destinations.one(connection, "acme-meta", now).paused == (
                "until it is resumed: olga paused it: audit."
            )
            with pytest.raises(DestinationStopped, match="olga paused it"):
                send(warehouse, sandbox)
            destinations.hold(connection, "acme-meta", now, "a throttle", 5)
            destinations.recovered(connection, "acme-meta", now)
            (one,) = overview.overview(connection)["destinations"]
            assert (one["is_paused"], one["paused_until"], one["paused_reason"]) == (
                True, None, "olga paused it: audit.",
            )  # fmt: skip
            assert destinations.to_upload(connection, now) == []
            assert destinations.resume(connection, "acme-meta")
            assert not destinations.resume(connection, "acme-meta")
            for act in (destinations.stop, destinations.resume):
                with pytest.raises(SettingsError, match="There is no destination"):
                    act(connection, "nowhere", *["x"] * (act is destinations.stop))
        assert send(warehouse, sandbox).succeeded == 4


def test_a_pause_stops_an_upload_that_is_under_way(warehouse: str) -> None:
    """After a pause a hundred thousand events would still leave."""
    configure(warehouse, "acme", meta_destination(batch_size=10, in_flight=1))
    take(warehouse, [purchase(number) for number in range(50)])
    with sandbox_with_pixels() as sandbox:
        plain, calls = sandbox.graph.answer, []

        def answer(call: Any) -> Any:
            calls.append(call)
            if len(calls) == 2:
                with wh.connect(warehouse, autocommit=True) as connection:
                    destinations.stop(connection, "acme-meta", "olga paused it.")
            return plain(call)

        sandbox.graph.answer = answer  # type: ignore[method-assign]
        assert send(warehouse, sandbox).succeeded == 20
    waiting = query(
        warehouse,
        "select count(*)::int as n from ops.conversion_deliveries where sync_status = 'pending'",
    )
    assert waiting == [{"n": 30}]


@pytest.mark.parametrize(
    ("platform", "outcome", "status", "means"),
    [
        ("meta", "100/2804009", "dead", "a Purchase needs value and currency"),
        ("meta", "190", "failed", "the access token is refused"),
        ("meta", "80004/2446079", "failed", "a rate limit is reached"),
        ("meta", "-3", "dead", "no text here"),
        ("meta", "1", "failed", "a temporary failure"),
        ("meta", "http_502", "failed", "The platform failed (HTTP 502)"),
        ("posthog", "http_401", "failed", "refused the request (HTTP 401)"),
        ("posthog", "quota", "failed", "quota"),
        ("meta", "expired", "dead", "It waited until"),
        ("meta", "expired", "skipped", "too old for the platform when it was received"),
        ("google_ads", "SOME_NEW_CODE", "dead", "no text here"),
        ("google_ads", "quota_error.RESOURCE_EXHAUSTED", "failed", "a quota is used up"),
        ("google_data_manager", "CONVERSION_ACTION_TOO_RECENTLY_CREATED", "failed", "too recent"),
        ("meta", None, "failed", "waits for its turn"),
    ],
)
def test_every_outcome_has_words(
    platform: str, outcome: str | None, status: str, means: str
) -> None:
    """A code would be shown bare, or explained as another one."""
    shown = meanings.meaning(platform, outcome, status)
    assert means in shown.means
    assert shown.to_do


def test_every_rule_of_the_platforms_codes_has_words() -> None:
    """A rule added to a table would break the page, or be shown bare."""
    from tributary.platforms.google.errors import ADS, FAST_FAIL, PROCESSING
    from tributary.platforms.meta.errors import POLICY

    for platform, table in (
        ("google_ads", ADS),
        ("google_data_manager", FAST_FAIL),
        ("google_data_manager", PROCESSING),
    ):
        for code, do in table.items():
            shown = meanings.meaning(platform, code)
            assert shown.means.startswith("Google: ") or do.name == "UNKNOWN", code

    for number, subcode in POLICY:
        label = f"{number}/{subcode}" if subcode else str(number)
        assert meanings.meaning("meta", label).means.startswith("Meta: ")
