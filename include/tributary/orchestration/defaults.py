"""The tasks that DAGs which load ad accounts have in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, get_current_context, task

from tributary.orchestration.assets import RAW_META_ADS
from tributary.orchestration.callbacks import end_on_sigterm, say_last
from tributary.orchestration.retry import AsTheErrorSays

# How many accounts are loaded at once, over all runs: people set the slots in the Airflow UI.
POOL = "meta_ads"

DEFAULT_ARGS = {
    "owner": "tributary",
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_policy": AsTheErrorSays(),
    # By name: Airflow 3.3 cannot serialise a mapped task that has an instance of the class.
    "weight_rule": "tributary.orchestration.priority.BackfillsLast",
    "on_execute_callback": end_on_sigterm,
    "on_failure_callback": say_last,
    "on_retry_callback": say_last,
}

ACCOUNTS = Param(
    None,
    type=["null", "array"],
    description="Ad account ids, one a line; empty: all active ones.",
)


def load_accounts(*, only_changed: bool = False) -> None:
    """List the accounts, load each in a mapped task, announce what loaded, fail if any did not.

    Args:
        only_changed: of a long window, load the days whose account totals changed.
    """

    @task
    def list_accounts() -> list[dict[str, str]]:
        from tributary.orchestration.tasks.extract_meta import accounts_to_load

        return accounts_to_load(get_current_context(), only_changed=only_changed)

    # A throttled account comes back as often as Meta sends it away: the policy knows the limits.
    @task(map_index_template="{{ task.op_kwargs['account']['name'] }}", pool=POOL, retries=40)
    def load_account(account: dict[str, str]) -> dict[str, Any]:
        from tributary.orchestration.tasks.extract_meta import load_one

        return load_one(account, get_current_context(), only_changed=only_changed)

    # Not all_done_min_one_success: Airflow skips that where one account is skipped.
    @task(outlets=[RAW_META_ADS], trigger_rule="all_done")
    def announce() -> dict[str, Any]:
        from tributary.orchestration.tasks.extract_meta import announce

        return announce(get_current_context(), RAW_META_ADS)

    @task(trigger_rule="all_done")
    def fail_if_any_account_failed() -> None:
        from tributary.orchestration.tasks.extract_meta import fail_if_any_failed

        fail_if_any_failed(get_current_context())

    loaded = load_account.expand(account=list_accounts())
    loaded >> [announce(), fail_if_any_account_failed()]
