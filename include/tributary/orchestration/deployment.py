"""The Airflow that is configured here: how it is recognised, and what it needs of Tributary.

Nothing of Airflow is imported: its own command does the work, with its own settings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tributary import warehouse
from tributary.errors import SettingsError, TributaryError

METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
POOL = "meta_ads"
# Names the variables that the local installation has set, for the processes that inherit them:
# those may change with its ports. All others were set by somebody else.
MADE = "_TRIBUTARY_MADE"


def has_airflow() -> bool:
    """Whether somebody else has configured an Airflow here, with a database that is not SQLite.

    An `airflow.cfg` with SQLite does not count: Airflow writes such a file by itself.
    """
    return _in_environment(METADATA) or _names_a_database(_file())


def has_airflow_home() -> bool:
    """Whether Airflow's home, `~/airflow` where none is set, has a database or names one."""
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    return (home / "airflow.db").exists() or _names_a_database(_read(home / "airflow.cfg"))


def _names_a_database(found: dict[str, dict[str, str]]) -> bool:
    database = found.get("database", {})
    uri = database.get("sql_alchemy_conn", "")
    return bool(uri and not uri.startswith("sqlite")) or any(
        f"sql_alchemy_conn_{how}" in database for how in ("cmd", "secret")
    )


def is_given(name: str) -> bool:
    """Whether somebody else has set a variable, or what Airflow reads in its place."""
    if name == "AIRFLOW_HOME":  # often set in shells where no other Airflow is used
        return _in_environment(name) and has_airflow()
    if _in_environment(name):
        return True
    if not name.startswith("AIRFLOW__") or not has_airflow():
        return False
    section, option = name.removeprefix("AIRFLOW__").lower().split("__", 1)
    found = _file().get(section, {})
    return any(option + how in found for how in ("", "_cmd", "_secret"))


def mark(name: str, value: str) -> str:
    """The entry of a variable in `MADE`, which holds for this value only."""
    return f"{name}:{sha256(value.encode()).hexdigest()[:16]}"


def given_home() -> str | None:
    """The variable by which somebody else names the home or file of an Airflow, if one does."""
    given = (name for name in ("AIRFLOW_HOME", "AIRFLOW_CONFIG") if _in_environment(name))
    return next(given, None)


def _in_environment(name: str) -> bool:
    if name.startswith("AIRFLOW__") and any(f"{name}_{how}" in os.environ
                                            for how in ("CMD", "SECRET")):  # fmt: skip
        return True
    value = os.environ.get(name)
    return value is not None and mark(name, value) not in os.environ.get(MADE, "").split()


def _file() -> dict[str, dict[str, str]]:
    """The `airflow.cfg` that somebody else has named, by section; empty where there is none."""
    directory = os.environ["AIRFLOW_HOME"] if _in_environment("AIRFLOW_HOME") else None
    path = os.environ.get("AIRFLOW_CONFIG") or (directory and f"{directory}/airflow.cfg")
    return _read(Path(path).expanduser()) if path else {}


def _read(path: Path) -> dict[str, dict[str, str]]:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read(path, encoding="utf-8")
    return {section: dict(parser[section]) for section in parser.sections()}


def prepare(uri: str) -> None:
    """Migrate the warehouse and Airflow's metadata, and make the pool, by Airflow's own settings.

    Raises:
        TributaryError: one of them failed.
    """
    warehouse.migrate(uri)
    create_metadata(uri, metadata())
    airflow("db", "migrate")
    pools = json.loads(airflow("pools", "list", "--output", "json"))
    if POOL not in {pool["pool"] for pool in pools}:
        make_pool()


def metadata() -> str:
    """SQLAlchemy URI of Airflow's metadata database, as Airflow reads it."""
    given = os.environ.get(METADATA)
    return given or airflow("config", "get-value", "database", "sql_alchemy_conn").strip()


def make_pool(variables: Mapping[str, str] | None = None) -> None:
    """Make the pool of the loads. Without it their tasks stay `scheduled`, and Airflow only warns.

    Its slots are for people to change in the UI: make it only where it does not exist.
    """
    airflow("pools", "set", POOL, "4", "Meta ad accounts loaded at once", variables=variables)


def create_metadata(uri: str, metadata_uri: str) -> None:
    """Create the database of Airflow's metadata where it is on the warehouse's own server.

    Args:
        uri: `postgresql://` URI of the warehouse.
        metadata_uri: SQLAlchemy URI of Airflow's metadata database.

    Raises:
        SettingsError: the warehouse's user may not create it.
    """
    if urlsplit(metadata_uri).netloc != urlsplit(uri).netloc:
        return
    name = urlsplit(metadata_uri).path.lstrip("/")
    with warehouse.connect(uri, autocommit=True) as connection:
        known = connection.execute("select 1 from pg_database where datname = %s", [name])
        if known.fetchone() is not None:
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            raise SettingsError(
                f"The warehouse's user may not create the database {name} for Airflow's "
                f"metadata: create it, or set {METADATA}."
            ) from None


def airflow(*arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """Run an `airflow` command of this Python's environment; returns what it printed.

    Args:
        variables: environment variables in addition to those of this process.

    Raises:
        TributaryError: with the end of its output.
    """
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    ended = subprocess.run(
        ["airflow", *arguments],
        env={**os.environ, "PATH": path, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        output = (ended.stderr or ended.stdout).strip()[-1500:]
        raise TributaryError(f"`airflow {' '.join(arguments[:2])}` failed:\n{output}")
    return ended.stdout
