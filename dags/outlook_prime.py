"""Learn what is already in a mailbox that has just come into scope.

* **Owns:** mailboxes in state `priming`: every folder, page by page, until `primed_at`
* **Runs:** when `outlook_subscriptions` found new mailboxes, and every 15 minutes
* **Repair:** clear the run; each page is committed with the link to the next, so it goes on where
  it stopped
* **Silent about:** everything older than the mailbox's first subscription: that is the baseline,
  not news

**Red `prime`**

* *Throttled*: Graph asks for patience; the next try goes on. No action.
* *No usable mailbox*: does not happen here; such a mailbox is parked with its reason.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, task

from outlook_lake.airflow import MAILBOXES_WAITING, run_step


@dag(
    dag_id="outlook_prime",
    dag_display_name="Outlook: prime (learn a new mailbox)",
    description="Enumerate every folder of mailboxes that came into scope",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("7/15 * * * *", timezone="UTC"), assets=[MAILBOXES_WAITING]
    ),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "outlook", "retries": 5, "retry_delay": timedelta(seconds=10)},
    doc_md=__doc__,
    tags=["outlook", "live"],
)
def outlook_prime() -> None:
    @task(
        task_display_name="Prime what waits",
        doc_md="Live work goes first: a mailbox is given back after every page when hints wait.",
    )
    def prime() -> dict[str, Any]:
        return run_step("prime", until_idle=True)

    prime()


outlook_prime()
