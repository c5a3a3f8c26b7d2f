"""Keep one live subscription on every mailbox in scope.

* **Owns:** who is in scope, and the subscriptions at Graph
* **Runs:** every 15 minutes; a run that finds nothing to do costs a few requests
* **Repair:** clear the run, or trigger it: it compares what should be with what is
* **Shows:** the plan as a table in the log of `show_plan`, before anything is done. Trigger it
  with *Plan only* to see what would happen
* **Tells:** the asset `outlook_mailboxes_waiting` when it found mailboxes to be primed

**Red `subscribe`**: every tenant that could be served was; the message names the others, and why.

* *The application may not do this*: grant `User.Read.All` and `Mail.ReadBasic.All` (application)
  and consent as an administrator; consent may take minutes to spread, then clear the task.
* *The token endpoint refused*: the client secret ended or is wrong; see Admin ▸ Connections.
* *Settings cannot be used*: correct the Variable `outlook_lake` under Admin ▸ Variables.
* Not sure? Trigger `outlook_doctor`: it names the fault and the cure.
* A mailbox that cannot be read does not make this red: it is *parked* with a reason.

**Red `show_plan`**: as `subscribe`, when no tenant at all could be served.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException

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
    params={
        "tenant": one_tenant(),
        "plan_only": Param(
            False,
            type="boolean",
            title="Plan only",
            description="Show what would be done; no subscription is touched",
            section="Scope",
        ),
    },
    tags=["outlook", "live"],
)
def outlook_subscriptions() -> None:
    @task(
        task_display_name="Show the plan",
        doc_md="Desired × actual × now: how many to create, renew or repair, and why.",
    )
    def show_plan(params: dict[str, Any] | None = None) -> dict[str, Any]:
        tenant = (params or {}).get("tenant")
        return run_step("subscriptions", tenant=tenant, plan_only=True, troubles_fail=False)

    @task(
        task_display_name="Create, renew, repair",
        doc_md="Carries the plan out, at Graph's pace; made anew, as time has passed.",
    )
    def subscribe(params: dict[str, Any] | None = None) -> dict[str, Any]:
        if (params or {}).get("plan_only"):
            raise AirflowSkipException("plan only: nothing was touched")
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

    done = subscribe()
    show_plan() >> done
    any_waiting(done) >> wake()


outlook_subscriptions()
