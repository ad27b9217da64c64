"""# retention: deletes what may be kept no longer

**Look first** at the last lines of the log of the red `enforce`: one sentence says what to do.

Daily, whatever else is paused: IP and user agent of conversions whose deliveries have all ended are
cleared, webhook payloads go after seven days, rows of the edge's audit log after 400, and
deliveries that a platform takes no longer become `dead / expired` (`skipped / inactive` where the
destination is switched off), also at a destination that is paused. `upload_conversions` does the
same after each of its runs.

**Needs**: the connection `warehouse`.

**Leaves**: in XCom how many rows were ended, cleared and dropped; no identifiers.

## Triage
While this DAG is paused, and no upload runs, personal data is kept longer than the documents say:
keep it on.

Safe to clear, repeat, kill and run twice at once.
"""

from datetime import datetime

from airflow.sdk import CronDataIntervalTimetable, dag, get_current_context, task
from tributary.orchestration.defaults import DEFAULT_ARGS


@dag(
    schedule=CronDataIntervalTimetable("30 3 * * *", timezone="UTC"),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    max_active_runs=1,
    dag_display_name="Retention",
    doc_md=__doc__,
    tags=["back"],
    default_args=DEFAULT_ARGS,
)
def retention() -> None:
    @task
    def enforce() -> dict[str, int]:
        from tributary.orchestration.tasks.retention import enforce

        return enforce(get_current_context())

    enforce()


retention()
