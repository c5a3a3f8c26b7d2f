"""Prove a window of the past again: what an outage, a lapse or a doubt may have cost.

* **Owns:** one window of hours, worked through once; a receipt in `receipts/` of the home
* **Runs:** when you trigger it, here or from a cell of the Coverage page: form → preview → a
  person approves → work → receipt
* **Gives way:** live notifications go first, always
* **Repair:** clear the red task: what was done is known, and nothing is told twice
* **Does not:** find what came and was purged inside an outage. Nobody can: the preview says what
  cannot be recovered, and such a gap stays in the lake as `partial`

**Red `preview`**: the window, the tenant or a mailbox cannot be; the message says why and what can.

**Red `approve`**: nobody answered within an hour is *not* red: the answer is then Reject, and
nothing is done.

**Red `work`**

* *Another reprocess of … is at work*: clear the task when that one has its receipt.
* *N tenant(s) could not be served*: their consent or credentials; the others are done.
* *Storage*: free space, then clear the task.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, get_current_context, task

from outlook_lake.airflow import (
    OUTLOOK_EVENTS,
    announce_hours,
    reprocess_form,
    reprocess_wish,
    run_step,
)


@dag(
    dag_id="outlook_reprocess",
    dag_display_name="Outlook: reprocess (prove a window again)",
    description="Form, preview with its cost, approval; then rounds, export and a receipt",
    schedule=None,
    catchup=False,
    max_active_runs=4,
    default_args={"owner": "outlook", "retries": 3, "retry_delay": timedelta(seconds=10)},
    doc_md=__doc__,
    params=reprocess_form(),
    tags=["outlook", "form"],
)
def outlook_reprocess() -> None:
    @task(task_display_name="Preview", doc_md="What it will cost and bring; nothing is changed.")
    def preview(params: dict[str, Any] | None = None) -> dict[str, Any]:
        return run_step("reprocess_preview", **reprocess_wish(params or {}))

    approve = ApprovalOperator(
        task_id="approve",
        task_display_name="Approve",
        subject="Reprocess {{ params.tenant or 'all tenants' }}, "
        "{{ params.first_hour[:13] }} to {{ params.end_hour[:13] }}?",
        body="{{ ti.xcom_pull(task_ids='preview')['table'] }}\n\n"
        "Without an answer within an hour nothing is done.",
        defaults="Reject",
        response_timeout=timedelta(hours=1),
    )

    @task(
        outlets=[OUTLOOK_EVENTS],
        task_display_name="Work, then seal",
        doc_md="Rounds or window looks, one request at a time for each mailbox; the receipt "
        "stands in the log and the XCom tab.",
        max_active_tis_per_dag=1,
        retry_delay=timedelta(seconds=90),  # a try that was killed holds its lease for a minute
    )
    def work(params: dict[str, Any] | None = None, outlet_events: Any = None) -> dict[str, Any]:
        answer = get_current_context()["ti"].xcom_pull(task_ids="approve") or {}
        user = answer.get("responded_by_user") or {}
        wish = reprocess_wish(params or {})
        counts = run_step("reprocess", by=str(user.get("name") or ""), **wish)
        announce_hours(outlet_events, counts)
        return counts

    preview() >> approve >> work()


outlook_reprocess()
