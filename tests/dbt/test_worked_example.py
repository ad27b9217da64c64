"""The three changes of docs/extending.md that a dbt user makes first, as they are written there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from tributary.config import ROOT

from tests.support.marts import Warehouse, ad, build


def section(heading: str) -> str:
    """What the page says below a heading of the third level."""
    page = (ROOT / "docs" / "extending.md").read_text()
    return re.split(r"^##+ ", page.split(f"\n### {heading}\n")[1], flags=re.MULTILINE)[0]


def blocks(text: str, language: str) -> list[str]:
    """Its blocks of code in a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def run(world: Warehouse, project: Path, text: str) -> list[str]:
    """Run each `dbt build` that the text has, and return them."""
    lines = [line.strip() for block in blocks(text, "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("dbt build")]
    for command in commands:
        build(world.uri, "--exclude-resource-type", "unit_test", *shlex.split(command)[2:],
              project=project)  # fmt: skip
    return commands


@pytest.fixture(scope="module")
def world(module_warehouse: str) -> Warehouse:
    """Two brands with an ad each and a purchase, and marts that a build before the change made."""
    world = Warehouse(module_warehouse)
    for account, brand, one in (("100", "acme", "11"), ("200", "lumen", "91")):
        world.account(account, brand=brand)
        world.load(account, "2026-03-01", [ad(one, reach="7"), ad(f"{one}0")])
    world.rate("2026-03-01", "USD", "0.9", "EUR")
    world.touch("paid", "ann", "2026-03-01 10:00", ad_id="11")
    world.touch("not paid", "ann", "2026-03-01 11:00", utm_source="newsletter")
    world.purchase("A-1", "ann", "2026-03-01 12:00", "100.00")
    world.purchase("A-2", "bob", "2026-03-02 12:00", "5.00")
    build(world.uri, "--exclude-resource-type", "unit_test")
    return world


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of dbt's project that a test changes."""
    shutil.copytree(ROOT / "dbt", tmp_path / "dbt", ignore=shutil.ignore_patterns("target"))
    return tmp_path / "dbt"


def test_a_column(world: Warehouse, project: Path) -> None:
    """Who copies the example gets a patch that does not apply, or a column without its history."""
    text = section("A column")
    (diff,) = blocks(text, "diff")
    (project.parent / "reach.diff").write_text(diff)
    subprocess.run(["git", "apply", "reach.diff"], cwd=project.parent, check=True)
    world.execute("create view public.spent as select date, spend from marts.ad_spend")
    assert len(run(world, project, text)) == 2
    for schema in ("dev_marts", "marts"):
        found = world.rows(f"select fb_ad_id, reach from {schema}.ad_spend order by fb_ad_id")
        reach = {row["fb_ad_id"]: row["reach"] for row in found}
        assert reach == {"11": 7, "110": None, "91": 7, "910": None}, schema
    assert len(world.rows("select from public.spent")) == 4


def test_an_attribution_model(
    world: Warehouse, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who copies the example gets a model that does not build, or shares other than it says."""
    text = section("An attribution model")
    (macro,) = blocks(text, "sql")
    models = re.search(r"TRIBUTARY_ATTRIBUTION_MODELS='(.*?)'", text)
    assert models is not None
    (project / "macros/attribution/models/paid_triple.sql").write_text(macro)
    monkeypatch.setenv("TRIBUTARY_ATTRIBUTION_MODELS", models[1])
    assert len(run(world, project, text)) == 1
    found = world.rows(
        "select model, touchpoint_id, weight from marts.ad_attribution_credits "
        "where transaction_id = 'A-1' and brand_slug = 'acme' order by model, touch_index"
    )
    assert [(row["model"], row["touchpoint_id"], float(row["weight"])) for row in found] == [
        ("last_paid_touch", "paid", 1.0),
        ("paid_triple", "paid", 0.75),
        ("paid_triple", "not paid", 0.25),
    ]


def test_a_mart(world: Warehouse, project: Path) -> None:
    """Who copies the example gets a mart that does not build, or counts other than it says."""
    text = section("A mart")
    folder = project / "models/marts/finance"
    folder.mkdir()
    (folder / "revenue_by_month.sql").write_text(blocks(text, "sql")[0])
    (folder / "_finance__models.yml").write_text(blocks(text, "yaml")[0])
    assert len(run(world, project, text)) == 2
    month = date(2026, 3, 1)
    for schema in ("dev_marts", "marts"):
        found = world.rows(f"select * from {schema}.revenue_by_month order by 1, 2, 3")
        assert [tuple(row.values()) for row in found] == [
            ("acme", month, "USD", 2, Decimal("105.00"), Decimal("100.00")),
            ("lumen", month, "EUR", 1, Decimal("70.00"), Decimal("70.00")),
        ], schema
