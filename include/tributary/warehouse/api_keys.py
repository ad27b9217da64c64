"""Keys of the public REST API: random, for one brand, stored as a hash.

A key is `tk_ID_SECRET`. The id may be shown; the secret is shown once. Its 256 random bits need no
slow hash: they cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from tributary.errors import SettingsError
from tributary.warehouse import Connection

_KEY = re.compile(r"tk_([0-9a-f]{12})_([\w-]{43})", re.ASCII)


class Holder(NamedTuple):
    """Whose key it is."""

    key_id: str
    brand_id: UUID
    brand: str


def create(connection: Connection, brand: str, name: str, expires_at: datetime | None) -> str:
    """Make a key for a brand (its slug); the returned text is stored nowhere.

    Raises:
        SettingsError: there is no such brand.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    made = connection.execute(
        "insert into ops.api_keys (id, brand_id, name, hash, expires_at) "
        "select %s, id, %s, %s, %s from ops.brands where slug = %s",
        [key_id, name, _hashed(secret), expires_at, brand],
    ).rowcount
    if not made:
        raise SettingsError(f"There is no brand {brand!r}.")
    return f"tk_{key_id}_{secret}"


def listed(connection: Connection, brand: str | None = None) -> list[dict[str, Any]]:
    """All keys, or those of a brand, without what they are checked by."""
    return connection.execute(
        "select k.id, b.slug as brand, k.name, k.created_at, k.expires_at, k.revoked_at, "
        "case when k.revoked_at is not null then 'revoked' when k.expires_at <= now() "
        "then 'expired' else 'valid' end as state "
        "from ops.api_keys as k inner join ops.brands as b on b.id = k.brand_id "
        "where (%(brand)s::text is null or b.slug = %(brand)s) order by b.slug, k.created_at",
        {"brand": brand},
    ).fetchall()


def revoke(connection: Connection, key_id: str) -> None:
    """End a key; it is refused from the next request on.

    Raises:
        SettingsError: there is no such key.
    """
    found = connection.execute(
        "update ops.api_keys set revoked_at = coalesce(revoked_at, now()) where id = %s", [key_id]
    ).rowcount
    if not found:
        raise SettingsError(f"There is no key {key_id!r}; `api-keys list` shows their ids.")


def is_key(text: str) -> bool:
    """Whether it looks like a key at all."""
    return _KEY.fullmatch(text) is not None


def holder(connection: Connection, key: str) -> Holder | None:
    """The holder of a key; None when the key is unknown, expired or revoked."""
    parts = _KEY.fullmatch(key)
    if parts is None:
        return None
    row = connection.execute(
        "select k.hash, k.brand_id, b.slug from ops.api_keys as k "
        "inner join ops.brands as b on b.id = k.brand_id where k.id = %s "
        "and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())",
        [parts[1]],
    ).fetchone()
    if row is None or not hmac.compare_digest(row["hash"], _hashed(parts[2])):
        return None
    return Holder(parts[1], row["brand_id"], row["slug"])


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
