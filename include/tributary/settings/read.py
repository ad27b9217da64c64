"""The settings file, read from YAML: every mistake is one sentence with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tributary.errors import SettingsError
from tributary.settings.models import Settings


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml comes without types
    """Refuses a key that a mapping has twice; YAML's own loader drops the first one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return node


def read(path: Path) -> Settings:
    """The settings of a YAML file.

    Raises:
        SettingsError: the file cannot be read, or names each mistake and its place.
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
    """The settings that a mapping says.

    Raises:
        SettingsError: a line for each mistake, all of them at once.
    """
    settings, mistakes = None, list(_repeated(raw))
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        found = [f"{_place(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False)]
        mistakes = found + mistakes
    if settings is None or mistakes:
        lines = "".join(f"\n  {mistake}" for mistake in mistakes)
        raise SettingsError(f"The settings cannot be used:{lines}")
    return settings


def _place(loc: Iterable[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.lstrip(".") or "the file"


def _repeated(raw: object) -> Iterator[str]:
    """What the file has twice and may have once; the models say what has a wrong form."""
    slugs: set[str] = set()
    accounts: dict[tuple[str, str], str] = {}
    names: set[str] = set()
    for i, brand in _mappings(raw, "brands"):
        slug = _text(brand, "slug")
        if slug in slugs:
            yield f"brands[{i}].slug: {slug} is there twice"
        slugs.add(slug)
        for j, account in _mappings(brand, "ad_accounts"):
            key = _text(account, "platform"), _text(account, "account_id")
            if key in accounts:
                place = f"brands[{i}].ad_accounts[{j}].account_id"
                yield f"{place}: {key[1]} is there already, under {accounts[key]}"
            if all(key):
                accounts[key] = slug
        for j, destination in _mappings(brand, "destinations"):
            name = _text(destination, "name")
            if name in names:
                yield f"brands[{i}].destinations[{j}].name: {name} is there twice"
            names.add(name)
        sources = [_text(webhook, "source") for _, webhook in _mappings(brand, "webhooks")]
        for source in dict.fromkeys(s for s in sources if s and sources.count(s) > 1):
            yield f"brands[{i}].webhooks: {source} is there twice"
        slugs.discard("")
        names.discard("")


def _text(mapping: dict[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


def _mappings(raw: object, key: str) -> list[tuple[int, dict[str, Any]]]:
    """The mappings in the list under a key, each with its index."""
    found = raw.get(key) if isinstance(raw, dict) else None
    listed = found if isinstance(found, list) else []
    return [(index, one) for index, one in enumerate(listed) if isinstance(one, dict)]
