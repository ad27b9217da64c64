"""# build_marts: dbt from `raw` to `marts`

**Look first** at the end of the log of `dbt_build`: it names the models and tests that failed. Then
at `marts.data_problems` (rows of your own views that were left out) and at the days in `ops.loads`
whose status is `unreconciled`.

One task, one dbt invocation: seeds, snapshots, models and tests. Runs when the asset `raw_meta_ads`
changes, and hourly. The asset `conversion_deliveries` is read and starts no build: it changes every
15 minutes, and the hourly build is soon enough.

**Parameters**: `full_refresh` (builds incremental models from nothing; views that analysts made on
marts survive it).

**Needs**: the connection `warehouse`.

**Leaves**: the schemas `staging`, `intermediate`, `snapshots`, `marts`, and an asset for each mart,
such as `marts.ad_spend`. Stale sources are a warning in the log and never fail the build.

## Triage
* The dbt output above the last lines has the SQL of what failed.
* A failed test: the mart contradicts its own description; do not publish from it.
* A red reconciliation test: look for `unreconciled` days in `ops.loads`.
* A build that lost its connection, or met a deadlock, a lock or a server that restarts, is tried
  again, at most three times. A model or test that fails is not: it would fail again.
* A warning of `ad_figures_that_cannot_be_read` names rows of `raw` whose figures are no numbers and
  count as 0: load those days again.
"""

from datetime import datetime, timedelta

from airflow.sdk import (
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    dag,
    get_current_context,
    task,
)
from tributary.orchestration.assets import CONVERSION_DELIVERIES, MARTS, RAW_META_ADS
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
    # The deliveries change every 15 minutes: they are read, and start no build.
    @task(
        inlets=[RAW_META_ADS, CONVERSION_DELIVERIES],
        outlets=list(MARTS),
        execution_timeout=timedelta(hours=3),  # a full refresh of years reads all of `raw`
    )
    def dbt_build() -> dict[str, int]:
        from tributary.orchestration.tasks.marts import build

        return build(get_current_context())

    dbt_build()


build_marts()
