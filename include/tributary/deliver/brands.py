"""Brands, as intake and what writes events need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tributary.warehouse import Connection


@dataclass(frozen=True)
class Brand:
    """A row of `ops.brands`."""

    id: UUID
    slug: str
    settings: Mapping[str, Any]

    @property
    def time_zone(self) -> str:
        """The zone of times without an offset."""
        return self.settings.get("time_zone") or "UTC"


def load(connection: Connection) -> dict[str, Brand]:
    """All brands by slug."""
    rows = connection.execute("select id, slug, settings from ops.brands order by slug")
    return {row["slug"]: Brand(**row) for row in rows}
