"""# extract_meta_ads: Meta campaigns, ad sets, ads and daily insights into `raw`

**Look first** at the last lines of the log of the red `load_account`: one sentence says what to do.
Then at the page *Tributary* (or `tributary status`): it shows how each account's latest load ended
and which accounts are paused. `ops.loads` has a row per account and day, with its status.

One mapped task per ad account. By default the days from the last one that had ended in the
account's time zone, back its `lookback_days`: ended at the end of the run's data interval, or, for
a run triggered by hand, at the moment of the trigger (unless a logical date of the past is chosen).

A backfill run loads the one day of its interval, and Airflow names it by the end of that: run
`backfill__2026-11-19T00:00:00+00:00` loads 18 November, its logical date. Backfills wait for all
other runs.

**Parameters**: `accounts` (list of ids; all active ones when absent), `since`, `until` (dates in
the account's time zone, both included), `lookback_days`.

**Needs**: the connection `warehouse`, and for each account the `meta` connection that the settings
file names.

**Leaves**: `raw.meta_*`, a row per account and day in `ops.loads`, the asset `raw_meta_ads`.

## Triage
* *The access token is refused*: put a new one into the connection's password, clear the task.
* *May not use this object*: assign the ad account to the token's system user in Business settings.
* *Ad rows have spend … the account itself …*: the day is stored as `unreconciled`; clear the task
  to read it again. `reconcile: warn` in the settings makes it a warning.
* *… had spend, and Meta answers with none since …*: Meta's answer for these days is empty. The
  stored rows are kept, and the task is tried again. After three days of the same answer it is taken
  as true, with a row in `ops.restatements`.
* *the row of ad … has no number in …*: Meta sent no number there. The row is left out, the
  day is `unreconciled`; clear the task to read it again.
* *some campaigns / adsets / ads could not be read* (a warning): the days are stored, the task fails
  in the end with Meta's reason; clear it when that has passed.
* *the field … is left out for a week* (a warning): Meta does not give it for this account.
* `load_account` is *up for reschedule*: Meta takes long over a report. The task has left its worker
  slot and comes back to the same report every two minutes, which is no retry.
* *Meta throttles …*: the task waits as long as Meta says, with its worker slot freed, and goes on
  behind the last page of the hierarchy and the last finished day. Lower the slots of the pool
  `meta_ads` if it happens daily.
* *Meta blocks …*: the account is paused, and nothing more is tried. From the next run on its
  `load_account` is *skipped*, the last line of its log says why, and the run is green. Settle it in
  Meta's Business support, then resume the account: on the page *Tributary*, or with
  `tributary accounts resume ID`. The next run loads its
  `lookback_days`; days further back need a backfill.
* One account failed and the others did not: only that one needs clearing; what loaded is kept. A
  cleared task reads the account's settings, connection and pause anew.
* Cleared runs of a cancelled backfill stay *queued*: Airflow never goes on with one that was
  cancelled. Mark them as failed, and create the backfill again for *Missing and Errored Runs*
  (`--reprocess-behavior failed`).

Safe to clear, repeat and backfill in any order: an account's day is replaced whole. The log of
`load_account` shows days done of all, rows, calls, and how much of Meta's limits is used.
"""

from datetime import datetime

from airflow.sdk import CronDataIntervalTimetable, Param, dag
from tributary.orchestration.assets import RAW_META_ADS
from tributary.orchestration.defaults import ACCOUNTS, DEFAULT_ARGS, load_accounts


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    dag_display_name="Extract Meta ads",
    doc_md=__doc__,
    tags=["meta", "in"],
    default_args=DEFAULT_ARGS,
    params={
        "accounts": ACCOUNTS,
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
    load_accounts("meta", RAW_META_ADS)


extract_meta_ads()
