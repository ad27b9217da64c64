"""# confirm_conversions: how Google Data Manager processed the conversions that it took

**Look first** at the last lines of the log of the red `confirm`: one sentence says what to do. Then
at the page *Tributary* (or `tributary status`): it shows which destinations are paused and why. The
platform's counts are in `ops.upload_batches.answer`.

Data Manager only answers that it has received a request. Half an hour or some hours later it says
how it processed the events, in counts. Every 30 minutes one mapped task per destination asks about
the requests that are due (30 minutes after the upload, then after 60, 120, … minutes).

**Needs**: the connection `warehouse`, and for each destination the connection that the settings
file names.

**Leaves**: deliveries `sent / confirmed`, `duplicate` (delivered before) or `unmatched` (no click
of a Google ad: no error), `dead` with Google's reason, or `failed` with the time of the next try
(*too recent*: 6 hours). Where counts do not say which events they mean, these stay `accepted`, and
the counts are in `ops.upload_batches.answer` and in the log. The asset `conversion_deliveries`.

## Triage
* *Google refuses …*: fix the connection or the account; the destination is paused for an hour.
* Counts of what was refused, by day:
  `select date(started_at), e.key, sum(e.value::int) from ops.upload_batches,
  jsonb_each_text(answer -> 'errors') as e group by 1, 2 order by 1`.
* *reasons that have no rule here*: the events stay as they are; report the reason to the
  maintainers.

Safe to clear, repeat, kill and run twice at once.
"""

from datetime import datetime
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, dag, get_current_context, task
from tributary.orchestration.assets import CONVERSION_DELIVERIES
from tributary.orchestration.defaults import DEFAULT_ARGS


@dag(
    schedule=CronDataIntervalTimetable("*/30 * * * *", timezone="UTC"),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    max_active_runs=1,
    dag_display_name="Confirm conversions",
    doc_md=__doc__,
    tags=["google", "out"],
    default_args=DEFAULT_ARGS,
)
def confirm_conversions() -> None:
    @task
    def list_due() -> list[str]:
        from tributary.orchestration.tasks.confirm import destinations_to_confirm

        return destinations_to_confirm(get_current_context())

    @task(map_index_template="{{ task.op_kwargs['destination'] }}", outlets=[CONVERSION_DELIVERIES])
    def confirm(destination: str) -> dict[str, Any]:
        from tributary.orchestration.tasks.confirm import confirm_one

        return confirm_one(destination)

    @task(trigger_rule="all_done")
    def fail_if_any_failed() -> None:
        from tributary.orchestration.runs import fail_if_any_failed

        fail_if_any_failed(get_current_context(), ["list_due", "confirm"])

    confirm.expand(destination=list_due()) >> fail_if_any_failed()


confirm_conversions()
