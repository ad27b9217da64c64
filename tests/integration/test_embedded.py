"""The embedded Postgres in a home of its own: started twice, killed, fooled, locked in."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from tributary import config

pytestmark = pytest.mark.slow


class Home:
    """Runs code in processes of a home of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, code: str) -> Any:
        """What the code prints as JSON; `embedded` and `psycopg` are there."""
        program = "import json, psycopg\nfrom tributary.local import embedded, home\n" + code
        environment = {**os.environ, "TRIBUTARY_HOME": str(self.directory)}
        environment.pop("TRIBUTARY_WAREHOUSE", None)
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=config.ROOT, env=environment,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout or "null")

    def start(self) -> str:
        return str(self.run("print(json.dumps(embedded.start()))"))

    @property
    def pid_file(self) -> Path:
        return self.directory / "postgres" / "postmaster.pid"

    @property
    def postmaster(self) -> int:
        return int(self.pid_file.read_text().splitlines()[0])

    def kill(self, with_backends: bool = False) -> None:
        process = psutil.Process(self.postmaster)
        family = [process, *(process.children() if with_backends else [])]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)


@pytest.fixture
def local() -> Iterator[Home]:
    directory = Path(tempfile.mkdtemp(prefix="tributary-embedded-"))
    directory.chmod(0o755)
    made = Home(directory)
    yield made
    made.kill(with_backends=True)
    shutil.rmtree(directory)


def _count(uri: str) -> int:
    with psycopg.connect(uri) as connection:
        row = connection.execute("select count(*) from t").fetchone()
    assert row is not None
    return int(row[0])


def _fill(uri: str) -> None:
    with psycopg.connect(uri) as connection:
        connection.execute("create table t as select generate_series(1, 1000) as n")


def test_starting_twice_is_starting_once_and_stopping_stops(local: Home) -> None:
    """`make env` in two terminals would start two servers on one directory; or another user of
    the machine could read its password.
    """
    uri = local.start()
    pid = local.postmaster
    assert (local.directory / "local.json").stat().st_mode & 0o077 == 0
    assert (local.directory / "postgres").stat().st_mode & 0o077 == 0
    _fill(uri)
    assert local.start() == uri
    assert local.postmaster == pid
    assert uri.startswith("postgresql://tributary:")
    with psycopg.connect(uri) as connection:
        found = connection.execute("show server_version_num").fetchone()
        assert found is not None
        assert int(found[0]) >= 180000
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(uri.replace("tributary:", "tributary:x"))
    assert local.run("print(json.dumps([embedded.stop(), embedded.stop()]))") == [True, False]
    assert not psutil.pid_exists(pid)
    assert _count(local.start()) == 1000


def test_a_killed_server_keeps_what_was_committed(local: Home) -> None:
    """A power cut would lose committed rows, or keep the server from starting."""
    uri = local.start()
    _fill(uri)
    # A busy backend outlives its postmaster and keeps a plain `pg_ctl start` waiting.
    busy = psycopg.connect(uri, autocommit=True)
    busy.execute("insert into t values (1)")
    open_one = psycopg.connect(uri)
    open_one.execute("insert into t values (2)")
    local.kill()
    again = local.start()
    assert _count(again) == 1001
    busy.close()
    open_one.close()


def test_a_reused_process_id_does_not_fool_it(local: Home) -> None:
    """A stale pid file with another process's id would look like a running server."""
    uri = local.start()
    _fill(uri)
    lines = local.pid_file.read_text().splitlines()
    local.kill()
    with subprocess.Popen(["sleep", "60"]) as somebody:
        local.pid_file.write_text("\n".join([str(somebody.pid), *lines[1:]]) + "\n")
        assert local.run("print(json.dumps(embedded.running()))") is False
        assert _count(local.start()) == 1000
        assert local.postmaster != somebody.pid
        assert somebody.poll() is None
        somebody.terminate()


def test_two_that_start_at_once_share_one_server(local: Home) -> None:
    """Tasks that start together on a new machine would damage each other's data directory."""
    code = "from tributary.local import embedded; print(embedded.start())"
    environment = {**os.environ, "TRIBUTARY_HOME": str(local.directory)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=config.ROOT, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    ended = [process.communicate(timeout=120) for process in running]
    assert {error for _, error in ended} == {""}
    (uri,) = {out.strip() for out, _ in ended}
    _fill(uri)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_below_a_closed_directory() -> None:
    """Root's own home (0700), where checkouts often lie, would have no embedded Postgres."""
    closed = Path(tempfile.mkdtemp(prefix="tributary-closed-"))
    assert closed.stat().st_mode & 0o777 == 0o700
    local = Home(closed / "home")
    try:
        uri = local.start()
        _fill(uri)
        local.kill()
        assert _count(local.start()) == 1000
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        local.kill(with_backends=True)
        shutil.rmtree(closed)
