"""Reads request parameters as strictly as Graph does, or more so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from sandbox.errors import GraphError, bad_parameter, not_one_of

DEFAULT_LIMIT = 25
MAX_LIMIT = 5000

Params = Mapping[str, str]
Fields = dict[str, "Fields | None"]  # name -> what is asked of it: `creative{id}` -> {"id": None}

_ON_EVERY_CALL = frozenset({"access_token", "appsecret_proof", "pretty", "locale"})
_TOKENS = re.compile(r"\s*([{},]|[A-Za-z0-9_]+|.)")


def only(params: Params, *known: str) -> None:
    """Refuse every other parameter.

    Graph would ignore many of them; here it would be a lie to answer as if a parameter counted.
    """
    for name in params:
        if name not in _ON_EVERY_CALL and name not in known:
            raise bad_parameter(f"The parameter {name} is not supported here.")


def fields(params: Params) -> Fields:
    """The `fields` parameter, `a,b{c,d}` or a JSON list of such; {} when absent."""
    text = params.get("fields", "")
    if text.startswith("["):
        text = ",".join(json_list(params, "fields"))
    if not text.strip():
        return {}
    tokens = [match[1] for match in _TOKENS.finditer(text)]
    parsed, end = _parse_fields(tokens, 0)
    if end != len(tokens):
        raise _syntax_error(tokens, end)
    return parsed


def _parse_fields(tokens: list[str], at: int) -> tuple[Fields, int]:
    parsed: Fields = {}
    while True:
        if at >= len(tokens) or not re.fullmatch(r"\w+", tokens[at]):
            raise _syntax_error(tokens, at)
        name = tokens[at]
        parsed[name] = None
        at += 1
        if at < len(tokens) and tokens[at] == "{":
            parsed[name], at = _parse_fields(tokens, at + 1)
            if at >= len(tokens) or tokens[at] != "}":
                raise _syntax_error(tokens, at)
            at += 1
        if at >= len(tokens) or tokens[at] != ",":
            return parsed, at
        at += 1


def _syntax_error(tokens: list[str], at: int) -> GraphError:
    place = sum(map(len, tokens[:at]))
    found = tokens[at] if at < len(tokens) else "end of string"
    return GraphError(
        f'Syntax error "Expected name instead of {found}." at character {place}: '
        + "".join(tokens),
        code=2500,
    )


def limit(params: Params) -> int:
    """The page size: 25 unless asked for, 5000 at most."""
    text = params.get("limit", str(DEFAULT_LIMIT))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise bad_parameter(f'Param limit must be between 1 and {MAX_LIMIT} - got "{text}".')
    return int(text)


def json_value(params: Params, name: str) -> Any:
    """A parameter that is a JSON document; None when absent."""
    if name not in params:
        return None
    try:
        return orjson.loads(params[name])
    except orjson.JSONDecodeError as error:
        raise bad_parameter(f"Param {name} must be valid JSON.") from error


def json_list(params: Params, name: str) -> list[str]:
    """A parameter that is a JSON list of strings; [] when absent."""
    value = json_value(params, name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad_parameter(f"Param {name} must be an array of strings.")
    return value


def each_in(name: str, values: Iterable[str], allowed: tuple[str, ...]) -> None:
    """Refuse the first value outside the enumeration."""
    for index, value in enumerate(values):
        if value not in allowed:
            raise not_one_of(f"{name}[{index}]", allowed, value)


def flag(params: Params, name: str) -> bool:
    """A boolean parameter, false when absent."""
    text = params.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise bad_parameter(f"Param {name} must be a boolean.")
    return text in ("true", "1")
