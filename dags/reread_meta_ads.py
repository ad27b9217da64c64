"""# reread_meta_ads: what Meta restated further back than the daily run looks

**Look first** at the last lines of the log of the red `load_account`: one sentence says what to do.
What Meta has changed is in `ops.restatements` and `marts.ad_restatements`.

Once a week, for each active ad account: one call compares the account's own totals of its last
`reread_days` days with the stored ones; only the days that differ, or were never reconciled, are
loaded again. What changed is kept in `ops.restatements`.

**Parameters**: `accounts` (ids; all active ones when absent), `days` (instead of each account's
`reread_days`; an account whose setting is 0 is left out).

**Needs** and **leaves**: as `extract_meta_ads`.

## Triage
As `extract_meta_ads`. Many changed days in a week are no fault of the load: Meta restated them.
"""

from datetime import datetime

from airflow.sdk import CronDataIntervalTimetable, Param, dag
from tributary.orchestration.assets import RAW_META_ADS
from tributary.orchestration.defaults import ACCOUNTS, DEFAULT_ARGS, load_accounts


@dag(
    schedule=CronDataIntervalTimetable("0 4 * * 0", timezone="UTC"),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    max_active_runs=1,
    dag_display_name="Reread Meta ads",
    doc_md=__doc__,
    tags=["meta", "in"],
    default_args=DEFAULT_ARGS,
    params={
        "accounts": ACCOUNTS,
        "days": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=1127,
            description="Days to compare; empty: each account's own setting.",
        ),
    },
)
def reread_meta_ads() -> None:
    load_accounts("meta", RAW_META_ADS, only_changed=True)


reread_meta_ads()
