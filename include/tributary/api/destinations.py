"""Destinations over HTTP: read, pause, resume; change settings where the API owns them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from tributary.api.access import Caller, Reader, Writer
from tributary.api.database import database
from tributary.api.models import Destination, DestinationChange, Destinations, Text
from tributary.api.problems import ApiError, Fault, unprocessable
from tributary.deliver import destinations, ledger
from tributary.errors import SettingsError
from tributary.settings import apply as settings
from tributary.warehouse import Connection

router = APIRouter(tags=["destinations"])

_TAKEN = (
    "Another destination of this installation sends there already, and events would be counted "
    "twice: ask those who run it."
)


@router.get("/destinations")
def listed(caller: Reader, request: Request) -> Destinations:
    """All destinations with their settings and run state."""
    with database(request).connection() as connection:
        rows = ledger.destinations(connection, caller.brand_id)
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
                raise ApiError(409, str(error)) from None
            except settings.CountedTwice as error:
                # It names another destination, which may be another brand's.
                theirs = caller.brand is None or error.brands == {caller.brand}
                words = str(error) if theirs else _TAKEN
                raise ApiError(409, words) from None
            except SettingsError as error:
                raise unprocessable(_faults(str(error))) from None
        if body.paused:
            destinations.stop(connection, name, _reason(caller, body.reason or ""))
        elif body.paused is False:
            destinations.resume(connection, name)
        return Destination(**_one(connection, caller, name))


def _one(connection: Connection, caller: Caller, name: str) -> ledger.Row:
    rows = ledger.destinations(connection, caller.brand_id, name)
    if not rows:
        raise ApiError(404, "There is no such destination.")
    return rows[0]


def _reason(caller: Caller, reason: str) -> str:
    """Why a destination is paused; names the user of Airflow who paused it."""
    if caller.user is None:
        return reason or "A person stopped it."
    said = f"{caller.user} paused it" + (f": {reason.strip()}" if reason else "")
    return said.rstrip(".") + "."


def _faults(text: str) -> list[Fault]:
    """The lines of a settings error, each with its key."""
    faults = []
    for line in text.splitlines()[1:] or [text]:
        place, _, detail = line.strip().rpartition("destinations[0]")[2].partition(": ")
        faults.append(Fault(field=f"settings{place}", detail=detail) if detail
                      else Fault(field="settings", detail=line.strip()))  # fmt: skip
    return faults
