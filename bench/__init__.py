"""Benchmarks: what a thing costs, beside a floor that is measured in the same run."""

from __future__ import annotations

import psycopg
from tributary import warehouse
from tributary.local import embedded


def fresh_warehouse(name: str) -> str:
    """URI of an empty, migrated database of that name on the running embedded server."""
    with psycopg.connect(embedded.uri("postgres"), autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)')
        connection.execute(f'create database "{name}" template template0')
    warehouse.migrate(embedded.uri(name))
    return embedded.uri(name)
