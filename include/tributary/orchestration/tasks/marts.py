"""What the task of `build_marts` does: one dbt invocation for all that dbt has to do."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from tributary import config
from tributary.errors import BuildFailed, BuildInterrupted
from tributary.orchestration.connections import current_warehouse
from tributary.orchestration.tasks.window import refuse_unknown_conf

log = logging.getLogger(__name__)

# Rows with the same key are left out before these tests look: they find those that came since.
_KEYS_OF_VIEWS = "unique_combination_stg_app__"


def build(context: Any) -> dict[str, int]:
    """Run `dbt build`, then look at the sources' freshness (which warns and never fails).

    Returns:
        How many nodes ended in which status.

    Raises:
        BuildFailed: names the models and tests that failed.
        BuildInterrupted: the same, and what the warehouse said; another try may succeed.
    """
    from tributary import dbt_run

    refuse_unknown_conf(context)
    uri = current_warehouse()
    environment = config.dbt_environment(uri)
    refresh = ["--full-refresh"] if context["params"]["full_refresh"] else []
    built = dbt_run.invoke(environment, "--no-use-colors", *config.DBT_BUILD, *refresh)
    nodes = list(built.result or [])
    failed = [node for node in nodes if node.status in ("error", "fail", "runtime error")]
    if built.result is None:
        what = f"dbt did not come to build anything: {built.exception}"
    else:
        named = "; ".join(f"{node.node.name}: {_first_line(node.message)}" for node in failed)
        what = f"{len(failed)} of {len(nodes)} dbt nodes failed: {named}"
    if built.result is None or failed:
        if interrupted := dbt_run.interruption(built.raised):
            raise BuildInterrupted(f"The warehouse interrupted the build: {interrupted}. {what}")
        if any(node.node.name.startswith(_KEYS_OF_VIEWS) for node in failed):
            raise BuildInterrupted(f"A view of `app` changed while the build read it. {what}")
        raise BuildFailed(what)
    fresh = dbt_run.invoke(environment, "--no-use-colors", "source", "freshness")
    for node in fresh.result or []:
        if node.status != "pass":
            log.warning("source %s is not fresh: %s", node.node.name, node.status)
    return dict(Counter(str(node.status) for node in nodes))


def _first_line(message: str | None) -> str:
    return (message or "").strip().split("\n")[0]
