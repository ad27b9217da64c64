"""Backfills wait for everything else: a month of days must not delay the daily run.

Airflow orders waiting tasks by priority, then by logical date, oldest first. It documents custom
strategies as plugins; their base class and `DagRunType` are outside `airflow.sdk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin
from airflow.task.priority_strategy import PriorityWeightStrategy
from airflow.utils.types import DagRunType

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance


class BackfillsLast(PriorityWeightStrategy):
    """A task's own `priority_weight` (1 unless it says otherwise); 0 in the run of a backfill."""

    def get_weight(self, ti: TaskInstance) -> int:
        """The priority of a task instance."""
        # The instance is not bound to its run yet: only the id of the run is known.
        if DagRunType.from_run_id(ti.run_id) is DagRunType.BACKFILL_JOB:
            return 0
        assert ti.task is not None
        return ti.task.priority_weight


class Priorities(AirflowPlugin):
    """Registers the rule; Airflow finds this plugin through the entry point in `pyproject.toml`."""

    name = "tributary_priorities"
    priority_weight_strategies = [BackfillsLast]
