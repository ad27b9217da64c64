"""What webhooks and the API learn of a contact: which click and which browser it came with.

`first_seen_at` never changes. A bare click id becomes Meta's `fbc` with the moment it was first
seen in it, so that a purchase weeks later names the click as Meta knows it.
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
    """The contacts of these ids that a brand has, by id."""
    rows = connection.execute(
        "select * from ops.contacts where brand_id = %s and contact_id = any(%s)",
        [brand_id, list(ids)],
    )
    return {row["contact_id"]: row for row in rows}


def lend(
    connection: Connection, brand_id: UUID, raw: Mapping[str, Any], now: datetime
) -> Mapping[str, Any]:
    """An event with what it lacks of its click and browser and its contact is known to have."""
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
    """The click in Meta's form, with the time at which the contact was first seen with it.

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
    """Keep what is new about a contact; what this event does not say stays as it was.

    Nothing of an id that is a placeholder, which is that of many people, or an e-mail address or
    phone number, which is not kept in clear.

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
    """Keep what stored events say of their contacts."""
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
