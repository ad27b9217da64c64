"""The SQL of the documents runs on a warehouse of this version."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from tributary.config import ROOT

from tests.support.marts import build_models


def queries() -> Iterator[tuple[str, str]]:
    """Page and text of each block of SQL, and of each `select` within a sentence."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        for found in re.findall(r"^ *```sql\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            if "{{" not in found and "{%" not in found:
                yield page.name, found
        for quoted in (r"`(select [^`]+)`", r"-c '(select [^']+)'"):
            for found in re.findall(quoted, text):
                yield page.name, found


QUERIES = list(queries())


@pytest.fixture(scope="module")
def marts(module_warehouse: str) -> str:
    """An empty warehouse whose marts are built."""
    build_models(module_warehouse)
    return module_warehouse


@pytest.mark.parametrize(
    "query", [query for _, query in QUERIES], ids=[page for page, _ in QUERIES]
)
def test_a_documented_query_runs(marts: str, query: str) -> None:
    """A reader copies a query and gets an error instead of an answer."""
    with psycopg.connect(marts) as connection:
        connection.execute(query)
        connection.rollback()


def test_the_documents_have_queries() -> None:
    """The test above looks for a form that the documents no longer have."""
    pages = {page for page, _ in QUERIES}
    assert {"README.md", "marts.md", "runbooks.md"} <= pages
    assert len(QUERIES) >= 15
