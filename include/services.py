"""The local installation: the embedded Postgres, Airflow's metadata, the services of `make up`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql

from include import home, warehouse
from include.errors import SettingsError, TributaryError
from include.warehouse import embedded


def warehouse_uri() -> str:
    """URI of the warehouse: `TRIBUTARY_WAREHOUSE`, or the embedded server, started when needed.

    Raises:
        SettingsError: the variable is no `postgresql://` URI.
        WarehouseDown: it does not answer.
    """
    wanted = os.environ.get("TRIBUTARY_WAREHOUSE")
    if not wanted or wanted == embedded.uri():
        return embedded.start()
    if not wanted.startswith("postgresql://"):
        raise SettingsError(
            "TRIBUTARY_WAREHOUSE must be a URI such as postgresql://user:password@host:5432/name."
        )
    return wanted


def ready() -> dict[str, str]:
    """Start and migrate what is needed; returns the environment of the installation."""
    uri = warehouse_uri()
    warehouse.migrate(uri)
    variables = home.environment(uri, _metadata_uri(uri))
    _prepare_airflow(variables)
    return variables


def _metadata_uri(uri: str) -> str:
    """Airflow's own database beside the warehouse, on the same server."""
    if uri == embedded.uri():
        return home.with_driver(embedded.uri(embedded.METADATA), "psycopg")
    given = os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    metadata = given or home.with_driver(
        uri, "psycopg", urlsplit(uri).path.lstrip("/") + "_airflow"
    )
    if urlsplit(metadata).netloc == urlsplit(uri).netloc:
        _create_database(uri, urlsplit(metadata).path.lstrip("/"))
    return metadata


def _create_database(uri: str, name: str) -> None:
    with warehouse.connect(uri, autocommit=True) as connection:
        known = connection.execute("select 1 from pg_database where datname = %s", [name])
        if known.fetchone() is not None:
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            raise SettingsError(
                f"The warehouse's user may not create the database {name} for Airflow's "
                "metadata: create it, or set AIRFLOW__DATABASE__SQL_ALCHEMY_CONN."
            ) from None


def _prepare_airflow(variables: dict[str, str]) -> None:
    """Migrate Airflow's metadata when it is new, make the pool, set the UI's password."""
    import importlib.metadata

    directory = Path(variables["AIRFLOW_HOME"])
    directory.mkdir(exist_ok=True)
    passwords = directory / "simple_auth_manager_passwords.json.generated"
    if not passwords.exists():
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({"admin": home.secret("ui_password")}))
    metadata = variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    done = directory / "migrated"
    version = f"{importlib.metadata.version('apache-airflow-core')} {warehouse.where(metadata)}"
    with home.locked("airflow"):
        if not (done.exists() and done.read_text() == version and _has_airflow(metadata)):
            _airflow(variables, "db", "migrate")
            done.write_text(version)
        # Airflow never starts a task whose pool is missing, and only warns. Slots are for people
        # to change in the UI: a pool that is there is left as it is.
        if _ask(metadata, "select count(*) as n from slot_pool where pool = 'meta_ads'") == 0:
            _airflow(variables, "pools", "set", "meta_ads", "4", "Meta ad accounts loaded at once")


def _has_airflow(metadata: str) -> bool:
    return bool(_ask(metadata, "select count(to_regclass('public.dag_run')) as n"))


def _ask(metadata: str, question: LiteralString) -> int:
    parts = urlsplit(metadata)
    uri = urlunsplit(("postgresql", parts.netloc, parts.path, parts.query, ""))
    with warehouse.connect(uri) as connection:
        row = connection.execute(question).fetchone()
        return int(row["n"]) if row else 0


def _airflow(variables: dict[str, str], *arguments: str) -> str:
    """Run an `airflow` command; returns what it printed.

    Raises:
        TributaryError: with the end of its output.
    """
    ended = subprocess.run(
        ["airflow", *arguments],
        env=_child(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip()[-1500:]
        raise TributaryError(f"`airflow {' '.join(arguments[:2])}` failed:\n{said}")
    return ended.stdout


def _child(variables: dict[str, str]) -> dict[str, str]:
    path = f"{home.programs()}:{os.environ.get('PATH', '')}"
    return {**os.environ, **variables, "PATH": path}


def import_connections(
    variables: dict[str, str], connections: dict[str, dict[str, object]]
) -> None:
    """Write connections into Airflow's metadata, in place of those of the same id."""
    path = home.home() / "connections.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(connections))
    try:
        _airflow(variables, "connections", "import", "--overwrite", str(path))
    finally:
        path.unlink()


def start(name: str, command: list[str], variables: dict[str, str]) -> bool:
    """Run a command in the background, in a session of its own; False when it runs already."""
    if process(name) is not None:
        return False
    with open(home.home() / f"{name}.log", "ab") as words:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd=home.ROOT,
            env=_child(variables), start_new_session=True,
        )  # fmt: skip
    born = psutil.Process(running.pid).create_time()
    (home.home() / f"{name}.pid").write_text(json.dumps([running.pid, born]))
    return True


def process(name: str) -> psutil.Process | None:
    """The process of a background service; a reused process id is not mistaken for it."""
    try:
        pid, born = json.loads((home.home() / f"{name}.pid").read_text())
        found = psutil.Process(pid)
        if abs(found.create_time() - born) < 1 and found.status() != psutil.STATUS_ZOMBIE:
            return found
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        pass
    return None


def stop(name: str) -> bool:
    """End a background service with all its children; whether it was running."""
    leader = process(name)
    if leader is None:
        return False
    family = [leader, *leader.children(recursive=True)]
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=20)
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(alive, timeout=5)
    (home.home() / f"{name}.pid").unlink(missing_ok=True)
    return True


def leave_taken_ports() -> None:
    """Before Airflow starts: on a port of another program, that one would seem to be ours."""
    if process("airflow") is None:
        for name in ("ui", "worker_logs", "trigger_logs"):
            home.leave_taken(name)


def start_airflow(variables: dict[str, str]) -> None:
    """Start scheduler, DAG processor, triggerer and API server; returns when all are healthy."""
    start("airflow", ["airflow", "standalone"], variables)
    url = f"{variables['AIRFLOW__API__BASE_URL']}/api/v2/monitor/health"
    parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")

    def healthy() -> bool:
        with urllib.request.urlopen(url, timeout=5) as answer:
            health = json.load(answer)
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    wait_until(healthy, 180, f"Airflow does not become healthy; see {home.home()}/airflow.log.")


def start_sandbox(variables: dict[str, str]) -> str:
    """Start the local Graph API; returns its base URL."""
    if process("sandbox") is None:
        home.leave_taken("sandbox")
        home.leave_taken("sandbox_ads")
    number = home.port("sandbox")
    born = home.remembered("sandbox_start", lambda: time.strftime("%Y-%m-%d", time.gmtime(
        time.time() - 120 * 86_400
    )))  # fmt: skip
    command = [
        sys.executable, "-m", "include.sandbox", "--port", str(number), "--start", born,
        "--ads-port", str(home.port("sandbox_ads")), "--unmatched", "5",
    ]  # fmt: skip
    start("sandbox", command, variables)
    url = f"http://127.0.0.1:{number}"

    def healthy() -> bool:
        with urllib.request.urlopen(f"{url}/_sandbox/health", timeout=5) as answer:
            return bool(answer.status == 200)

    wait_until(healthy, 60, f"The sandbox does not answer; see {home.home()}/sandbox.log.")
    return url


def ads_url() -> str:
    """Base URL of the sandbox's Google Ads API (gRPC)."""
    return f"http://127.0.0.1:{home.port('sandbox_ads')}"


def wait_until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Ask until the answer is yes.

    Raises:
        TributaryError: `otherwise`, after that many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TributaryError(otherwise)
        time.sleep(0.3)
