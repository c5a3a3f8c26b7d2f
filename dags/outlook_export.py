"""Seal hours: one Parquet file for each tenant and hour.

* **Owns:** `lake/events/domain_id=…/event_date=…/event_hour=HH/events.parquet`
* **Runs:** hourly, and whenever you like. A run seals *every* dirty hour that is over, whatever
  interval it carries; only a backfill's runs write exactly their own hour again
* **Repair:** clear the run, or backfill a range (Trigger ▸ Backfill, *All Runs*): an hour is
  replaced in one step, never appended to, and the same events give the same bytes. The note says
  whether the rows are as before
* **Tells:** the asset `outlook_events`, with one partition (`2026-11-24T09`, UTC) for each hour
  it wrote

**Up for reschedule**: an hour counts as over two minutes after its end; the task comes back then.

**Skipped `seal`** (green): *not over yet*. The hour of this interval still runs in Graph's time;
its events are in the view `events_live` already, and a later run seals it.

**Red `seal`**

* *Storage*: no space left, or the lake is not writable. Free space, then clear the task.
* *Lease lost*: another export writes the same hour. The next try finds it done.
* *The lake is ahead of the state database*: a backup was restored; the message names the command.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pendulum
from airflow.sdk import CronDataIntervalTimetable, dag, task

from outlook_lake.airflow import (
    OUTLOOK_EVENTS,
    announce_hours,
    hour_of,
    is_backfill,
    not_over_yet,
    one_tenant,
    run_step,
)


@dag(
    dag_id="outlook_export",
    dag_display_name="Outlook: export (one Parquet file per hour)",
    description="Seal every hour that is over and has something new",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=2,
    default_args={"owner": "outlook", "retries": 3, "retry_delay": timedelta(seconds=10)},
    doc_md=__doc__,
    params={"tenant": one_tenant()},
    tags=["outlook", "hourly", "backfill"],
)
def outlook_export() -> None:
    @task(
        outlets=[OUTLOOK_EVENTS],
        task_display_name="Seal hours",
        doc_md="Sort, write, fsync, replace. Counts of the sealed hours are in the XCom tab.",
    )
    def seal(
        params: dict[str, Any] | None = None,
        data_interval_start: datetime | None = None,
        outlet_events: Any = None,
        dag_run: Any = None,
        ti: Any = None,
    ) -> dict[str, Any]:
        hour = hour_of(data_interval_start)
        tenant = (params or {}).get("tenant")
        counts = run_step("export", hour=hour, tenant=tenant, only=is_backfill(dag_run))
        announce_hours(outlet_events, counts)
        if not counts.get("sealed") and counts.get("not_over"):
            not_over_yet(hour, ti)
        return counts

    seal()


outlook_export()
