"""What the tasks of `upload_conversions` do with Airflow's context."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from tributary.errors import SettingsError
from tributary.orchestration.connections import current_warehouse, warehouse_uri
from tributary.orchestration.tasks.window import refuse_unknown_conf

if TYPE_CHECKING:
    from tributary.deliver.destinations import Destination
    from tributary.platforms.base import Sender

log = logging.getLogger(__name__)


def enqueue(context: Any) -> dict[str, dict[str, int]]:
    """Hand the transactions that are not in the outbox yet to intake; counts by brand."""
    from tributary.deliver import transactions

    refuse_unknown_conf(context)
    uri = current_warehouse()
    counts = transactions.enqueue(uri, brand=context["params"].get("brand"))
    for brand, number in counts.items():
        log.info("%s: %s", brand, number)
    return counts


def destinations_to_upload(context: Any) -> list[str]:
    """Names of the destinations of a run, one mapped task each.

    Raises:
        SettingsError: a brand or destination was asked for that does not exist.
    """
    from tributary.deliver import destinations, outbox
    from tributary.warehouse import connect

    refuse_unknown_conf(context)
    params = context["params"]
    with connect(warehouse_uri(), autocommit=True) as opened:
        now = outbox.now_of(opened)
        found = destinations.to_upload(
            opened, now, brand=params.get("brand"), name=params.get("destination")
        )
        known = destinations.load(opened, now, brand=params.get("brand"))
    active, listed = [one for one in known if one.is_active], {one.name for one in found}
    for one in active:
        if one.paused:
            log.warning("%s is paused %s", one.name, one.paused)
        elif one.name not in listed and not params.get("destination"):
            log.info("%s is not due before %s", one.name, _utc(destinations.due_at(one)))
    if not active:
        log.warning(
            "Nothing is sent: no destination is active. Add one to the settings file and apply it "
            "with `tributary configure FILE.yaml`."
        )
    return [one.name for one in found]


def upload_one(name: str, context: Any) -> dict[str, Any]:
    """Send what is due to one destination.

    Returns:
        Brand, destination, numbers by result, error codes with counts; no identifiers.

    Raises:
        AirflowSkipException: the destination was switched off after it was listed.
        TributaryError: what a person can correct.
    """
    from tributary.deliver import destinations, outbox
    from tributary.deliver.upload import upload
    from tributary.warehouse import connect

    uri = warehouse_uri()
    with connect(uri, autocommit=True) as opened:
        destination = destinations.one(opened, name, outbox.now_of(opened))
    if not destination.is_active:
        why = f"The destination {name!r} is not active."
        if context["params"].get("destination"):
            raise SettingsError(why)
        log.warning("%s", why)  # switched off after it was listed
        raise AirflowSkipException(why)
    try:
        senders = senders_to(destination)
    except SettingsError as error:
        with connect(uri, autocommit=True) as opened:
            destinations.record_sync(
                opened, name, outbox.now_of(opened), f"failed: {error}"[:300], 0
            )
        raise
    summary = upload(
        uri,
        destination,
        senders,
        limit=context["params"].get("limit"),
        run_id=context["dag_run"].run_id,
    ).as_dict()
    if not summary["processed"] and not summary["held"]:
        with connect(uri) as opened:
            at = destinations.next_attempt(opened, name)
        waiting = f"the first delivery that waits is due at {_utc(at)}" if at else "none waits"
        log.info(
            "%s: nothing was due: %s. `tributary status` shows what was sent or skipped.",
            name, waiting,
        )  # fmt: skip
    return summary


def _utc(moment: datetime | None) -> str:
    return "now" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def senders_to(destination: Destination) -> Callable[[], Sender]:
    """Makes senders, one per thread, with the credentials of the destination's connection.

    Raises:
        SettingsError: the connection is missing or incomplete, or the platform unknown.
    """
    from tributary.platforms import registry

    platform = registry.platform(destination.platform)
    hook = registry.upload_hook(destination.platform, destination.conn_id, destination.name)
    clients = hook.clients()
    return lambda: platform.sender(clients(), destination.settings)


def send_test_event(name: str, test_event_code: str | None) -> str:
    """Send one event that is no conversion to a destination; returns the platform's answer.

    Raises:
        SettingsError: no such destination, or nothing that marks the event as a test.
        TributaryError: the platform's refusal.
    """
    from tributary.deliver import brands, destinations, intake, outbox
    from tributary.platforms import registry
    from tributary.warehouse import connect

    with connect(warehouse_uri(), autocommit=True) as opened:
        now = outbox.now_of(opened)
        found = destinations.one(opened, name, now)
        brand = brands.load(opened)[found.brand]
    platform = registry.platform(found.platform)
    client = registry.upload_hook(found.platform, found.conn_id, name).get_conn()
    event = intake.test_event(brand, now)
    answer = platform.send_test_event(client, found.settings, event, test_event_code)
    return f"{name}: {answer}"


def summarise(uploads: Iterable[dict[str, Any]], context: Any, outlet: Any) -> dict[str, Any]:
    """The summary per brand, also on the asset's event; and what must be cleared after a run.

    Returns:
        By brand: processed, succeeded, failed, skipped, dead, error codes with counts, held.
    """
    from tributary.deliver import outbox, retention
    from tributary.warehouse import connect

    with connect(warehouse_uri(), autocommit=True) as opened:
        retention.enforce(opened, outbox.now_of(opened))
    brands: dict[str, dict[str, Any]] = {}
    for one in uploads:
        brand = brands.setdefault(one["brand"], {"errors": {}, "held": []})
        for key in ("processed", "succeeded", "failed", "skipped", "dead", "requests"):
            brand[key] = brand.get(key, 0) + one[key]
        brand["errors"] = dict(Counter(brand["errors"]) + Counter(one["errors"]))
        if one["held"]:
            brand["held"].append(f"{one['destination']}: {one['held']}")
    context["outlet_events"][outlet].extra = brands
    return brands
