"""What the tests of loads share: a world that can be changed, calls that can be met, whole tables.

Nothing here stands in for the Graph client or for Postgres: rows come over HTTP from the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import orjson
import psycopg
from psycopg.rows import dict_row

from include.extraction import Account, Result, Window, extract_account
from include.meta.client import Graph
from include.sandbox import reports
from include.sandbox.delivery import Delivery
from include.sandbox.graph import Answer, Call, Token
from include.sandbox.objects import AccountSpec
from include.sandbox.server import Sandbox
from include.sandbox.world import Clock, World
from include.warehouse.load import Fence, Run

TOKEN = "a-token-that-sees-everything-0123456789"
START, NOW = date(2025, 3, 18), datetime(2025, 4, 20, 12, tzinfo=UTC)
SINCE, UNTIL = date(2025, 3, 25), date(2025, 4, 5)  # with a change to summer time, over two months
ACCOUNT_ID = "2000000009"
SPEC = AccountSpec(ACCOUNT_ID, "acme", "Acme", "EUR", "Europe/Berlin", campaigns=8, ads=7)
WINDOWS = ("1d_click", "7d_click", "28d_click", "1d_view")

Change = Callable[[str, date, list[Delivery]], list[Delivery]]
Meeting = Callable[[Call, int], None]


class ChangingWorld(World):
    """A world whose past can be told anew: `change(account_id, day, rows)` says how."""

    change: Change = staticmethod(lambda account_id, day, rows: rows)  # type: ignore[assignment]

    def deliveries(self, account_id: str, day: date, now: datetime) -> list[Delivery]:
        return self.change(account_id, day, super().deliveries(account_id, day, now))

    def becomes(self, change: Change) -> None:
        """From now on the world is like this."""
        self.change = change  # type: ignore[method-assign]
        reports.pieces.cache_clear()


class MeetingSandbox(Sandbox):
    """Calls `meet(call, number)` before it answers, and `tamper(call, body)` after."""

    def __init__(self, world: World, **arguments: Any) -> None:
        tokens = {TOKEN: Token(frozenset(world.accounts))}
        super().__init__(world, **{"clock": Clock(NOW), "tokens": tokens, **arguments})
        self.meet: Meeting = lambda call, number: None
        self.tamper: Callable[[Call, Any], Any] = lambda call, body: body
        self._plain = self.graph.answer
        self.graph.answer = self._answer  # type: ignore[method-assign]

    def _answer(self, call: Call) -> Answer:
        self.meet(call, len(self.requests))
        answer = self._plain(call)
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


def load(
    uri: str,
    sandbox: Sandbox,
    *,
    run: str = "run-1",
    clear: int = 0,
    since: date = SINCE,
    until: date = UNTIL,
    fence: Fence = lambda: None,
    graph: Graph | None = None,
    account_id: str = ACCOUNT_ID,
    **account: Any,
) -> Result:
    """Load days of an account, as a task does."""
    return extract_account(
        graph or Graph(TOKEN, host=sandbox.url),
        uri,
        Account(account_id, "meta", name="Acme", **{"attribution_windows": WINDOWS, **account}),
        Window(datetime.now(UTC), since, until),
        Run(run, clear),
        fence,
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


def tables(uri: str) -> dict[str, list[str]]:
    """All that loads have left, but for when and by which run."""
    return {
        table: sorted(
            repr(sorted((k, v) for k, v in row.items() if k not in _INCIDENTAL))
            for row in query(uri, f"select * from {table}")
        )
        for table in _TABLES
    }
