"""dbt in this process: as the DAG builds the marts, and tests and benches do.

Importing it imports dbt, which takes seconds.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

from dbt.cli.main import dbtRunner
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.event_manager_client import ctx_set_event_manager


class _Events(EventManager):
    """dbt's own, but for debug messages that nobody hears: it composes some twenty for each node
    before it asks for its loggers' level, which took an eighth of its time."""

    def fire_event(
        self, e: BaseEvent, level: EventLevel | None = None, *rest: Any, **named: Any
    ) -> None:
        if (level or e.level_tag()) != EventLevel.DEBUG or any(
            logger.level == EventLevel.DEBUG for logger in self.loggers
        ):
            super().fire_event(e, level, *rest, **named)


def invoke(environment: Mapping[str, str], *arguments: str) -> Any:
    """One dbt command.

    Args:
        environment: what `home.dbt_environment` says; set in this process.

    Returns:
        dbt's own `dbtRunnerResult`: without a `result` if nothing was run, and then with the
        `exception` that says why.
    """
    os.environ.update(environment)
    ctx_set_event_manager(_Events())
    usual = gc.get_threshold()
    # What dbt makes lives until it ends; looking for garbage in it took a tenth of dbt's time.
    gc.set_threshold(100_000, *usual[1:])
    try:
        return dbtRunner().invoke(list(arguments))
    finally:
        gc.set_threshold(*usual)
