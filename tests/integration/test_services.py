"""Background services as processes: started, found and started again, ended with their children."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tributary.errors import TributaryError
from tributary.local import home, services

# A service of two processes, as Airflow is of four: the child listens, the leader only waits.
LEADER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
time.sleep(600)
"""
CHILD = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Starts the service unless it is well; gives the process id of its leader."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))

    def command() -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-c", LEADER, CHILD, str(home.port("pair"))], {}

    def healthy() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{home.port('pair')}", timeout=5) as answer:
            return bool(answer.status == 200)

    def go() -> int:
        services._start_on_own_ports("pair", ("pair",), command, healthy, 20)
        leader = services.process("pair")
        assert leader is not None
        return int(leader.pid)

    yield go
    services.stop("pair")


def _listener() -> int:
    """The process id behind the service's port."""
    (pid,) = {
        one.pid
        for one in services._family("pair")
        for found in one.net_connections("tcp")
        if found.laddr.port == home.port("pair") and found.status == psutil.CONN_LISTEN
    }
    return int(pid)


def test_a_service_that_is_well_is_left_alone(start: Callable[[], int]) -> None:
    """`make up` restarts an Airflow whose tasks are running."""
    first = start()
    listener = _listener()
    assert (start(), _listener()) == (first, listener)


def test_a_slow_answer_does_not_end_a_service(
    start: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make up` ends an Airflow that is busy with a backfill, and its tasks."""
    first = start()
    answers = iter([TimeoutError("timed out")])
    leader = services.process("pair")
    assert leader is not None
    monkeypatch.setattr(time, "time", lambda: leader.create_time() + 3600)  # it is long up

    def healthy() -> bool:
        for error in answers:
            raise error
        return True

    services._start_on_own_ports("pair", ("pair",), lambda: ([], {}), healthy, 20)
    assert services.process("pair") == psutil.Process(first)


def test_a_process_id_that_is_used_again_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make down` after a crash ends another program's session."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command, start_new_session=True) as foreign:
        try:
            born = psutil.Process(foreign.pid).create_time()
            (tmp_path / "pair.pid").write_text(json.dumps([foreign.pid, born - 60]))
            assert services.stop("pair") is False
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_a_service_that_has_lost_a_part_is_started_again(start: Callable[[], int]) -> None:
    """When its database was restarted Airflow has no scheduler, and `make up` says it runs."""
    first, port = start(), home.port("pair")
    os.kill(_listener(), signal.SIGKILL)
    second = start()
    assert second != first
    assert home.port("pair") == port
    assert not psutil.pid_exists(first)


def test_what_a_killed_leader_left_is_ended(start: Callable[[], int]) -> None:
    """An orphan of an earlier start answers on the old port, beside the new service."""
    first, port = start(), home.port("pair")
    orphan = psutil.Process(_listener())
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while services.process("pair") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = start()
    assert not services._runs(orphan)
    assert (second != first, home.port("pair")) == (True, port)
    assert services.stop("pair")
    assert services._family("pair") == []
    assert not services.stop("pair")


def test_a_port_that_is_taken_before_its_use_is_left(
    start: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make up` takes another program's health check for that of its own Airflow."""
    taken: list[socket.socket] = []
    launch = services.start

    def taken_between(name: str, command: list[str], variables: dict[str, str]) -> bool:
        if not taken:  # another program is a moment quicker
            taken.append(socket.create_server(("127.0.0.1", home.port(name))))
        return launch(name, command, variables)

    monkeypatch.setattr(services, "start", taken_between)
    start()
    assert home.port("pair") != taken[0].getsockname()[1]
    assert _listener() in {one.pid for one in services._family("pair")}
    taken[0].close()


def test_a_service_that_ends_at_once_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make up` waits three minutes for a process that ended at once."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    began = time.monotonic()
    with pytest.raises(TributaryError, match=r"brief ends as soon as it is started; see .*\.log"):
        services._start_on_own_ports(
            "brief", (), lambda: ([sys.executable, "-c", ""], {}), lambda: False, 60
        )
    assert time.monotonic() - began < 20
