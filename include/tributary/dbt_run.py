"""dbt in this process: as the DAG builds the marts, and tests and benches do.

Importing it imports dbt, which takes seconds.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.events.types import CatchableExceptionOnRun, GenericExceptionOnRun
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.event_manager_client import ctx_set_event_manager


@dataclass
class Outcome(dbtRunnerResult):
    """What dbt's own result says, and the exceptions behind it, of which a node's result keeps only
    the text: those that nodes failed with, and `exception`.
    """

    result: Any = None
    raised: list[BaseException] = field(default_factory=list)


class _Events(EventManager):
    """dbt's own, without debug messages, which no log keeps: dbt composes some twenty for each node
    before it asks for its loggers' level, which took an eighth of its time."""

    def __init__(self) -> None:
        super().__init__()
        self.raised: list[BaseException] = []

    def fire_event(
        self, e: BaseEvent, level: EventLevel | None = None, *rest: Any, **named: Any
    ) -> None:
        failure = sys.exception()
        # dbt fires these two where it catches what a node failed with.
        if failure and isinstance(e, CatchableExceptionOnRun | GenericExceptionOnRun):
            self.raised.append(failure)
        if (level or e.level_tag()) != EventLevel.DEBUG or any(
            logger.level == EventLevel.DEBUG for logger in self.loggers
        ):
            super().fire_event(e, level, *rest, **named)


def invoke(environment: Mapping[str, str], *arguments: str) -> Outcome:
    """One dbt command.

    Args:
        environment: what `config.dbt_environment` says; set in this process.

    Returns:
        dbt's own `dbtRunnerResult`, without a `result` if nothing was run, and then with the
        `exception` that says why; and besides all that was `raised`.
    """
    os.environ.update(environment)
    events = _Events()
    ctx_set_event_manager(events)
    usual = gc.get_threshold()
    # What dbt makes lives until it ends; looking for garbage in it took a tenth of dbt's time.
    gc.set_threshold(100_000, *usual[1:])
    try:
        ended = dbtRunner().invoke(list(arguments))
    finally:
        gc.set_threshold(*usual)
    if ended.exception is not None:
        events.raised.append(ended.exception)
    return Outcome(ended.success, ended.exception, ended.result, events.raised)


# Connections, transactions that met another one, too many connections, a lock that was waited for
# too long, a server that stops, crashed or starts.
_PASSES = ("08", "40", "53300", "55P03", "57P01", "57P02", "57P03")


def interruption(raised: list[BaseException]) -> str | None:
    """What Postgres said of the first of these exceptions that may not occur again when the same
    is tried again, in one line; None when there is no such exception. A full disk, a refused
    statement and a failed test stay what they are.
    """
    for cause in map(_of_postgres, raised):
        # A connection that was lost, or never made, has no code.
        lost = isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)
        code = getattr(cause, "pgcode", None)
        if code.startswith(_PASSES) if code else lost:
            return str(cause).strip().partition("\n")[0]
    return None


def met_a_duplicate(raised: list[BaseException]) -> bool:
    """Whether one of these exceptions is a unique index's, about a key that is there twice."""
    return any(getattr(_of_postgres(one), "pgcode", None) == "23505" for one in raised)


def _of_postgres(exception: BaseException) -> psycopg2.Error | None:
    """What Postgres said, of an exception that dbt made of it."""
    cause: BaseException | None = exception
    while cause is not None and not isinstance(cause, psycopg2.Error):
        cause = cause.__cause__ or cause.__context__
    return cause
