"""The attribution model of docs/extending.md, built as it is written there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tributary.config import ROOT

from tests.support.marts import Warehouse, ad, build


def test_the_model_shares_a_purchase(
    module_warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who copies the example gets a model that does not build, or shares other than it says."""
    page = (ROOT / "docs" / "extending.md").read_text().split("\n## An attribution model\n")[1]
    macro = re.search(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    models = re.search(r"TRIBUTARY_ATTRIBUTION_MODELS='(.*?)'", page)
    assert macro is not None
    assert models is not None
    project = tmp_path / "dbt"
    shutil.copytree(ROOT / "dbt", project)
    (project / "macros/attribution/models/paid_triple.sql").write_text(macro[1])
    monkeypatch.setenv("TRIBUTARY_ATTRIBUTION_MODELS", models[1])
    world = Warehouse(module_warehouse)
    world.account("100")
    world.load("100", "2026-03-01", [ad("11")])
    world.touch("paid", "ann", "2026-03-01 10:00", ad_id="11")
    world.touch("not paid", "ann", "2026-03-01 11:00", utm_source="newsletter")
    world.purchase("A-1", "ann", "2026-03-01 12:00", "100.00")
    build(world.uri, "--exclude-resource-type", "unit_test", project=project)
    found = world.rows(
        "select model, touchpoint_id, weight, attributed_value from marts.ad_attribution_credits "
        "where transaction_id = 'A-1' and brand_slug = 'acme' order by model, touch_index"
    )
    shares = [(row["model"], row["touchpoint_id"], float(row["weight"])) for row in found]
    assert shares == [
        ("last_paid_touch", "paid", 1.0),
        ("paid_triple", "paid", 0.75),
        ("paid_triple", "not paid", 0.25),
    ]
    world.connection.close()
