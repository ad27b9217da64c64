"""# extract_meta_ads: Meta campaigns, ad sets, ads and daily insights into `raw`

One mapped task per ad account. By default the days from the last one that had ended in the
account's time zone, back its `lookback_days`. A backfill run loads the one day of its interval.

**Parameters**: `accounts` (list of ids; all active ones when absent), `since`, `until` (dates in
the account's time zone, both included), `lookback_days`.

**Needs**: the connection `warehouse`, and for each account the `meta` connection that the settings
file names.

**Leaves**: `raw.meta_*`, a row per account and day in `ops.loads`, the asset `raw_meta_ads`.

## Triage
The log of a red `load_account` ends with one sentence that says what to mend.

* *The access token is refused*: put a new one into the connection's password, clear the task.
* *May not read this object*: assign the ad account to the token's system user in Business settings.
* *Ad rows have spend … the account itself …*: the day is stored as `unreconciled`; clear the task
  to read it again. `reconcile: warn` in the settings makes it a warning.
* One account failed and the others did not: only that one needs clearing; what loaded stands.

Safe to clear, repeat and backfill in any order: an account's day is replaced whole.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task

from include.airflow.assets import RAW_META_ADS
from include.airflow.retry import AsTheErrorSays


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    doc_md=__doc__,
    tags=["meta", "in"],
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_policy": AsTheErrorSays(),
    },
    params={
        "accounts": Param(
            None,
            type=["null", "array"],
            description="Ad account ids, one a line; empty: all active ones.",
        ),
        "since": Param(None, type=["null", "string"], format="date", description="First day."),
        "until": Param(None, type=["null", "string"], format="date", description="Last day."),
        "lookback_days": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=1127,
            description="Days to load again; empty: each account's own setting.",
        ),
    },
)
def extract_meta_ads() -> None:
    @task
    def list_accounts() -> list[dict[str, Any]]:
        from include.airflow.extract import accounts_to_load

        return accounts_to_load(get_current_context())

    @task(map_index_template="{{ task.op_kwargs['account']['name'] }}")
    def load_account(account: dict[str, Any]) -> dict[str, Any]:
        from include.airflow.extract import load_one

        return load_one(account, get_current_context())

    @task(outlets=[RAW_META_ADS], trigger_rule="all_done_min_one_success")
    def announce() -> dict[str, Any]:
        from include.airflow.extract import announce

        return announce(get_current_context(), RAW_META_ADS)

    @task(trigger_rule="all_done", retries=0)
    def fail_if_any_account_failed() -> None:
        from include.airflow.extract import fail_if_any_failed

        fail_if_any_failed(get_current_context())

    loaded = load_account.expand(account=list_accounts())
    loaded >> [announce(), fail_if_any_account_failed()]


extract_meta_ads()
