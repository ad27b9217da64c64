"""Who has asked for a change, written before it is made: never what was in the request.

A row has the same form in both places: the event, its owner, and what the path names.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from uuid import UUID

from fastapi import Request
from psycopg.types.json import Jsonb

from tributary.api import permissions
from tributary.warehouse import Connection

# Names of the settings and numbers of accounts; in a path might be anything, people, too.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}", re.ASCII)


def in_airflow(request: Request, user: str) -> None:
    """Write it into Airflow's audit log.

    Airflow's own `action_logging` keeps the body of a request: there are people in it.
    """
    from airflow.models import Log
    from airflow.utils.session import create_session

    name = permissions.action(request.scope["endpoint"])
    with create_session() as session:
        session.add(
            Log(
                event=permissions.event(name),
                owner=user,
                owner_display_name=user,
                extra=json.dumps(_about(request)),
                dag_id=permissions.NEEDS[name].dag,
            )
        )


def in_warehouse(connection: Connection, request: Request, key_id: str, brand: str) -> None:
    """Write it into `ops.audit_log`, where Airflow's is out of reach."""
    name = permissions.action(request.scope["endpoint"])
    connection.execute(
        "insert into ops.audit_log (event, owner, brand, extra) values (%s, %s, %s, %s)",
        [permissions.event(name), key_id, brand, Jsonb(_about(request))],
    )


def _about(request: Request) -> dict[str, str]:
    """The method, and what the path names: a conversion by its id, all else by its name."""
    about = {"method": request.method}
    for key, value in request.path_params.items():
        if key in ("name", "platform", "account_id") and _NAME.fullmatch(str(value)):
            about[key] = str(value)
    with suppress(KeyError, ValueError):
        about["id"] = str(UUID(request.path_params["id"]))
    return about
