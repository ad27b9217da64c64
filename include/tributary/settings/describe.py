"""The settings described for editors (a JSON schema) and for people (docs/settings.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from tributary import config
from tributary.platforms.settings import Model
from tributary.settings.models import (
    AD_ACCOUNTS,
    WEBHOOKS,
    Brand,
    Settings,
    destination_models,
)

SCHEMA = Path(__file__).with_name("settings.schema.json")
PAGE = config.ROOT / "docs" / "settings.md"

_INTRODUCTION = """\
# The settings file

<!-- Generated from the models by `python -m tributary.settings`: change those. -->

One YAML file says what is not secret: brands, their ad accounts, where their conversions go, and
which webhooks they take. `tributary configure FILE.yaml` applies it and prints a line for each
object: created, changed, unchanged. It can be run again at any time. What the file does not name
stays as it is; with `--prune` it is removed. Credentials are Airflow connections, which the file
names by `conn_id`.

An editor completes and checks the keys with this first line:
`# yaml-language-server: $schema=…/include/tributary/settings/settings.schema.json`.

A key without a default must be given. Text that looks like a number needs quotes. The database
stores only the keys that the file has: where a later version changes a default, the new one counts.
"""


def models() -> list[type[Model]]:
    """All models of the file, each once, in the order in which they are described."""
    chosen = [*AD_ACCOUNTS.values(), *destination_models().values(), *WEBHOOKS.values()]
    return list(dict.fromkeys([Settings, Brand, *chosen]))


def schema() -> dict[str, Any]:
    """The JSON schema of the file."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **Settings.model_json_schema(schema_generator=_Untitled),
    }


class _Untitled(GenerateJsonSchema):
    """Without a title for each key, which would repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def page() -> str:
    """The page for people: a table for each object of the file."""
    return "\n".join([_INTRODUCTION, *map(_table, models())])


def generated() -> dict[Path, str]:
    """The text of each generated file."""
    return {SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", PAGE: page()}


def _table(model: type[Model]) -> str:
    own = model.model_json_schema()
    lines = [f"## {_title(model)}\n", " ".join(str(model.__doc__).split()) + "\n"]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, part in own["properties"].items():
        default = (
            f"`{json.dumps(part['default'], ensure_ascii=False)}`" if "default" in part else ""
        )
        cells = (
            f"`{key}`",
            _type(part),
            default,
            part.get("description", "Chooses the other keys."),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _title(model: type[Model]) -> str:
    """The key that holds such objects, and what chooses the model."""
    if model is Settings:
        return "The file"
    if model is Brand:
        return "`brands`"
    for key, chosen, all_models in (
        ("ad_accounts", "platform", AD_ACCOUNTS),
        ("destinations", "platform", destination_models()),
        ("webhooks", "source", WEBHOOKS),
    ):
        names = [f"`{chosen}: {name}`" for name, one in all_models.items() if one is model]
        if names:
            return f"`{key}` with {', '.join(names)}"
    raise AssertionError(model)


def _type(part: dict[str, Any]) -> str:
    """The form of a value in words."""
    if "anyOf" in part:
        return " or ".join(_type(one) for one in part["anyOf"])
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return " or ".join(f"`{one}`" for one in part["enum"])
    if "$ref" in part or "oneOf" in part:
        return "a mapping"
    words = {"string": "text", "integer": "a whole number", "boolean": "true or false"}
    kind = part["type"]
    if kind == "array":
        return (
            "a list of mappings"
            if _type(part["items"]) == "a mapping"
            else (f"a list of {_type(part['items'])}")
        )
    if kind == "object":
        return "a mapping of text to text"
    bounds = [f"{word} {part[key]}" for key, word in (("minimum", "from"), ("maximum", "to"))
              if key in part]  # fmt: skip
    return " ".join([words.get(kind, kind), *bounds])
