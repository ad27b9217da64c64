"""# build_marts: dbt from `raw` to `marts`

One task, one dbt invocation: seeds, snapshots, models and tests. Runs when `raw_meta_ads` changes,
and hourly.

**Parameters**: `full_refresh` (builds incremental models from nothing; views that analysts made on
marts survive it).

**Needs**: the connection `warehouse`.

**Leaves**: the schemas `staging`, `intermediate`, `snapshots`, `marts`. Stale sources are a warning
in the log and never fail the build.

## Triage
The log ends with the names of the models or tests that failed; the dbt output above it has their
SQL. A failed test means that what stands in the mart does not hold what its description says: do
not publish from it. A red reconciliation test: look for `unreconciled` days in `ops.loads`. A build
that lost its connection, or met a deadlock, a lock or a server that restarts, is tried again, at
most three times; a model or a test that fails is not, since it would fail again. A warning of
`ad_figures_that_cannot_be_read` names rows of raw whose figures are no numbers and count as 0: load
those days again.
"""

from datetime import datetime

from airflow.sdk import (
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    dag,
    get_current_context,
    task,
)
from tributary.orchestration.assets import RAW_META_ADS
from tributary.orchestration.defaults import DEFAULT_ARGS


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 * * * *", timezone="UTC"), assets=RAW_META_ADS
    ),
    start_date=datetime(2023, 1, 1),
    catchup=False,
    max_active_runs=1,
    dag_display_name="Build marts",
    doc_md=__doc__,
    tags=["dbt", "out"],
    default_args=DEFAULT_ARGS,
    params={
        "full_refresh": Param(
            False, type="boolean", description="Build incremental models from nothing."
        )
    },
)
def build_marts() -> None:
    @task
    def dbt_build() -> dict[str, int]:
        from tributary.orchestration.tasks.marts import build

        return build(get_current_context())

    dbt_build()


build_marts()
