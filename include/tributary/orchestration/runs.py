"""The states of a run's own tasks."""

from __future__ import annotations

from typing import Any

from tributary.errors import TributaryError


def states_of(context: Any, task_ids: list[str]) -> list[str]:
    """The states of these tasks in this run, each mapped instance by itself."""
    run = context["dag_run"]
    found = context["ti"].get_task_states(
        dag_id=run.dag_id, run_ids=[run.run_id], task_ids=task_ids
    )
    return [str(state) for state in found.get(run.run_id, {}).values()]


def fail_if_any_failed(context: Any, task_ids: list[str]) -> None:
    """Make the run red when one of its tasks failed; what the others did is kept.

    Raises:
        TributaryError: says how many.
    """
    states = states_of(context, task_ids)
    failed = [state for state in states if state not in ("success", "skipped")]
    if failed:
        raise TributaryError(
            f"{len(failed)} tasks of this run failed: open the red ones; each log ends with what "
            "to do. What the other tasks did is kept."
        )
