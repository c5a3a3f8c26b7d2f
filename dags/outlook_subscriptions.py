"""Keep one live subscription on every mailbox in scope.

* **Owns:** who is in scope, and the subscriptions at Graph
* **Runs:** every 15 minutes; a run that finds nothing to do costs a few requests
* **Repair:** clear the run, or trigger it: it compares what should be with what is
* **Tells:** the asset `outlook_mailboxes_waiting` when it found mailboxes to be primed

**Red `subscribe`**

* *The application may not do this*: grant `User.Read.All` and `Mail.ReadBasic.All` (application)
  and consent as an administrator; consent may take minutes to spread, then clear the task.
* *The token endpoint refused*: the client secret ended or is wrong; see Admin ▸ Connections.
* A mailbox that cannot be read does not make this red: it is *parked* with a reason.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, dag, task

from outlook_lake.airflow import MAILBOXES_WAITING, one_tenant, run_step


@dag(
    dag_id="outlook_subscriptions",
    dag_display_name="Outlook: subscriptions (keep every mailbox watched)",
    description="Find mailboxes in scope; create and renew their subscriptions",
    schedule=CronDataIntervalTimetable("*/15 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "outlook", "retries": 3, "retry_delay": timedelta(seconds=10)},
    doc_md=__doc__,
    params={"tenant": one_tenant()},
    tags=["outlook", "live"],
)
def outlook_subscriptions() -> None:
    @task(
        task_display_name="Plan, create, renew",
        doc_md="Desired × actual × now → create, renew or repair, at Graph's pace.",
    )
    def subscribe(params: dict[str, Any] | None = None) -> dict[str, Any]:
        return run_step("subscriptions", tenant=(params or {}).get("tenant"))

    @task.short_circuit(
        task_display_name="Any mailbox to prime?",
        doc_md="Goes on only when a mailbox waits for its first enumeration.",
    )
    def any_waiting(counts: dict[str, Any]) -> bool:
        return bool(counts.get("priming"))

    @task(outlets=[MAILBOXES_WAITING], task_display_name="Wake the priming")
    def wake() -> None:
        """The asset event of this task starts `outlook_prime`."""

    any_waiting(subscribe()) >> wake()


outlook_subscriptions()
