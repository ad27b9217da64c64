"""The test harness: one real embedded Postgres for the session, fresh migrated databases from it.

The home of the tests is a directory of its own, so that a running demo is never touched.
Airflow's variables are set before anything imports Airflow.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

_HOME = tempfile.mkdtemp(prefix="tributary-test-")
for name in [n for n in os.environ if n.startswith(("AIRFLOW_", "TRIBUTARY_", "DBT_"))]:
    del os.environ[name]
os.environ["TRIBUTARY_HOME"] = _HOME
os.environ["TRIBUTARY_MAX_WAIT"] = "0"  # retries happen, their waits do not

from tributary import config  # noqa: E402
from tributary.local import embedded, home  # noqa: E402
from tributary.warehouse import migrate  # noqa: E402

_TEMPLATE = "template_warehouse"
# Airflow's port is held from here on. A port that is only noted may be another worker's by the time
# when the API server wants it: two fresh homes both note 8080.
_AIRFLOWS = socket.socket()
_AIRFLOWS.bind(("127.0.0.1", 0))
config.remembered("port_ui", lambda: _AIRFLOWS.getsockname()[1])


@pytest.fixture(autouse=True)
def command_leaves_the_environment() -> Iterator[None]:
    """What a command sets in its own process for Airflow ends with the test that runs it."""
    names = ("_AIRFLOW_PROCESS_CONTEXT", "AIRFLOW__LOGGING__LOGGING_LEVEL")
    before = {name: os.environ.get(name) for name in names}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_sessionfinish() -> None:
    embedded.stop()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> str:
    """URI of the session's server; it holds an empty migrated database to copy from."""
    embedded.start()
    os.environ.update(
        home.environment(
            embedded.uri(), config.with_driver(embedded.uri(), "psycopg", embedded.METADATA)
        )
    )
    _create(_TEMPLATE)
    migrate(embedded.uri(_TEMPLATE))
    return embedded.uri("postgres")


def _create(name: str, template: str = "template0") -> None:
    with psycopg.connect(embedded.uri("postgres"), autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)')
        connection.execute(f'create database "{name}" template "{template}"')


def _fresh(name: str) -> Iterator[str]:
    _create(name, _TEMPLATE)
    yield embedded.uri(name)
    with psycopg.connect(embedded.uri("postgres"), autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def warehouse(postgres: str) -> Iterator[str]:
    """URI of an empty, migrated warehouse for one test."""
    yield from _fresh("warehouse_of_test")


@pytest.fixture(scope="module")
def module_warehouse(postgres: str) -> Iterator[str]:
    """URI of an empty, migrated warehouse that the tests of a module share."""
    yield from _fresh("warehouse_of_module")


@pytest.fixture
def make_warehouse(postgres: str) -> Iterator[Callable[[str], str]]:
    """Makes empty, migrated warehouses by name, for tests that compare several."""
    made: list[str] = []

    def make(name: str) -> str:
        _create(name, _TEMPLATE)
        made.append(name)
        return embedded.uri(name)

    yield make
    with psycopg.connect(embedded.uri("postgres"), autocommit=True) as connection:
        for name in made:
            connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture(scope="session")
def airflow(postgres: str) -> None:
    """Airflow with a migrated metadata database of its own; import `airflow` after this."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(scope="session")
def sync_dags(airflow: None) -> Callable[[], None]:
    """Writes our DAGs, paused as new ones are, into Airflow's database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    def sync() -> None:
        DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
        sync_bag_to_db(DagBag(config.ROOT / "dags"), "dags-folder", None)

    return sync


@pytest.fixture(scope="session")
def api_server(sync_dags: Callable[[], None]) -> Iterator[str]:
    """URL of Airflow's API server with our plugins, and the DAGs in its database.

    The one of this process, whose environment (the connection `warehouse`) it reads.
    """
    import uvicorn
    from airflow.api_fastapi.app import create_app

    sync_dags()
    server = uvicorn.Server(uvicorn.Config(create_app(apps="core"), log_level="warning"))
    thread = threading.Thread(
        target=server.run, args=([_AIRFLOWS],), name="api-server", daemon=True
    )
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "Airflow's API server did not start"
        assert time.monotonic() < deadline, "Airflow's API server did not start"
        time.sleep(0.05)
    yield os.environ["AIRFLOW__API__BASE_URL"]
    server.should_exit = True
    thread.join(10)
