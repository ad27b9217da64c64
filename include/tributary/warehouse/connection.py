"""Connections to the warehouse, and JSON as Postgres takes it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
from psycopg.rows import dict_row

from tributary.errors import WarehouseDown

Connection = psycopg.Connection[dict[str, Any]]

# The server answers, and another transaction was in the way for too long.
LOCK_ERRORS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DeadlockDetected,
)


def where(uri: str) -> str:
    """Host, port and database of a URI: what may be shown of it."""
    parts = urlsplit(uri)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


def connect(uri: str, *, autocommit: bool = False, timeout: int = 10) -> Connection:
    """A psycopg connection whose rows are dicts.

    Args:
        timeout: seconds that connecting may take.

    Raises:
        WarehouseDown: no server answers, or it refuses the user.
    """
    try:
        return psycopg.connect(
            uri,
            autocommit=autocommit,
            row_factory=dict_row,
            connect_timeout=timeout,
            application_name="tributary",
        )
    except psycopg.OperationalError as error:
        raise WarehouseDown(
            f"Cannot connect to the warehouse at {where(uri)}: "
            f"{str(error).strip().splitlines()[-1]} "
            "Start it (`make env` starts the embedded one) or correct TRIBUTARY_WAREHOUSE."
        ) from None


# Postgres' jsonb cannot hold U+0000, which JSON allows. Backslashes before it come in pairs: an
# odd one belongs to it.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def as_jsonb(value: dict[str, Any]) -> str:
    """A JSON object as text that a jsonb column takes."""
    text = orjson.dumps(value).decode()
    return _NUL.sub(r"\1", text) if "\\u0000" in text else text
