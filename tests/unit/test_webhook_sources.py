"""The registry of webhook sources: what each of them must bring."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime

import pytest
from tributary import config
from tributary.api.webhooks.base import Parsed, Source
from tributary.api.webhooks.registry import SOURCES
from tributary.errors import SettingsError
from tributary.event import EventRefused
from tributary.settings import read as settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def brand(source: str) -> dict[str, object]:
    return {
        "slug": "acme", "name": "Acme", "reporting_currency": "USD", "time_zone": "UTC",
        "webhooks": [{"source": source, "conn_id": "hook"}],
    }  # fmt: skip


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_is_a_file_that_the_settings_and_the_documentation_know(source: Source) -> None:
    """A source that is left out of the settings cannot be configured, and without a row in the
    documentation nobody finds what it makes.
    """
    module = importlib.import_module(f"tributary.api.webhooks.{source.name}")
    assert SOURCES[source.name] is source is module.SOURCE
    assert settings.check({"brands": [brand(source.name)]})
    lines = (config.ROOT / "docs" / "api.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `{source.name}`")]
    assert source.events
    assert [name for name in source.events if name not in row] == []
    assert source.signature.header in (*row.split("`"), "X-Tributary-Signature")


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize(
    "payload", [{}, {"id": None}, {"id": "1", "data": []}, {"id": "x", "type": "of-no-use"}]
)
def test_a_payload_without_sense_is_refused_or_ignored(
    source: Source, payload: dict[str, object]
) -> None:
    """A provider's odd payload would be answered with a 500, and posted again for days."""
    try:
        parsed = source.parse(payload, NOW, {})
    except EventRefused:
        return
    assert isinstance(parsed, Parsed)
    assert parsed.id
    assert parsed.event or parsed.refund or parsed.ignored


def test_a_source_that_is_not_registered_cannot_be_configured() -> None:
    """A misspelt source in the settings file would be taken, and its posts answered with 404."""
    with pytest.raises(SettingsError, match="source"):
        settings.check({"brands": [brand("strype")]})
