"""Tidy up, and check the lake against the manifest.

* **Owns:** what is no longer needed: landed segments, files without a manifest row, sealed
  batches past their keep, old task logs
* **Runs:** daily at 02:40 UTC
* **Repair:** clear the run: everything here may run twice

**Red `tidy`**

* *Verify*: a sealed hour differs from the manifest; somebody or something changed a file of the
  lake. `outlook-lake verify` lists the hours, `outlook-lake verify --repair` writes them again.
* *Storage*: the folder is not writable.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task

from outlook_lake.airflow import remove_old_task_logs, run_step


@dag(
    dag_id="outlook_maintain",
    dag_display_name="Outlook: maintain (tidy up and verify)",
    description="Remove what is no longer needed; compare the lake with the manifest",
    schedule=CronTriggerTimetable("40 2 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "outlook", "retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    params={
        "log_days": Param(
            7,
            type="integer",
            minimum=1,
            maximum=365,
            title="Keep task logs (days)",
            description="Log files of Airflow's tasks older than this are removed",
            section="Airflow",
        )
    },
    tags=["outlook", "daily"],
)
def outlook_maintain() -> None:
    @task(
        task_display_name="Tidy the home", doc_md="Segments, orphans, sealed batches, quarantine."
    )
    def tidy() -> dict[str, Any]:
        return run_step("maintain")

    @task(task_display_name="Remove old task logs")
    def task_logs(params: dict[str, Any] | None = None) -> int:
        return remove_old_task_logs(days=int((params or {})["log_days"]))

    tidy()
    task_logs()


outlook_maintain()
