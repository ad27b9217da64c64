"""The environment in which plain `airflow`, `dbt` and `psql` work here, and the local ports."""

from __future__ import annotations

import os
import shlex
import socket

from tributary import config
from tributary.errors import SettingsError
from tributary.local.programs import search_path
from tributary.orchestration import deployment


def forget(key: str) -> None:
    """Drop `key` from `local.json`, so that it is made anew."""
    with config.locked("local"):
        values = config.local_values()
        values.pop(key, None)
        config.write_local_values(values)


def port(name: str, preferred: int = 0) -> int:
    """The TCP port of a local service: `preferred` if free on first use, else any free one."""

    def choose() -> int:
        for candidate in (preferred, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", candidate))
                except OSError:
                    continue
                return int(probe.getsockname()[1])
        raise AssertionError("no free port on 127.0.0.1")

    number: int = config.remembered(f"port_{name}", choose)
    return number


def leave_taken(name: str) -> None:
    """Let a service that is not running choose again when something else has taken its port."""
    number = config.local_values().get(f"port_{name}")
    if number is not None and answers(number):
        forget(f"port_{name}")


def answers(number: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", number)) == 0


def environment(warehouse: str, metadata: str) -> dict[str, str]:
    """Every variable of the installation; what somebody else has set for Airflow stays as it is.

    Args:
        warehouse: `postgresql://` URI of the warehouse.
        metadata: SQLAlchemy URI of Airflow's metadata database.
    """
    given = os.environ.get("AIRFLOW__API__PORT", "")
    ui = given if given and deployment.is_given("AIRFLOW__API__PORT") else port("ui", 8080)
    ours = {
        "AIRFLOW_HOME": str(config.home() / "airflow"),
        "AIRFLOW_CONN_WAREHOUSE": warehouse,
        deployment.METADATA: metadata,
        "AIRFLOW__CORE__DAGS_FOLDER": str(config.ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(config.ROOT / "plugins"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": config.as_key(config.secret("fernet")),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{ui}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ui),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{ui}",
        "AIRFLOW__API__SECRET_KEY": config.secret("api"),
        "AIRFLOW__API_AUTH__JWT_SECRET": config.secret("jwt") + config.secret("jwt_2"),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(port("worker_logs", 8793)),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(port("trigger_logs", 8794)),
        # Users and their roles are Airflow's own default, `admin`.
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # A killed worker's task is taken up again after half a minute, not after five.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "DO_NOT_TRACK": "1",
    }
    # Whoever sets Airflow's key sets that of payloads, too: a new one would decrypt none of them.
    if not deployment.is_given("AIRFLOW__CORE__FERNET_KEY"):
        ours["TRIBUTARY_SECRET_KEY"] = config.payload_key()
    theirs = {name for name in ours if deployment.is_given(name)}
    return {
        "TRIBUTARY_HOME": str(config.home()),
        "TRIBUTARY_WAREHOUSE": warehouse,
        **{name: value for name, value in ours.items() if name not in theirs},
        **{name: os.environ[name] for name in theirs & os.environ.keys()},
        deployment.MADE: " ".join(
            deployment.mark(name, ours[name]) for name in ours if name not in theirs
        ),
        **config.dbt_environment(warehouse),
    }


def refuse_a_shells_airflow() -> None:
    """For what starts services: they must not run in the database of another Airflow.

    Raises:
        SettingsError: the shell names an Airflow by its home or file, and not one of `make env`.
    """
    given = deployment.given_home()
    if given and deployment.has_airflow():
        raise SettingsError(
            f"This shell has an Airflow of its own ({given} {os.environ[given]}), which "
            f"would be migrated and used: unset {given}, then try again."
        )


def shell_lines(variables: dict[str, str]) -> str:
    """`export …` lines for a POSIX shell."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    paths = search_path()
    return "\n".join([*lines, f'export PATH={shlex.quote(paths)}:"$PATH"'])
