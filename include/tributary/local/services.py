"""The local installation: the embedded Postgres, Airflow's metadata, the services of `make up`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit, urlunsplit

import psutil

from tributary import config, warehouse
from tributary.errors import TributaryError
from tributary.local import embedded, home
from tributary.local.programs import search_path
from tributary.orchestration import deployment
from tributary.warehouse import ad_accounts


def warehouse_uri() -> str:
    """URI of the warehouse: `TRIBUTARY_WAREHOUSE`, or the embedded server, started when needed.

    Raises:
        SettingsError: the variable is no `postgresql://` URI; or it is not set, and a deployment's
            Airflow is configured, whose warehouse the embedded one is not.
        WarehouseDown: the embedded server does not start.
    """
    wanted = os.environ.get("TRIBUTARY_WAREHOUSE")
    if wanted == embedded.uri() or not (wanted or deployment.has_airflow()):
        return embedded.start()
    return config.warehouse_uri()


def ready() -> dict[str, str]:
    """Start and migrate what is needed; returns the environment of the installation."""
    uri = warehouse_uri()
    warehouse.migrate(uri)
    metadata = _metadata_uri(uri)
    deployment.create_metadata(uri, metadata)
    variables = home.environment(uri, metadata)
    _prepare_airflow(variables, metadata)
    return variables


def airflow_to_ask(uri: str) -> dict[str, str] | None:
    """The environment in which Airflow's metadata can be asked; None where there is none yet."""
    if os.environ.get(deployment.METADATA):
        return {}
    if not (config.home() / "airflow" / "migrated").exists():
        return None
    return home.environment(uri, _metadata_uri(uri))


def _metadata_uri(uri: str) -> str:
    """SQLAlchemy URI of Airflow's metadata: what is set, else a database beside the warehouse."""
    given = os.environ.get(deployment.METADATA)
    if deployment.has_airflow():
        return deployment.metadata()
    if uri == embedded.uri():
        return config.with_driver(embedded.uri(embedded.METADATA), "psycopg")
    return given or config.with_driver(uri, "psycopg", urlsplit(uri).path.lstrip("/") + "_airflow")


def _prepare_airflow(variables: dict[str, str], metadata: str) -> None:
    """Migrate Airflow's metadata when it is new, make the pool, set the password of `admin`."""
    import importlib.metadata

    directory = config.home() / "airflow"
    directory.mkdir(exist_ok=True)
    passwords = _passwords(variables)
    if passwords.parent == directory and not passwords.exists():
        config.write_private(passwords, json.dumps({"admin": config.secret("ui_password")}))
    done = directory / "migrated"
    version = f"{importlib.metadata.version('apache-airflow-core')} {warehouse.where(metadata)}"
    with config.locked("airflow"):
        if not (done.exists() and done.read_text() == version and _has_airflow(metadata)):
            deployment.airflow("db", "migrate", variables=variables)
            done.write_text(version)
        known = "select count(*) as n from slot_pool where pool = %s"
        if _in_metadata(metadata, known, [deployment.POOL]) == 0:
            deployment.make_pool(variables)


def _passwords(variables: dict[str, str]) -> Path:
    return Path(variables["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"


def password(variables: dict[str, str], user: str = "admin") -> str:
    """A user's password for Airflow's own login; empty where there is none."""
    path = _passwords(variables)
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return known.get(user, "")


def _has_airflow(metadata: str) -> bool:
    return bool(_in_metadata(metadata, "select count(to_regclass('public.dag_run')) as n"))


def _in_metadata(metadata: str, statement: LiteralString, values: Sequence[object] = ()) -> int:
    """The column `n` of the first row that a statement gives; 0 where there is none."""
    parts = urlsplit(metadata)
    uri = urlunsplit(("postgresql", parts.netloc, parts.path, parts.query, ""))
    with warehouse.connect(uri) as connection:
        row = connection.execute(statement, values).fetchone()
        return int(row["n"]) if row else 0


def import_connections(
    variables: dict[str, str], connections: dict[str, dict[str, object]]
) -> None:
    """Write connections into Airflow's metadata, in place of those of the same id."""
    path = config.home() / "connections.json"
    config.write_private(path, json.dumps(connections))
    try:
        deployment.airflow("connections", "import", "--overwrite", str(path), variables=variables)
    finally:
        path.unlink()


def start(name: str, command: list[str], variables: dict[str, str]) -> bool:
    """Run a command in the background, in its own session; False when it runs already."""
    if process(name) is not None:
        return False
    path = f"{search_path()}:{os.environ.get('PATH', '')}"
    with config.open_log(config.home() / f"{name}.log") as output:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=config.ROOT,
            env={**os.environ, **variables, "PATH": path}, start_new_session=True,
        )  # fmt: skip
    born = psutil.Process(running.pid).create_time()
    config.write_private(config.home() / f"{name}.pid", json.dumps([running.pid, born]))
    return True


def process(name: str) -> psutil.Process | None:
    """The process of a background service; a reused process id is not mistaken for it."""
    known = _started(name)
    if known is not None:
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(known[0])
            if abs(found.create_time() - known[1]) < 1 and _runs(found):
                return found
    return None


def _started(name: str) -> tuple[int, float] | None:
    """Process id and time of birth of what `start` started last."""
    with suppress(FileNotFoundError, ValueError):
        pid, born = json.loads((config.home() / f"{name}.pid").read_text())
        return pid, born
    return None


def _runs(one: psutil.Process) -> bool:
    try:
        return bool(one.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _family(name: str) -> list[psutil.Process]:
    """All running processes of a service; those too whose leader has been killed.

    They are in the session that `start` opened, whatever their parent is now, or descend from a
    process in it. The system reuses a session's id only when no process is left in it.
    """
    known = _started(name)
    if known is None or known[1] < psutil.boot_time() - 1:
        return []
    with suppress(psutil.NoSuchProcess):
        if abs(psutil.Process(known[0]).create_time() - known[1]) >= 1:
            return []  # the process id, and so the session, is another program's by now
    processes = {one.pid: one for one in psutil.process_iter(["ppid", "create_time"])}
    mine: set[int] = set()
    for pid, one in processes.items():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == known[0] and one.info["create_time"] > known[1] - 1:
                mine.add(pid)
    while more := {
        pid for pid, one in processes.items() if one.info["ppid"] in mine and pid not in mine
    }:
        mine |= more
    return [processes[pid] for pid in mine if _runs(processes[pid])]


def stop(name: str) -> bool:
    """End a background service with all its processes; whether any was running."""
    family = _family(name)
    if not family:
        return False
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    _, alive = psutil.wait_procs(family, timeout=20)
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(alive, timeout=5)
    (config.home() / f"{name}.pid").unlink(missing_ok=True)
    return True


_STARTS = 3  # tries to start a service, each with newly chosen ports


def _start_on_own_ports(
    name: str,
    ports: tuple[str, ...],
    command: Callable[[], tuple[list[str], dict[str, str]]],
    healthy: Callable[[], bool],
    seconds: float,
) -> None:
    """Start a service unless it runs, and wait until it is healthy.

    Another program may take a port between its choice and its use, and answer there: then the
    service is started again, on other ports.

    Args:
        ports: names of the ports that the service listens on, as for `home.port`.
        command: gives the command and its environment, with the ports of that moment.
        healthy: whether the service reports that it is healthy.
        seconds: how long it may take to become healthy.

    Raises:
        TributaryError: it does not become healthy.
    """
    log = f"see {config.home()}/{name}.log"

    leader = process(name)
    if leader is not None and time.time() - leader.create_time() > seconds:
        try:
            if not _has_lost_a_part(name):
                wait_until(healthy, min(seconds, 60), "")  # one slow answer does not end it
        except TributaryError:
            stop(name)

    def ready() -> bool:
        if process(name) is None or _has_lost_a_part(name) or _taken(name, ports):
            raise _Broken
        return healthy()

    for _ in range(_STARTS):
        if process(name) is None:
            stop(name)  # processes that a killed leader has left
            for port in ports:
                home.leave_taken(port)
            start(name, *command())
        try:
            return wait_until(ready, seconds, f"{name} does not become healthy; {log}.")
        except _Broken:
            stop(name)
    raise TributaryError(f"{name} ends as soon as it is started; {log}.")


class _Broken(Exception):
    """A service must be started anew."""


def _has_lost_a_part(name: str) -> bool:
    """Whether a process that the service has started has ended: `airflow standalone` runs on
    without it and does not start it again.
    """
    leader = process(name)
    return leader is None or not all(_runs(one) for one in leader.children())


def _taken(name: str, ports: tuple[str, ...]) -> bool:
    """Whether another program answers on a port of the service."""
    answering = [number for number in map(home.port, ports) if home.answers(number)]
    ours = set()
    for one in _family(name) if answering else ():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            ours |= {
                found.laddr.port
                for found in one.net_connections("tcp")
                if found.status == psutil.CONN_LISTEN
            }
    return not ours.issuperset(answering)


_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_AIRFLOWS_PORTS = ("ui", "worker_logs", "trigger_logs")


def start_airflow(variables: dict[str, str]) -> dict[str, str]:
    """Start scheduler, DAG processor, triggerer and API server; returns when all are healthy.

    Where one of them has ended, as all but the API server do when their database stops, all are
    started again.

    Returns:
        The environment of the installation: its ports may have changed.

    Raises:
        TributaryError: they do not become healthy.
    """

    uri = variables["TRIBUTARY_WAREHOUSE"]
    metadata = _metadata_uri(uri)

    def current() -> dict[str, str]:
        return home.environment(uri, metadata)

    def healthy() -> bool:
        url = f"{_address(current())}/api/v2/monitor/health"
        with urllib.request.urlopen(url, timeout=5) as answer:
            health = json.load(answer)
        return all((health.get(part) or {}).get("status") == "healthy" for part in _PARTS)

    _start_on_own_ports(
        "airflow", _AIRFLOWS_PORTS, lambda: (["airflow", "standalone"], current()), healthy, 180
    )
    return current()


def _address(variables: dict[str, str]) -> str:
    """Where the API server answers on this machine; its base URL may be that of a proxy."""
    base, number = variables["AIRFLOW__API__BASE_URL"], variables.get("AIRFLOW__API__PORT")
    return f"http://127.0.0.1:{number}{urlsplit(base).path.rstrip('/')}" if number else base


def check_page(variables: dict[str, str]) -> None:
    """Make sure that Airflow has the page and the API of the plugin.

    Where a plugin cannot be imported, Airflow answers with its own UI under every path, as HTML.

    Raises:
        TributaryError: says which is absent, and what to do.
    """
    for path, kinds in (
        ("page/static/page.js", ("text/javascript",)),
        ("api/conversions", ("application/json", "application/problem+json")),
    ):
        url = f"{_address(variables)}/tributary/{path}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                status, kind = answer.status, answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            status, kind = error.code, error.headers.get_content_type()
        except OSError as error:
            raise TributaryError(
                f"Airflow does not answer at {variables['AIRFLOW__API__BASE_URL']} "
                f"({getattr(error, 'reason', error)}): `make up` starts it again."
            ) from None
        # 401: this request has no login.
        if status in (200, 401) and kind in kinds:
            continue
        if status == 200:
            why = "plugins/tributary_plugin.py is not loaded: `airflow plugins` says why"
        else:
            why = f"it answers HTTP {status}: the end of {config.home()}/airflow.log says why"
        raise TributaryError(
            f"Airflow runs at {variables['AIRFLOW__API__BASE_URL']}, but without "
            f"/tributary/{path.split('/')[0]}/: {why}. Repair it, then `make down` and `make up`."
        )


def uses_sandbox(uri: str) -> bool:
    """Whether an active ad account or destination has a connection whose host is the sandbox's.

    Args:
        uri: of the warehouse that has the settings.
    """
    known = config.local_values()
    hosts = [_local_url(known[f"port_{name}"]) for name in _SANDBOXS_PORTS
             if f"port_{name}" in known]  # fmt: skip
    with warehouse.connect(uri) as connection:
        names = [row["conn_id"] for row in ad_accounts.connections_in_use(connection)]
    counted = "select count(*) as n from connection where conn_id = any(%s) and host = any(%s)"
    return bool(hosts and _in_metadata(_metadata_uri(uri), counted, [names, hosts]))


_SANDBOXS_PORTS = ("sandbox", "sandbox_ads")


def start_sandbox(variables: dict[str, str]) -> str:
    """Start the sandbox of ad platforms; returns the base URL of its HTTP APIs.

    Raises:
        TributaryError: it does not answer.
    """
    born = config.remembered("sandbox_start", lambda: time.strftime("%Y-%m-%d", time.gmtime(
        time.time() - 120 * 86_400
    )))  # fmt: skip
    before = _sandbox_urls()

    def command() -> tuple[list[str], dict[str, str]]:
        return [
            sys.executable, "-m", "sandbox", "--port", str(home.port("sandbox")),
            "--start", born, "--ads-port", str(home.port("sandbox_ads")), "--unmatched", "5",
        ], variables  # fmt: skip

    def healthy() -> bool:
        url = f"{_sandbox_urls()[0]}/_sandbox/health"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)

    _start_on_own_ports("sandbox", _SANDBOXS_PORTS, command, healthy, 60)
    for old, new in zip(before, _sandbox_urls(), strict=True):
        if old != new:  # connections that have the sandbox's old address get the new one
            _in_metadata(
                _metadata_uri(variables["TRIBUTARY_WAREHOUSE"]),
                "update connection set host = %s where host = %s returning 1 as n",
                [new, old],
            )
    return _sandbox_urls()[0]


def _sandbox_urls() -> tuple[str, str]:
    return _local_url(home.port("sandbox")), ads_url()


def _local_url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def ads_url() -> str:
    """Base URL of the sandbox's Google Ads API (gRPC)."""
    return _local_url(home.port("sandbox_ads"))


def wait_until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Call `true` until it returns True. `OSError` and `ValueError` count as False.

    Raises:
        TributaryError: with the text `otherwise`, after that many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except (OSError, ValueError):  # no answer yet, or none that is JSON
            pass
        if time.monotonic() > deadline:
            raise TributaryError(otherwise)
        time.sleep(0.3)
