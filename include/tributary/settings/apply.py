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
from tributary.warehouse import settings as stored_settings


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
        stored_settings.lock(connection)
        kept: dict[str, list[object]] = {"ad_accounts": [], "destinations": [], "webhooks": []}
        slugs = []
        for brand in settings.brands:
            lines.append(f"brand {brand.slug}: " + _put_brand(connection, brand))
            brand_id = stored_settings.brand_id(connection, brand.slug)
            slugs.append(brand.slug)
            for account in brand.ad_accounts:
                name = f"{account.platform}/{account.account_id}"
                values = {
                    "platform": account.platform, "account_id": account.account_id,
                    "brand_id": brand_id, "conn_id": account.conn_id,
                    "is_active": account.is_active, "settings": Jsonb(account.stored()),
                }  # fmt: skip
                did = stored_settings.put(
                    connection, "ad_accounts", ["platform", "account_id"], values
                )
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
                did = stored_settings.put(connection, "destinations", ["name"], values)
                if not destination.is_active:
                    did += _retire(connection, destination.name)
                lines.append(f"destination {destination.name}: {did}")
                kept["destinations"].append(destination.name)
            for webhook in brand.webhooks:
                values = {
                    "brand_id": brand_id, "source": webhook.source,
                    "conn_id": webhook.conn_id, "settings": Jsonb(webhook.stored()),
                }  # fmt: skip
                did = stored_settings.put(connection, "webhooks", ["brand_id", "source"], values)
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
        stored_settings.lock(connection)
        row = stored_settings.destination(connection, name)
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


def _refuse_another_owner(connection: Connection, wanted: DestinationSettings, brand: str) -> None:
    """A destination's deliveries hold one brand's people: it cannot move to another brand."""
    row = stored_settings.destination(connection, wanted.name)
    if row and row["has_deliveries"] and (row["slug"], row["platform"]) != (brand, wanted.platform):
        raise SettingsError(
            f"The destination {wanted.name} has deliveries of the brand {row['slug']} to "
            f"{row['platform']}, so neither its brand nor its platform can change: keep it as it "
            "is, and give the new one another name."
        )


def _places(destination: DestinationSettings) -> Mapping[str, str]:
    """Where the platform counts a destination's events, by event name; `*` for all of them."""
    return registry.platform(destination.platform).places(destination)


def _refuse_another_place(connection: Connection, wanted: DestinationSettings) -> None:
    """While answers are open a destination cannot send elsewhere: a retry would count in both."""
    row = stored_settings.destination(connection, wanted.name, for_update=True)
    if row is None:
        return
    before = _places(models.destination(row["platform"], row["settings"]))
    after = _places(wanted)
    # One that is left out could come back with another place.
    moved = [event for event in before if after.get(event) != before[event]]
    if not moved:
        return
    events = None if moved == ["*"] else moved
    found = deliveries.unanswered(connection, wanted.name, events)
    if found["number"]:
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
    for row in stored_settings.active_destinations(connection):
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
    gone, left = stored_settings.prune(connection, table, key, names)
    lines = [f"{kind} {name}: pruned" for name in gone]
    for name in left:
        did = "kept for its ledger"
        if table == "destinations":
            stored_settings.deactivate(connection, name)
            did += ", inactive" + _retire(connection, name)
        lines.append(f"{kind} {name}: {did}")
    return lines


def _retire(connection: Connection, destination: str) -> str:
    number = deliveries.retire(connection, destination)
    return f", {number} waiting deliveries skipped" if number else ""


def _put_brand(connection: Connection, brand: Brand) -> str:
    values = {
        "slug": brand.slug, "name": brand.name,
        "reporting_currency": brand.reporting_currency, "time_zone": brand.time_zone,
        "managed_by": brand.managed_by,
        "settings": Jsonb(brand.stored("ad_accounts", "destinations", "webhooks")),
    }  # fmt: skip
    return stored_settings.put(connection, "brands", ["slug"], values)
