"""The click and browser ids that webhooks and the REST API bring for a contact (`ops.contacts`).

`first_seen_at` never changes. A bare click id becomes Meta's `fbc` with the time at which it was
first seen, so that a purchase weeks later has the same `fbc` as Meta's cookie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from tributary.deliver import identity, personal
from tributary.warehouse import Connection

CLICKS = ("fbclid", "fbp", "fbc", "ad_id", "gclid")
_MERGE = (
    "on conflict (brand_id, contact_id) do update set "
    + ", ".join(f"{name} = coalesce(excluded.{name}, c.{name})" for name in CLICKS)
    + ", last_seen_at = greatest(c.last_seen_at, excluded.last_seen_at)"
)


def known(connection: Connection, brand_id: UUID, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The brand's contacts with these ids, by id."""
    rows = connection.execute(
        "select * from ops.contacts where brand_id = %s and contact_id = any(%s)",
        [brand_id, list(ids)],
    )
    return {row["contact_id"]: row for row in rows}


def lend(
    connection: Connection, brand_id: UUID, raw: Mapping[str, Any], now: datetime
) -> Mapping[str, Any]:
    """The event, with the click and browser ids of its contact where it has none itself."""
    contact_id = raw.get("contact_id")
    if not isinstance(contact_id, str):
        return raw
    contact = known(connection, brand_id, [contact_id]).get(contact_id)
    if contact is None:
        return {**raw, "fbclid_seen_at": raw.get("event_time") or now}
    lacking = {name: contact[name] for name in ("fbp", "ad_id", "gclid") if not raw.get(name)}
    if not raw.get("fbc") and not raw.get("fbclid"):
        lacking["fbc"] = contact["fbc"]
    return {**raw, **lacking}


def fbc(contact: Mapping[str, Any] | None, fbclid: str, otherwise: datetime) -> str:
    """The click in the form of Meta's cookie, with the time at which the contact first had it.

    Args:
        otherwise: the time for a click that the contact does not have.

    https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/fbp-and-fbc
    """
    if contact is not None:
        if contact["fbc"] and contact["fbc"].endswith(f".{fbclid}"):
            return str(contact["fbc"])
        if contact["fbclid"] == fbclid:
            otherwise = contact["first_seen_at"]
    return f"fb.1.{int(otherwise.timestamp() * 1000)}.{fbclid}"


def remember(
    connection: Connection,
    brand_id: UUID,
    contact_id: str,
    clicks: Mapping[str, str | None],
    seen_at: datetime,
    hashes: Iterable[str],
) -> None:
    """Store the ids that an event brings for a contact; others stay as they were.

    Nothing is stored for an id that is a placeholder, since many people have it, nor for one that
    is an e-mail address or phone number, since ids are stored in clear.

    Args:
        clicks: any of `CLICKS`, already checked.
        hashes: of the person's e-mail and phone, so that an erasure finds the contact.
    """
    if identity.why_absent(contact_id) or personal.personal_in(contact_id):
        return
    row = {"brand": brand_id, "contact": contact_id, "seen": seen_at, "hashes": list(hashes)}
    connection.execute(
        "insert into ops.contacts as c (brand_id, contact_id, fbclid, fbp, fbc, ad_id, gclid, "
        "first_seen_at, last_seen_at, hashes) values (%(brand)s, %(contact)s, %(fbclid)s, %(fbp)s, "
        "%(fbc)s, %(ad_id)s, %(gclid)s, %(seen)s, %(seen)s, %(hashes)s) "
        f"{_MERGE}, hashes = array(select unnest(c.hashes || excluded.hashes) "
        "group by 1 order by 1)",
        {**dict.fromkeys(CLICKS), **{k: v for k, v in clicks.items() if k in CLICKS}, **row},
    )


def learn(connection: Connection, events: Iterable[UUID | None]) -> None:
    """Store the click and browser ids of stored events for their contacts."""
    newest = ", ".join(
        f"(array_agg({value} order by event_time desc) filter (where {name} is not null))[1]"
        for name, value in (("fbc", "split_part(fbc, '.', 4)"), ("fbp", "fbp"), ("fbc", "fbc"),
                            ("ad_id", "ad_id"), ("gclid", "gclid"))
    )  # fmt: skip
    connection.execute(
        "insert into ops.contacts as c (brand_id, contact_id, fbclid, fbp, fbc, ad_id, gclid, "
        f"first_seen_at, last_seen_at) select brand_id, contact_id, {newest}, min(event_time), "
        "max(event_time) from ops.conversion_events where id = any(%s) and contact_id is not null "
        f"group by brand_id, contact_id order by brand_id, contact_id {_MERGE}",
        [list(events)],
    )
