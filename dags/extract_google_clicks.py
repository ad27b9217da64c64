"""# extract_google_clicks: which ad a Google click id belongs to

**Look first** at the last lines of the log of the red `load_clicks`: one sentence says what to do.
Then at the page *Tributary* (or `tributary status`): it shows how each account's latest load ended
and which accounts are paused.

Daily, for each active Google Ads account of the settings file: the clicks of its last three days,
one query per day, so that a `gclid` of a touchpoint can be joined to campaign, ad group and ad.

**Parameters**: `accounts` (customer ids; all active ones when absent), `since`, `until` (dates of
the account's time zone, at most 90 days ago: Google keeps no older clicks). A backfill run loads
the one day of its interval: run `backfill__2026-11-19T00:00:00+00:00` loads 18 November.

**Needs**: the connection `warehouse`, and a connection of type `google_ads` per account.

**Leaves**: `raw.google_click_view`, an account's day replaced whole; when and how the account was
last loaded in `ops.ad_accounts` (`tributary status`).

## Triage
* A red `load_clicks`: most often the connection's refresh token is refused, or it has no access to
  the account. The other accounts are loaded.
* A *skipped* `load_clicks`: the account is paused, and the last line of its log says why. Google
  has prohibited access, or a person has paused it; it is skipped until a person resumes it, on the
  page *Tributary* or with `tributary accounts resume ID --platform google_ads`.
* *Google keeps those of the last 90 days*: no day of the run can be loaded any more.
* Clear only the red task: it reads the account's settings and connection anew.

* Cleared runs of a cancelled backfill stay *queued*: mark them as failed, and create the backfill
  again for *Missing and Errored Runs*.

Safe to clear, repeat, kill and run twice at once: the same day leaves the same rows.
"""

from datetime import datetime
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task
from tributary.orchestration.defaults import ACCOUNTS, DEFAULT_ARGS


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    max_active_runs=1,
    dag_display_name="Extract Google clicks",
    doc_md=__doc__,
    tags=["google", "in"],
    default_args=DEFAULT_ARGS,
    params={
        "accounts": ACCOUNTS,
        "since": Param(None, type=["null", "string"], format="date", description="First day."),
        "until": Param(None, type=["null", "string"], format="date", description="Last day."),
    },
)
def extract_google_clicks() -> None:
    @task
    def list_accounts() -> list[dict[str, str]]:
        from tributary.orchestration.tasks.extract_google import click_accounts

        return click_accounts(get_current_context())

    @task(map_index_template="{{ task.op_kwargs['account']['name'] }}")
    def load_clicks(account: dict[str, str]) -> dict[str, Any]:
        from tributary.orchestration.tasks.extract_google import load_clicks

        return load_clicks(account, get_current_context())

    @task(trigger_rule="all_done")
    def fail_if_any_failed() -> None:
        from tributary.orchestration.runs import fail_if_any_failed

        fail_if_any_failed(get_current_context(), ["list_accounts", "load_clicks"])

    load_clicks.expand(account=list_accounts()) >> fail_if_any_failed()


extract_google_clicks()
