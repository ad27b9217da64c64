"""The environment in which plain `airflow`, `dbt` and `psql` work here, and the local ports."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from configparser import ConfigParser
from hashlib import sha256
from pathlib import Path

from tributary import config
from tributary.errors import SettingsError


def forget(key: str) -> None:
    """Drop `key` from `local.json`, so that it is made anew."""
    path = config.home() / "local.json"
    with config.locked("local"):
        values = json.loads(path.read_text()) if path.exists() else {}
        values.pop(key, None)
        config.write_private(path, json.dumps(values, indent=2, sort_keys=True))


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
    path = config.home() / "local.json"
    values = json.loads(path.read_text()) if path.exists() else {}
    number = values.get(f"port_{name}")
    if number is not None and answers(number):
        forget(f"port_{name}")


def answers(number: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", number)) == 0


METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
# Which variables we have made ourselves, for processes that inherit them: those may change with our
# ports, and all others are somebody else's.
_MADE = "_TRIBUTARY_MADE"


def environment(warehouse: str, metadata: str) -> dict[str, str]:
    """Every variable of the installation; what somebody else has set of Airflow's stays as it is.

    Args:
        warehouse: `postgresql://` URI of the warehouse.
        metadata: SQLAlchemy URI of Airflow's metadata database.
    """
    given = os.environ.get("AIRFLOW__API__PORT", "")
    ui = given if given and is_given("AIRFLOW__API__PORT") else port("ui", 8080)
    ours = {
        "AIRFLOW_HOME": str(config.home() / "airflow"),
        "AIRFLOW_CONN_WAREHOUSE": warehouse,
        METADATA: metadata,
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
    # Who brings Airflow's key brings that of payloads, too: one made up here would read none.
    if not is_given("AIRFLOW__CORE__FERNET_KEY"):
        ours["TRIBUTARY_SECRET_KEY"] = config.payload_key()
    theirs = {name for name in ours if is_given(name)}
    return {
        "TRIBUTARY_HOME": str(config.home()),
        "TRIBUTARY_WAREHOUSE": warehouse,
        **{name: value for name, value in ours.items() if name not in theirs},
        **{name: os.environ[name] for name in theirs & os.environ.keys()},
        _MADE: " ".join(_mark(name, ours[name]) for name in ours if name not in theirs),
        **config.dbt_environment(warehouse),
    }


def has_airflow() -> bool:
    """Whether somebody else has set up an Airflow here: a deployment's, or a database of its own.

    Of an `airflow.cfg` with SQLite we are not sure: Airflow writes such a one by itself.
    """
    if _in_environment(METADATA):
        return True
    found = _file().get("database", {})
    uri = found.get("sql_alchemy_conn", "")
    return bool(uri and not uri.startswith("sqlite")) or any(
        f"sql_alchemy_conn_{how}" in found for how in ("cmd", "secret")
    )


def refuse_a_shells_airflow() -> None:
    """For what starts services of our own: they belong into no other Airflow's database.

    Raises:
        SettingsError: the shell names an Airflow by its home or file, and we have not done so.
    """
    given = [name for name in ("AIRFLOW_HOME", "AIRFLOW_CONFIG") if _in_environment(name)]
    if given and has_airflow():
        raise SettingsError(
            f"This shell has an Airflow of its own ({given[0]} {os.environ[given[0]]}), which "
            f"would be migrated and used: unset {given[0]}, then try again."
        )


def is_given(name: str) -> bool:
    """Whether somebody else has set a variable, or what Airflow reads in its place."""
    if name == "AIRFLOW_HOME":  # many a shell has one, which no other Airflow uses here
        return _in_environment(name) and has_airflow()
    if _in_environment(name):
        return True
    if not name.startswith("AIRFLOW__") or not has_airflow():
        return False
    section, option = name.removeprefix("AIRFLOW__").lower().split("__", 1)
    found = _file().get(section, {})
    return any(option + how in found for how in ("", "_cmd", "_secret"))


def _in_environment(name: str) -> bool:
    if name.startswith("AIRFLOW__") and any(f"{name}_{how}" in os.environ
                                            for how in ("CMD", "SECRET")):  # fmt: skip
        return True
    value = os.environ.get(name)
    return value is not None and _mark(name, value) not in os.environ.get(_MADE, "").split()


def _mark(name: str, value: str) -> str:
    return f"{name}:{sha256(value.encode()).hexdigest()[:16]}"


def _file() -> dict[str, dict[str, str]]:
    """The `airflow.cfg` of an Airflow that is not ours, by section; nothing where there is none."""
    directory = os.environ["AIRFLOW_HOME"] if _in_environment("AIRFLOW_HOME") else None
    path = os.environ.get("AIRFLOW_CONFIG") or (directory and f"{directory}/airflow.cfg")
    parser = ConfigParser(interpolation=None, strict=False)
    if path:
        parser.read(Path(path).expanduser(), encoding="utf-8")
    return {section: dict(parser[section]) for section in parser.sections()}


def programs() -> str:
    """What PATH gains: this virtual environment and the embedded server's psql."""
    from tributary.local.embedded import BIN

    return f"{Path(sys.executable).parent}:{BIN}"


def shell_lines(variables: dict[str, str]) -> str:
    """`export …` lines for a POSIX shell."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    paths = programs()
    return "\n".join([*lines, f'export PATH={shlex.quote(paths)}:"$PATH"'])
