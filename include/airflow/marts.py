"""What the task of `build_marts` does: one dbt invocation for all that dbt has to do."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from include import home
from include.airflow.connections import warehouse_uri
from include.airflow.extract import refuse_unknown
from include.errors import TributaryError

log = logging.getLogger(__name__)


def build(context: Any) -> dict[str, int]:
    """Run `dbt build`, then look at the sources' freshness (which warns and never fails).

    Returns:
        How many nodes ended in which status.

    Raises:
        TributaryError: names the models and tests that failed.
    """
    from include import dbt_run
    from include.warehouse import migrate

    refuse_unknown(context["dag_run"].conf, tuple(context["dag"].params))
    uri = warehouse_uri()
    migrate(uri)
    environment = home.dbt_environment(uri)
    refresh = ["--full-refresh"] if context["params"]["full_refresh"] else []
    built = dbt_run.invoke(environment, "--no-use-colors", *home.DBT_BUILD, *refresh)
    if built.result is None:
        raise TributaryError(f"dbt did not come to build anything: {built.exception}")
    nodes = list(built.result)
    failed = [node for node in nodes if node.status in ("error", "fail", "runtime error")]
    if failed:
        told = "; ".join(f"{node.node.name}: {_first_line(node.message)}" for node in failed)
        raise TributaryError(f"{len(failed)} of {len(nodes)} dbt nodes failed: {told}")
    fresh = dbt_run.invoke(environment, "--no-use-colors", "source", "freshness")
    for node in fresh.result or []:
        if node.status != "pass":
            log.warning("source %s is not fresh: %s", node.node.name, node.status)
    return dict(Counter(str(node.status) for node in nodes))


def _first_line(message: str | None) -> str:
    return (message or "").strip().split("\n")[0]
