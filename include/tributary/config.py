"""The environment: where files are, the warehouse's URI, secrets, private files.

State is written to `TRIBUTARY_HOME`, or to `.tributary/` in the checkout or, for an installed
package, in the working directory. `local.json` (mode 0600) has the ports and secrets made on
first use.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from tributary.errors import SettingsError

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "_project"  # in a wheel; see setup.py
# Where `dags/`, `dbt/` and `plugins/` are: in the checkout, else in the installed package.
ROOT = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parents[1]
TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")  # what of a warehouse's URI is about TLS


def home() -> Path:
    """The directory of local state, made when absent: secrets and logs, for its owner alone."""
    here = Path.cwd() if ROOT == _SHIPPED else ROOT
    path = Path(os.environ.get("TRIBUTARY_HOME") or here / ".tributary").resolve()
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        _tighten(path)
    return path


def _tighten(path: Path) -> None:
    """Close a directory of an earlier version; its group may pass where `let_pass` allowed it."""
    found = path.stat()
    shared = found.st_mode & stat.S_ISVTX or path == path.parent  # such as /tmp: not ours alone
    if found.st_uid == os.geteuid() and not shared and found.st_mode & 0o067:
        path.chmod(0o700)


def let_pass(group: int) -> None:
    """Let one group through this home to what it owns there; it cannot list or read the rest."""
    path = home()
    if path.stat().st_gid != group or not path.stat().st_mode & stat.S_IXGRP:
        os.chown(path, -1, group)
        path.chmod(0o710)


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A file that its owner alone may read, complete or not there at all.

    It is written under a temporary name and then replaces what is at `path`. A link there, which
    another user may have made, is replaced and never followed.
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


def warehouse_uri() -> str:
    """The URI in `TRIBUTARY_WAREHOUSE`.

    Raises:
        SettingsError: it is not set, or no `postgresql://` URI.
    """
    uri = os.environ.get("TRIBUTARY_WAREHOUSE")
    if not uri:
        raise SettingsError(
            "TRIBUTARY_WAREHOUSE is not set: give it a URI such as "
            'postgresql://user:password@host:5432/name (`eval "$(make -s env)"` sets that of the '
            "local installation)."
        )
    if not uri.startswith("postgresql://"):
        raise SettingsError(
            "TRIBUTARY_WAREHOUSE must be a URI such as postgresql://user:password@host:5432/name."
        )
    return uri


def cap_on_waits() -> float:
    """Upper bound in seconds of each wait between tries: `TRIBUTARY_MAX_WAIT`, or infinity."""
    return float(os.environ.get("TRIBUTARY_MAX_WAIT") or "inf")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the file lock `name` of this home; other processes wait."""
    with open_log(home() / f"{name}.lock") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remembered(key: str, make: Any) -> Any:
    """The value of `key` in `local.json`; on first use the result of `make()` is stored."""
    with locked("local"):
        values = local_values()
        if key not in values:
            values[key] = make()
            write_local_values(values)
        return values[key]


def local_values() -> dict[str, Any]:
    """What `local.json` holds: ports, and secrets made on first use."""
    path = home() / "local.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_local_values(values: dict[str, Any]) -> None:
    """Replace what `local.json` holds; the caller has the lock `local`."""
    write_private(home() / "local.json", json.dumps(values, indent=2, sort_keys=True))


def secret(name: str) -> str:
    """A secret of this home, made on first use (43 URL-safe characters)."""
    value: str = remembered(f"secret_{name}", lambda: secrets.token_urlsafe(32))
    return value


def payload_key() -> str:
    """The Fernet key of webhook payloads: `TRIBUTARY_SECRET_KEY`, else one of this home."""
    return os.environ.get("TRIBUTARY_SECRET_KEY") or as_key(secret("payloads"))


def known_payload_key() -> str | None:
    """The key of webhook payloads, if there is one; none is made, as it would decrypt nothing."""
    given = os.environ.get("TRIBUTARY_SECRET_KEY")
    own = local_values().get("secret_payloads")
    return given or (own and as_key(own))


def as_key(secret: str) -> str:
    """A secret of at least 32 bytes as a Fernet key."""
    return urlsafe_b64encode(secret.encode()[:32]).decode()


def with_driver(uri: str, driver: str, database: str | None = None) -> str:
    """The same Postgres URI for SQLAlchemy with `driver`, and for another database if named."""
    parts = urlsplit(uri)
    path = parts.path if database is None else f"/{database}"
    return urlunsplit((f"postgresql+{driver}", parts.netloc, path, parts.query, ""))


# How marts are built. dbt's unit tests check the code and not the data: they run with the other
# tests.
DBT_BUILD = ("build", "--exclude-resource-type", "unit_test")
# Every row of every mart is computed; no relation is made anew, and equal rows are not written.
DBT_RECOMPUTE = ("--vars", "recompute: true")


def dbt_environment(warehouse: str) -> dict[str, str]:
    """What dbt and `dbt/profiles.yml` read for the production schemas of a `postgresql://` URI."""
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
        "DBT_TARGET": "prod",
        "DBT_PROJECT_DIR": str(ROOT / "dbt"),
        "DBT_PROFILES_DIR": str(ROOT / "dbt"),
        "DBT_TARGET_PATH": str(home() / "dbt" / "target"),
        "DBT_LOG_PATH": str(home() / "dbt" / "logs"),
        # The task's log has dbt's output; writing it to a file as well costs a tenth of a build.
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
