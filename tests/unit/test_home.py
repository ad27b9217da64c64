"""What an installation remembers of itself."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from include import home, services


def test_a_port_that_another_program_took_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: `make up` waits for another checkout's Airflow, takes it for its own and serves it."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    before = {name: home.port(name) for name in ("ui", "worker_logs", "sandbox")}
    services.leave_taken_ports()
    assert {name: home.port(name) for name in before} == before
    with socket.create_server(("127.0.0.1", before["ui"])):
        services.leave_taken_ports()
        assert home.port("ui") != before["ui"]
    assert home.port("worker_logs") == before["worker_logs"]


def test_tls_of_the_warehouse_reaches_dbt() -> None:
    """Red: dbt takes any server that answers for the warehouse."""
    variables = home.dbt_environment("postgresql://me:p@db.example/warehouse?sslmode=verify-full")
    assert (variables["PGSSLMODE"], variables["TRIBUTARY_DBT_DATABASE"]) == (
        "verify-full", "warehouse",
    )  # fmt: skip
