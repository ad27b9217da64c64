"""What loading ad insights costs, beside a floor that is measured in the same run.

The floor is the least that could be done: plain paged GETs of the same rows, COPYed as jsonb into a
table without an index. Each measurement is a process of its own, and the sandbox another, so that
CPU and memory are the client's alone.

    python -m bench.extraction            # everything
    python -m bench.extraction --small    # without the million rows
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import psycopg
import requests
from rich.console import Console
from rich.table import Table
from tributary.extract.account import Task, extract_account
from tributary.extract.window import Window
from tributary.local import embedded
from tributary.platforms.meta.client import Graph
from tributary.platforms.meta.source import MetaSource
from tributary.platforms.source import Account, Notes
from tributary.warehouse.load import Run

from bench import fresh_warehouse
from sandbox.graph import Token
from sandbox.objects import AccountSpec
from sandbox.server import Sandbox
from sandbox.world import Clock, World

TOKEN, ACCOUNT = "bench-token", "7000000001"
START = date(2025, 1, 1)
DATABASE = "bench_extraction"


def _serve(pipe: Any, ads: int, days: int, latency: float) -> None:
    spec = AccountSpec(
        ACCOUNT, "bench", "Bench", "USD", "America/New_York", campaigns=ads // 50, adsets=5, ads=10
    )
    world = World(START, days=days, accounts=[spec])
    clock = Clock(datetime.combine(START + timedelta(days=days + 2), datetime.min.time(), UTC))
    tokens = {TOKEN: Token(frozenset({ACCOUNT}))}
    with Sandbox(world, clock=clock, tokens=tokens, latency=latency) as sandbox:
        sandbox.limits.change(report_seconds=0, report_rows_per_second=0)  # its clock does not move
        pipe.send(sandbox.url)
        pipe.recv()


@contextmanager
def serving(ads: int, days: int, latency: float = 0.0) -> Iterator[str]:
    """A sandbox in a process of its own; yields its URL. Its answers are computed beforehand."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(there, ads, days, latency))
    process.start()
    yield here.recv()
    here.send("end")
    process.join()


def _floor(url: str, uri: str, since: date, until: date) -> dict[str, Any]:
    """Plain paged GETs and COPY."""
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {TOKEN}"
    statuses = ["ACTIVE", "PAUSED", "DELETED", "ARCHIVED", "CAMPAIGN_PAUSED", "ADSET_PAUSED"]
    params: dict[str, str] | None = {
        "level": "ad",
        "time_increment": "1",
        "limit": "500",
        "fields": "account_id,account_name,account_currency,campaign_id,campaign_name,adset_id,"
        "adset_name,ad_id,ad_name,impressions,reach,frequency,clicks,inline_link_clicks,spend,"
        "actions,action_values",
        "time_range": json.dumps({"since": str(since), "until": str(until)}),
        "filtering": json.dumps(
            [{"field": "ad.effective_status", "operator": "IN", "value": statuses}]
        ),
    }
    rows = calls = 0
    following: str | None = f"{url}/v26.0/act_{ACCOUNT}/insights"
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("create table floor (date date, ad_id text, payload jsonb)")
        while following:
            answer = orjson.loads(http.get(following, params=params, timeout=60).content)
            calls, params = calls + 1, None
            with connection.cursor().copy("copy floor from stdin") as copy:
                for row in answer["data"]:
                    copy.write_row((row["date_start"], row["ad_id"], orjson.dumps(row).decode()))
            rows += len(answer["data"])
            following = answer.get("paging", {}).get("next")
    return {"rows": rows, "calls": calls}


def _ours(url: str, uri: str, since: date, until: date) -> dict[str, Any]:
    """One account's load as its task does it: hierarchy, insights, totals, verdicts."""
    result = extract_account(
        MetaSource,
        Graph(TOKEN, host=url),
        uri,
        Account(ACCOUNT, "bench", name="Bench"),
        Window(datetime.now(UTC), since, until),
        Task(Run("bench"), lambda: None, Notes()),
    )
    assert set(result.days) == {"loaded", "reconciled"}, result
    return {"rows": result.rows, "calls": result.calls}


_KINDS: dict[str, Callable[[str, str, date, date], dict[str, Any]]] = {
    "floor": _floor,
    "ours": _ours,
}


def _measure(kind: str, url: str, uri: str, since: str, until: str) -> None:
    """In a process of its own: prints what it cost as JSON. Imports are not counted."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = _KINDS[kind](url, uri, date.fromisoformat(since), date.fromisoformat(until))
    found["cpu"] = time.process_time() - cpu
    found["wall"] = time.perf_counter() - wall
    found["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def measured(kind: str, url: str, days: int) -> dict[str, Any]:
    """What a kind of load costs, on a fresh database."""
    uri = fresh_warehouse(DATABASE)
    until = START + timedelta(days=days - 1)
    command = [sys.executable, "-m", "bench.extraction", "--measure", kind, url, uri]
    ended = subprocess.run(
        [*command, str(START), str(until)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        _measure(*options.measure)
        return
    embedded.start()
    table = Table(title="Loading ad insights", title_justify="left")
    for name in ("what", "rows", "calls", "CPU s", "wall s", "peak MB"):
        table.add_column(name, justify="left" if name == "what" else "right")

    def show(what: str, found: dict[str, Any]) -> dict[str, Any]:
        table.add_row(
            what, f"{found['rows']:,}", f"{found['calls']:,}", f"{found['cpu']:.2f}",
            f"{found['wall']:.2f}", f"{found['rss']:.0f}",
        )  # fmt: skip
        return found

    with serving(ads=1650, days=28) as url:
        measured("floor", url, 28)  # the sandbox computes its rows once
        floor = show("floor", measured("floor", url, 28))
        ours = show("ours, no latency", measured("ours", url, 28))
    with serving(ads=1650, days=28, latency=0.3) as url:
        slow = show("ours, 300 ms a call", measured("ours", url, 28))
    if not options.small:
        with serving(ads=27_500, days=140) as url:
            show("ours, a million rows", measured("ours", url, 140))
    console = Console(width=110)
    console.print(table)
    per = 20_000 / ours["rows"]
    console.print(
        f"Per 20,000 rows: {ours['calls'] * per:.0f} calls (goal 50), {ours['cpu'] * per:.2f} CPU "
        f"s (goal 0.5; {ours['cpu'] / floor['cpu']:.1f} x the floor, goal 5), "
        f"{ours['wall'] * per:.2f} s wall (goal 1.5)."
    )
    console.print(
        f"At 300 ms: wall {slow['wall'] / (slow['calls'] * 0.3):.2f} x calls x latency (goal 1.3; "
        "one call at a time)."
    )
    with psycopg.connect(embedded.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {DATABASE} with (force)")


if __name__ == "__main__":
    main()
