"""Turn notifications into events, seconds after they arrive.

* **Owns:** staging, hints that are due, and the event log
* **Runs:** when the doorbell rings: segments or due hints wait and nobody is at them. A run
  lands, looks and applies in a loop until nothing was due for a minute, or for ten minutes
* **Repair:** clear the run, or just wait: whatever a run left is still there for the next
* **Feeds:** `log/`, the view `events_live`, and the dirty hours that `outlook_export` seals

**Red `drain`**

* *The application may not do this* or *the token endpoint refused*: the tenant's connection or
  consent changed. Put it right under Admin ▸ Connections, then clear the task.
* *Storage*: no space left, or the folder is not writable. Free space, then clear the task.
* Killed or timed out: nothing to do. Leases run out after 30 seconds and the next run goes on.

**Paused for long?** Un-pause it. Nothing is lost: segments wait, and `outlook_catch_up` finds
what notifications missed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from outlook_lake.airflow import doorbell, draining, run_step
from outlook_lake.settings import Settings


@dag(
    dag_id="outlook_stream",
    dag_display_name="Outlook: stream (notifications into events)",
    description="On the doorbell: land notifications, look at Graph, apply, until idle",
    schedule=[doorbell()],
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "outlook", "retries": 3, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
    tags=["outlook", "live"],
)
def outlook_stream() -> None:
    @task(
        task_display_name="Drain a lane",
        map_index_template="{{ lane_label }}",
        doc_md="Land segments, claim due mailboxes, look (`$batch`), apply; until idle.",
        execution_timeout=timedelta(minutes=20),
    )
    def drain(lane: int) -> dict[str, Any]:
        context = get_current_context()
        context["lane_label"] = f"lane {lane}"
        with draining(lane):
            counts = run_step("stream", lane=lane)
        context["lane_label"] = f"lane {lane}: {counts.get('events', 0):,} events"
        return counts

    drain.expand(lane=list(range(Settings.load().stream.lanes)))


outlook_stream()
