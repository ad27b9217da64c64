"""Daily figures of ad accounts: COPY into a staging table, then a day in one transaction each.

An account's day is replaced as one: rows that vanished are deleted, rows that differ are written,
equal rows stay (a reload of unchanged days does not grow the table). Two tries of one task may run
at once, since a task whose supervisor was killed goes on; three things keep them apart: an
advisory lock per account, "a read that began before the stored one is discarded", and a fence that
is called just before the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tributary.warehouse.connection import Connection, as_jsonb

log = logging.getLogger(__name__)

Row = dict[str, Any]
Fence = Callable[[], None]


@dataclass(frozen=True)
class Layout:
    """Where `raw` stores what a platform reports, and how its rows are read.

    Attributes:
        platform: the platform's name in `ops.ad_accounts`.
        title: the platform's name for people.
        report: the name of its daily figures in `ops.loads`.
        account: the table of account objects.
        objects: kind of object → table; parents first.
        parents: field of a row → kind of the object that it names.
        rows: the table of daily figures, partitioned by month.
        key: columns of its key beside account_id and date.
        row_key: date and key of a row as received.
        totals: the table of the account's own daily figures.
        figures: fields of a row that must be numbers; `spend` and `impressions` are among them.
        active: SQL over the last kind of objects: those that are likely to have a row a day.
    """

    platform: str
    title: str
    report: str
    account: str
    objects: Mapping[str, str]
    parents: Mapping[str, str]
    rows: str
    key: tuple[str, ...]
    row_key: Callable[[Row], tuple[str, ...]]
    totals: str
    figures: tuple[str, ...]
    active: str

    @property
    def key_columns(self) -> str:
        """The key's columns below an account, for SQL."""
        return ", ".join(("date", *self.key))


META = Layout(
    platform="meta",
    title="Meta",
    report="ad_insights",
    account="meta_ad_accounts",
    objects={"campaigns": "meta_campaigns", "adsets": "meta_adsets", "ads": "meta_ads"},
    parents={"campaign_id": "campaigns", "adset_id": "adsets", "ad_id": "ads"},
    rows="meta_ad_insights",
    key=("ad_id",),
    row_key=lambda row: (row["date_start"], row["ad_id"]),
    totals="meta_account_insights",
    figures=("spend", "impressions", "clicks", "inline_link_clicks"),
    active="payload ->> 'effective_status' = 'ACTIVE'",
)
LAYOUTS = {layout.platform: layout for layout in (META,)}


@dataclass(frozen=True)
class Run:
    """The Airflow run that writes. A cleared run keeps its id but gains a clearing."""

    run_id: str
    clear_number: int = 0


@dataclass(frozen=True)
class Totals:
    """Sums of a day: spend in major units of the account's currency."""

    rows: int
    spend: Decimal
    impressions: int


def clock(connection: Connection) -> datetime:
    """The warehouse's time: the one clock that all workers share."""
    row = connection.execute("select clock_timestamp() as now").fetchone()
    assert row is not None
    moment: datetime = row["now"]
    return moment


def stage_rows(
    connection: Connection, layout: Layout, pages: Iterable[tuple[int, list[Row] | None]]
) -> None:
    """COPY pages of daily figures into an empty staging table of this session.

    Args:
        pages: the number of the query and its rows; None instead of rows makes void what the query
            gave so far. Of a row that came twice from one query (pages shift when an ad begins to
            deliver) the later counts; rows of one key from several queries (that asked for other
            fields) become one.
    """
    columns = ", ".join(f"{name} text" for name in layout.key)
    with connection.transaction():
        connection.execute("drop table if exists pg_temp.staged_rows")
        connection.execute(
            f"create temp table staged_rows (query int, date date, {columns}, payload jsonb)"
        )
    for query, rows in pages:
        if rows is None:
            connection.execute("delete from staged_rows where query = %s", [query])
            continue
        with connection.cursor().copy("copy staged_rows from stdin") as copy:
            for row in rows:
                copy.write_row((query, *layout.row_key(row), as_jsonb(row)))
    unique = f"create unique index on staged_rows ({layout.key_columns})"
    try:
        with connection.transaction():
            connection.execute(unique)
    except psycopg.errors.UniqueViolation:
        with connection.transaction():
            _merge_staged(connection, layout)
            connection.execute(unique)
    connection.execute("analyze staged_rows")


def _merge_staged(connection: Connection, layout: Layout) -> None:
    key = layout.key_columns
    connection.execute(
        "delete from staged_rows as a using staged_rows as b where a.query = b.query "
        f"and {_same_key(layout, 'a', 'b')} and a.ctid < b.ctid"
    )
    connection.execute(
        "create temp table merged_rows on commit drop as "
        f"select 0 as query, {key}, jsonb_object_agg(key, value order by query) as payload "
        f"from staged_rows, jsonb_each(payload) group by {key}"
    )
    connection.execute("truncate staged_rows")
    connection.execute("insert into staged_rows select * from merged_rows")


def _same_key(layout: Layout, one: str, other: str) -> str:
    return " and ".join(f"{one}.{name} = {other}.{name}" for name in ("date", *layout.key))


def rows_per_day(connection: Connection, layout: Layout, account_id: str) -> int:
    """How many rows a day of the account is likely to have: as lately, else its active objects."""
    lowest = list(layout.objects.values())[-1]
    row = connection.execute(
        "select coalesce((select ceil(avg(rows)) from (select rows from ops.loads "
        "where account_id = %(id)s and report = %(report)s order by date desc limit 28) as l), "
        f"(select count(*) from raw.{lowest} where account_id = %(id)s and {layout.active}))::int "
        "as n",
        {"id": account_id, "report": layout.report},
    ).fetchone()
    return int(row["n"]) if row else 0


def stored_totals(
    connection: Connection, layout: Layout, account_id: str
) -> dict[date, Row | None]:
    """The account's own row of every day whose verdict is `reconciled`; None without delivery."""
    found = connection.execute(
        f"select l.date, r.payload from ops.loads as l left join raw.{layout.totals} as r "
        "on r.account_id = l.account_id and r.date = l.date "
        "where l.account_id = %s and l.report = %s and l.status = 'reconciled' "
        "and l.empty_since is null",
        [account_id, layout.report],
    )
    return {row["date"]: row["payload"] for row in found}


def staged_totals(
    connection: Connection, layout: Layout
) -> tuple[dict[date, Totals], dict[date, list[str]]]:
    """Sums of the staged rows by day; a day without rows is absent.

    A row of which a figure is no number is taken out of the staging table: a cast in dbt would
    refuse it, and with it the build of all brands.

    Returns:
        The sums, and for each day with such rows a sentence about each of them.
    """
    totals = _sums_of_staged(connection, layout)
    if totals is not None:
        return totals, {}
    unreadable: dict[date, list[str]] = {}
    for row in connection.execute(_remove_unreadable(layout)).fetchall():
        wrong = ", ".join(f"{name} {value}" for name, value in sorted(row["wrong"].items()))
        unreadable.setdefault(row["date"], []).append(
            f"the row of ad {row['id']} has no number in {wrong}"
        )
    totals = _sums_of_staged(connection, layout)
    assert totals is not None
    return totals, unreadable


_NUMBER = "^-?[0-9]+([.][0-9]+)?$"


def _remove_unreadable(layout: Layout) -> str:
    return f"""
with wrong as (
    select s.ctid, jsonb_object_agg(f.key, left(f.value, 40)) as wrong
    from staged_rows as s, jsonb_each_text(s.payload) as f
    where f.key = any(array{list(layout.figures)}) and f.value !~ '{_NUMBER}'
    group by s.ctid
)
delete from staged_rows as s using wrong where s.ctid = wrong.ctid
returning s.date, s.{layout.key[-1]} as id, wrong.wrong
"""


def _sums_of_staged(connection: Connection, layout: Layout) -> dict[date, Totals] | None:
    """The sums by day; None when a figure of a row is no number."""
    sums = ", ".join(
        f"coalesce(sum((payload ->> '{name}')::numeric), 0) as {name}" for name in layout.figures
    )
    try:
        with connection.transaction():
            found = connection.execute(
                f"select date, count(*) as rows, {sums} from staged_rows group by date"
            ).fetchall()
    except psycopg.errors.DataError:
        return None
    if not all(row[name].is_finite() for row in found for name in layout.figures):
        return None
    return {
        row["date"]: Totals(row["rows"], row["spend"], int(row["impressions"])) for row in found
    }


EMPTY_DAYS_KEPT = timedelta(days=3)


def keep_empty_day(
    connection: Connection, layout: Layout, account_id: str, day: date, fence: Fence
) -> datetime | None:
    """Whether the stored rows of a day with spend stay, now that the platform answers with none.

    Returns:
        Since when the platform has given this answer, if that is less than three days; the stored
        rows stay. None when the answer is to be taken: the day had no spend, or the answer lasts.
    """
    key = [account_id, layout.report, day]
    with connection.transaction():
        _lock(connection, f"insights of {account_id}")
        row = connection.execute(
            "select coalesce(empty_since, clock_timestamp()) as since, empty_since is null as new, "
            "clock_timestamp() as now from ops.loads where account_id = %s and report = %s "
            "and date = %s and (spend > 0 or account_spend > 0)",
            key,
        ).fetchone()
        if row is None:
            return None
        if row["now"] - row["since"] >= EMPTY_DAYS_KEPT:
            log.warning(
                "%s: %s had spend, and %s has answered with none since %s: taken as true",
                account_id, day, layout.title,
                f"{row['since']:%Y-%m-%d %H:%M %Z}",
            )  # fmt: skip
            return None
        if row["new"]:
            connection.execute(
                "update ops.loads set empty_since = %s "
                "where account_id = %s and report = %s and date = %s",
                [row["since"], *key],
            )
        fence()
    since: datetime = row["since"]
    return since


def ensure_partitions(connection: Connection, layout: Layout, days: Sequence[date]) -> None:
    """Create the monthly partitions of the table of daily figures that these days need.

    Attaching takes a lock that lets other loads go on; `create … partition of` would wait for them.
    """
    for month in sorted({day.replace(day=1) for day in days}):
        name = f"{layout.rows}_{month:%Y_%m}"
        following = (
            month.replace(year=month.year + 1, month=1)
            if month.month == 12
            else month.replace(month=month.month + 1)
        )
        # Not to_regclass(): it would remember, behind the lock, that the table was not there.
        known = "select from pg_tables where schemaname = 'raw' and tablename = %s"
        with connection.transaction():
            if connection.execute(known, [name]).fetchone() is not None:
                continue
            _lock(connection, f"partitions of raw.{layout.rows}")
            if connection.execute(known, [name]).fetchone() is not None:
                continue
            connection.execute(
                sql.SQL("create table raw.{name} (like raw.{table} including all)").format(
                    name=sql.Identifier(name), table=sql.Identifier(layout.rows)
                )
            )
            connection.execute(
                sql.SQL(
                    "alter table raw.{table} attach partition raw.{name} "
                    "for values from ({since}) to ({until})"
                ).format(
                    table=sql.Identifier(layout.rows),
                    name=sql.Identifier(name),
                    since=sql.Literal(month.isoformat()),
                    until=sql.Literal(following.isoformat()),
                )
            )


def replace_day(
    connection: Connection,
    layout: Layout,
    account_id: str,
    day: date,
    *,
    rows: Totals,
    account: Totals,
    account_row: Row | None,
    status: str,
    run: Run,
    read_began: datetime,
    fence: Fence,
) -> bool:
    """Put the staged rows of a day in the place of the stored ones, with the ledger's row.

    Args:
        rows: the sums of the staged rows.
        account: the account's own figures.
        account_row: them as received; None when the account had no delivery.
        read_began: `clock()` before the first call of the read that these rows come from.
        fence: called last before the commit; raises when this try may not write any more.

    Returns:
        False when a newer read of the day is stored already: then nothing was written.
    """
    key = {
        "account": account_id,
        "report": layout.report,
        "day": day,
        "at": read_began,
        "run": run.run_id,
    }
    columns = layout.key_columns
    with connection.transaction():
        _lock(connection, f"insights of {account_id}")
        before = connection.execute(
            "select rows, spend, impressions, account_spend, account_impressions, status, "
            "extracted_at from ops.loads where account_id = %(account)s and report = %(report)s "
            "and date = %(day)s",
            key,
        ).fetchone()
        if before is not None and before["extracted_at"] > read_began:
            log.warning("%s: a newer read of %s is stored; this one is discarded", account_id, day)
            return False
        vanished = connection.execute(
            f"delete from raw.{layout.rows} as t "
            "where t.account_id = %(account)s and t.date = %(day)s and not exists ("
            f"select 1 from staged_rows as s where {_same_key(layout, 's', 't')})",
            key,
        ).rowcount
        written = connection.execute(
            f"insert into raw.{layout.rows} as t "
            f"(account_id, {columns}, payload, extracted_at, run_id) "
            f"select %(account)s, {columns}, payload, %(at)s, %(run)s "
            "from staged_rows where date = %(day)s "
            f"on conflict (account_id, {columns}) do update set payload = excluded.payload, "
            "extracted_at = excluded.extracted_at, run_id = excluded.run_id "
            "where t.payload is distinct from excluded.payload",
            key,
        ).rowcount
        if account_row is None:
            connection.execute(
                f"delete from raw.{layout.totals} "
                "where account_id = %(account)s and date = %(day)s",
                key,
            )
        else:
            connection.execute(
                f"insert into raw.{layout.totals} as t "
                "(account_id, date, payload, extracted_at, run_id) "
                "values (%(account)s, %(day)s, %(payload)s::jsonb, %(at)s, %(run)s) "
                "on conflict (account_id, date) do update set payload = excluded.payload, "
                "extracted_at = excluded.extracted_at, run_id = excluded.run_id "
                "where t.payload is distinct from excluded.payload",
                {**key, "payload": as_jsonb(account_row)},
            )
        connection.execute(
            "insert into ops.loads (account_id, report, date, rows, spend, impressions, "
            "account_spend, account_impressions, status, run_id, run_clear_number, extracted_at, "
            "loaded_at) values (%(account)s, %(report)s, %(day)s, %(rows)s, %(spend)s, "
            "%(impressions)s, %(account_spend)s, %(account_impressions)s, %(status)s, %(run)s, "
            "%(clear_number)s, %(at)s, clock_timestamp()) "
            "on conflict (account_id, report, date) do update set rows = excluded.rows, "
            "spend = excluded.spend, impressions = excluded.impressions, "
            "account_spend = excluded.account_spend, "
            "account_impressions = excluded.account_impressions, status = excluded.status, "
            "run_id = excluded.run_id, run_clear_number = excluded.run_clear_number, "
            "extracted_at = excluded.extracted_at, loaded_at = excluded.loaded_at, "
            "empty_since = null",
            {
                **key,
                "rows": rows.rows,
                "spend": rows.spend,
                "impressions": rows.impressions,
                "account_spend": account.spend,
                "account_impressions": account.impressions,
                "status": status,
                "clear_number": run.clear_number,
            },
        )
        if before is not None and before["status"] != "loaded" and vanished + written:
            _record_restatement(connection, key, before, vanished + written)
        fence()
    return True


def _record_restatement(
    connection: Connection, key: dict[str, Any], before: Row, changed_rows: int
) -> None:
    """Keep the sums that a closed day had and those that it has now."""
    figures = ("rows", "spend", "impressions", "account_spend", "account_impressions")
    connection.execute(
        "insert into ops.restatements "
        "(account_id, report, date, before, after, changed_rows, restated_at, run_id) "
        "select account_id, report, date, jsonb_build_object("
        + ", ".join(f"'{name}', %(before_{name})s::numeric" for name in figures)
        + "), jsonb_build_object("
        + ", ".join(f"'{name}', {name}" for name in figures)
        + "), %(changed)s, loaded_at, run_id from ops.loads "
        "where account_id = %(account)s and report = %(report)s and date = %(day)s",
        {
            **key,
            **{f"before_{name}": before[name] for name in figures},
            "changed": changed_rows,
        },
    )


def finished_days(connection: Connection, layout: Layout, account_id: str, run: Run) -> set[date]:
    """Days that this very run has loaded already, in an earlier try. Unreconciled ones are not
    finished: the next try reads them once more.
    """
    found = connection.execute(
        "select date from ops.loads where account_id = %s and report = %s and run_id = %s "
        "and run_clear_number = %s and status <> 'unreconciled'",
        [account_id, layout.report, run.run_id, run.clear_number],
    )
    return {row["date"] for row in found}


def _lock(connection: Connection, name: str) -> None:
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
