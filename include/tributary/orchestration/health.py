"""What keeps Airflow or conversions from their work, in sentences: what tasks' states do not show.

For processes that may ask Airflow's metadata: its API server, and commands that set
`_AIRFLOW_PROCESS_CONTEXT`. For what is asked here (heartbeats, import errors, pools, users) Airflow
has no public interface but its REST API, which needs a login: so its models are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tributary import config
from tributary.errors import SettingsError
from tributary.warehouse import Connection, ad_accounts


@dataclass(frozen=True)
class Problem:
    """Something that a person must put right."""

    says: str
    conn_id: str | None = None  # the connection that cannot be used


def problems(warehouse: Connection) -> list[Problem]:
    """All that is found, what stops most first."""
    from tributary.deliver import overview

    return [
        *_processes(),
        *_imports(),
        *_pools(),
        *_connections(warehouse),
        *(Problem(one) for one in overview.mistakes(warehouse)),
    ]


def paused_dags(warehouse: Connection) -> list[str]:
    """The paused DAGs without which an active ad account or destination waits, in their order."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    used = ad_accounts.connections_in_use(warehouse)
    accounts = {row["platform"] for row in used if row["is_account"]}
    wanted = [
        *(["extract_meta_ads"] if "meta" in accounts else []),
        *(["extract_google_clicks"] if "google_ads" in accounts else []),
        *(["build_marts"] if accounts else []),
        *(["upload_conversions"] if any(not row["is_account"] for row in used) else []),
    ]
    asked = select(DagModel.dag_id).where(DagModel.dag_id.in_(wanted), DagModel.is_paused)
    with create_session() as session:
        paused = set(session.scalars(asked))
    return [dag for dag in wanted if dag in paused]


def users() -> list[str]:
    """Who may log in, as Airflow's own setting says; none where another login is set up."""
    from airflow.api_fastapi.app import get_auth_manager_cls
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    if not issubclass(get_auth_manager_cls(), SimpleAuthManager):
        return []
    return [user.username for user in SimpleAuthManager.get_users()]


def _processes() -> Iterator[Problem]:
    from airflow.api.common.airflow_health import HEALTHY, get_airflow_health

    health = get_airflow_health()
    for part, stops in (
        ("scheduler", "no run starts"),
        ("dag_processor", "changes of DAGs are not seen"),
        ("triggerer", "deferred tasks do not go on"),
    ):
        # A deployment without a triggerer has none on purpose: no task of ours is deferred.
        if part == "triggerer" and health[part]["status"] is None:
            continue
        if health[part]["status"] != HEALTHY:
            last = health[part][f"latest_{part}_heartbeat"]
            since = f"its last heartbeat was at {last[:16].replace('T', ' ')} UTC" if last else ""
            yield Problem(
                f"Airflow's {part.replace('_', ' ')} does not run{', ' * bool(since)}{since}: "
                f"{stops}. Start it (`make up` on a local installation)."
            )


def _imports() -> Iterator[Problem]:
    from airflow import plugins_manager
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session
    from sqlalchemy import select

    for source, error in plugins_manager.get_import_errors().items():
        if Path(source).stem == "tributary_plugin":
            yield Problem(f"The plugin {source} cannot be imported: {_last_line(error)}.")
    with create_session() as session:
        broken = session.execute(select(ParseImportError.filename, ParseImportError.stacktrace))
        for file, text in broken:
            if Path(str(file)).stem in _dag_ids():
                yield Problem(f"The DAG file {file} cannot be imported: {_last_line(text)}.")


def _dag_ids() -> set[str]:
    """Of our DAGs, which are named as their files; an Airflow may have others' besides."""
    return {path.stem for path in (config.ROOT / "dags").glob("*.py")}


def _last_line(text: str | None) -> str:
    lines = (text or "").split("\n")
    return next((line.strip().rstrip(".") for line in reversed(lines) if line.strip()), "no reason")


def _pools() -> Iterator[Problem]:
    from airflow.models.pool import Pool
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        slots = {
            str(pool): number for pool, number in session.execute(select(Pool.pool, Pool.slots))
        }
    users: dict[str, set[str]] = defaultdict(set)
    for dag_id, dag in SerializedDagModel.read_all_dags().items():
        for task in dag.tasks if dag_id in _dag_ids() else ():
            users[task.pool].add(dag_id)
    for pool, dags in sorted(users.items()):
        if not slots.get(pool):
            what = "has 0 slots" if pool in slots else "does not exist"
            yield Problem(
                f"The pool {pool} {what}, so tasks of {', '.join(sorted(dags))} stay `scheduled`: "
                f"give it slots under Admin → Pools, or with `airflow pools set {pool} 4 ''`."
            )


def _connections(warehouse: Connection) -> Iterator[Problem]:
    from tributary.platforms.hook import connection

    wanted: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in ad_accounts.connections_in_use(warehouse):
        wanted[row["conn_id"], row["platform"]].append(row["name"])
    for (conn_id, platform), names in wanted.items():
        try:
            # The type of a connection is the name of its platform.
            connection(conn_id, platform, f"for {', '.join(names)}")
        except SettingsError as error:
            yield Problem(str(error), conn_id)
