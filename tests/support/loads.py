"""What the tests of loads share: a world that can be changed, calls that can be met, whole tables.

Nothing here stands in for the Graph client or for Postgres: rows come over HTTP from the sandbox.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg.rows import dict_row
from tributary import warehouse as wh
from tributary.extract.account import Result, Task, extract_account
from tributary.extract.window import Window
from tributary.platforms.meta.client import Graph
from tributary.platforms.meta.source import MetaSource
from tributary.platforms.source import Account, Memory, Notes
from tributary.settings.apply import apply
from tributary.settings.read import check
from tributary.warehouse.ad_accounts import learn
from tributary.warehouse.load import Fence, Run

from sandbox import reports
from sandbox.call import Answer, Call
from sandbox.delivery import Delivery
from sandbox.graph import Token
from sandbox.objects import AccountSpec
from sandbox.server import Sandbox
from sandbox.world import Clock, World

TOKEN = "a-token-that-sees-everything-0123456789"
START, NOW = date(2025, 3, 18), datetime(2025, 4, 20, 12, tzinfo=UTC)
SINCE, UNTIL = date(2025, 3, 25), date(2025, 4, 5)  # with a change to summer time, over two months
ACCOUNT_ID = "2000000009"
SPEC = AccountSpec(ACCOUNT_ID, "acme", "Acme", "EUR", "Europe/Berlin", campaigns=8, ads=7)
WINDOWS = ("1d_click", "7d_click", "28d_click", "1d_view")

Change = Callable[[str, date, list[Delivery]], list[Delivery]]
Meeting = Callable[[Call, int], None]


class ChangingWorld(World):
    """A world whose past can change: `change(account_id, day, rows)` says how."""

    change: Change = staticmethod(lambda account_id, day, rows: rows)

    def deliveries(self, account_id: str, day: date, now: datetime) -> list[Delivery]:
        return self.change(account_id, day, super().deliveries(account_id, day, now))

    def becomes(self, change: Change) -> None:
        """From now on the world is like this."""
        self.change = change
        reports.pieces.cache_clear()


def _untouched(call: Call, body: Any) -> Any:
    return body


class MeetingSandbox(Sandbox):
    """Calls `meet(call, number)` before it answers, and `tamper(call, body)` after."""

    world: ChangingWorld

    def __init__(self, world: World, **arguments: Any) -> None:
        tokens = {TOKEN: Token(frozenset(world.accounts))}
        super().__init__(world, **{"clock": Clock(NOW), "tokens": tokens, **arguments})
        self.meet: Meeting = lambda call, number: None
        self.tamper: Callable[[Call, Any], Any] = _untouched
        self._plain = self.graph.answer
        self.graph.answer = self._answer  # type: ignore[method-assign]

    def _answer(self, call: Call) -> Answer:
        self.meet(call, len(self.requests))
        answer = self._plain(call)
        if call.method != "GET" or self.tamper is _untouched:
            return answer
        if call.path.endswith("/insights"):  # the pages of a report run do not say their level
            call = call._replace(params={"level": "ad", **call.params})
        body = self.tamper(call, orjson.loads(answer.body))
        return answer._replace(body=orjson.dumps(body))

    def asked_days(self, level: str = "ad") -> list[tuple[str, str]]:
        """The ranges of days that were asked for at a level, first pages only."""
        found = []
        for request in self.requests:
            if request.params.get("level") == level and "after" not in request.params:
                asked = orjson.loads(request.params["time_range"])
                found.append((asked["since"], asked["until"]))
        return found


@contextmanager
def serving(*specs: AccountSpec, start: date = START, **arguments: Any) -> Iterator[MeetingSandbox]:
    """A sandbox with a changing world of these accounts."""
    world = ChangingWorld(start, days=30, accounts=specs or (SPEC,))
    with MeetingSandbox(world, **arguments) as sandbox:
        yield sandbox


def sleeping_in(sandbox: Sandbox) -> Callable[[float], None]:
    """Waits that pass in the sandbox's time and take none of ours."""
    return lambda seconds: sandbox.clock.advance(timedelta(seconds=seconds))


def load(
    uri: str,
    sandbox: Sandbox,
    *,
    run: str = "run-1",
    clear: int = 0,
    since: date = SINCE,
    until: date = UNTIL,
    fence: Fence = lambda: None,
    memory: Memory | None = None,
    graph: Graph | None = None,
    longest_wait: float | None = None,
    account_id: str = ACCOUNT_ID,
    **account: Any,
) -> Result:
    """Load days of an account, as a task does."""
    return extract_account(
        MetaSource,
        graph or Graph(TOKEN, host=sandbox.url, sleep=sleeping_in(sandbox)),
        uri,
        Account(account_id, "meta", name="Acme", **{"attribution_windows": WINDOWS, **account}),
        Window(datetime.now(UTC), since, until),
        Task(Run(run, clear), fence, Notes() if memory is None else memory, longest_wait),
    )


def query(uri: str, statement: str, *arguments: object) -> list[dict[str, Any]]:
    """Rows of the warehouse."""
    with psycopg.connect(uri, row_factory=dict_row) as connection:
        return connection.execute(statement, arguments).fetchall()


_TABLES = (
    "raw.meta_ad_accounts", "raw.meta_campaigns", "raw.meta_adsets", "raw.meta_ads",
    "raw.meta_ad_insights", "raw.meta_account_insights", "ops.loads",
)  # fmt: skip
_INCIDENTAL = {"extracted_at", "run_id", "run_clear_number", "loaded_at"}


def tables(uri: str, *, but: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """All that loads have left, but for when and by which run, and these fields of Graph's."""
    left = {}
    for table in _TABLES:
        rows = query(uri, f"select * from {table}")
        for row in rows:
            for name in but:
                row.get("payload", {}).pop(name, None)
        left[table] = sorted(
            repr(sorted((k, v) for k, v in row.items() if k not in _INCIDENTAL)) for row in rows
        )
    return left


def known(uri: str, account_id: str = ACCOUNT_ID, **learned: Any) -> None:
    """Put the account into the settings, and what earlier runs found to work for it."""
    brand = {
        "slug": "acme",
        "name": "Acme",
        "reporting_currency": "EUR",
        "time_zone": "Europe/Berlin",
        "ad_accounts": [{"platform": "meta", "account_id": account_id, "conn_id": "meta"}],
    }
    with wh.connect(uri, autocommit=True) as connection:
        apply(connection, check({"brands": [brand]}))
        if learned:
            learn(connection, "meta", account_id, learned)


def tried_as_airflow_does(
    once: Callable[[], object], sandbox: Sandbox, retries: int = 40
) -> list[float]:
    """Try until it succeeds or our retry policy gives up; what was waited, in sandbox seconds."""
    from airflow.sdk.definitions.retry_policy import RetryAction
    from tributary.orchestration.retry import RetryByError

    waited: list[float] = []
    for number in itertools.count(1):
        try:
            once()
        except Exception as error:
            decision = RetryByError().evaluate(error, number, retries)
            if decision.action is not RetryAction.RETRY or number > retries:
                raise
            assert decision.retry_delay is not None
            sandbox.clock.advance(decision.retry_delay)
            waited.append(decision.retry_delay.total_seconds())
        else:
            return waited
    raise AssertionError("unreachable")


class FileNotes:
    """A memory that outlives the process, as Airflow's task state store does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _all(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def get(self, key: str) -> Any:
        return self._all().get(key)

    def set(self, key: str, value: Any) -> None:
        self._path.write_text(json.dumps({**self._all(), key: value}))

    def delete(self, key: str) -> None:
        self._path.write_text(json.dumps({k: v for k, v in self._all().items() if k != key}))
