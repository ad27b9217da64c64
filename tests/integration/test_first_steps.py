"""The README's settings file and conversion, as a newcomer copies them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from tributary.cli import main
from tributary.config import ROOT

from tests.support.loads import query

README = (ROOT / "README.md").read_text()


def block(start: str, end: str) -> str:
    """A part of the README between two lines, without the indent of a list."""
    found = re.search(rf"^ *{start}\n(.*?)^ *{end}$", README, re.DOTALL | re.MULTILINE)
    assert found is not None, start
    return re.sub(r"^   ", "", found[1], flags=re.MULTILINE)


def run(*arguments: str) -> str:
    """What a command prints; it must succeed."""
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_the_readmes_conversion_waits_to_be_sent(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer follows the README, and nothing is sent: consent, time or destination is wrong."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    file = tmp_path / "shop.yaml"
    file.write_text(block("```yaml", "```"))
    run("configure", str(file))
    purchases = tmp_path / "purchases.csv"
    purchases.write_text(block(r"cat > purchases.csv <<'CSV'", "CSV"))
    assert "1 accepted, 0 duplicate, 0 refused" in run(
        "events", "import", str(purchases), "--brand", "shop"
    )
    found = query(
        warehouse,
        "select destination, sync_status, outcome, next_attempt_at <= now() as is_due "
        "from ops.conversion_deliveries",
    )
    assert found == [
        {"destination": "shop-meta", "sync_status": "pending", "outcome": None, "is_due": True}
    ]
