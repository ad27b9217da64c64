"""# upload_conversions: send pending conversions to the platforms, each once

**Look first** at the last lines of the log of the red `upload`: one sentence says what to do. Then
at the page *Tributary* (or `tributary status`): it shows what waits, what was sent and what failed,
by destination, and which destinations are paused. Where a green run sent nothing, the log of
`list_due` says why, and when each destination is due.

Every 15 minutes: completed transactions that are not in the outbox yet are put there, then one
mapped task per destination that is due sends what is pending, in batches.

**Parameters**: `brand` (its slug), `destination` (its name), `limit` (deliveries per destination).
A run with `brand` or `destination` ignores the interval, never a pause.

**Needs**: the connection `warehouse`, and for each destination the connection that the settings
file names.

**Leaves**: a state per event and destination in `ops.conversion_deliveries`, a row per request in
`ops.upload_batches`, the asset `conversion_deliveries`; in XCom a summary per brand without any
identifier.

## Triage
Nothing is lost while an upload is red: deliveries wait in the outbox until the platform refuses
them for their age (Meta: after 7 days).

* *The access token is refused*, *a permission is missing*: fix the connection. The destination is
  paused for an hour; then one request probes it and, if the platform takes it, the rest follows.
* *Google refuses the credentials*: the refresh token was revoked or has expired: give consent anew.
* *Google does not let … upload conversions over the Google Ads API*: make it a
  `google_data_manager` destination.
* *Meta had a temporary failure*, *could not be reached*: nothing to do, the next runs go on.
* *Meta throttles …* is only a warning: the destination waits as long as Meta says.
* *Events were refused one by one, and none was taken*: the cause is not one event but what all have
  in common; the code in the sentence says what.
* *… events are refused one by one* is only a warning: the destination takes others, so these events
  are the cause. Each is tried five times, after and apart from the others, and is then
  `dead / attempts`.
* Dead deliveries: `select outcome, count(*) from ops.conversion_deliveries where sync_status =
  'dead' group by 1`; when the cause is fixed, `tributary deliveries retry`.
* `dead / outcome_unknown`: a request got no answer for two days; sending it again might count it
  twice. Look in Events Manager, then retry with `--outcome outcome_unknown` or leave it.

Safe to clear, repeat, kill and run twice at once: an event's id is the same in every try.
"""

from datetime import datetime
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task
from tributary.orchestration.assets import CONVERSION_DELIVERIES
from tributary.orchestration.defaults import DEFAULT_ARGS


@dag(
    schedule=CronDataIntervalTimetable("*/15 * * * *", timezone="UTC"),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    max_active_runs=4,
    dag_display_name="Upload conversions",
    doc_md=__doc__,
    tags=["meta", "google", "back"],
    default_args=DEFAULT_ARGS,
    params={
        "brand": Param(None, type=["null", "string"], description="Slug; empty: all brands."),
        "destination": Param(None, type=["null", "string"], description="Name; empty: all due."),
        "limit": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            description="Deliveries per destination; empty: all that are due.",
        ),
    },
)
def upload_conversions() -> None:
    @task
    def enqueue() -> dict[str, Any]:
        from tributary.orchestration.tasks.upload import enqueue

        return enqueue(get_current_context())

    @task(trigger_rule="all_done")
    def list_due() -> list[str]:
        from tributary.orchestration.tasks.upload import destinations_to_upload

        return destinations_to_upload(get_current_context())

    @task(map_index_template="{{ task.op_kwargs['destination'] }}")
    def upload(destination: str) -> dict[str, Any]:
        from tributary.orchestration.tasks.upload import upload_one

        return upload_one(destination, get_current_context())

    @task(outlets=[CONVERSION_DELIVERIES], trigger_rule="all_done")
    def summarise(uploads: Any) -> dict[str, Any]:
        from tributary.orchestration.tasks.upload import summarise

        return summarise(uploads or [], get_current_context(), CONVERSION_DELIVERIES)

    @task(trigger_rule="all_done")
    def fail_if_any_failed() -> None:
        from tributary.orchestration.runs import fail_if_any_failed

        fail_if_any_failed(get_current_context(), ["enqueue", "list_due", "upload"])

    due = list_due()
    enqueue() >> due
    uploads = upload.expand(destination=due)
    summarise(uploads)
    uploads >> fail_if_any_failed()


upload_conversions()
