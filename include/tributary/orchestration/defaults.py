"""The tasks that DAGs which load ad accounts have in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, Param, get_current_context, task

from tributary.orchestration.callbacks import log_error_last, restore_sigterm
from tributary.orchestration.retry import RetryByError

DEFAULT_ARGS = {
    "owner": "tributary",
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_policy": RetryByError(),
    # Each task waits for the warehouse, most for a platform, too. None has needed a tenth of this;
    # one that is stopped is tried again and goes on behind what is finished.
    "execution_timeout": timedelta(hours=1),
    # By name: Airflow 3.3 cannot serialise a mapped task that has an instance of the class.
    "weight_rule": "tributary.orchestration.priority.BackfillsLast",
    "on_execute_callback": restore_sigterm,
    "on_failure_callback": log_error_last,
    "on_retry_callback": log_error_last,
}

ACCOUNTS = Param(
    None,
    type=["null", "array"],
    description="Ad account ids, one a line; empty: all active ones.",
)


def load_accounts(platform: str, raw: Asset, *, only_changed: bool = False) -> None:
    """List the accounts, load each in a mapped task, announce what loaded, fail if any did not.

    Args:
        platform: whose ad accounts. At most as many are loaded at once, over all runs, as the
            pool of its name (`meta_ads`) has slots.
        raw: the asset that changes with them.
        only_changed: of a long window, load the days whose account totals changed.
    """

    @task
    def list_accounts() -> list[dict[str, str]]:
        from tributary.orchestration.tasks.extract_ads import accounts_to_load

        return accounts_to_load(platform, get_current_context(), only_changed=only_changed)

    @task(
        map_index_template="{{ task.op_kwargs['account']['name'] }}",
        pool=f"{platform}_ads",
        # A throttled account comes back as often as the platform sends it away: `RetryByError` has
        # the limits.
        retries=40,
        # The 37 months of a large account take hours; for a report the task leaves its slot.
        execution_timeout=timedelta(hours=6),
    )
    def load_account(account: dict[str, str]) -> dict[str, Any]:
        from tributary.orchestration.tasks.extract_ads import load_one

        return load_one(platform, account, get_current_context(), only_changed=only_changed)

    # Not all_done_min_one_success: Airflow skips that where one account is skipped.
    @task(outlets=[raw], trigger_rule="all_done")
    def announce() -> dict[str, Any]:
        from tributary.orchestration.tasks.extract_ads import announce

        return announce(get_current_context(), raw)

    @task(trigger_rule="all_done")
    def fail_if_any_account_failed() -> None:
        from tributary.orchestration.tasks.extract_ads import fail_if_any_failed

        fail_if_any_failed(get_current_context())

    loaded = load_account.expand(account=list_accounts())
    loaded >> [announce(), fail_if_any_account_failed()]
