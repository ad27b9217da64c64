"""The settings file: read, checked against `settings.schema.json`, applied to `ops`.

Applying is idempotent, like `kubectl apply`, and one transaction: what the file names is created
or changed, what it does not name stays unless pruning is asked for, and run state (last sync,
pauses) is never touched.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jsonschema
import pycountry
import yaml
from psycopg.types.json import Jsonb

from tributary.errors import SettingsError
from tributary.warehouse import Connection

Settings = dict[str, Any]

_SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("settings.schema.json").read_text())


class NotOurs(SettingsError):
    """The settings belong to the settings file, not to the API and the page."""


class CountedTwice(SettingsError):
    """Two destinations would have a platform count an event twice, or under one id; names both.

    Attributes:
        brands: slugs of those whose destinations these are.
    """

    def __init__(self, text: str, brands: set[str]) -> None:
        super().__init__(text)
        self.brands = brands


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml comes without types
    """Refuses a key that stands twice in a mapping; YAML's own loader drops the first one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} stands there twice", key.start_mark
                    )
                seen.add(key.value)
        return node


def read(path: Path) -> Settings:
    """The settings of a YAML file with every default filled in.

    Raises:
        SettingsError: names each wrong key or value and its place; nothing is half read.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise SettingsError(f"There is no settings file {path}.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text.") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise SettingsError(f"{path} is not YAML{line}: {problem}.") from None
    return check(raw)


def check(raw: object) -> Settings:
    """The same settings with defaults filled in; all faults are told at once.

    Raises:
        SettingsError: one line per fault.
    """
    validator = jsonschema.Draft202012Validator(_SCHEMA)
    faults = [_sentence(error) for error in _leaves(validator.iter_errors(raw))]
    if not faults:
        assert isinstance(raw, dict)
        settings: Settings = _with_defaults(raw, _SCHEMA)
        faults = list(_beyond_schema(settings))
    if faults:
        # Several missing keys of one mapping are one sentence, told once.
        lines = (f"  {fault}" for fault in dict.fromkeys(faults))
        raise SettingsError("The settings cannot be used:\n" + "\n".join(lines))
    return settings


def _leaves(errors: Any) -> Iterator[jsonschema.ValidationError]:
    for error in sorted(errors, key=lambda e: list(map(str, e.absolute_path))):
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error


_TYPES = {
    "string": "text (in quotes)",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def _sentence(error: jsonschema.ValidationError) -> str:
    place = _place(error.absolute_path)
    value, rule = error.instance, error.validator_value
    if error.validator == "additionalProperties" and isinstance(rule, bool):
        known = list(error.schema["properties"])
        unknown = [key for key in value if key not in known]
        hints = []
        for key in unknown:
            near = difflib.get_close_matches(str(key), known, 1)
            hints.append(f"{key}" + (f" (did you mean {near[0]}?)" if near else ""))
        many = "keys" if len(unknown) > 1 else "key"
        return f"{place}: unknown {many} {', '.join(hints)}"
    if error.validator == "required":
        missing = [key for key in rule if key not in value]
        return f"{place}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if error.validator == "type":
        kinds = [rule] if isinstance(rule, str) else rule
        return f"{place}: must be {' or '.join(_TYPES[k] for k in kinds)}, not {value!r}"
    if error.validator in ("enum", "const"):
        allowed = rule if error.validator == "enum" else [rule]
        return f"{place}: must be one of {', '.join(map(str, allowed))}, not {value!r}"
    if error.validator == "pattern":
        meant = error.schema.get("description", f"must match {rule}")
        return f"{place}: {value!r} is not right: {meant}"
    return f"{place}: {error.message}"


def _place(path: Any) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".") or "the file"


def _resolved(schema: dict[str, Any], value: object) -> dict[str, Any]:
    """The sub-schema that holds for a value: references and the choice by platform followed."""
    if "$ref" in schema:
        return _resolved(_SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], value)
    for choice in schema.get("allOf", []):
        wanted = choice["if"]["properties"]["platform"]["const"]
        if isinstance(value, dict) and value.get("platform") == wanted:
            return _resolved(choice["then"], value)
    return schema


def _with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    schema = _resolved(schema, value)
    if isinstance(value, dict) and "properties" in schema:
        filled = {}
        for key, part in schema["properties"].items():
            resolved = _resolved(part, None)
            if key in value:
                filled[key] = _with_defaults(value[key], part)
            elif "default" in resolved:
                filled[key] = _with_defaults(resolved["default"], part)
        return filled
    if isinstance(value, list) and "items" in schema:
        return [_with_defaults(item, schema["items"]) for item in value]
    return value


def _beyond_schema(settings: Settings) -> Iterator[str]:
    """What a JSON schema cannot say: uniqueness, known zones, currencies and moments."""
    slugs: set[str] = set()
    accounts: dict[tuple[str, str], str] = {}
    names: set[str] = set()
    for i, brand in enumerate(settings["brands"]):
        place = f"brands[{i}]"
        if brand["slug"] in slugs:
            yield f"{place}.slug: {brand['slug']} stands there twice"
        slugs.add(brand["slug"])
        try:
            ZoneInfo(brand["time_zone"])
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield f"{place}.time_zone: {brand['time_zone']!r} is no IANA time zone"
        if pycountry.currencies.get(alpha_3=brand["reporting_currency"]) is None:
            yield f"{place}.reporting_currency: {brand['reporting_currency']!r} is no currency"
        country = brand["default_country"]
        if country is not None and pycountry.countries.get(alpha_2=country) is None:
            yield f"{place}.default_country: {country!r} is no country of ISO 3166-1"
        yield from _template(f"{place}.event_id_template", brand["event_id_template"])
        for j, account in enumerate(brand["ad_accounts"]):
            key = (account["platform"], account["account_id"])
            if key in accounts:
                yield (
                    f"{place}.ad_accounts[{j}].account_id: {account['account_id']} stands there "
                    f"already, under {accounts[key]}"
                )
            accounts[key] = brand["slug"]
        for j, destination in enumerate(brand["destinations"]):
            if destination["name"] in names:
                yield f"{place}.destinations[{j}].name: {destination['name']} stands there twice"
            names.add(destination["name"])
            yield from _moment(f"{place}.destinations[{j}].send_from", destination["send_from"])
        sources = [webhook["source"] for webhook in brand["webhooks"]]
        for source in sorted({s for s in sources if sources.count(s) > 1}):
            yield f"{place}.webhooks: {source} stands there twice"
        for j, webhook in enumerate(brand["webhooks"]):
            for key in sorted(webhook.keys() & _WEBHOOK_KEYS.keys()):
                if webhook["source"] != _WEBHOOK_KEYS[key]:
                    yield f"{place}.webhooks[{j}].{key}: is a setting of {_WEBHOOK_KEYS[key]} alone"


_WEBHOOK_KEYS = {"renewals": "stripe", "disputes": "stripe", "events": "ghl"}

_TEMPLATE_FIELDS = ("transaction_id", "event_name", "contact_id", "brand")


def _template(place: str, value: str | None) -> Iterator[str]:
    try:
        parts = Formatter().parse("{transaction_id}" if value is None else value)
        fields = {name for _, name, _, _ in parts if name}
    except ValueError:
        fields = set()
    if "transaction_id" not in fields or fields - set(_TEMPLATE_FIELDS):
        names = ", ".join(f"{{{name}}}" for name in _TEMPLATE_FIELDS)
        yield (
            f"{place}: must be made of text and {names}, with {{transaction_id}} in it (else "
            f"different events would have one id), not {value!r}"
        )


def _moment(place: str, value: str | None) -> Iterator[str]:
    if value is not None:
        try:
            aware = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            yield f"{place}: {value!r} is no moment with an offset (2026-01-31T00:00:00+00:00)"


def apply(connection: Connection, settings: Settings, *, prune: bool = False) -> list[str]:
    """Make `ops` hold these settings: all of them, or (on any error) none.

    Returns a line per object: created, changed, unchanged, pruned.
    """
    lines = []
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtextextended('settings', 0))")
        kept: dict[str, list[object]] = {"ad_accounts": [], "destinations": [], "webhooks": []}
        slugs = []
        for brand in settings["brands"]:
            own = {k: v for k, v in brand.items() if k not in kept}
            lines.append(f"brand {brand['slug']}: " + _put_brand(connection, own))
            brand_id = _brand_id(connection, brand["slug"])
            slugs.append(brand["slug"])
            for account in brand["ad_accounts"]:
                did = _put(
                    connection, "ad_accounts", ["platform", "account_id"],
                    {
                        "platform": account["platform"], "account_id": account["account_id"],
                        "brand_id": brand_id, "conn_id": account["conn_id"],
                        "is_active": account["is_active"], "settings": Jsonb(account),
                    },
                )  # fmt: skip
                lines.append(f"ad account {account['platform']}/{account['account_id']}: {did}")
                kept["ad_accounts"].append(f"{account['platform']}/{account['account_id']}")
            for destination in brand["destinations"]:
                _refuse_another_owner(connection, destination, brand)
                _refuse_another_place(connection, destination)
                values = {
                    "name": destination["name"], "brand_id": brand_id,
                    "platform": destination["platform"], "conn_id": destination["conn_id"],
                    "is_active": destination["is_active"], "settings": Jsonb(destination),
                }  # fmt: skip
                if destination["send_from"] is not None:
                    values["send_from"] = destination["send_from"]
                did = _put(connection, "destinations", ["name"], values)
                if not destination["is_active"]:
                    did += _retire(connection, destination["name"])
                lines.append(f"destination {destination['name']}: {did}")
                kept["destinations"].append(destination["name"])
            for webhook in brand["webhooks"]:
                did = _put(
                    connection, "webhooks", ["brand_id", "source"],
                    {
                        "brand_id": brand_id, "source": webhook["source"],
                        "conn_id": webhook["conn_id"], "settings": Jsonb(webhook),
                    },
                )  # fmt: skip
                lines.append(f"webhook {brand['slug']}/{webhook['source']}: {did}")
                kept["webhooks"].append(f"{brand_id}/{webhook['source']}")
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


def change_destination(connection: Connection, name: str, changes: Settings) -> None:
    """Change settings of one destination; name, platform and connection stay.

    Another connection would be another brand's credentials, for whoever may call this.

    Raises:
        NotOurs: the brand is not marked `managed_by: api`.
        SettingsError: names each fault; nothing is changed.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtextextended('settings', 0))")
        row = connection.execute(
            "select d.settings, b.slug, b.managed_by, b.settings as brand "
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
        before = row["settings"]
        fixed = [
            k for k in ("name", "platform", "conn_id") if changes.get(k, before[k]) != before[k]
        ]
        if fixed:
            raise SettingsError(f"The {' and the '.join(fixed)} of a destination cannot change.")
        wanted = {**row["brand"], "destinations": [{**before, **changes}]}
        apply(connection, check({"brands": [wanted]}))


# What events and deliveries refer to stays: the ledger outlives the settings.
_KEPT = {
    "destinations": "exists (select 1 from ops.conversion_deliveries where destination = t.name)",
    "brands": "exists (select 1 from ops.conversion_events where brand_id = t.id) "
    "or exists (select 1 from ops.destinations where brand_id = t.id) "
    "or exists (select 1 from ops.erasures where brand_id = t.id)",
}


def _refuse_another_owner(connection: Connection, wanted: Settings, brand: Settings) -> None:
    """A destination's deliveries hold one brand's people: it cannot move to another brand."""
    row = connection.execute(
        "select b.slug, d.platform, exists (select 1 from ops.conversion_deliveries "
        "where destination = d.name) as used from ops.destinations as d "
        "inner join ops.brands as b on b.id = d.brand_id where d.name = %s",
        [wanted["name"]],
    ).fetchone()
    if (
        row
        and row["used"]
        and (row["slug"], row["platform"]) != (brand["slug"], wanted["platform"])
    ):
        raise SettingsError(
            f"The destination {wanted['name']} has deliveries and belongs to {row['slug']} "
            f"({row['platform']}): give the new one another name."
        )


def _places(destination: Settings) -> dict[str, str]:
    """Where a platform counts a destination's events, by event name; `*` for all of them.

    Data Manager and the Google Ads API count in the same conversion actions. A PostHog project is
    known by its connection alone.
    """
    match destination["platform"]:
        case "meta":
            return {"*": f"the pixel {destination['pixel_id']}"}
        case "posthog":
            return {"*": f"the project of the connection {destination['conn_id']}"}
        case _:
            customer = destination["customer_id"]
            return {
                event: f"the conversion action {action} of the customer {customer}"
                for event, action in destination["events"].items()
            }


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


def _refuse_another_place(connection: Connection, wanted: Settings) -> None:
    """While answers are open a destination cannot send elsewhere: a retry would count in both."""
    row = connection.execute(
        "select settings from ops.destinations where name = %s for update", [wanted["name"]]
    ).fetchone()
    if row is None:
        return
    before, after = _places(row["settings"]), _places(wanted)
    # One that is left out could come back with another place.
    moved = [event for event in before if after.get(event) != before[event]]
    if not moved:
        return
    named = {"name": wanted["name"], "events": None if moved == ["*"] else moved}
    found = connection.execute(_OPEN, named).fetchone()
    if found and found["number"]:
        raise SettingsError(
            f"The destination {wanted['name']} cannot {_change(moved[0], after)} yet: "
            f"{found['number']:,} of its deliveries have no answer from {before[moved[0]]}, or "
            "correct what it has counted, and sent again they would count in both. Wait until they "
            f"have ended (they cannot be sent after {found['until']}), or leave this destination "
            "as it is, with `is_active: false`, and give the new one another name."
        )


def _change(event: str, after: dict[str, str]) -> str:
    return f"send to {after[event]}" if event in after else f"leave out the event {event}"


def _refuse_twins(connection: Connection, names: list[object]) -> None:
    """Two active destinations must not count in one place; `names` are those just applied.

    Within a brand two may send different events to one action: each event counts there once.

    Meta gets each event twice, and Google, which keeps one conversion per action and order id
    whichever of its two APIs brings it, would take the orders 1001 of two brands for one.
    https://support.google.com/google-ads/answer/6386790
    """
    known: dict[str, list[tuple[str, Settings]]] = {}
    for row in connection.execute(
        "select d.name, b.slug, d.platform, d.settings from ops.destinations as d "
        "inner join ops.brands as b on b.id = d.brand_id where d.is_active "
        "and d.platform <> 'posthog' "  # drops what it has, by name, person and day
        # Google checks what comes to such a destination, and keeps nothing.
        "and not coalesce((d.settings ->> 'validate_only')::boolean, false) order by d.name"
    ).fetchall():
        for event, place in _places(row["settings"]).items():
            others = known.setdefault(place, [])
            twin = next(
                (
                    one
                    for name, one in others
                    if one is not row
                    and (one["slug"] != row["slug"] or name == event)
                    and {one["name"], row["name"]} & set(names)
                ),
                None,
            )
            others.append((event, row))
            if twin is None:
                continue
            both_brands = {twin["slug"], row["slug"]}
            both = f"The destinations {twin['name']} and {row['name']}"
            if row["platform"] == "meta":
                raise CountedTwice(
                    f"{both} have the same pixel_id: Meta would get each event twice. Deactivate "
                    "one of them first.",
                    both_brands,
                )
            brands = f"the brands {twin['slug']} and {row['slug']}"
            once = (
                "would get each event twice"
                if twin["slug"] == row["slug"]
                else f"would take orders of {brands} that have one number for one order"
            )
            raise CountedTwice(
                f"{both} both send to {place}: Google {once}. Give each a conversion action of "
                "its own. To go from one API to the other, write `is_active: false` at the old "
                "destination in the same file, and send what waited there with `python -m "
                "tributary.cli deliveries backfill --destination NEW --since DAY`: of what it has "
                "already, Google keeps one.",
                both_brands,
            )


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
    from tributary.deliver import outbox

    number = outbox.retire(connection, outbox.now_of(connection), destination)
    return f", {number} waiting deliveries skipped" if number else ""


def _brand_id(connection: Connection, slug: str) -> object:
    row = connection.execute("select id from ops.brands where slug = %s", [slug]).fetchone()
    assert row is not None
    return row["id"]


def _put_brand(connection: Connection, brand: Settings) -> str:
    return _put(
        connection, "brands", ["slug"],
        {
            "slug": brand["slug"], "name": brand["name"],
            "reporting_currency": brand["reporting_currency"], "time_zone": brand["time_zone"],
            "managed_by": brand["managed_by"], "settings": Jsonb(brand),
        },
    )  # fmt: skip


def _put(connection: Connection, table: str, key: list[str], values: dict[str, Any]) -> str:
    """Upsert; the names are ours, so they may stand in the statement."""
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
