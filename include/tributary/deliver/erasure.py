"""Erasure on request: a person's data is deleted from the tables, the ledger's counts stay.

Tombstones (brand, event name, event id) and suppressed hashes in `ops.erasures` keep erased events
from being stored again. Erasure and intake both lock the brand's row, so that no event is stored
while an erasure runs.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tributary.deliver import identity
from tributary.event import ERASED, Event
from tributary.warehouse import Connection


@dataclass
class Erased:
    """How many rows and files an erasure deleted or cleared."""

    events: int = 0
    deliveries_skipped: int = 0
    contacts: int = 0
    webhook_payloads: int = 0
    refused_files: int = 0  # of imports, with lines of the person
    refused_files_left: int = 0  # on other machines, or without permission to delete
    # By destination, events that its platform has received: only the platform can erase them.
    already_sent: dict[str, int] = field(default_factory=dict)


def person_hashes(person: dict[str, Any], default_country: str | None = None) -> list[str]:
    """The hashes of e-mail and phone by which a person is found and suppressed.

    Args:
        default_country: the brand's, by which intake reads a phone of a person without a country.
    """
    found, _ = identity.google_identifiers(person, default_country)
    return sorted(
        {
            one
            for hashes in (identity.meta_hashes(person, default_country), found)
            for key in ("em", "ph", "email", "phone")
            for one in hashes.get(key, ())
        }
    )


def contact_hash(contact_id: str) -> str:
    """The hash by which a contact is suppressed; its id itself is personal data."""
    return hashlib.sha256(f"contact|{contact_id}".encode()).hexdigest()


def hashes_of(event: Mapping[str, Any]) -> set[str]:
    """The hashes of an event's person and contact; where one is suppressed, it is refused."""
    contact_id = event["contact_id"]
    contact = {contact_hash(contact_id)} if contact_id else set()
    return contact | _hashes(event["user_hashes"], _SUPPRESSED)


_SUPPRESSED = ("em", "ph", "email", "phone")


def _hashes(user_hashes: Mapping[str, Mapping[str, Any]], keys: Iterable[str]) -> set[str]:
    return {one for found in user_hashes.values() for key in keys for one in found.get(key, ())}


def tombstone(event_name: str, event_id: str) -> str:
    """The id that replaces an erased event's id where that contains the contact's id."""
    return "erased-" + hashlib.sha256(f"{event_name}|{event_id}".encode()).hexdigest()


def lent(hashes: Iterable[str]) -> list[str]:
    """Mark the hashes of a payload that names no person itself.

    They come from the payload that it was read with, or from its customer. An erasure finds the
    payload by them, and does not take its other hashes for the person's.
    """
    return sorted({f"{_LENT}{one.removeprefix(_LENT)}" for one in hashes})


def own(hashes: Iterable[str]) -> list[str]:
    """The hashes of the person whom a payload itself names."""
    return sorted(one for one in hashes if not one.startswith(_LENT))


_LENT = "lent-"


def suppressed(connection: Connection, brand_id: UUID, hashes: Iterable[str]) -> bool:
    """Whether any of these hashes is of a person whom the brand erased."""
    found = connection.execute(
        "select 1 from ops.erasures where brand_id = %s and hash = any(%s) limit 1",
        [brand_id, [one.removeprefix(_LENT) for one in hashes]],
    )
    return found.fetchone() is not None


def erased_among(connection: Connection, brand_id: UUID, events: Mapping[int, Event]) -> set[int]:
    """The numbers of those events of which the person or the event itself was erased."""
    people = {number: hashes_of(event) for number, event in events.items()}
    names = {
        number: {
            (event["event_name"], event["event_id"]),
            (event["event_name"], tombstone(event["event_name"], event["event_id"])),
        }
        for number, event in events.items()
    }
    ids = [event_id for pairs in names.values() for _, event_id in pairs]
    found = connection.execute(
        "select hash, event_name, event_id from ops.erasures where brand_id = %s "
        "and (hash = any(%s) or event_id = any(%s))",
        [brand_id, list(set().union(*people.values())), ids],
    ).fetchall()
    erased = {(row["event_name"], row["event_id"]) for row in found}
    hashes = {row["hash"] for row in found}
    return {number for number in people if names[number] & erased or hashes & people[number]}


def brands_that_erased(connection: Connection, hashes: Iterable[str]) -> set[tuple[UUID, str]]:
    """The brands that erased a person of one of these hashes, with the hash."""
    rows = connection.execute(
        "select brand_id, hash from ops.erasures where hash = any(%s)", [list(hashes)]
    )
    return {(row["brand_id"], row["hash"]) for row in rows}


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
        # A contact without another event was made by this one.
        done.contacts = connection.execute(
            "delete from ops.contacts as c where brand_id = %(brand)s and contact_id = any(%(ids)s)"
            " and not exists (select 1 from ops.conversion_events as e "
            "where e.brand_id = c.brand_id and e.contact_id = c.contact_id)",
            {"brand": event["brand_id"], "ids": list({row["contact_id"] for row in rows} - {None})},
        ).rowcount
        return done


def erase_person(
    connection: Connection,
    brand_id: UUID,
    person: dict[str, Any],
    now: datetime,
    default_country: str | None = None,
) -> Erased:
    """Erase all data of a person that a brand has, and refuse their events from now on.

    The person's rows are the events, contacts and payloads with one of the person's hashes, all
    events of these contacts, and rows with another e-mail, phone or external id found there. An id
    that events of other people have, too (a shop's own phone number), is not suppressed and finds
    no further rows; neither does a contact whose events have more than two e-mail addresses beside
    the person's (a shop's "guest"). An interrupted erasure continues when it is requested again.

    Args:
        connection: autocommit.
        person: `email`, `phone` or both; `country` helps to read a phone number.
        default_country: the brand's.
    """
    theirs = _Found(set(person_hashes(person, default_country)), by_email="email" in person)
    # Suppressed hashes are refused by intake, so that a search that finds nothing new is complete
    # without blocking intake. No index: erasures are rare, and it would slow down every insert.
    while True:
        with connection.transaction():
            _lock(connection, brand_id)
            _suppress(connection, brand_id, theirs.suppressed(), now)
        if not theirs.grow(connection, brand_id):
            break
    with connection.transaction():
        _lock(connection, brand_id)
        found = connection.execute(
            "select id from ops.conversion_events where brand_id = %(brand)s "
            "and erased_at is null and (id = any(%(ids)s) or contact_id = any(%(contacts)s)) "
            "for update",
            {"brand": brand_id, "ids": list(theirs.events), "contacts": list(theirs.contacts)},
        ).fetchall()
        done = _erase(connection, [row["id"] for row in found], now)
        done.contacts = connection.execute(
            "delete from ops.contacts where brand_id = %s and contact_id = any(%s)",
            [brand_id, list(theirs.contacts)],
        ).rowcount
        done.webhook_payloads += connection.execute(
            "delete from ops.webhook_payloads where brand_id = %s and hashes && %s::text[]",
            [brand_id, [*theirs.suppressed(), *lent(theirs.suppressed())]],
        ).rowcount
    files = _delete_files(connection, brand_id, theirs.suppressed())
    done.refused_files, done.refused_files_left = files
    return done


@dataclass
class _Found:
    """The hashes, contacts and events found to be a person's; grows with each search."""

    hashes: set[str]  # of e-mails and phones
    external: set[str] = field(default_factory=set)  # of external ids: they find, never suppress
    by_email: bool = False  # whether the request has an e-mail address
    contacts: set[str] = field(default_factory=set)
    events: set[UUID] = field(default_factory=set)

    def suppressed(self) -> set[str]:
        return self.hashes | {contact_hash(one) for one in self.contacts}

    def grow(self, connection: Connection, brand_id: UUID) -> bool:
        """Search once; whether anything new was found."""
        before = (len(self.hashes), len(self.external), len(self.contacts), len(self.events))
        named: dict[str, Any] = {
            "brand": brand_id,
            "hashes": list(self.hashes | self.external),
            "suppressed": list(self.suppressed()),
        }
        hashes, external, contacts = set[str](), set[str](), set[str]()
        for row in connection.execute(_CARRYING, named):
            self.events.add(row["id"])
            emails = _hashes(row["user_hashes"], ("em", "email"))
            if self.by_email and emails and not emails & self.hashes and (
                contact_hash(row["contact_id"] or "") not in self.suppressed()
            ):  # fmt: skip
                continue  # another person with the same phone
            hashes |= _hashes(row["user_hashes"], _SUPPRESSED)
            external |= _hashes(row["user_hashes"], ("external_id",))
            contacts |= {row["contact_id"]} - {None}
        for row in connection.execute(_SEEN, named):
            hashes |= set(row["hashes"])
            contacts |= {row["contact_id"]} - {None}
        for row in connection.execute(_POSTED, named):
            hashes |= set(row["hashes"])
        asked = [*map(contact_hash, contacts), *hashes]
        of_many = {row["hash"] for row in connection.execute(_OF_MANY, {**named, "asked": asked})}
        self.contacts |= {one for one in contacts if contact_hash(one) not in of_many}
        hashes -= of_many
        new = (hashes | external) - self.hashes - self.external
        if new:
            shared = {
                row["hash"]
                for row in connection.execute(
                    _SHARED,
                    {**named, "new": list(new), "known": [*new, *named["hashes"]],
                     "events": list(self.events)},
                )
            }  # fmt: skip
            self.hashes |= hashes - shared
            self.external |= external - shared
        return before != (
            len(self.hashes), len(self.external), len(self.contacts), len(self.events)
        )  # fmt: skip


_EVENTS = """
select e.id, e.contact_id, e.user_hashes, array(
    select one
    from jsonb_each(e.user_hashes) as p (platform, keys),
        jsonb_each(p.keys) as k (key, list), jsonb_array_elements_text(list) as l (one)
    where key in ('em', 'ph', 'email', 'phone', 'external_id')
) as hashes
from ops.conversion_events as e where e.brand_id = %(brand)s and e.erased_at is null
"""
_CONTACT_HASH = "encode(sha256(convert_to('contact|' || contact_id, 'UTF8')), 'hex')"
_CARRYING = f"""
select id, contact_id, user_hashes from ({_EVENTS}) as e
where hashes && %(hashes)s::text[] or {_CONTACT_HASH} = any(%(suppressed)s)
"""
# Contacts, also those without an event.
_SEEN = f"""
select contact_id, hashes from ops.contacts
where brand_id = %(brand)s
    and (hashes && %(suppressed)s::text[] or {_CONTACT_HASH} = any(%(suppressed)s))
"""
# Contacts that are not one person, such as "guest": by the e-mails beside the person's own.
_OF_MANY = f"""
select {_CONTACT_HASH} as hash from ops.conversion_events as e
where e.brand_id = %(brand)s and e.erased_at is null and {_CONTACT_HASH} = any(%(asked)s)
    and user_hashes #>> '{{meta,em,0}}' <> all (%(hashes)s)
group by 1 having count(distinct user_hashes #>> '{{meta,em,0}}') > 2
"""
_POSTED = f"""
select array(select one from unnest(hashes) as h (one) where not starts_with(one, '{_LENT}'))
    as hashes
from ops.webhook_payloads
where brand_id = %(brand)s and hashes && %(suppressed)s::text[]
"""
# Those of the new hashes that an event of another person has, too.
_SHARED = f"""
select distinct h.hash from ({_EVENTS}) as e cross join lateral unnest(e.hashes) as h (hash)
where h.hash = any(%(new)s) and e.id <> all (%(events)s) and not e.hashes <@ %(known)s::text[]
"""


_CLEAR = f"""
update ops.conversion_events set erased_at = %(now)s, updated_at = %(now)s,
    {", ".join(f"{column} = default" for column in ERASED)}
where id = any(%(ids)s)
"""


def _suppress(connection: Connection, brand_id: UUID, hashes: Iterable[str], now: datetime) -> None:
    connection.execute(
        "insert into ops.erasures (brand_id, hash, erased_at) "
        "select %s, hash, %s from unnest(%s::text[]) as h (hash) on conflict do nothing",
        [brand_id, now, list(hashes)],
    )


def _lock(connection: Connection, brand_id: UUID) -> None:
    connection.execute("select 1 from ops.brands where id = %s for update", [brand_id])


def _erase(connection: Connection, ids: Iterable[UUID], now: datetime) -> Erased:
    events = list(ids)
    given = {"ids": events, "now": now}
    done = Erased()
    done.deliveries_skipped = connection.execute(
        "update ops.conversion_deliveries set sync_status = 'skipped', outcome = 'erased', "
        "sync_error = null, updated_at = %(now)s where event = any(%(ids)s) "
        "and sync_status in ('pending', 'failed')",
        given,
    ).rowcount
    sent = connection.execute(  # after the update: an upload may claim some while it waits
        "select destination, count(*)::int as events from ops.conversion_deliveries "
        "where event = any(%(ids)s) and sync_status in ('sent', 'queued') group by 1 order by 1",
        given,
    )
    done.already_sent = {row["destination"]: row["events"] for row in sent}
    _replace_ids_with_contact(connection, events)
    connection.execute(
        "insert into ops.erasures (brand_id, event_name, event_id, erased_at) "
        "select distinct brand_id, event_name, event_id, %(now)s::timestamptz "
        "from ops.conversion_events where id = any(%(ids)s) on conflict do nothing",
        given,
    )
    done.webhook_payloads = connection.execute(
        "delete from ops.webhook_payloads where events && %(ids)s::uuid[]", given
    ).rowcount
    done.events = connection.execute(_CLEAR, given).rowcount
    return done


def _replace_ids_with_contact(connection: Connection, ids: list[UUID]) -> None:
    """Replace event ids that contain the contact's id, as chat bots and funnels make them."""
    rows = connection.execute(
        "select id, event_name, event_id from ops.conversion_events "
        "where id = any(%s) and strpos(event_id, contact_id) > 0",
        [ids],
    ).fetchall()
    connection.execute(
        "update ops.conversion_events as e set event_id = v.event_id "
        "from unnest(%s::uuid[], %s::text[]) as v (id, event_id) where e.id = v.id",
        [
            [row["id"] for row in rows],
            [tombstone(row["event_name"], row["event_id"]) for row in rows],
        ],
    )


def _delete_files(connection: Connection, brand_id: UUID, hashes: Iterable[str]) -> tuple[int, int]:
    """Delete the files that hold lines of a person.

    Returns:
        How many were deleted, and how many are left: on other machines, or without permission.
    """
    found = connection.execute(
        "select distinct host, path from ops.refused_files "
        "where (brand_id = %s or brand_id is null) and hashes && %s::text[]",
        [brand_id, list(hashes)],
    ).fetchall()
    gone = []
    for row in found:
        if row["host"] == socket.gethostname():
            try:
                Path(row["path"]).unlink(missing_ok=True)
            except OSError:
                continue
            gone.append(row["path"])
    connection.execute(
        "delete from ops.refused_files where host = %s and path = any(%s)",
        [socket.gethostname(), gone],
    )
    return len(gone), len(found) - len(gone)
