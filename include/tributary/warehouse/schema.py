r"""The schemas `raw`, `ops` and `app`: migrations, and whether a database has the newest one.

The migrations are the only definition of the tables: read them, or `\d ops.loads` in psql.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tributary.config import ROOT, with_driver
from tributary.errors import WarehouseError
from tributary.warehouse.connection import connect, where

if TYPE_CHECKING:
    import sqlalchemy

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 7_221_001


def newest_version() -> str:
    """The version of the schema that this code works with, such as "0011"."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def check_version(uri: str) -> None:
    """Refuse a warehouse that does not have this code's version of the schema.

    Raises:
        WarehouseDown: the warehouse does not answer.
        WarehouseError: its schema is older (`tributary prepare` migrates it) or newer.
    """
    present, needed = _version(uri), newest_version()
    if present == needed:
        return
    if present is not None and present > needed:
        raise WarehouseError(
            f"The schema of the warehouse at {where(uri)} has version {present}, and this "
            f"Tributary knows versions up to {needed}: install the newer Tributary that migrated "
            "the warehouse here, too."
        )
    raise WarehouseError(
        f"The schema of the warehouse at {where(uri)} has "
        f"{f'version {present}' if present else 'not been created'}, and this Tributary needs "
        f"version {needed}: run `tributary prepare`."
    )


def migrate(uri: str, revision: str = "head") -> None:
    """Bring the schemas `raw`, `ops` and (where absent) `app` to a revision, forward or back.

    Safe to call from many processes at once; does nothing when the revision is already there.
    Views of dbt that read what changes are dropped and named in the log; the next build creates
    them again.

    Raises:
        WarehouseDown: the warehouse does not answer.
        WarehouseError: the warehouse was migrated by a newer version of this project, or views
            that dbt did not make read what changes: they are named, and nothing was changed.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    present = _version(uri)
    if revision == "head" and present == newest_version():
        return
    engine = create_engine(with_driver(uri, "psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        connection.execute(text("create schema if not exists ops"))
        config.attributes["connection"] = connection
        back = revision == "base" or revision < (present or "")
        step = command.downgrade if back else command.upgrade
        try:
            dropped = _migrate_past_views(connection, lambda: step(config, revision))
        except CommandError as error:
            raise WarehouseError(
                f"The warehouse at {where(uri)} cannot be migrated to {revision}: {error}. "
                "Was it migrated by a newer version of this project?"
            ) from error
        except MigrationBlocked as error:
            raise WarehouseError(
                f"The warehouse at {where(uri)} cannot be migrated to {revision}: {error} "
                "Nothing was changed."
            ) from error
    if dropped:
        log.warning(
            "The migration of %s to %s dropped views of dbt that read what it changes: %s. "
            "The next build of the marts creates them again.",
            where(uri),
            revision,
            ", ".join(sorted(dropped)),
        )


class MigrationBlocked(Exception):
    """Why a migration must not go on; `migrate` adds the place and the revision."""


def _migrate_past_views(
    connection: sqlalchemy.Connection, migrate: Callable[[], None]
) -> list[str]:
    """Migrate, and drop dbt's views that Postgres reports as dependent; returns their names.

    Postgres reports the dependents of one change at a time. Views that dbt did not make are dropped
    on the way, too: only so are all of them known at the end, when the exception rolls back.

    Raises:
        MigrationBlocked: names the views that dbt did not make, or what else depends on a change.
    """
    from sqlalchemy.exc import DBAPIError

    dependents: dict[str, Any] = {}
    while True:
        others = {name: view for name, view in dependents.items() if not view["is_ours"]}
        try:
            with connection.begin_nested():
                for name, view in others.items():
                    connection.exec_driver_sql(f"drop {view['kind']} if exists {name} cascade")
                if ours := [name for name in dependents if name not in others]:
                    which = "if exists" if others else ""
                    connection.exec_driver_sql(f"drop view {which} {', '.join(ours)}")
                migrate()
        except DBAPIError as error:
            refusal = error.orig
            if not isinstance(
                refusal,
                psycopg.errors.DependentObjectsStillExist | psycopg.errors.FeatureNotSupported,
            ):
                raise
        else:
            break
        message = f"{refusal.diag.message_primary}: {refusal.diag.message_detail}"
        models = [path.stem for path in (ROOT / "dbt" / "models").rglob("*.sql")]
        found = (
            connection.exec_driver_sql(_DEPENDENTS, {"message": message, "models": models})
            .mappings()
            .all()
        )
        new = {view["name"]: view for view in found if view["name"] not in dependents}
        if not new:
            raise MigrationBlocked(f"{message}. Drop or change that, and migrate again.")
        dependents |= new
    if others:
        raise MigrationBlocked(
            "views that this project did not make read what changes ("
            + "; ".join(f"{name} reads {view['reads']}" for name, view in sorted(others.items()))
            + "). Drop them, migrate again, and create them again."
        )
    return ours


# The views that Postgres names in a message, and all that read them directly or through others.
# dbt's have the name of a model, in a schema of any target; older ones a comment on their rule.
_DEPENDENTS = r"""
with recursive dependents as (
    select oid, relkind from pg_class
    where
        relkind in ('v', 'm')
        and strpos(translate(%(message)s, E'
', ' ') || ' ', ' ' || oid::regclass || ' ') > 0
    union
    select pg_class.oid, pg_class.relkind
    from dependents
    inner join pg_depend on refobjid = dependents.oid and classid = 'pg_rewrite'::regclass
    inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
    inner join pg_class on pg_class.oid = pg_rewrite.ev_class
)
select
    dependents.oid::regclass::text as name,
    case relkind when 'm' then 'materialized view' else 'view' end as kind,
    bool_or(
        obj_description(pg_rewrite.oid, 'pg_rewrite') is not null
        or split_part(dependents.oid::regclass::text, '.', 1) ~ '(^|_)(staging|intermediate|marts)$'
        and split_part(dependents.oid::regclass::text, '.', 2) = any(%(models)s)
    ) as is_ours,
    string_agg(distinct refobjid::regclass::text, ', ') as reads
from dependents
inner join pg_rewrite on ev_class = dependents.oid
inner join pg_depend
    on
        classid = 'pg_rewrite'::regclass
        and objid = pg_rewrite.oid
        and refclassid = 'pg_class'::regclass
        and refobjid <> ev_class
group by dependents.oid, relkind
"""


def _version(uri: str) -> str | None:
    """Alembic's record of the newest migration that ran; None before the first."""
    with connect(uri) as connection:
        table = connection.execute("select to_regclass('ops.schema_version') as name").fetchone()
        if table is None or table["name"] is None:
            return None
        row = connection.execute("select version_num from ops.schema_version").fetchone()
        return None if row is None else str(row["version_num"])
