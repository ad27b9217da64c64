"""What the tasks of `extract_meta_ads` and `reread_meta_ads` do, for any platform."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from tributary.errors import SettingsError, TributaryError
from tributary.orchestration import accounts
from tributary.orchestration.connections import current_warehouse, warehouse_uri
from tributary.orchestration.runs import states_of
from tributary.orchestration.tasks.window import refuse_unknown_conf, window

log = logging.getLogger(__name__)

# Seconds that a task waits in its worker slot for a report. Meta may take an hour; most take less
# than this.
_LONGEST_WAIT = 120.0


def accounts_to_load(
    platform: str, context: Any, *, only_changed: bool = False
) -> list[dict[str, str]]:
    """Ids and names of a platform's accounts of a run, one mapped task each.

    An account that was asked for but is not in the settings stays in the list, so that it fails
    alone and the others load; a paused one too, so that its task says why it is skipped.
    """
    from tributary.platforms import registry
    from tributary.warehouse import connect

    refuse_unknown_conf(context)
    window(context)
    wanted = accounts.asked(context)
    uri = current_warehouse()
    with connect(uri) as connection:
        found = accounts.of(connection, platform)
    if wanted:
        known = {row["account_id"]: accounts.label(row) for row in found}
        return [known.get(one, {"account_id": one, "name": one}) for one in wanted]
    active = [row for row in found if row["is_active"]]
    if only_changed and not context["params"].get("days"):
        active = [row for row in active if row["settings"].reread_days]
    if not active:
        raise SettingsError(
            f"No active {registry.platform(platform).title} ad account is configured: write one "
            "into a settings file and apply it with `tributary configure FILE.yaml`."
        )
    return [accounts.label(row) for row in active]


def load_one(
    platform: str, listed: dict[str, str], context: Any, *, only_changed: bool = False
) -> dict[str, Any]:
    """Load one account as it is configured now; how it ended is kept in `ops.ad_accounts`.

    Args:
        only_changed: of the window, load only the days whose account totals changed.

    Raises:
        AirflowSkipException: the account is paused, or not active any more.
        AirflowRescheduleException: a report still runs; the task comes back to it.
        TributaryError: what a person can repair, or a retry.
    """
    from tributary.extract.account import Task, extract_account, reread_changed
    from tributary.platforms import registry
    from tributary.platforms.source import Account, Notes
    from tributary.warehouse.load import Run

    run, hook = context["dag_run"], registry.hook_class(platform)
    with accounts.loading(platform, listed["account_id"], context) as load:
        row, settings = load.row, load.row["settings"]
        wanted = window(context)
        if only_changed:
            days = context["params"].get("days") or settings.reread_days
            wanted = replace(wanted, since=None, until=None, days=days)
        result = (reread_changed if only_changed else extract_account)(
            registry.source(platform),
            hook(row["conn_id"], f"for ad account {row['name']}").get_conn(),
            warehouse_uri(),
            Account(
                row["account_id"],
                row["conn_id"],
                brand=row["brand"],
                name=row["name"],
                lookback_days=settings.lookback_days,
                reconcile=settings.reconcile,
                tolerance=settings.tolerance,
                attribution_windows=settings.attribution_windows,
            ),
            wanted,
            Task(
                Run(run.run_id, run.clear_number or 0),
                fence=lambda: _fence(context),
                memory=context.get("task_state_store") or Notes(),
                longest_wait=_LONGEST_WAIT,
            ),
        ).as_dict()
        load.rows = result["rows"]
    log.info("%s: %s", row["name"], result)
    return result


def _fence(context: Any) -> None:
    """Prove to the supervisor that this process is still the task's own try.

    When a supervisor is killed its task process lives on beside the second try. Airflow's state
    store goes through the supervisor: for an orphan this call breaks, just before its commit.
    """
    from tributary.errors import LoadFenced

    store = context.get("task_state_store")
    if store is None:
        return
    try:
        store.set("fence", str(context["ti"].try_number))
    except OSError as error:
        raise LoadFenced(
            "This try was abandoned by its supervisor; nothing was written."
        ) from error


def announce(context: Any, outlet: Any) -> dict[str, Any]:
    """What changed, for the asset event: accounts that loaded and the span of days.

    Raises:
        AirflowSkipException: no account loaded, so that there is nothing to announce.
    """
    from tributary.warehouse import account_days, connect

    if "success" not in states_of(context, ["load_account"]):
        raise AirflowSkipException("No account loaded: nothing is announced.")
    with connect(warehouse_uri()) as connection:
        run = context["dag_run"]
        extra = account_days.of_run(connection, run.run_id, run.clear_number or 0)
    context["outlet_events"][outlet].extra = extra
    return extra


def fail_if_any_failed(context: Any) -> None:
    """Make the run red when an account did not load; the others' data and asset event are kept.

    A paused account is skipped, which is no failure: its first run was red, and the pause is on
    the page.

    Raises:
        TributaryError: says how many.
    """
    states = states_of(context, ["load_account"])
    failed = [state for state in states if state not in ("success", "skipped")]
    if skipped := states.count("skipped"):
        log.warning("%d of %d ad accounts were skipped: their logs say why", skipped, len(states))
    if failed or not states:
        raise TributaryError(
            f"{len(failed)} of {len(states)} ad accounts did not load: open the red instances of "
            "`load_account`. What the others loaded is kept."
        )
