"""What the task of `retention` does with Airflow's context."""

from __future__ import annotations

import logging
from typing import Any

from tributary.orchestration.connections import warehouse_uri
from tributary.orchestration.tasks.window import refuse_unknown

log = logging.getLogger(__name__)


def enforce(context: Any) -> dict[str, int]:
    """End and forget what may be kept no longer; rows by what was done.

    Raises:
        WarehouseDown: the warehouse does not answer.
    """
    from tributary.deliver import outbox, retention
    from tributary.warehouse import check_version, connect

    refuse_unknown(context["dag_run"].conf, tuple(context["dag"].params))
    uri = warehouse_uri()
    check_version(uri)
    with connect(uri, autocommit=True) as opened:
        done = retention.enforce(opened, outbox.now_of(opened))
    log.info("%s", done)
    return done
