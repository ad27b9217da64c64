"""Erasure on request: a person's data leaves the tables, the ledger's counts stay.

Tombstones (brand, event name, event id) and suppressed hashes in `ops.erasures` keep what was
erased from being enqueued again. The brand's row is locked for both, and intake locks it, too, so
that no event slips in beside an erasure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from include.conversions import identity
from include.warehouse import Connection


@dataclass
class Erased:
    """What an erasure took out, in numbers."""

    events: int = 0
    deliveries_skipped: int = 0
    contacts: int = 0
    webhook_payloads: int = 0
    # What a platform has, only that platform can erase.
    already_sent: dict[str, int] = field(default_factory=dict)


def person_hashes(person: dict[str, Any]) -> list[str]:
    """The hashes of e-mail and phone by which a person is found and suppressed."""
    found, _ = identity.google_identifiers(person)
    return sorted(
        {
            one
            for hashes in (identity.meta_hashes(person), found)
            for key in ("em", "ph", "email", "phone")
            for one in hashes.get(key, ())
        }
    )


def contact_hash(contact_id: str) -> str:
    """By what a contact stays suppressed; its id itself is personal data."""
    return hashlib.sha256(f"contact|{contact_id}".encode()).hexdigest()


def hashes_of(event: Mapping[str, Any]) -> set[str]:
    """The hashes of a stored event's person and contact."""
    user_hashes, contact_id = event["user_hashes"], event["contact_id"]
    contact = {contact_hash(contact_id)} if contact_id else set()
    return contact | {
        one
        for platform, keys in (("meta", ("em", "ph")), ("google", ("email", "phone")))
        for key in keys
        for one in user_hashes.get(platform, {}).get(key, ())
    }


def suppressed(connection: Connection, brand_id: UUID, hashes: Iterable[str]) -> bool:
    """Whether any of these hashes is of somebody whom the brand was asked to forget."""
    found = connection.execute(
        "select 1 from ops.erasures where brand_id = %s and hash = any(%s) limit 1",
        [brand_id, list(hashes)],
    )
    return found.fetchone() is not None


def erase_event(connection: Connection, event: dict[str, Any], now: datetime) -> Erased:
    """Erase an event with its adjustments.

    Args:
        event: its `brand_id`, `event_name` and `event_id`.
    """
    with connection.transaction():
        _lock(connection, event["brand_id"])
        rows = connection.execute(
            "select id, contact_id from ops.conversion_events where brand_id = %(brand_id)s "
            "and event_name = %(event_name)s and event_id = %(event_id)s for update",
            {key: event[key] for key in ("brand_id", "event_name", "event_id")},
        ).fetchall()
        done = _erase(connection, [row["id"] for row in rows], now)
        # The click and the browser of a contact of whom nothing else is known came with it.
        done.contacts = connection.execute(
            "delete from ops.contacts as c where brand_id = %(brand)s and contact_id = any(%(ids)s)"
            " and not exists (select 1 from ops.conversion_events as e "
            "where e.brand_id = c.brand_id and e.contact_id = c.contact_id)",
            {"brand": event["brand_id"], "ids": list({row["contact_id"] for row in rows} - {None})},
        ).rowcount
        return done


def erase_person(
    connection: Connection, brand_id: UUID, person: dict[str, Any], now: datetime
) -> Erased:
    """Erase all that a brand has of a person, and let nothing of them come back.

    The contacts of the events that carry the person's hashes are the person's, and so are all
    other events of these contacts. An erasure that was broken off goes on when it is asked again.

    Args:
        person: `email`, `phone` or both; `country` helps to read a phone number.
    """
    hashes = person_hashes(person)
    with connection.transaction():
        _lock(connection, brand_id)
        _suppress(connection, brand_id, hashes, now)
    # Nothing of these hashes comes in from here on, so that the search holds nobody up. No index:
    # requests of this kind are rare, and intake would pay for it every time.
    matched = connection.execute(
        "select id from ops.conversion_events as e "
        "where brand_id = %(brand)s and erased_at is null "
        "and exists (select 1 from jsonb_each(e.user_hashes) as p (platform, keys), "
        "jsonb_each(p.keys) as k (key, hashes) "
        "where key in ('em', 'ph', 'email', 'phone') and hashes ?| %(hashes)s)",
        {"brand": brand_id, "hashes": hashes},
    )
    ids = [row["id"] for row in matched]
    with connection.transaction():
        _lock(connection, brand_id)
        known = connection.execute(
            "select distinct contact_id from ops.conversion_events "
            "where id = any(%s) and contact_id is not null",
            [ids],
        )
        theirs = [row["contact_id"] for row in known]
        found = connection.execute(
            "select id from ops.conversion_events where brand_id = %(brand)s "
            "and erased_at is null and (id = any(%(ids)s) or contact_id = any(%(theirs)s)) "
            "for update",
            {"brand": brand_id, "ids": ids, "theirs": theirs},
        ).fetchall()
        _suppress(connection, brand_id, map(contact_hash, theirs), now)
        hashes += map(contact_hash, theirs)
        done = _erase(connection, [row["id"] for row in found], now)
        done.contacts = connection.execute(
            "delete from ops.contacts where brand_id = %s and contact_id = any(%s)",
            [brand_id, theirs],
        ).rowcount
        done.webhook_payloads += connection.execute(
            "delete from ops.webhook_payloads where brand_id = %s and hashes && %s::text[]",
            [brand_id, hashes],
        ).rowcount
    return done


def _suppress(connection: Connection, brand_id: UUID, hashes: Iterable[str], now: datetime) -> None:
    connection.execute(
        "insert into ops.erasures (brand_id, hash, erased_at) "
        "select %s, hash, %s from unnest(%s::text[]) as h (hash) on conflict do nothing",
        [brand_id, now, list(hashes)],
    )


def _lock(connection: Connection, brand_id: UUID) -> None:
    connection.execute("select 1 from ops.brands where id = %s for update", [brand_id])


def _erase(connection: Connection, ids: Iterable[UUID], now: datetime) -> Erased:
    given = {"ids": list(ids), "now": now}
    done = Erased()
    done.deliveries_skipped = connection.execute(
        "update ops.conversion_deliveries set sync_status = 'skipped', outcome = 'erased', "
        "sync_error = null, updated_at = %(now)s where event = any(%(ids)s) "
        "and sync_status in ('pending', 'failed')",
        given,
    ).rowcount
    sent = connection.execute(  # only now: an upload may have claimed some while we waited
        "select destination, count(*)::int as events from ops.conversion_deliveries "
        "where event = any(%(ids)s) and sync_status in ('sent', 'queued') group by 1 order by 1",
        given,
    )
    done.already_sent = {row["destination"]: row["events"] for row in sent}
    connection.execute(
        "insert into ops.erasures (brand_id, event_name, event_id, erased_at) "
        "select distinct brand_id, event_name, event_id, %(now)s::timestamptz "
        "from ops.conversion_events where id = any(%(ids)s) on conflict do nothing",
        given,
    )
    done.webhook_payloads = connection.execute(
        "delete from ops.webhook_payloads where events && %(ids)s::uuid[]", given
    ).rowcount
    done.events = connection.execute(
        "update ops.conversion_events set erased_at = %(now)s, updated_at = %(now)s, "
        "user_hashes = '{}', google_address = '{}', consent = '{}', custom_params = '{}', "
        "user_ip = null, user_agent = null, event_source_url = null, contact_id = null, "
        "fbp = null, fbc = null, gclid = null, gbraid = null, wbraid = null "
        "where id = any(%(ids)s)",
        given,
    ).rowcount
    return done
