"""What the audit trail says of a change, written before it is made: never what was in the request.

A row has the same form in Airflow's audit log and in `ops.audit_log`: the event, its owner, and
what the path names.
"""

from __future__ import annotations

import re
from contextlib import suppress
from uuid import UUID

from fastapi import Request

# Names of the settings and numbers of accounts; in a path might be anything, people, too.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}", re.ASCII)


def about(request: Request) -> dict[str, str]:
    """The method, and what the path names: a conversion by its id, all else by its name."""
    found = {"method": request.method}
    for key, value in request.path_params.items():
        if key in ("name", "platform", "account_id") and _NAME.fullmatch(str(value)):
            found[key] = str(value)
    with suppress(KeyError, ValueError):
        found["id"] = str(UUID(request.path_params["id"]))
    return found
