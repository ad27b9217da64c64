"""dbt in this process: as the DAG builds the marts, and tests and benches do."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any


def invoke(environment: Mapping[str, str], *arguments: str) -> Any:
    """One dbt command.

    Args:
        environment: what `home.dbt_environment` says; set in this process.

    Returns:
        dbt's own `dbtRunnerResult`: without a `result` if nothing was run, and then with the
        `exception` that says why.
    """
    from dbt.cli.main import dbtRunner

    os.environ.update(environment)
    usual = gc.get_threshold()
    # What dbt makes lives until it ends; looking for garbage in it took a tenth of dbt's time.
    gc.set_threshold(100_000, *usual[1:])
    try:
        return dbtRunner().invoke(list(arguments))
    finally:
        gc.set_threshold(*usual)
