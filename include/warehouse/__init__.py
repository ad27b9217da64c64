"""The warehouse: connections, migrations, loads. Knows no HTTP and no Airflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import dict_row

from include.errors import WarehouseDown, WarehouseError
from include.home import with_driver

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 7_221_001

Connection = psycopg.Connection[dict[str, Any]]


def where(uri: str) -> str:
    """Host, port and database of a URI: the form that may be shown."""
    parts = urlsplit(uri)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


def connect(uri: str, *, autocommit: bool = False) -> Connection:
    """A psycopg connection whose rows are dicts.

    Raises:
        WarehouseDown: nothing answers, or it refuses the user.
    """
    try:
        return psycopg.connect(
            uri,
            autocommit=autocommit,
            row_factory=dict_row,
            connect_timeout=10,
            application_name="tributary",
        )
    except psycopg.OperationalError as error:
        raise WarehouseDown(
            f"The warehouse at {where(uri)} does not let us in: "
            f"{str(error).strip().splitlines()[-1]} "
            "Start it (`make env` for the embedded one) or mend TRIBUTARY_WAREHOUSE."
        ) from None


def migrate(uri: str, revision: str = "head") -> None:
    """Bring the schemas `raw`, `ops` and (where absent) `app` to a revision, forward or back.

    Safe to call from many processes at once; does nothing when the revision is already there.

    Raises:
        WarehouseDown: the warehouse does not answer.
        WarehouseError: the warehouse was migrated by a newer version of this project.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    present = _revision(uri)
    if revision == "head" and present == ScriptDirectory.from_config(config).get_current_head():
        return
    engine = create_engine(with_driver(uri, "psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        connection.execute(text("create schema if not exists ops"))
        config.attributes["connection"] = connection
        try:
            if revision == "base" or revision < (present or ""):
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
        except CommandError as error:
            raise WarehouseError(
                f"The warehouse at {where(uri)} cannot be migrated to {revision}: {error}. "
                "Was it migrated by a newer version of this project?"
            ) from error


def _revision(uri: str) -> str | None:
    with connect(uri) as connection:
        known = connection.execute("select to_regclass('ops.schema_version') as name").fetchone()
        if known is None or known["name"] is None:
            return None
        row = connection.execute("select version_num from ops.schema_version").fetchone()
        return None if row is None else str(row["version_num"])
