"""What the task of `retention` does with Airflow's context."""

from __future__ import annotations

import logging
from typing import Any

from tributary.orchestration.connections import current_warehouse
from tributary.orchestration.tasks.window import refuse_unknown_conf

log = logging.getLogger(__name__)


def enforce(context: Any) -> dict[str, int]:
    """End and forget what may be kept no longer; rows by what was done.

    Raises:
        WarehouseDown: the warehouse does not answer.
    """
    from tributary.deliver import outbox, retention
    from tributary.warehouse import connect

    refuse_unknown_conf(context)
    uri = current_warehouse()
    with connect(uri, autocommit=True) as opened:
        done = retention.enforce(opened, outbox.now_of(opened))
    log.info("%s", done)
    return done
