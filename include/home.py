"""Where local state lives, and the environment that makes plain `airflow`, `dbt` and `psql` work.

State lives under `.tributary/` in the checkout, or in `TRIBUTARY_HOME`: the embedded Postgres,
Airflow's home, logs, and `local.json` (mode 0600) with the ports and secrets made on first use.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
import socket
import stat
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from include.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")  # what of a warehouse's URI is about TLS


def home() -> Path:
    """The directory of local state, made when absent: secrets and logs, for its owner alone."""
    path = Path(os.environ.get("TRIBUTARY_HOME") or ROOT / ".tributary").resolve()
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        _tighten(path)
    return path


def _tighten(path: Path) -> None:
    """Close a directory of an earlier version; the group may pass where `let_pass` said so."""
    found = path.stat()
    shared = found.st_mode & stat.S_ISVTX or path == path.parent  # such as /tmp: not ours alone
    if found.st_uid == os.geteuid() and not shared and found.st_mode & 0o067:
        path.chmod(0o700)


def let_pass(group: int) -> None:
    """Let one group through this home to what it owns in it, without a look at the rest."""
    path = home()
    if path.stat().st_gid != group or not path.stat().st_mode & stat.S_IXGRP:
        os.chown(path, -1, group)
        path.chmod(0o710)


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A file that its owner alone may read, complete or not there at all.

    It is written under a name of its own and takes the place of what is at `path`, which may be a
    link of somebody else's: that is replaced and never followed.
    """
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def write_private(path: Path, text: str) -> None:
    """Put a text into a file that its owner alone may read."""
    with private_file(path) as file:
        file.write(text.encode())


def open_log(path: Path) -> BinaryIO:
    """A log to append to, for its owner alone."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(handle, 0o600)
    return os.fdopen(handle, "ab")


def cap_on_waits() -> float:
    """Seconds that no wait between tries may exceed: `TRIBUTARY_MAX_WAIT`, or no cap."""
    return float(os.environ.get("TRIBUTARY_MAX_WAIT") or "inf")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the file lock `name` of this home; other processes wait."""
    with open_log(home() / f"{name}.lock") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remembered(key: str, make: Any) -> Any:
    """The value of `key` in `local.json`; on first use the result of `make()` is stored."""
    path = home() / "local.json"
    with locked("local"):
        values = json.loads(path.read_text()) if path.exists() else {}
        if key not in values:
            values[key] = make()
            write_private(path, json.dumps(values, indent=2, sort_keys=True))
        return values[key]


def forget(key: str) -> None:
    """Drop `key` from `local.json`, so that it is made anew."""
    path = home() / "local.json"
    with locked("local"):
        values = json.loads(path.read_text()) if path.exists() else {}
        values.pop(key, None)
        write_private(path, json.dumps(values, indent=2, sort_keys=True))


def secret(name: str) -> str:
    """A secret of this home, made on first use (43 URL-safe characters)."""
    value: str = remembered(f"secret_{name}", lambda: secrets.token_urlsafe(32))
    return value


def payload_key() -> str:
    """What webhook payloads are encrypted with: the given key, else one of this home."""
    return os.environ.get("TRIBUTARY_SECRET_KEY") or _as_key(secret("payloads"))


def known_payload_key() -> str | None:
    """The same, where there is one: payloads that are there cannot be read with a new one."""
    given = os.environ.get("TRIBUTARY_SECRET_KEY")
    path = home() / "local.json"
    own = json.loads(path.read_text()).get("secret_payloads") if path.exists() else None
    return given or (own and _as_key(own))


def _as_key(secret: str) -> str:
    return urlsafe_b64encode(secret.encode()[:32]).decode()


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

    number: int = remembered(f"port_{name}", choose)
    return number


def leave_taken(name: str) -> None:
    """Let a service that is not running choose again when something else has taken its port."""
    path = home() / "local.json"
    values = json.loads(path.read_text()) if path.exists() else {}
    number = values.get(f"port_{name}")
    if number is not None and answers(number):
        forget(f"port_{name}")


def answers(number: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", number)) == 0


def with_driver(uri: str, driver: str, database: str | None = None) -> str:
    """The same Postgres URI for SQLAlchemy with `driver`, and for another database if named."""
    parts = urlsplit(uri)
    path = parts.path if database is None else f"/{database}"
    return urlunsplit((f"postgresql+{driver}", parts.netloc, path, parts.query, ""))


# How marts are built. Unit tests are about the code, not about what was loaded: they run with the
# other tests. And nobody reads here the description of the project that dbt would write as JSON.
DBT_BUILD = ("build", "--exclude-resource-type", "unit_test", "--no-write-json")


def dbt_environment(warehouse: str) -> dict[str, str]:
    """What `dbt/profiles.yml` reads, from a `postgresql://` URI."""
    parts = urlsplit(warehouse)
    return {
        # dbt's profile leaves TLS to libpq.
        **{f"PG{key.upper()}": value for key, value in parse_qsl(parts.query) if key in TLS},
        "TRIBUTARY_DBT_HOST": parts.hostname or "127.0.0.1",
        "TRIBUTARY_DBT_PORT": str(parts.port or 5432),
        "TRIBUTARY_DBT_USER": unquote(parts.username or "postgres"),
        "TRIBUTARY_DBT_DATABASE": parts.path.lstrip("/") or "postgres",
        # dbt scrubs variables of this prefix from its logs.
        "DBT_ENV_SECRET_TRIBUTARY_PASSWORD": unquote(parts.password or ""),
        "DBT_PROJECT_DIR": str(ROOT / "dbt"),
        "DBT_PROFILES_DIR": str(ROOT / "dbt"),
        "DBT_TARGET_PATH": str(home() / "dbt" / "target"),
        "DBT_LOG_PATH": str(home() / "dbt" / "logs"),
        # The task's log has what dbt says; writing it once more costs a tenth of a build.
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


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
        "AIRFLOW_HOME": str(home() / "airflow"),
        "AIRFLOW_CONN_WAREHOUSE": warehouse,
        METADATA: metadata,
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": _as_key(secret("fernet")),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{ui}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ui),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{ui}",
        "AIRFLOW__API__SECRET_KEY": secret("api"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secret("jwt") + secret("jwt_2"),
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
        ours["TRIBUTARY_SECRET_KEY"] = payload_key()
    theirs = {name for name in ours if is_given(name)}
    return {
        "TRIBUTARY_HOME": str(home()),
        "TRIBUTARY_WAREHOUSE": warehouse,
        **{name: value for name, value in ours.items() if name not in theirs},
        **{name: os.environ[name] for name in theirs & os.environ.keys()},
        _MADE: " ".join(_mark(name, ours[name]) for name in ours if name not in theirs),
        **dbt_environment(warehouse),
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
    from include.warehouse.embedded import BIN

    return f"{Path(sys.executable).parent}:{BIN}"


def shell_lines(variables: dict[str, str]) -> str:
    """`export …` lines for a POSIX shell."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    paths = programs()
    return "\n".join([*lines, f'export PATH={shlex.quote(paths)}:"$PATH"'])
