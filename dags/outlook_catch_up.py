"""Find what notifications missed, and prove each hour complete.

* **Owns:** the watermark of every mailbox: a delta round that *started* after an hour ended
  proves that hour
* **Runs:** hourly. Every folder of every mailbox is asked for what changed since its stored link
* **Repair:** clear the run, or backfill a range: a round for an hour that is already proven finds
  nothing and is quick
* **Ends by:** sealing the hours it made dirty

**Red `delta_round`**

* *Delta state is gone*: does not make it red; that folder is enumerated again and compared.
* *Throttled* after all tries: the tenant's quota is used by others too; clear it later.

**Skipped `delta_round`**: the interval is not over yet in Graph's time. Nothing to do.
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
)


@dag(
    dag_id="outlook_catch_up",
    dag_display_name="Outlook: catch up (find what notifications missed)",
    description="One delta round over every folder of every mailbox",
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
        doc_md="Follows the stored delta links; what it finds new goes through the same apply. "
        "Then seals the hours that became dirty.",
    )
    def delta_round(
        params: dict[str, Any] | None = None,
        data_interval_start: datetime | None = None,
        outlet_events: Any = None,
    ) -> dict[str, Any]:
        hour = hour_of(data_interval_start)
        counts = run_step("catch_up", hour=hour, tenant=(params or {}).get("tenant"))
        if counts.get("not_over"):
            not_over_yet(hour)
        announce_hours(outlet_events, counts)
        return counts

    delta_round()


outlook_catch_up()
