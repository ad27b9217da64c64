"""The warehouse: connections, migrations, loads. Knows no HTTP and no Airflow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import dict_row

from tributary.config import with_driver
from tributary.errors import WarehouseDown, WarehouseError

if TYPE_CHECKING:
    import sqlalchemy

log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 7_221_001

Connection = psycopg.Connection[dict[str, Any]]

# The server answers, and other work was in the way for too long.
BUSY = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DeadlockDetected,
)


def where(uri: str) -> str:
    """Host, port and database of a URI: the form that may be shown."""
    parts = urlsplit(uri)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


def connect(uri: str, *, autocommit: bool = False, timeout: int = 10) -> Connection:
    """A psycopg connection whose rows are dicts.

    Args:
        timeout: seconds that connecting may take.

    Raises:
        WarehouseDown: nothing answers, or it refuses the user.
    """
    try:
        return psycopg.connect(
            uri,
            autocommit=autocommit,
            row_factory=dict_row,
            connect_timeout=timeout,
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
    dbt's own views that read what changes are dropped, and named in the log: the next build makes
    them again.

    Raises:
        WarehouseDown: the warehouse does not answer.
        WarehouseError: the warehouse was migrated by a newer version of this project, or what
            changes is read by views of others; they are named, and nothing was changed.
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
        back = revision == "base" or revision < (present or "")
        step = command.downgrade if back else command.upgrade
        try:
            dropped = _past_views(connection, lambda: step(config, revision))
        except CommandError as error:
            raise WarehouseError(
                f"The warehouse at {where(uri)} cannot be migrated to {revision}: {error}. "
                "Was it migrated by a newer version of this project?"
            ) from error
        except HeldBack as error:
            raise WarehouseError(
                f"The warehouse at {where(uri)} cannot be migrated to {revision}: {error} "
                "Nothing was changed."
            ) from error
    if dropped:
        log.warning(
            "The migration of %s to %s dropped views of dbt that read what it changes: %s. "
            "The next build of the marts makes them again.",
            where(uri),
            revision,
            ", ".join(sorted(dropped)),
        )


class HeldBack(Exception):
    """Why a migration must not go on; `migrate` says it with the place and the revision."""


def _past_views(connection: sqlalchemy.Connection, migrate: Callable[[], None]) -> list[str]:
    """Migrate, and drop the views of dbt that Postgres says are in the way; their names.

    Postgres says so of one change after another. Views of others are dropped, too, as long as it
    goes on: so that all are known in the end, when raising undoes everything.

    Raises:
        HeldBack: names the views of others, or what else is in the way.
    """
    from sqlalchemy.exc import DBAPIError

    in_the_way: dict[str, Any] = {}
    while True:
        others = {name: view for name, view in in_the_way.items() if not view["is_ours"]}
        try:
            with connection.begin_nested():
                for name, view in others.items():
                    connection.exec_driver_sql(f"drop {view['kind']} if exists {name} cascade")
                if ours := [name for name in in_the_way if name not in others]:
                    which = "if exists" if others else ""
                    connection.exec_driver_sql(f"drop view {which} {', '.join(ours)}")
                migrate()
        except DBAPIError as error:
            held_back = error.orig
            if not isinstance(
                held_back,
                psycopg.errors.DependentObjectsStillExist | psycopg.errors.FeatureNotSupported,
            ):
                raise
        else:
            break
        message = f"{held_back.diag.message_primary}: {held_back.diag.message_detail}"
        found = connection.exec_driver_sql(_IN_THE_WAY, {"message": message}).mappings().all()
        new = {view["name"]: view for view in found if view["name"] not in in_the_way}
        if not new:
            raise HeldBack(f"{message}. Drop or change that, and do this again.")
        in_the_way |= new
    if others:
        raise HeldBack(
            "views that this project did not make read what changes ("
            + "; ".join(f"{name} reads {view['reads']}" for name, view in sorted(others.items()))
            + "). Drop them, do this again, and make them anew."
        )
    return ours


# The views that Postgres names in a message, with all that read them at any remove. Those that dbt
# made have a comment on their rule (see `view_made_of` in dbt/macros/materializations/view.sql).
_IN_THE_WAY = r"""
with recursive in_the_way as (
    select oid, relkind from pg_class
    where
        relkind in ('v', 'm')
        and strpos(translate(%(message)s, E'
', ' ') || ' ', ' ' || oid::regclass || ' ') > 0
    union
    select pg_class.oid, pg_class.relkind
    from in_the_way
    inner join pg_depend on refobjid = in_the_way.oid and classid = 'pg_rewrite'::regclass
    inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
    inner join pg_class on pg_class.oid = pg_rewrite.ev_class
)
select
    in_the_way.oid::regclass::text as name,
    case relkind when 'm' then 'materialized view' else 'view' end as kind,
    bool_or(obj_description(pg_rewrite.oid, 'pg_rewrite') is not null) as is_ours,
    string_agg(distinct refobjid::regclass::text, ', ') as reads
from in_the_way
inner join pg_rewrite on ev_class = in_the_way.oid
inner join pg_depend
    on
        classid = 'pg_rewrite'::regclass
        and objid = pg_rewrite.oid
        and refclassid = 'pg_class'::regclass
        and refobjid <> ev_class
group by in_the_way.oid, relkind
"""


def _revision(uri: str) -> str | None:
    with connect(uri) as connection:
        known = connection.execute("select to_regclass('ops.schema_version') as name").fetchone()
        if known is None or known["name"] is None:
            return None
        row = connection.execute("select version_num from ops.schema_version").fetchone()
        return None if row is None else str(row["version_num"])
