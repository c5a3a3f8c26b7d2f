"""One step as a task: settings from the Variable, credentials from connections, errors in words."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from outlook_lake.airflow.connections import tenant_connection
from outlook_lake.airflow.variable import current_settings

__all__ = [
    "hour_of",
    "is_backfill",
    "not_over_yet",
    "remove_old_task_logs",
    "run_step",
    "run_witness",
    "was_asked_for",
]

log = logging.getLogger(__name__)

COMES_BACK = timedelta(minutes=5)
"""A task waits for the end of its hour when it is no further away than this (Graph time)."""


def run_step(name: str, *, troubles_fail: bool = True, **arguments: Any) -> dict[str, Any]:
    """Run one step of `outlook_lake.steps` inside a task; returns its counts.

    What befell single tenants turns the task red after all others were served, unless
    `troubles_fail` is false.

    Errors that another try can mend are raised as they are and Airflow tries again; the
    others fail the task at once, with the words that say what to do.
    """
    from airflow.sdk.exceptions import AirflowFailException

    from outlook_lake import steps
    from outlook_lake.application import Application
    from outlook_lake.errors import OutlookLakeError, is_transient

    try:
        settings = current_settings()
        with Application.open(settings, connection=tenant_connection, run_id=_try_name()) as app:
            outcome = getattr(steps, name)(app, **arguments)
            counts = asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome
    except OutlookLakeError as error:
        if is_transient(error):
            raise
        raise AirflowFailException(str(error)) from error
    for line in counts.get("plan") or []:
        log.info("%s", line)
    if counts.get("table"):
        log.info("%s\n\n%s", name, counts["table"])
    log.info("%s: %s", name, {k: v for k, v in counts.items() if k not in ("plan", "table")})
    if troubles_fail:
        _fail_for_troubles(counts)
    return dict(counts)


def run_witness(dag_run: Any, *, tenant: str | None) -> dict[str, Any]:
    """The witness as a task: the hour's share of the mailboxes, or all when started by hand.

    Skipped (green) in a backfill, and where the inventory forgets items
    (`inventory.horizon_days`) and so cannot be compared.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    if is_backfill(dag_run):
        raise AirflowSkipException("a backfill proves its hours; the hourly runs compare")
    if current_settings().inventory.horizon_days:
        raise AirflowSkipException("inventory.horizon_days: the inventory forgets items")
    hour = None if was_asked_for(dag_run) else hour_of(dag_run.data_interval_start)
    # The rounds before it have told already whom Graph does not serve.
    return run_step("witness", hour=hour, tenant=tenant, troubles_fail=False)


def _fail_for_troubles(counts: dict[str, Any]) -> None:
    """Turn the task red for what befell single tenants, now that all others were served."""
    from airflow.sdk import get_current_context
    from airflow.sdk.exceptions import AirflowFailException

    troubles = counts.get("troubles") or []
    if not troubles:
        return
    # What was done for the others is told by the note of the run, also of a red one.
    get_current_context()["ti"].xcom_push("return_value", counts)
    raise AirflowFailException(
        f"{len(troubles)} tenant(s) could not be served, all others were:\n"
        + "\n".join(f"  {one['tenant']}: {one['what']}" for one in troubles)
    )


def hour_of(interval_start: datetime | None) -> str | None:
    """`2026-11-24T09`, the hour a data interval begins with; None for a run without interval."""
    from outlook_lake.clock import hour_name

    return None if interval_start is None else hour_name(interval_start)


def was_asked_for(dag_run: Any) -> bool:
    """Whether a person (or a program in their place) wanted this run: by hand, or a backfill."""
    return str(getattr(dag_run.run_type, "value", dag_run.run_type)) in ("manual", "backfill")


def is_backfill(dag_run: Any) -> bool:
    """Whether somebody selected this run's interval."""
    return str(getattr(dag_run.run_type, "value", dag_run.run_type)) == "backfill"


def not_over_yet(hour: str | None, ti: Any) -> NoReturn:
    """Answer a run whose interval is not over in Graph time: come back in a moment, or skip.

    The run of an hour starts on the stroke, and the hour is over a little later
    (`lake.over_s`): the task gives its slot back and comes again then. An hour that is further
    from its end is skipped, which is green, and the note of the run says why: a later run seals
    it. `ti`: the task that runs.
    """
    from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

    from outlook_lake.clock import HOUR, graph_now, machine_now, parse_hour

    if hour is not None:
        over_at = parse_hour(hour) + HOUR + timedelta(seconds=current_settings().lake.over_s)
        wait = over_at - graph_now()
        if wait <= COMES_BACK:
            raise AirflowRescheduleException(  # type: ignore[no-untyped-call]
                machine_now() + wait + timedelta(seconds=1)
            )
    words = f"{hour} is not over yet in Graph's time"
    ti.xcom_push("note", words)
    raise AirflowSkipException(words)


def remove_old_task_logs(days: int) -> int:
    """Delete Airflow's task log files not written to for `days` (machine time); returns how many.

    Airflow itself never removes them: about 200 files a day.
    """
    from airflow.sdk import conf

    folder = Path(str(conf.get("logging", "base_log_folder")))
    before = time.time() - days * 86400
    old = [path for path in folder.glob("dag_id=*/**/*.log") if path.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()
    return len(old)


def _try_name() -> str:
    """This try of this task: who holds a lease, and who may take over its own."""
    from airflow.sdk import get_current_context

    ti = get_current_context()["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.try_number}"
