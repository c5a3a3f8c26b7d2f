"""Where the package meets Airflow: no other room imports it. DAG files stay thin.

    doorbell() ── rings ──▶ outlook_stream ── run_step("stream", …) ──▶ outlook_lake.steps
                                  connection `msgraph` ──▶ Credentials ──▲
                                  Variable `outlook_lake` ──▶ Settings ──▲

- **doorbell:** the trigger that rings while work waits
- **sensor:** waits until Graph has told something about a tenant or a mailbox
- **connections, variable:** what an administrator enters in the UI
- **coverage_page:** what of which hour is proven, for people (the API server alone imports it)
- **runs, notes, assets:** a step as a task, what a run says it did, what DAGs listen to
"""

from __future__ import annotations

from outlook_lake.airflow.assets import MAILBOXES_WAITING, OUTLOOK_EVENTS, announce_hours
from outlook_lake.airflow.connections import tenant_connection
from outlook_lake.airflow.doctoring import check_one, examine_all
from outlook_lake.airflow.doorbell import WorkWaitingTrigger, doorbell, draining
from outlook_lake.airflow.forms import disconnect_form, one_tenant, reprocess_form, reprocess_wish
from outlook_lake.airflow.notes import RunNotes, note_of
from outlook_lake.airflow.runs import (
    hour_of,
    is_backfill,
    not_over_yet,
    remove_old_task_logs,
    run_step,
    run_witness,
    was_asked_for,
)
from outlook_lake.airflow.sensor import NotificationSensor

__all__ = [
    "MAILBOXES_WAITING",
    "OUTLOOK_EVENTS",
    "NotificationSensor",
    "RunNotes",
    "WorkWaitingTrigger",
    "announce_hours",
    "check_one",
    "disconnect_form",
    "doorbell",
    "draining",
    "examine_all",
    "hour_of",
    "is_backfill",
    "not_over_yet",
    "note_of",
    "one_tenant",
    "remove_old_task_logs",
    "reprocess_form",
    "reprocess_wish",
    "run_step",
    "run_witness",
    "tenant_connection",
    "was_asked_for",
]
