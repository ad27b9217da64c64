"""`ops.webhooks` and `ops.webhook_payloads`: what providers posted, encrypted.

A payload's key is (brand_id, source, provider_id). Its `links` are the ids by which reports of one
payment find each other, its `events` those that it became or completed, and its `hashes` those of
the people that it names. `status` is `taken`, `waiting` (for its payment) or `refused`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from tributary.warehouse import Connection

Row = dict[str, Any]


class Key(NamedTuple):
    """Which payload it is."""

    brand_id: UUID
    source: str
    provider_id: str


_KEY = "brand_id = %(brand_id)s and source = %(source)s and provider_id = %(provider_id)s"


def webhook(connection: Connection, brand: str, source: str) -> Row | None:
    """The webhook of a brand (its slug): `id`, `slug` and `settings` of the brand, `conn_id`, and
    the webhook's own settings (`own`).
    """
    return connection.execute(
        "select b.id, b.slug, b.settings, w.conn_id, w.settings as own "
        "from ops.webhooks as w inner join ops.brands as b on b.id = w.brand_id "
        "where b.slug = %s and w.source = %s",
        [brand, source],
    ).fetchone()


def lock(connection: Connection, brand: str, links: Sequence[str]) -> None:
    """Let no other post with one of these links go on until the transaction ends.

    Args:
        links: in an order that is the same for every post.
    """
    connection.execute(
        "select pg_advisory_xact_lock(hashtextextended(%s || link, 0)) "
        "from unnest(%s::text[]) as l (link)",
        [f"{brand}|", list(links)],
    )


def insert(
    connection: Connection,
    key: Key,
    *,
    received_at: datetime,
    payload: bytes,
    event: UUID,
    hashes: Sequence[str],
    links: Sequence[str],
) -> bool | None:
    """Store a payload as taken, unless it is there; a second post at the same moment waits here.

    One that was refused is stored again. The lock on the brand keeps out an erasure, which must not
    miss the payload, and comes first in both.

    Args:
        payload: encrypted.
        event: that it becomes.

    Returns:
        None when it was there, else whether other payloads share a link with it.
    """
    row = connection.execute(
        "insert into ops.webhook_payloads as p "
        "(brand_id, source, provider_id, received_at, status, payload, events, hashes, links) "
        "select id, %(source)s, %(provider_id)s, %(received_at)s, 'taken', %(payload)s, "
        "%(events)s, %(hashes)s, %(links)s "
        "from ops.brands where id = %(brand_id)s for key share "
        "on conflict (brand_id, source, provider_id) do update set "
        "status = excluded.status, reason = null, payload = excluded.payload, "
        "events = excluded.events, hashes = excluded.hashes, links = excluded.links "
        "where p.status = 'refused' returning exists ("
        "select 1 from ops.webhook_payloads as o where o.links && %(links)s::text[] "
        "and o.links <> '{}' and o.provider_id <> p.provider_id) as has_relatives",
        {
            **key._asdict(),
            "received_at": received_at,
            "payload": payload,
            "events": [event],
            "hashes": list(hashes),
            "links": list(links),
        },
    ).fetchone()
    return None if row is None else bool(row["has_relatives"])


def correct(
    connection: Connection, key: Key, *, status: str, reason: str | None, events: Sequence[UUID]
) -> None:
    """Write what a stored payload has become, where that is not what `insert` stored."""
    connection.execute(
        f"update ops.webhook_payloads set status = %(status)s, reason = %(reason)s, "
        f"events = %(events)s where {_KEY}",
        {**key._asdict(), "status": status, "reason": reason, "events": list(events)},
    )


def delete(connection: Connection, key: Key) -> None:
    """Forget a payload."""
    connection.execute(f"delete from ops.webhook_payloads where {_KEY}", key._asdict())


def attach(
    connection: Connection,
    brand_id: UUID,
    source: str,
    provider_ids: Sequence[str],
    *,
    events: Sequence[UUID],
    hashes: Iterable[str],
) -> None:
    """Let payloads go with these events and people, too, when they are erased."""
    connection.execute(
        "update ops.webhook_payloads set "
        "events = array(select distinct unnest(events || %s::uuid[])), "
        "hashes = array(select distinct unnest(hashes || %s::text[])) "
        "where brand_id = %s and source = %s and provider_id = any(%s)",
        [list(events), list(hashes), brand_id, source, list(provider_ids)],
    )


def related(
    connection: Connection,
    brand_id: UUID,
    source: str,
    *,
    links: Iterable[str],
    own: Iterable[str],
    but: Sequence[str],
    limit: int,
) -> list[Row]:
    """Payloads that share a link, those of the payment itself first, then the newest.

    Args:
        links: any of which they must have.
        own: those of the payment itself.
        but: provider ids that are known already.

    Returns:
        Rows with `provider_id`, `payload` (encrypted), `received_at` and `hashes`.
    """
    return connection.execute(
        "select provider_id, payload, received_at, hashes from ops.webhook_payloads "
        "where links && %s::text[] and links <> '{}' and brand_id = %s and source = %s "
        "and status <> 'refused' and provider_id <> all (%s) "
        "order by links && %s::text[] desc, status = 'waiting' desc, received_at desc limit %s",
        [list(links), brand_id, source, list(but), sorted(own), limit],
    ).fetchall()


def to_replay(connection: Connection, brand: str | None, source: str | None) -> list[Row]:
    """Keys of the stored payloads, the oldest first, each with its webhook's `settings`."""
    return connection.execute(
        "select p.brand_id, p.source, p.provider_id, coalesce(w.settings, '{}') as settings "
        "from ops.webhook_payloads as p inner join ops.brands as b on b.id = p.brand_id "
        "left join ops.webhooks as w on w.brand_id = p.brand_id and w.source = p.source "
        "where (%(brand)s::text is null or b.slug = %(brand)s) "
        "and (%(source)s::text is null or p.source = %(source)s) order by p.received_at",
        {"brand": brand, "source": source},
    ).fetchall()


def read(connection: Connection, key: Key) -> Row | None:
    """The encrypted `payload` and `received_at`; None when it is gone."""
    return connection.execute(
        f"select payload, received_at from ops.webhook_payloads where {_KEY}", key._asdict()
    ).fetchone()
