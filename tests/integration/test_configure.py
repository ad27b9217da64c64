"""Applying settings: idempotent, all or nothing, and never touching run state."""

import threading
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner
from conftest_of_loads import query

from include import settings
from include import warehouse as wh
from include.cli import main

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
        wanted = settings.check(yaml.safe_load(text))
        return settings.apply(connection, wanted, prune=prune)


def _state(uri: str) -> dict[str, list[dict[str, Any]]]:
    names = ("brands", "ad_accounts", "destinations", "webhooks")
    return {name: query(uri, f"select * from ops.{name} order by 1, 2") for name in names}


def test_applying_is_idempotent(warehouse: str) -> None:
    """Red: a deployment that applies its file each time would change something each time."""
    assert _apply(warehouse) == [f"{name}: created" for name in _ALL]
    state = _state(warehouse)
    assert _apply(warehouse) == [f"{name}: unchanged" for name in _ALL]
    assert _state(warehouse) == state
    (row,) = query(warehouse, "select * from ops.ad_accounts where account_id = '11'")
    assert (row["conn_id"], row["is_active"]) == ("meta_acme", True)
    assert row["settings"]["lookback_days"] == 28
    assert row["settings"]["name"] == "Second"


def test_only_what_changed_is_changed(warehouse: str) -> None:
    """Red: a changed setting would not arrive, or another one would change with it."""
    _apply(warehouse)
    changed = FILE.replace('"10", conn_id: meta_acme', '"10", conn_id: other, reconcile: warn')
    lines = _apply(warehouse, changed.replace("Lumen", "Lumen Skincare"))
    assert [line for line in lines if not line.endswith("unchanged")] == [
        "ad account meta/10: changed", "brand lumen: changed",
    ]  # fmt: skip
    (row,) = query(warehouse, "select * from ops.ad_accounts where account_id = '10'")
    assert (row["conn_id"], row["settings"]["reconcile"]) == ("other", "warn")


def test_run_state_is_not_touched(warehouse: str) -> None:
    """Red: applying settings would lift a pause, or forget the last sync."""
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
    """Red: one team's file would delete another's brand; or pruning would leave it."""
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
    """Red: half a settings file would hold, and the other half would not."""
    with psycopg.connect(warehouse) as connection:
        connection.execute("alter table ops.ad_accounts add check (account_id <> '20')")
    with pytest.raises(psycopg.errors.CheckViolation):
        _apply(warehouse)
    assert _state(warehouse) == {
        "brands": [], "ad_accounts": [], "destinations": [], "webhooks": [],
    }  # fmt: skip


def test_two_at_once_wait_for_each_other(warehouse: str) -> None:
    """Red: two deployments at once would fail each other, or both claim to have created."""
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
    """Red: the documented command would not do what `apply` does."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    path = tmp_path / "settings.yaml"
    path.write_text(FILE)
    ended = CliRunner().invoke(main, ["configure", str(path)])
    assert (ended.exit_code, ended.output.splitlines()) == (0, [f"{n}: created" for n in _ALL])
    path.write_text("brands: []")
    ended = CliRunner().invoke(main, ["configure", str(path), "--prune"])
    assert ended.exit_code == 0
    assert len(ended.output.splitlines()) == 7
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
        ("postgresql://u:geheim@127.0.0.1:1/x", "Error: The warehouse at 127.0.0.1:1/x does not"),
    ],
)
def test_a_warehouse_that_cannot_be_used_is_one_sentence(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, sentence: str
) -> None:
    """Red: a traceback, with the password in it."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", uri)
    path = tmp_path / "settings.yaml"
    path.write_text(FILE)
    ended = CliRunner().invoke(main, ["configure", str(path)])
    assert ended.exit_code == 1
    assert ended.output.startswith(sentence)
    assert ended.output.count("\n") == 1
    assert "geheim" not in ended.output
