"""What the task of `build_marts` does: one dbt invocation for all that dbt has to do."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC
from typing import Any

from tributary import config
from tributary.errors import BuildFailed, BuildInterrupted
from tributary.orchestration.connections import current_warehouse
from tributary.orchestration.tasks.window import refuse_unknown_conf

log = logging.getLogger(__name__)

# Rows with the same key are left out before these tests look, and before this model's unique index
# does: they find those that came since.
_KEYS_OF_APP_DATA = (
    "unique_combination_stg_app__",
    "unique_combination_int_purchases",
    "unique_combination_int_touchpoints",
)
_KEYED_BY_AN_INDEX = "int_purchases"


def build(context: Any, nightly_hour: int) -> dict[str, int]:
    """Run `dbt build`, then look at the sources' freshness (which warns and never fails).

    Args:
        nightly_hour: the scheduled run of this hour (UTC) computes every row of every mart, as
            does a run that asks for `full_refresh`.

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
    everything = context["params"]["full_refresh"] or is_nightly(context["dag_run"], nightly_hour)
    recompute = config.DBT_RECOMPUTE if everything else ()
    if everything:
        log.info("This build computes every row of every mart.")
    built = dbt_run.invoke(environment, "--no-use-colors", *config.DBT_BUILD, *recompute)
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
        names = {node.node.name for node in failed}
        indexed = _KEYED_BY_AN_INDEX in names and dbt_run.met_a_duplicate(built.raised)
        if indexed or any(name.startswith(_KEYS_OF_APP_DATA) for name in names):
            raise BuildInterrupted(f"A view of `app` changed while the build read it. {what}")
        raise BuildFailed(what)
    fresh = dbt_run.invoke(environment, "--no-use-colors", "source", "freshness")
    for node in fresh.result or []:
        if node.status != "pass":
            log.warning("source %s is not fresh: %s", node.node.name, node.status)
    return dict(Counter(str(node.status) for node in nodes))


def is_nightly(run: Any, hour: int) -> bool:
    """Whether a run is the scheduled one of this hour (UTC); no other run is nightly."""
    if run.run_type != "scheduled":
        return False
    return bool(run.data_interval_end.astimezone(UTC).hour == hour)


def _first_line(message: str | None) -> str:
    return (message or "").strip().split("\n")[0]
