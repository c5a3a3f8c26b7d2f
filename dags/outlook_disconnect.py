"""Disconnect a tenant: stop watching it, and keep or remove what is known about it.

* **Owns:** the end of a tenant: its state `gone`, and a receipt in `receipts/` of the home
* **Runs:** when you trigger it: form → preview → a person approves → done
* **Repair:** clear the red task: it goes on where it stopped, and doing it twice changes nothing
* **Does not:** change anything at Microsoft beside removing our subscriptions; revoke the
  consent there (docs/connect.md, Revoke). The connection may stay: a tenant that is gone is not
  served again

**Red `preview`**: no such tenant, or no reason; the message names the tenants there are.

**Red `approve`**: nobody answered within an hour is *not* red: the answer is then Reject, and
nothing is changed.

**Red `disconnect`**

* *Another run is at work*, *Graph asks for patience*: it is tried again by itself.
* *Storage*: a file could not be removed. Free it, then clear the task.
* Consent that was revoked already is no fault: the receipt says what could not be removed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, get_current_context, task

from outlook_lake.airflow import disconnect_form, run_step


@dag(
    dag_id="outlook_disconnect",
    dag_display_name="Outlook: disconnect (end a tenant)",
    description="Form, preview, approval; then subscriptions go and data stays or goes",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "outlook", "retries": 3, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
    params=disconnect_form(),
    tags=["outlook", "form"],
)
def outlook_disconnect() -> None:
    def wish(params: dict[str, Any]) -> dict[str, Any]:
        named = {name: params[name] for name in ("tenant", "reason")}
        return {**named, "remove_data": params["data"] == "remove"}

    @task(task_display_name="Preview", doc_md="Counts and sizes; nothing is changed.")
    def preview(params: dict[str, Any] | None = None) -> dict[str, Any]:
        return run_step("disconnect_preview", **wish(params or {}))

    approve = ApprovalOperator(
        task_id="approve",
        task_display_name="Approve",
        subject="Disconnect {{ params.tenant }}? Its data would be: {{ params.data }}",
        body="Reason: {{ params.reason }}\n\n"
        "{{ ti.xcom_pull(task_ids='preview')['table'] }}\n\n"
        "Without an answer within an hour nothing is done.",
        defaults="Reject",
        response_timeout=timedelta(hours=1),
    )

    @task(task_display_name="Disconnect", doc_md="The receipt stands in the log and the XCom tab.")
    def disconnect(params: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = get_current_context()["ti"].xcom_pull(task_ids="approve") or {}
        user = answer.get("responded_by_user") or {}
        return run_step("disconnect", by=str(user.get("name") or ""), **wish(params or {}))

    preview() >> approve >> disconnect()


outlook_disconnect()
