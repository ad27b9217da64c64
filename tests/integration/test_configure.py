"""Applying settings: idempotent, all or nothing, and never touching run state."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner
from tributary import warehouse as wh
from tributary.cli import main
from tributary.deliver import destinations
from tributary.deliver.upload import upload
from tributary.errors import SettingsError
from tributary.settings.apply import apply, change_destination
from tributary.settings.read import check

from tests.support.loads import query
from tests.support.outgoing import (
    NOW,
    counted_once,
    execute,
    purchase,
    sandbox_with_pixels,
    senders,
    states,
    take,
    virtual,
)

FILE = """
brands:
  - slug: acme
    name: Acme Courses
    reporting_currency: USD
    time_zone: Asia/Jakarta
    ad_accounts:
      - {platform: meta, account_id: "10", conn_id: meta_acme}
      - {platform: meta, account_id: "11", conn_id: meta_acme, name: Second}
    destinations:
      - {name: acme-meta, platform: meta, conn_id: meta_acme, pixel_id: "123"}
    webhooks:
      - {source: stripe, conn_id: stripe_acme}
  - slug: lumen
    name: Lumen
    reporting_currency: EUR
    time_zone: Europe/Berlin
    ad_accounts:
      - {platform: meta, account_id: "20", conn_id: meta_lumen}
"""
_ALL = [
    "brand acme", "ad account meta/10", "ad account meta/11", "destination acme-meta",
    "webhook acme/stripe", "brand lumen", "ad account meta/20",
]  # fmt: skip


def _apply(uri: str, text: str = FILE, *, prune: bool = False) -> list[str]:
    with wh.connect(uri, autocommit=True) as connection:
        wanted = check(yaml.safe_load(text))
        return apply(connection, wanted, prune=prune)


def _state(uri: str) -> dict[str, list[dict[str, Any]]]:
    names = ("brands", "ad_accounts", "destinations", "webhooks")
    return {name: query(uri, f"select * from ops.{name} order by 1, 2") for name in names}


def test_applying_is_idempotent(warehouse: str) -> None:
    """A deployment that applies its file each time changes something each time."""
    assert _apply(warehouse) == [f"{name}: created" for name in _ALL]
    state = _state(warehouse)
    assert _apply(warehouse) == [f"{name}: unchanged" for name in _ALL]
    assert _state(warehouse) == state
    (row,) = query(warehouse, "select * from ops.ad_accounts where account_id = '11'")
    assert (row["conn_id"], row["is_active"]) == ("meta_acme", True)
    assert row["settings"] == {
        "platform": "meta", "account_id": "11", "conn_id": "meta_acme", "name": "Second",
    }  # fmt: skip


def test_only_what_changed_is_changed(warehouse: str) -> None:
    """A changed setting does not arrive, or another one changes with it."""
    _apply(warehouse)
    changed = FILE.replace('"10", conn_id: meta_acme', '"10", conn_id: other, reconcile: warn')
    lines = _apply(warehouse, changed.replace("Lumen", "Lumen Skincare"))
    assert [line for line in lines if not line.endswith("unchanged")] == [
        "ad account meta/10: changed", "brand lumen: changed",
    ]  # fmt: skip
    (row,) = query(warehouse, "select * from ops.ad_accounts where account_id = '10'")
    assert (row["conn_id"], row["settings"]["reconcile"]) == ("other", "warn")


def test_run_state_is_not_touched(warehouse: str) -> None:
    """Applying settings ends a pause, or forgets the last sync."""
    _apply(warehouse)
    with psycopg.connect(warehouse) as connection:
        for table in ("ad_accounts", "destinations"):
            connection.execute(
                f"update ops.{table} set last_sync_at = '2025-03-01', last_sync_status = 'ok', "
                "last_sync_count = 5, paused_until = '2099-01-01', paused_reason = 'by hand'"
            )
    before = _state(warehouse)
    columns = (
        "last_sync_at", "last_sync_status", "last_sync_count", "paused_until", "paused_reason",
    )  # fmt: skip
    _apply(warehouse, FILE.replace("conn_id: meta_acme", "conn_id: other"))
    after = _state(warehouse)
    for table in ("ad_accounts", "destinations"):
        for old, new in zip(before[table], after[table], strict=True):
            assert [new[c] for c in columns] == [old[c] for c in columns]
    assert [d["send_from"] for d in after["destinations"]] == [
        d["send_from"] for d in before["destinations"]
    ]
    assert [b["id"] for b in after["brands"]] == [b["id"] for b in before["brands"]]


def test_what_the_file_does_not_name_stays_unless_pruned(warehouse: str) -> None:
    """One team's file deletes another's brand; or pruning leaves it."""
    _apply(warehouse)
    only = dedent("""
        brands:
          - slug: acme
            name: Acme Courses
            reporting_currency: USD
            time_zone: Asia/Jakarta
            ad_accounts: [{platform: meta, account_id: "10", conn_id: meta_acme}]
        """)
    kept = ["brand acme: unchanged", "ad account meta/10: unchanged"]
    assert _apply(warehouse, only) == kept
    assert len(query(warehouse, "select from ops.ad_accounts")) == 3
    lines = _apply(warehouse, only, prune=True)
    assert lines[:2] == kept
    assert sorted(lines[2:]) == [
        "ad account meta/11: pruned", "ad account meta/20: pruned", "brand lumen: pruned",
        "destination acme-meta: pruned",
        f"webhook {_state(warehouse)['brands'][0]['id']}/stripe: pruned",
    ]  # fmt: skip
    state = _state(warehouse)
    assert [len(rows) for rows in state.values()] == [1, 1, 0, 0]
    assert _apply(warehouse, only, prune=True) == kept


def test_an_error_in_the_middle_leaves_nothing(warehouse: str) -> None:
    """Half of a settings file is applied, and the other half is not."""
    with psycopg.connect(warehouse) as connection:
        connection.execute("alter table ops.ad_accounts add check (account_id <> '20')")
    with pytest.raises(psycopg.errors.CheckViolation):
        _apply(warehouse)
    assert _state(warehouse) == {
        "brands": [], "ad_accounts": [], "destinations": [], "webhooks": [],
    }  # fmt: skip


def test_two_at_once_wait_for_each_other(warehouse: str) -> None:
    """Two deployments at once make each other fail, or both report that they created a brand."""
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(_apply(warehouse))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(sum(line.endswith("created") for line in lines) for lines in found) == [0, 0, 7]


def test_configure_on_the_command_line(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented command does not do what `apply` does."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    path = tmp_path / "settings.yaml"
    path.write_text(FILE)
    ended = CliRunner().invoke(main, ["configure", str(path)])
    where = f"Written to the warehouse at {wh.where(warehouse)}."
    assert ended.exit_code == 0
    assert ended.output.splitlines() == [*(f"{name}: created" for name in _ALL), where]
    path.write_text("brands: []")
    ended = CliRunner().invoke(main, ["configure", str(path), "--prune"])
    assert ended.exit_code == 0
    assert len(ended.output.splitlines()) == 8
    path.write_text(FILE.replace('"20"', "20"))
    ended = CliRunner().invoke(main, ["configure", str(path)])
    assert ended.exit_code == 1
    assert ended.output == (
        "Error: The settings cannot be used:\n"
        "  brands[1].ad_accounts[0].account_id: must be text (in quotes), not 20\n"
    )
    assert _state(warehouse)["brands"] == []


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        (
            "postgres://u:geheim@127.0.0.1:1/x",
            "Error: TRIBUTARY_WAREHOUSE must be a URI such as "
            "postgresql://user:password@host:5432/name.\n",
        ),
        (
            "postgresql://u:geheim@127.0.0.1:1/x",
            "Error: Cannot connect to the warehouse at 127.0.0.1:1/x: ",
        ),
    ],
)
def test_a_warehouse_that_cannot_be_used_is_one_sentence(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, sentence: str
) -> None:
    """The user sees a traceback, with the password in it."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", uri)
    path = tmp_path / "settings.yaml"
    path.write_text(FILE)
    ended = CliRunner().invoke(main, ["configure", str(path)])
    assert ended.exit_code == 1
    assert ended.output.startswith(sentence)
    assert ended.output.count("\n") == 1
    assert "geheim" not in ended.output


def test_no_default_is_stored(warehouse: str) -> None:
    """A default that a later version changes never takes effect, or a row that an earlier version
    wrote with all defaults cannot be read."""
    _put(warehouse, {**_meta(), "managed_by": "api"})
    path = "select settings from ops.destinations where name = 'acme-meta'"
    assert query(warehouse, path) == [{"settings": PIXEL}]

    def now() -> destinations.Destination:
        with wh.connect(warehouse, autocommit=True) as connection:
            return destinations.one(connection, "acme-meta", NOW)

    everything = now().settings.model_dump()
    with wh.connect(warehouse, autocommit=True) as connection:
        # The page sends all that it shows.
        change_destination(connection, "acme-meta", {**everything, "batch_size": 70})
    assert query(warehouse, path) == [{"settings": {**PIXEL, "batch_size": 70}}]
    earlier = """'{"in_flight": 4, "sync_interval_minutes": 15, "gone": 1}'"""
    execute(warehouse, f"update ops.destinations set settings = settings || {earlier}")
    found = now()
    assert (found.settings.batch_size, found.settings.in_flight) == (70, 4)
    assert found.stored["gone"] == 1
    execute(warehouse, "update ops.destinations set settings = settings - 'pixel_id'")
    with pytest.raises(SettingsError, match=r"in the warehouse cannot be used \(pixel_id is miss"):
        _ = now().settings


def _google(slug: str, name: str, platform: str = "google_ads", **changes: Any) -> dict[str, Any]:
    target = {
        "name": name, "platform": platform, "conn_id": "google_x", "customer_id": "1112223333",
        "events": {"Purchase": "42", "Lead": "43"}, "send_from": "2026-01-01T00:00:00Z", **changes,
    }  # fmt: skip
    return {
        "slug": slug, "name": slug.title(), "reporting_currency": "USD", "time_zone": "UTC",
        "consent_when_unknown": "allow", "destinations": [target],
    }  # fmt: skip


def _put(uri: str, *brands: dict[str, Any], prune: bool = False) -> list[str]:
    return _apply(uri, yaml.safe_dump({"brands": list(brands)}), prune=prune)


@pytest.mark.parametrize("other", ["google_ads", "google_data_manager"])
@pytest.mark.parametrize("at_once", [True, False])
def test_two_brands_never_share_a_conversion_action(
    warehouse: str, other: str, at_once: bool
) -> None:
    """Both brands have an order 1001, and Google keeps one of them, with one of two values."""
    acme, lumen = _google("acme", "acme-google"), _google("lumen", "lumen-google", other)
    lumen["destinations"][0]["events"] = {"Subscribe": "43"}
    if not at_once:
        _put(warehouse, acme)
    with pytest.raises(SettingsError) as refused:
        _put(warehouse, *([acme] if at_once else []), lumen)
    assert str(refused.value).startswith(
        "The destinations acme-google and lumen-google both send to the conversion action 43 of "
        "the customer 1112223333: Google would take orders of the brands acme and lumen that have "
        "one number for one order. Give each a conversion action of its own."
    )
    kept = [] if at_once else ["acme-google"]
    assert [row["name"] for row in _state(warehouse)["destinations"]] == kept
    for apart in ({"customer_id": "4445556666"}, {"events": {"Subscribe": "53"}},
                  {"is_active": False}, {"validate_only": True}):  # fmt: skip
        moved = {**lumen, "destinations": [{**lumen["destinations"][0], **apart}]}
        assert len(_put(warehouse, acme, moved)) == 4
    with pytest.raises(SettingsError, match="one number for one order"):
        _put(warehouse, lumen)  # neither does it begin to count later on


def test_one_brand_may_count_two_events_in_one_action(warehouse: str) -> None:
    """A brand is refused because its events would count twice, though none would."""
    sales = _google("acme", "a-sales", events={"Purchase": "42"})["destinations"]
    leads = _google("acme", "b-leads", "google_data_manager", events={"Lead": "42"})
    both = {**leads, "destinations": [*sales, *leads["destinations"]]}
    made = _put(warehouse, both, _google("lumen", "lumen-google", customer_id="4445556666"))
    assert [line for line in made if "acme" not in line and "lumen" not in line] == [
        "destination a-sales: created", "destination b-leads: created",
    ]  # fmt: skip
    third = _google("acme", "c-more", events={"Subscribe": "43", "Lead": "42"})["destinations"]
    with pytest.raises(SettingsError, match=r"b-leads and c-more both .* get each event twice"):
        _put(warehouse, {**both, "destinations": [*both["destinations"], *third]})
    with pytest.raises(SettingsError, match="one number for one order"):
        _put(warehouse, _google("lumen", "lumen-google", events={"Subscribe": "42"}))


def test_one_file_goes_from_one_google_api_to_the_other(warehouse: str) -> None:
    """A brand that migrates sends each event twice, or has no destination for a time."""
    old = _google("acme", "z-ads")
    both = _google("acme", "a-manager", "google_data_manager")
    _put(warehouse, old)
    with pytest.raises(SettingsError, match=r"Google would get each event twice.*is_active: false"):
        _put(warehouse, both)
    # The old one may be anywhere in the file, or be pruned: what counts is how it ends.
    ended = {**old["destinations"][0], "is_active": False}
    assert _put(warehouse, {**both, "destinations": [*both["destinations"], ended]}) == [
        "brand acme: unchanged", "destination a-manager: created", "destination z-ads: changed",
    ]  # fmt: skip
    assert "destination a-manager: pruned" in _put(warehouse, old, prune=True)


PIXEL = {
    "name": "acme-meta", "platform": "meta", "conn_id": "meta_x", "pixel_id": "2000000077",
    "send_from": "2026-01-01T00:00:00Z",
}  # fmt: skip


def _meta(pixel: str = "2000000077", **changes: Any) -> dict[str, Any]:
    brand = _google("acme", "acme-meta")
    return {**brand, "destinations": [{**PIXEL, "pixel_id": pixel, **changes}]}


@pytest.mark.parametrize(
    ("state", "is_open"),
    [
        ("sync_status = 'queued', unknown_since = now(), lease_until = now()", True),
        ("sync_status = 'failed', unknown_since = now()", True),
        ("sync_status = 'pending', unknown_since = now()", True),
        # `deliveries retry` brings these back.
        ("sync_status = 'dead', outcome = 'outcome_unknown', unknown_since = now()", True),
        ("sync_status = 'skipped', outcome = 'inactive', unknown_since = now()", True),
        ("sync_status = 'dead', unknown_since = now(), deadline = now()", False),
        ("sync_status = 'skipped', outcome = 'erased', unknown_since = now()", False),
        ("sync_status = 'sent', outcome = 'accepted'", False),
        # A pixel id with a slip of the pen is corrected: it has taken nothing.
        ("sync_status = 'failed', outcome = '100/33'", False),
        ("sync_status = 'pending'", False),
    ],
)
def test_a_pixel_stays_while_its_answers_are_open(
    warehouse: str, state: str, is_open: bool
) -> None:
    """What the old pixel may have taken is sent to the new one, too, and counts in both."""
    now = datetime.now(UTC)
    _put(warehouse, _meta(), _google("lumen", "lumen-google"))
    sale = {"event_time": now, "action_source": "email", "value": 1, "currency": "USD"}
    take(warehouse, [{**sale, "event_name": "Purchase", "event_id": str(n), "email": "a@b.example"}
                     for n in range(3)], now=now)  # fmt: skip
    execute(warehouse, f"update ops.conversion_deliveries set {state} where event in "
                       "(select id from ops.conversion_events where event_id <> '0')")  # fmt: skip
    _put(warehouse, _meta(batch_size=7, conn_id="another_token"))
    if not is_open:
        assert "destination acme-meta: changed" in _put(warehouse, _meta("2000000099"))
        return
    with pytest.raises(SettingsError) as refused:
        _put(warehouse, _meta("2000000099", is_active=False))
    assert str(refused.value).startswith(
        "The destination acme-meta cannot send to the pixel 2000000099 yet: 2 of its deliveries "
        "have no answer from the pixel 2000000077"
    )
    assert "give the new one another name" in str(refused.value)
    (row,) = query(warehouse, "select settings from ops.destinations where name = 'acme-meta'")
    assert row["settings"]["pixel_id"] == "2000000077"
    other = {**PIXEL, "name": "acme-new", "pixel_id": "2000000099"}
    both = {**_meta(), "destinations": [{**PIXEL, "is_active": False}, other]}
    assert "destination acme-new: created" in _put(warehouse, both)


def test_an_action_stays_while_its_answers_are_open(warehouse: str) -> None:
    """A refund of what one action has counted becomes a sale of another."""
    now = datetime.now(UTC)
    sale = {"event_time": now, "action_source": "email", "value": 9, "currency": "USD"}
    raw = [{**sale, "event_name": name, "event_id": name, "email": "a@b.example"}
           for name in ("Purchase", "Lead")]  # fmt: skip
    _put(warehouse, _google("acme", "acme-google"), _google(
        "lumen", "lumen-google", customer_id="4445556666"))  # fmt: skip
    take(warehouse, raw, now=now)
    execute(warehouse, "update ops.conversion_deliveries set sync_status = 'sent'")
    (original,) = query(
        warehouse, "select id from ops.conversion_events where event_name = 'Purchase'"
    )
    refund = {**raw[0], "value": 4, "kind": "adjustment", "revision": 1, "adjusts": original["id"],
              "adjusts_time": now}  # fmt: skip
    assert take(warehouse, [refund], now=now, internal=True)[0].status == "accepted"
    lead = _google("acme", "acme-google", events={"Purchase": "42", "Lead": "44"})
    assert "destination acme-google: changed" in _put(warehouse, lead)
    for moved in ({"events": {"Purchase": "44"}}, {"customer_id": "9998887777"}):
        with pytest.raises(SettingsError, match=r"1 of its deliveries .* correct what it has"):
            _put(warehouse, _google("acme", "acme-google", **moved))
    # Left out and brought back it would send to the other action, too.
    off_the_map = _google("acme", "acme-google", events={"Lead": "44"})
    with pytest.raises(SettingsError, match=r"cannot leave out the event Purchase yet: 1 of its"):
        _put(warehouse, off_the_map)
    execute(warehouse, "update ops.conversion_deliveries set sync_status = 'sent'")
    assert "destination acme-google: changed" in _put(warehouse, off_the_map)


def test_an_upload_under_way_ends_where_its_pixel_changes(warehouse: str) -> None:
    """An upload goes on into the old pixel, and what gets no answer is sent to the new one, too."""
    with sandbox_with_pixels() as sandbox:
        _put(warehouse, _meta(), _google("lumen", "lumen-google"))
        take(warehouse, [purchase(number) for number in range(3)])
        with wh.connect(warehouse, autocommit=True) as connection:
            target = destinations.one(connection, "acme-meta", NOW)
        _put(warehouse, _meta("2000000099"))
        late = upload(warehouse, target, senders(sandbox, target), clock=virtual(sandbox))
        assert (late.processed, counted_once(sandbox)) == (0, 0)
    assert states(warehouse) == {("pending", None): 3}
