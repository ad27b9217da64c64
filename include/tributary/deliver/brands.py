"""Brands, as intake and what writes events need them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tributary.settings import models
from tributary.warehouse import Connection


@dataclass(frozen=True)
class Brand:
    """A row of `ops.brands`."""

    id: UUID
    slug: str
    settings: models.Brand


def load(connection: Connection) -> dict[str, Brand]:
    """All brands by slug."""
    rows = connection.execute("select id, slug, settings from ops.brands order by slug")
    return {
        row["slug"]: Brand(row["id"], row["slug"], models.Brand.of_stored(row["settings"]))
        for row in rows
    }
