"""Objects of ad accounts in `raw`, such as campaigns and ads: upserted, never deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from psycopg import sql

from tributary.warehouse.connection import Connection, as_jsonb
from tributary.warehouse.load import Layout, Row, Run


def upsert_objects(
    connection: Connection,
    table: str,
    account_id: str,
    pages: Iterable[list[Row]],
    run: Run,
    extracted_at: datetime,
) -> int:
    """Write objects into `raw.<table>` by (account_id, id), page by page; an older read never
    overwrites a newer one. Returns the number of objects received.

    Each page is committed for itself, so that a read that fails on a later one can go on there.
    """
    received = 0
    statement = sql.SQL(
        "insert into raw.{table} as t (account_id, id, payload, extracted_at, run_id) "
        "select distinct on (id) %(account)s, id, payload, %(at)s, %(run)s from staged_objects "
        "on conflict (account_id, id) do update set payload = excluded.payload, "
        "extracted_at = excluded.extracted_at, run_id = excluded.run_id "
        "where t.extracted_at <= excluded.extracted_at"
    ).format(table=sql.Identifier(table))
    connection.execute(
        "create temp table if not exists staged_objects (id text, payload jsonb) "
        "on commit delete rows"
    )
    for page in pages:
        received += len(page)
        with connection.transaction():
            with connection.cursor().copy("copy staged_objects from stdin") as copy:
                for row in page:
                    copy.write_row((row["id"], as_jsonb(row)))
            connection.execute(
                statement, {"account": account_id, "at": extracted_at, "run": run.run_id}
            )
    return received


def missing_parents(
    connection: Connection, layout: Layout, account_id: str, column: str
) -> list[str]:
    """Ids in a field of the staged rows that name no object of `raw` yet."""
    found = connection.execute(
        sql.SQL(
            "select distinct payload ->> {column} as id from staged_rows as s "
            "where payload ->> {column} <> '' and not exists (select 1 from raw.{table} as o "
            "where o.account_id = %s and o.id = s.payload ->> {column}) order by 1"
        ).format(
            column=sql.Literal(column),
            table=sql.Identifier(layout.objects[layout.parents[column]]),
        ),
        [account_id],
    )
    return [row["id"] for row in found]


def object_ids(
    connection: Connection, account_id: str, table: str, below: tuple[str, list[str]] | None
) -> list[str]:
    """Ids of an account's objects; `below` restricts them, such as ("campaign_id", ids)."""
    query = sql.SQL("select id from raw.{} where account_id = %s").format(sql.Identifier(table))
    values: list[Any] = [account_id]
    if below is not None:
        query += sql.SQL(" and payload ->> {} = any(%s)").format(sql.Literal(below[0]))
        values.append(below[1])
    found = connection.execute(query + sql.SQL(" order by id"), values)
    return [row["id"] for row in found]


def stored_object(connection: Connection, table: str, account_id: str, id: str) -> Row | None:
    """An object of `raw` as the platform last gave it; None when it is not stored."""
    row = connection.execute(
        sql.SQL("select payload from raw.{} where account_id = %s and id = %s").format(
            sql.Identifier(table)
        ),
        [account_id, id],
    ).fetchone()
    return row["payload"] if row else None
