"""Test the connection: is everything there that is needed, and does mail arrive?

* **Owns:** nothing; it makes one subscription at Graph and removes it at once
* **Runs:** daily at 05:10 UTC, and whenever you press Trigger
* **Reads:** settings, home, database, connection, token and its roles, users, one mailbox, the
  clock, the way from Graph to the receiver, Airflow's own parts
* **Repair:** do what a red check says, then trigger it again
* **Canary:** waits for the next notification and tells how long it took. The application may
  not send mail, by design: on a quiet tenant send one yourself to any mailbox in scope

**Red `check`**: one instance for each check. Its name says which, its log the evidence and, after
the arrow, the cure. *Skipped* = another check has to be mended first.

**Skipped `canary`** (green): no notification came in time; the note says what to try.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task

from outlook_lake.airflow import NotificationSensor, check_one, examine_all, one_tenant


@dag(
    dag_id="outlook_doctor",
    dag_display_name="Outlook: doctor (test the connection)",
    description="Every check with its verdict and cure; then wait for a notification",
    schedule=CronTriggerTimetable("10 5 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "outlook", "retries": 2, "retry_delay": timedelta(seconds=10)},
    doc_md=__doc__,
    params={
        "tenant": one_tenant(),
        "mailbox": Param(
            None,
            type=["null", "string"],
            title="Canary mailbox",
            description="Its tuid; empty = whichever mailbox is told about first",
            section="Canary",
        ),
    },
    tags=["outlook", "daily"],
)
def outlook_doctor() -> None:
    @task(
        task_display_name="Examine",
        doc_md="All checks, in the order a newcomer needs them. The log is the whole list.",
    )
    def examine(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return examine_all((params or {}).get("tenant"))

    @task(task_display_name="One check", map_index_template="{{ label }}")
    def check(finding: dict[str, Any]) -> str:
        return check_one(finding)

    canary = NotificationSensor(
        task_id="canary",
        task_display_name="Wait for a notification",
        tenant="{{ params.tenant or '' }}",
        mailbox="{{ params.mailbox or '' }}",
        timeout=300.0,
        soft_fail=True,
    )
    findings = examine()
    check.expand(finding=findings)
    findings >> canary


outlook_doctor()
