"""What the tasks of `upload_conversions` do with Airflow's context."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from tributary.errors import SettingsError, TributaryError
from tributary.orchestration.connections import (
    connection,
    data_managers,
    google_ads,
    graphs,
    login_customer,
    posthogs,
    warehouse_uri,
)
from tributary.orchestration.tasks.window import refuse_unknown

if TYPE_CHECKING:
    from tributary.deliver.destinations import Destination
    from tributary.deliver.upload import Platform

log = logging.getLogger(__name__)

# Several minutes of a platform that accepts and does not answer must not outlast the lease.
_TIMEOUT = (10, 60)


def enqueue(context: Any) -> dict[str, dict[str, int]]:
    """Hand the transactions that are not in the outbox yet to intake; counts by brand."""
    from tributary.deliver import transactions
    from tributary.warehouse import migrate

    refuse_unknown(context["dag_run"].conf, tuple(context["dag"].params))
    uri = warehouse_uri()
    migrate(uri)
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

    refuse_unknown(context["dag_run"].conf, tuple(context["dag"].params))
    params = context["params"]
    with connect(warehouse_uri(), autocommit=True) as opened:
        now = outbox.now_of(opened)
        found = destinations.to_upload(
            opened, now, brand=params.get("brand"), name=params.get("destination")
        )
        for one in destinations.load(opened, now, brand=params.get("brand")):
            if one.is_active and one.paused:
                log.warning("%s is paused %s", one.name, one.paused)
    return [one.name for one in found]


def upload_one(name: str, context: Any) -> dict[str, Any]:
    """Send what is due to one destination.

    Returns:
        Brand, destination, numbers by result, error codes with counts; no identifiers.

    Raises:
        AirflowSkipException: the destination was switched off after it was listed.
        TributaryError: what a person can mend.
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
        platform = platform_of(destination)
    except SettingsError as error:
        with connect(uri, autocommit=True) as opened:
            destinations.record_sync(
                opened, name, outbox.now_of(opened), f"failed: {error}"[:300], 0
            )
        raise
    return upload(
        uri,
        destination,
        platform,
        limit=context["params"].get("limit"),
        run_id=context["dag_run"].run_id,
    ).as_dict()


def platform_of(destination: Destination) -> Callable[[], Platform]:
    """Makes clients with the credentials of the destination's connection.

    Raises:
        SettingsError: the connection is missing or incomplete.
    """
    from tributary.deliver.platforms import (
        DataManagerPlatform,
        GoogleAdsPlatform,
        MetaPlatform,
        PosthogPlatform,
    )

    what_for = f"for destination {destination.name}"
    if destination.platform == "meta":
        make = graphs(destination.conn_id, what_for, attempts=1, timeout=_TIMEOUT)
        return lambda: MetaPlatform(make(), destination.settings)
    if destination.platform == "google_data_manager":
        manager = data_managers(destination.conn_id, what_for)
        extra = connection(destination.conn_id, "google_data_manager", what_for).extra_dejson
        login = login_customer(extra)
        return lambda: DataManagerPlatform(manager(), destination.settings, login)
    if destination.platform == "google_ads":
        ads = google_ads(destination.conn_id, what_for)
        return lambda: GoogleAdsPlatform(ads(), destination.settings)
    if destination.platform == "posthog":
        project = posthogs(destination.conn_id, what_for, timeout=_TIMEOUT)
        return lambda: PosthogPlatform(project())
    raise SettingsError(f"{destination.name}: nothing can be sent to {destination.platform} yet.")


def send_test_event(name: str, test_event_code: str | None) -> str:
    """Send one event that is no conversion to a destination; says what the platform answered.

    Raises:
        SettingsError: no such destination, or nothing that marks the event as a test.
        TributaryError: the platform's refusal.
    """
    from dataclasses import replace

    from tributary.deliver import brands, destinations, intake, outbox
    from tributary.warehouse import connect

    with connect(warehouse_uri(), autocommit=True) as opened:
        now = outbox.now_of(opened)
        found = destinations.one(opened, name, now)
        brand = brands.load(opened)[found.brand]
    if found.platform == "posthog":
        posthogs(found.conn_id, f"for destination {name}")().check()
        return (
            f"{name}: PostHog knows the project key. No event was sent: PostHog has no test events."
        )
    event = intake.test_event(brand, now)
    if found.platform.startswith("google"):
        found = replace(found, settings={**found.settings, "validate_only": True})
        event = intake.test_event_for_google(event, next(iter(found.settings["events"])))
    elif test_event_code:
        found = replace(found, settings={**found.settings, "test_event_code": test_event_code})
    if not found.is_for_tests:
        raise SettingsError(
            f"{name} has no test_event_code: take one from Events Manager → Test Events and give "
            "it with --test-event-code, else the event would count as a real one."
        )
    verdicts, answer = platform_of(found)().send([event])
    for one in verdicts.values():
        if one.error:
            raise TributaryError(f"{name}: {one.error} ({one.outcome})")
    if found.settings.get("validate_only"):
        return f"{name}: the platform has checked one test event, and kept nothing."
    return f"{name}: the platform took one test event (trace {answer.request_id})."


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
