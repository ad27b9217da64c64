"""Settings as stored in `ops`: brands, ad accounts, destinations and webhooks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tributary.warehouse.connection import Connection

Row = dict[str, Any]

# What events and deliveries refer to is kept: the ledger must be readable after the settings.
_REFERRED_TO = {
    "destinations": "exists (select 1 from ops.conversion_deliveries where destination = t.name)",
    "brands": "exists (select 1 from ops.conversion_events where brand_id = t.id) "
    "or exists (select 1 from ops.destinations where brand_id = t.id) "
    "or exists (select 1 from ops.erasures where brand_id = t.id)",
}


def lock(connection: Connection) -> None:
    """Let no other transaction change settings until this one ends."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended('settings', 0))")


def brand_id(connection: Connection, slug: str) -> UUID:
    """The id of a brand that exists."""
    row = connection.execute("select id from ops.brands where slug = %s", [slug]).fetchone()
    assert row is not None
    found: UUID = row["id"]
    return found


def destination(connection: Connection, name: str, *, for_update: bool = False) -> Row | None:
    """A destination's `platform`, `settings`, `has_deliveries`, and its brand's `slug`,
    `managed_by` and settings (`brand`); None: there is none of that name.

    Args:
        for_update: lock its row until the transaction ends.
    """
    return connection.execute(
        "select d.platform, d.settings, b.slug, b.managed_by, b.settings as brand, "
        "exists (select 1 from ops.conversion_deliveries where destination = d.name) "
        "as has_deliveries "
        "from ops.destinations as d inner join ops.brands as b on b.id = d.brand_id "
        "where d.name = %s" + (" for update of d" if for_update else ""),
        [name],
    ).fetchone()


def active_destinations(connection: Connection) -> list[Row]:
    """`platform`, `settings` and the brand's `slug` of each active destination, by name."""
    return connection.execute(
        "select d.platform, d.settings, b.slug from ops.destinations as d "
        "inner join ops.brands as b on b.id = d.brand_id where d.is_active order by d.name"
    ).fetchall()


def deactivate(connection: Connection, name: str) -> None:
    """Let a destination take no more events."""
    connection.execute("update ops.destinations set is_active = false where name = %s", [name])


def prune(
    connection: Connection, table: str, key: str, names: list[Any]
) -> tuple[list[str], list[str]]:
    """Delete the rows of a table that are not named, except those that the ledger refers to.

    Args:
        table: in `ops`.
        key: the SQL of a row's name, never input.

    Returns:
        The names of the rows that were deleted, and of those that were kept.
    """
    referred_to = _REFERRED_TO.get(table, "false")
    gone = connection.execute(
        f"delete from ops.{table} as t where {key} <> all (%s) and not ({referred_to}) "
        f"returning {key} as name",
        [names],
    ).fetchall()
    if table not in _REFERRED_TO:
        return [row["name"] for row in gone], []
    left = connection.execute(
        f"select {key} as name from ops.{table} as t where {key} <> all (%s)", [names]
    ).fetchall()
    return [row["name"] for row in gone], [row["name"] for row in left]


def put(connection: Connection, table: str, key: list[str], values: dict[str, Any]) -> str:
    """Insert a row of `ops`, or update what differs; the names are constants, never input.

    Returns:
        `created`, `changed` or `unchanged`.
    """
    others = [name for name in values if name not in key]
    row = connection.execute(
        f"insert into ops.{table} as t ({', '.join(values)}) "
        f"values ({', '.join(f'%({name})s' for name in values)}) "
        f"on conflict ({', '.join(key)}) do update set "
        + ", ".join(f"{name} = excluded.{name}" for name in others)
        + f" where ({', '.join(f't.{n}' for n in others)}) "
        f"is distinct from ({', '.join(f'excluded.{n}' for n in others)}) "
        "returning xmax = 0 as created",
        values,
    ).fetchone()
    if row is None:
        return "unchanged"
    return "created" if row["created"] else "changed"
