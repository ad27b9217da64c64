"""# build_marts: dbt from `raw` to `marts`

**Look first** at the end of the log of `dbt_build`: it names the models and tests that failed. Then
at `marts.data_problems` (rows of your own views that were left out) and at the days in `ops.loads`
whose status is `unreconciled`.

One task, one dbt invocation: seeds, snapshots, models and tests. Runs when the asset `raw_meta_ads`
changes, and hourly. The asset `conversion_deliveries` is read and starts no build: it changes every
15 minutes, and the hourly build is soon enough.

**What a build covers**: a restated account-day is in the marts after the next build, however old.
Whatever happens to a purchase (late touch, refund, new profile link, renamed campaign, late gclid,
changed setting) is in the marts after the next hourly build if the purchase is younger than the
look-back plus 90 days or its own row changed, and after the nightly build otherwise.

**The nightly build** is the scheduled run of 02:00 UTC. It computes every row of every mart and
writes those that differ. When it is missed (the scheduler was down, or another build ran until
after 03:00), nothing takes its place before the next night: start a run with `full_refresh`.

**Parameters**: `full_refresh` (computes every row, as the nightly build does, with `--vars
'recompute: true'`; marts are `full_refresh: false`: no table is made anew, views on marts survive,
rows that stay the same are not written).

**Needs**: the connection `warehouse`.

**Leaves**: the schemas `staging`, `intermediate`, `snapshots`, `marts`, and an asset for each mart,
such as `marts.ad_spend`. dbt's artefacts of the latest build (`manifest.json`, `run_results.json`,
`sources.json`) are in `dbt/target/` of `TRIBUTARY_HOME` on the worker that ran it. Stale sources
are a warning in the log and never fail the build.

## Triage
* The dbt output above the last lines has the SQL of what failed.
* After a repair, `dbt retry` (in the worker's environment: `make env`, or `tributary env`) builds
  what failed and what was skipped behind it, and nothing else. The next run builds everything.
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

# UTC. The scheduled run of this hour computes every row of every mart.
NIGHTLY_HOUR = 2


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
            False,
            type="boolean",
            description="Compute every row of every mart, as the nightly build does. No table is "
            "made anew, and rows that stay the same are not written.",
        )
    },
)
def build_marts() -> None:
    # The deliveries change every 15 minutes: they are read, and start no build.
    @task(
        inlets=[RAW_META_ADS, CONVERSION_DELIVERIES],
        outlets=list(MARTS),
        execution_timeout=timedelta(hours=3),  # to compute years reads all of `raw`
    )
    def dbt_build() -> dict[str, int]:
        from tributary.orchestration.tasks.marts import build

        return build(get_current_context(), NIGHTLY_HOUR)

    dbt_build()


build_marts()
