"""The sandbox of `make up`, as a process, and the connections that lead to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from tributary.local import embedded, home, services

from tests.support.edge import two_brands


@pytest.fixture
def connections(airflow: None) -> Iterator[dict[str, str]]:
    """Hosts of connections by their id; made for the test."""
    hosts = {
        "to_sandbox": f"http://127.0.0.1:{home.port('sandbox')}",
        "to_its_ads": f"http://127.0.0.1:{home.port('sandbox_ads')}",
        "to_meta": "https://graph.facebook.com",
    }
    with psycopg.connect(embedded.uri(embedded.METADATA)) as connection:
        for name, host in hosts.items():
            connection.execute(
                "insert into connection (conn_id, conn_type, host, is_encrypted, "
                "is_extra_encrypted) values (%s, 'meta', %s, false, false)",
                [name, host],
            )
    yield hosts
    services.stop("sandbox")
    with psycopg.connect(embedded.uri(embedded.METADATA)) as connection:
        connection.execute("delete from connection where conn_id = any(%s)", [list(hosts)])


def test_connections_follow_the_sandbox_to_another_port(connections: dict[str, str]) -> None:
    """When another program takes the sandbox's port, every load of the demo fails: its connections
    still have the old address.
    """
    port = urlsplit(connections["to_sandbox"]).port
    with socket.create_server(("127.0.0.1", port or 0)):
        url = services.start_sandbox(dict(os.environ))
    assert url != connections["to_sandbox"]
    with psycopg.connect(embedded.uri(embedded.METADATA)) as connection:
        asked = "select conn_id, host from connection where conn_id = any(%s)"
        hosts: dict[str, str] = dict(connection.execute(asked, [list(connections)]).fetchall())
    assert hosts == {**connections, "to_sandbox": url}
    assert services.start_sandbox(dict(os.environ)) == url


def test_the_sandbox_starts_only_where_the_settings_use_it(
    connections: dict[str, str], warehouse: str
) -> None:
    """`make up` runs fake ad platforms beside an installation that loads from Meta alone."""
    assert not services.uses_sandbox(warehouse)  # connections alone are not used
    two_brands(warehouse)
    with psycopg.connect(warehouse) as connection:
        connection.execute("update ops.destinations set conn_id = 'to_meta'")
    assert not services.uses_sandbox(warehouse)
    with psycopg.connect(warehouse) as connection:
        connection.execute(
            "update ops.destinations set conn_id = 'to_its_ads', is_active = false "
            "where name = 'acme-meta'"
        )
    assert not services.uses_sandbox(warehouse)
    with psycopg.connect(warehouse) as connection:
        connection.execute("update ops.destinations set is_active = true")
    assert services.uses_sandbox(warehouse)
