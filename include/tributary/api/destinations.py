"""Destinations over HTTP: seen, paused, resumed; their settings where the API owns them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from tributary.api.access import Caller, Reader, Writer
from tributary.api.database import database
from tributary.api.models import Destination, DestinationChange, Destinations, Text
from tributary.api.problems import Fault, Refused, unprocessable
from tributary.deliver import destinations
from tributary.errors import SettingsError
from tributary.settings import apply as settings
from tributary.warehouse import Connection

router = APIRouter(tags=["destinations"])

_TAKEN = (
    "Another destination of this installation sends there already, and events would be counted "
    "twice: ask those who run it."
)

_SHOWN = """
select d.name, b.slug as brand, d.platform, d.conn_id, d.is_active, b.managed_by, d.settings,
    coalesce(d.paused_until > now(), false) as is_paused,
    case when d.paused_until > now() and isfinite(d.paused_until) then d.paused_until
        end as paused_until,
    case when d.paused_until > now() then d.paused_reason end as paused_reason,
    d.last_sync_at, d.last_sync_status, d.last_sync_count
from ops.destinations as d inner join ops.brands as b on b.id = d.brand_id
where (%(only)s::uuid is null or d.brand_id = %(only)s)
    and (%(name)s::text is null or d.name = %(name)s) order by d.name
"""


@router.get("/destinations")
def listed(caller: Reader, request: Request) -> Destinations:
    """All destinations with their settings and run state."""
    with database(request).connection() as connection:
        rows = connection.execute(_SHOWN, {"only": caller.brand_id, "name": None})
        return Destinations(data=[Destination(**row) for row in rows])


@router.patch("/destinations/{name}")
def change(
    name: Annotated[Text, Path()], body: DestinationChange, caller: Writer, request: Request
) -> Destination:
    """Pause or resume a destination; change its settings when its brand is `managed_by: api`."""
    with database(request).connection() as connection, connection.transaction():
        _one(connection, caller, name)
        if body.settings is not None:
            try:
                settings.change_destination(connection, name, body.settings)
            except settings.NotOurs as error:
                raise Refused(409, str(error)) from None
            except settings.CountedTwice as error:
                # It names another destination, which may be another brand's.
                theirs = caller.brand is None or error.brands == {caller.brand}
                words = str(error) if theirs else _TAKEN
                raise Refused(409, words) from None
            except SettingsError as error:
                raise unprocessable(_faults(str(error))) from None
        if body.paused:
            destinations.stop(connection, name, body.reason or "A person stopped it.")
        elif body.paused is False:
            destinations.resume(connection, name)
        return Destination(**_one(connection, caller, name))


def _one(connection: Connection, caller: Caller, name: str) -> dict[str, Any]:
    row = connection.execute(_SHOWN, {"only": caller.brand_id, "name": name}).fetchone()
    if row is None:
        raise Refused(404, "There is no such destination.")
    return row


def _faults(text: str) -> list[Fault]:
    """The lines of a settings error, each with its key."""
    faults = []
    for line in text.splitlines()[1:] or [text]:
        place, _, detail = line.strip().rpartition("destinations[0]")[2].partition(": ")
        faults.append(Fault(field=f"settings{place}", detail=detail) if detail
                      else Fault(field="settings", detail=line.strip()))  # fmt: skip
    return faults
