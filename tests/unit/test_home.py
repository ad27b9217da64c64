"""What an installation remembers of itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from include import home


def test_a_port_that_another_program_took_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: `make up` waits for another checkout's Airflow, takes it for its own and serves it."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    before = {name: home.port(name) for name in ("ui", "worker_logs", "sandbox")}
    for name in before:
        home.leave_taken(name)
    assert {name: home.port(name) for name in before} == before
    with socket.create_server(("127.0.0.1", before["ui"])):
        for name in before:
            home.leave_taken(name)
        assert home.port("ui") != before["ui"]
    assert home.port("worker_logs") == before["worker_logs"]


def test_tls_of_the_warehouse_reaches_dbt() -> None:
    """Red: dbt takes any server that answers for the warehouse."""
    variables = home.dbt_environment("postgresql://me:p@db.example/warehouse?sslmode=verify-full")
    assert (variables["PGSSLMODE"], variables["TRIBUTARY_DBT_DATABASE"]) == (
        "verify-full", "warehouse",
    )  # fmt: skip


def test_what_a_person_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Red: `make up` throws away the users of the local login, and every other choice."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path))
    users = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
    uri = "postgresql://u:p@127.0.0.1:9/w"
    monkeypatch.delenv(users, raising=False)
    monkeypatch.delenv("AIRFLOW__CORE__PARALLELISM", raising=False)
    before = home.environment(uri, uri)
    assert (users in before, before["AIRFLOW__CORE__PARALLELISM"]) == (False, "8")
    monkeypatch.setenv(users, "admin:admin,vera:viewer")
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "3")
    assert ({**os.environ, **home.environment(uri, uri)}[users]) == "admin:admin,vera:viewer"
    assert home.environment(uri, uri)["AIRFLOW__CORE__PARALLELISM"] == "3"
