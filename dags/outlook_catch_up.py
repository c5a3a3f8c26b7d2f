"""Find what notifications missed, and prove each hour complete.

* **Owns:** the watermark of every mailbox: a delta round that *started* after an hour ended
  proves that hour
* **Runs:** hourly. Each mailbox's round is *hot* or *full* (docs/decisions/hot-folders.md):
  a hot one reads the tree, the rules, four folders and those whose counts changed; a full one
  reads all folders and alone moves the watermark: every six hours (`looks.full_every_h`)
* **Started by hand, or as a backfill:** full rounds, for every mailbox whose hour is not proven.
  The first hour of a backfill does the work, and finds the others proven
* **Repair:** clear the run, or backfill a range: Trigger ▸ Backfill, from and to the hours, *All
  Runs*. The note of each run says what is proven and what was added, by hour
* **Ends by:** sealing the hours it made dirty; then the *witness* compares Graph's counts with the
  inventory: a 24th of the mailboxes, all when started by hand, none in a backfill

**Red `delta_round`**

* *Delta state is gone*: does not make it red; that folder is enumerated again and compared.
* *Throttled* after all tries: the tenant's quota is used by others too; clear it later.

**Skipped `delta_round`**: the interval is not over yet in Graph's time. Nothing to do.

**Red `witness`**: Graph could not be asked. Clear it, or wait for the next hour. What it finds is
no error: a gap and a wanted round.
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
    not_over_yet,
    one_tenant,
    run_step,
    run_witness,
    was_asked_for,
)


@dag(
    dag_id="outlook_catch_up",
    dag_display_name="Outlook: catch up (find what notifications missed)",
    description="A delta round for every mailbox: hot every hour, full every six or when asked for",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "outlook", "retries": 3, "retry_delay": timedelta(seconds=20)},
    doc_md=__doc__,
    params={"tenant": one_tenant()},
    tags=["outlook", "hourly", "backfill"],
)
def outlook_catch_up() -> None:
    @task(
        outlets=[OUTLOOK_EVENTS],
        task_display_name="Delta round, then seal",
        doc_md="Follows the stored delta links, applies, and seals the hours that became dirty.",
    )
    def delta_round(
        params: dict[str, Any] | None = None,
        data_interval_start: datetime | None = None,
        outlet_events: Any = None,
        dag_run: Any = None,
        ti: Any = None,
    ) -> dict[str, Any]:
        hour = hour_of(data_interval_start)
        full = True if was_asked_for(dag_run) else None
        counts = run_step("catch_up", hour=hour, tenant=(params or {}).get("tenant"), full=full)
        if counts.get("not_over"):
            not_over_yet(hour, ti)
        announce_hours(outlet_events, counts)
        return counts

    @task(
        task_display_name="Compare with Graph's counts",
        doc_md="Folder by folder; what differs becomes a gap and a round is wanted.",
    )
    def witness(params: dict[str, Any] | None = None, dag_run: Any = None) -> dict[str, Any]:
        return run_witness(dag_run, tenant=(params or {}).get("tenant"))

    delta_round() >> witness()


outlook_catch_up()
