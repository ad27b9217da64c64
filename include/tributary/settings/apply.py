"""Settings applied to `ops`.

Applying is idempotent, like `kubectl apply`, and one transaction: what the file names is created
or changed, what it does not name stays unless pruning is asked for, and run state (last sync,
pauses) is never touched. `ops` keeps what the file says and no default of this version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from tributary.errors import SettingsError
from tributary.platforms import registry
from tributary.platforms.settings import DestinationSettings
from tributary.settings import models
from tributary.settings.models import Brand, Settings
from tributary.settings.read import check
from tributary.warehouse import Connection, deliveries


class NotOurs(SettingsError):
    """The settings belong to the settings file, not to the API and the page."""


class CountedTwice(SettingsError):
    """A platform would count events of two destinations twice, or under one id; names both.

    Attributes:
        brands: slugs of those whose destinations these are.
    """

    def __init__(self, text: str, brands: set[str]) -> None:
        super().__init__(text)
        self.brands = brands


def apply(connection: Connection, settings: Settings, *, prune: bool = False) -> list[str]:
    """Make `ops` hold these settings: all of them, or (on any error) none.

    Returns a line per object: created, changed, unchanged, pruned.
    """
    lines = []
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtextextended('settings', 0))")
        kept: dict[str, list[object]] = {"ad_accounts": [], "destinations": [], "webhooks": []}
        slugs = []
        for brand in settings.brands:
            lines.append(f"brand {brand.slug}: " + _put_brand(connection, brand))
            brand_id = _brand_id(connection, brand.slug)
            slugs.append(brand.slug)
            for account in brand.ad_accounts:
                name = f"{account.platform}/{account.account_id}"
                values = {
                    "platform": account.platform, "account_id": account.account_id,
                    "brand_id": brand_id, "conn_id": account.conn_id,
                    "is_active": account.is_active, "settings": Jsonb(account.stored()),
                }  # fmt: skip
                did = _put(connection, "ad_accounts", ["platform", "account_id"], values)
                lines.append(f"ad account {name}: {did}")
                kept["ad_accounts"].append(name)
            for destination in brand.destinations:
                _refuse_another_owner(connection, destination, brand.slug)
                _refuse_another_place(connection, destination)
                values = {
                    "name": destination.name, "brand_id": brand_id,
                    "platform": destination.platform, "conn_id": destination.conn_id,
                    "is_active": destination.is_active, "settings": Jsonb(destination.stored()),
                }  # fmt: skip
                if destination.send_from is not None:
                    values["send_from"] = destination.send_from
                did = _put(connection, "destinations", ["name"], values)
                if not destination.is_active:
                    did += _retire(connection, destination.name)
                lines.append(f"destination {destination.name}: {did}")
                kept["destinations"].append(destination.name)
            for webhook in brand.webhooks:
                values = {
                    "brand_id": brand_id, "source": webhook.source,
                    "conn_id": webhook.conn_id, "settings": Jsonb(webhook.stored()),
                }  # fmt: skip
                did = _put(connection, "webhooks", ["brand_id", "source"], values)
                lines.append(f"webhook {brand.slug}/{webhook.source}: {did}")
                kept["webhooks"].append(f"{brand_id}/{webhook.source}")
        if prune:
            for kind, table, key, names in (
                ("webhook", "webhooks", "brand_id || '/' || source", kept["webhooks"]),
                ("destination", "destinations", "name", kept["destinations"]),
                ("ad account", "ad_accounts", "platform || '/' || account_id", kept["ad_accounts"]),
                ("brand", "brands", "slug", slugs),
            ):
                lines += _prune(connection, kind, table, key, names)
        _refuse_twins(connection, kept["destinations"])
    return lines


def change_destination(connection: Connection, name: str, changes: dict[str, Any]) -> None:
    """Change settings of one destination; name, platform and connection stay.

    Another connection would be another brand's credentials, for whoever may call this. What is
    changed to its default is not stored where it was not before.

    Raises:
        NotOurs: the brand is not marked `managed_by: api`.
        SettingsError: names each mistake; nothing is changed.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtextextended('settings', 0))")
        row = connection.execute(
            "select d.platform, d.settings, b.slug, b.managed_by, b.settings as brand "
            "from ops.destinations as d inner join ops.brands as b on b.id = d.brand_id "
            "where d.name = %s",
            [name],
        ).fetchone()
        if row is None:
            raise SettingsError(f"There is no destination {name!r}.")
        if row["managed_by"] != "api":
            raise NotOurs(
                f"The settings of {row['slug']} belong to its settings file (managed_by: file): "
                "change them there and run `tributary configure`."
            )
        before = models.destination(row["platform"], row["settings"])
        stored, shown = before.stored(), before.model_dump()
        fixed = [
            key
            for key in ("name", "platform", "conn_id")
            if changes.get(key, shown[key]) != shown[key]
        ]
        if fixed:
            raise SettingsError(f"The {' and the '.join(fixed)} of a destination cannot change.")
        changed = {
            key: value
            for key, value in changes.items()
            if key in stored or key not in shown or value != shown[key]
        }
        brand = Brand.of_stored(row["brand"]).stored()
        wanted = {**brand, "destinations": [{**stored, **changed}]}
        apply(connection, check({"brands": [wanted]}))


# What events and deliveries refer to stays: the ledger outlives the settings.
_KEPT = {
    "destinations": "exists (select 1 from ops.conversion_deliveries where destination = t.name)",
    "brands": "exists (select 1 from ops.conversion_events where brand_id = t.id) "
    "or exists (select 1 from ops.destinations where brand_id = t.id) "
    "or exists (select 1 from ops.erasures where brand_id = t.id)",
}


def _refuse_another_owner(connection: Connection, wanted: DestinationSettings, brand: str) -> None:
    """A destination's deliveries hold one brand's people: it cannot move to another brand."""
    row = connection.execute(
        "select b.slug, d.platform, exists (select 1 from ops.conversion_deliveries "
        "where destination = d.name) as used from ops.destinations as d "
        "inner join ops.brands as b on b.id = d.brand_id where d.name = %s",
        [wanted.name],
    ).fetchone()
    if row and row["used"] and (row["slug"], row["platform"]) != (brand, wanted.platform):
        raise SettingsError(
            f"The destination {wanted.name} has deliveries and belongs to {row['slug']} "
            f"({row['platform']}): give the new one another name."
        )


def _places(destination: DestinationSettings) -> Mapping[str, str]:
    """Where the platform counts a destination's events, by event name; `*` for all of them."""
    return registry.platform(destination.platform).places(destination)


# What a platform may have taken without an answer, and what corrects an event that it has: sent to
# another place, it would count there as well. Until its deadline a person can put it back.
_OPEN = """
select count(*)::int as number, to_char(max(greatest(d.deadline, d.lease_until))
    at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') as until
from ops.conversion_deliveries as d
inner join ops.conversion_events as e on e.id = d.event
where d.destination = %(name)s and d.sync_status <> 'sent' and d.outcome is distinct from 'erased'
    and (%(events)s::text[] is null or e.event_name = any(%(events)s))
    and (d.sync_status = 'queued' or d.deadline > now() and (d.unknown_since is not null
        or d.sync_status in ('pending', 'failed') and exists (
            select 1 from ops.conversion_deliveries as o where o.event = e.adjusts
            and o.destination = d.destination and o.sync_status = 'sent')))
"""


def _refuse_another_place(connection: Connection, wanted: DestinationSettings) -> None:
    """While answers are open a destination cannot send elsewhere: a retry would count in both."""
    row = connection.execute(
        "select platform, settings from ops.destinations where name = %s for update", [wanted.name]
    ).fetchone()
    if row is None:
        return
    before = _places(models.destination(row["platform"], row["settings"]))
    after = _places(wanted)
    # One that is left out could come back with another place.
    moved = [event for event in before if after.get(event) != before[event]]
    if not moved:
        return
    named = {"name": wanted.name, "events": None if moved == ["*"] else moved}
    found = connection.execute(_OPEN, named).fetchone()
    if found and found["number"]:
        raise SettingsError(
            f"The destination {wanted.name} cannot {_change(moved[0], after)} yet: "
            f"{found['number']:,} of its deliveries have no answer from {before[moved[0]]}, or "
            "correct what it has counted, and sent again they would count in both. Wait until they "
            f"have ended (they cannot be sent after {found['until']}), or leave this destination "
            "as it is, with `is_active: false`, and give the new one another name."
        )


def _change(event: str, after: Mapping[str, str]) -> str:
    return f"send to {after[event]}" if event in after else f"leave out the event {event}"


def _refuse_twins(connection: Connection, names: list[object]) -> None:
    """Two active destinations must not count in one place; `names` are those just applied.

    Within a brand two may send different events to one action: each event counts there once.
    """
    known: dict[str, list[tuple[str, str, DestinationSettings]]] = {}
    for row in connection.execute(
        "select d.platform, d.settings, b.slug from ops.destinations as d "
        "inner join ops.brands as b on b.id = d.brand_id where d.is_active order by d.name"
    ).fetchall():
        slug, one = row["slug"], models.destination(row["platform"], row["settings"])
        for event, place in _places(one).items():
            for other_slug, other_event, other in known.setdefault(place, []):
                if (
                    other is not one
                    and (other_slug != slug or other_event == event)
                    and {other.name, one.name} & set(names)
                ):
                    brands = {other_slug, slug}
                    platform = registry.platform(one.platform)
                    if why := platform.counts_twice(other, one, place, brands):
                        raise CountedTwice(why, brands)
            known[place].append((slug, event, one))


def _prune(connection: Connection, kind: str, table: str, key: str, names: list[Any]) -> list[str]:
    kept = _KEPT.get(table, "false")
    gone = connection.execute(
        f"delete from ops.{table} as t where {key} <> all (%s) and not ({kept}) "
        f"returning {key} as name",
        [names],
    ).fetchall()
    lines = [f"{kind} {row['name']}: pruned" for row in gone]
    if table in _KEPT:
        left = connection.execute(
            f"select {key} as name from ops.{table} as t where {key} <> all (%s)", [names]
        ).fetchall()
        for row in left:
            did = "kept for its ledger"
            if table == "destinations":
                connection.execute(
                    "update ops.destinations set is_active = false where name = %s", [row["name"]]
                )
                did += ", inactive" + _retire(connection, row["name"])
            lines.append(f"{kind} {row['name']}: {did}")
    return lines


def _retire(connection: Connection, destination: str) -> str:
    number = deliveries.retire(connection, destination)
    return f", {number} waiting deliveries skipped" if number else ""


def _brand_id(connection: Connection, slug: str) -> object:
    row = connection.execute("select id from ops.brands where slug = %s", [slug]).fetchone()
    assert row is not None
    return row["id"]


def _put_brand(connection: Connection, brand: Brand) -> str:
    values = {
        "slug": brand.slug, "name": brand.name,
        "reporting_currency": brand.reporting_currency, "time_zone": brand.time_zone,
        "managed_by": brand.managed_by,
        "settings": Jsonb(brand.stored("ad_accounts", "destinations", "webhooks")),
    }  # fmt: skip
    return _put(connection, "brands", ["slug"], values)


def _put(connection: Connection, table: str, key: list[str], values: dict[str, Any]) -> str:
    """Upsert; the names are constants of this module, never input."""
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
