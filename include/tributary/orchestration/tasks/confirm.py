"""What the tasks of `confirm_conversions` do with Airflow's context."""

from __future__ import annotations

from typing import Any

from tributary.orchestration.connections import current_warehouse, warehouse_uri
from tributary.orchestration.tasks.upload import senders_to
from tributary.orchestration.tasks.window import refuse_unknown_conf


def destinations_to_confirm(context: Any) -> list[str]:
    """Names of the destinations with requests whose status is due, one task each."""
    from tributary.deliver import confirm, outbox
    from tributary.warehouse import connect

    refuse_unknown_conf(context)
    uri = current_warehouse()
    with connect(uri, autocommit=True) as opened:
        return confirm.due(opened, outbox.now_of(opened))


def confirm_one(name: str) -> dict[str, Any]:
    """Ask the platform how it processed a destination's requests.

    Returns:
        Requests asked about, events by their new state, reasons with counts; no identifiers.

    Raises:
        TributaryError: what a person can correct.
    """
    from tributary.deliver import confirm, destinations, outbox
    from tributary.warehouse import connect

    uri = warehouse_uri()
    with connect(uri, autocommit=True) as opened:
        destination = destinations.one(opened, name, outbox.now_of(opened))
    return confirm.confirm(uri, destination, senders_to(destination)()).as_dict()
