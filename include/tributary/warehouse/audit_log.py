"""`ops.audit_log`: the changes that holders of API keys made at the edge.

Changes by Airflow's users are in Airflow's own audit log.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg.types.json import Jsonb

from tributary.warehouse import Connection


def record(
    connection: Connection, event: str, owner: str, brand: str, about: Mapping[str, str]
) -> None:
    """Store a change before it is made.

    Args:
        event: the action, such as `tributary_erasure_erase`.
        owner: the id of the API key.
        brand: the key's brand (its slug).
        about: the method and what the path names, without any personal data.
    """
    connection.execute(
        "insert into ops.audit_log (event, owner, brand, extra) values (%s, %s, %s, %s)",
        [event, owner, brand, Jsonb(about)],
    )
