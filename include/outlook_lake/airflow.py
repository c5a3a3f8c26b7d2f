"""Where the package meets Airflow: the doorbell, the connections, and one step as a task.

No other module of the package imports Airflow. DAG files stay thin:

    doorbell() ── rings ──▶ outlook_stream ── run_step("stream", …) ──▶ outlook_lake.steps
                                  connection `msgraph` ──▶ Credentials ──▲

A ring is never the work list. Events of an asset can be stranded behind `max_active_runs`, and
lost while a DAG is paused; so the trigger looks at what is *there* (segments, hints that are
due) and rings again while work remains and nobody is at it.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.listeners import hookimpl
from airflow.sdk import Asset, AssetWatcher, Param
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from outlook_lake.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from outlook_lake.tenants.credentials import TenantConnection

__all__ = [
    "MAILBOXES_WAITING",
    "OUTLOOK_EVENTS",
    "RunNotes",
    "WorkWaitingTrigger",
    "announce_hours",
    "doorbell",
    "draining",
    "hour_of",
    "not_over_yet",
    "one_tenant",
    "remove_old_task_logs",
    "run_step",
    "tenant_connection",
]

log = logging.getLogger(__name__)

MAILBOXES_WAITING = Asset("outlook_mailboxes_waiting", uri="outlook://mailboxes/waiting")
"""Some mailbox is to be primed; `outlook_subscriptions` says so, `outlook_prime` listens."""

OUTLOOK_EVENTS = Asset("outlook_events", uri="outlook://lake/events")
"""The lake: one partition (`2026-11-24T09`, UTC) for every hour that was written anew."""

CONNECTION_FIELDS = ("conn_type", "login", "password", "host", "schema", "port")

DUE = """
    SELECT 1 FROM hint JOIN mailbox ON mailbox.mailbox_id = hint.mailbox_id
    WHERE hint.due_at <= :now AND mailbox.state IN ('priming', 'live')
      AND mailbox.pause_until <= :now LIMIT 1
"""
"""Hints of parked mailboxes, and of those Graph asked to wait for, do not ring."""

ABANDONED_S = 3.0
"""An open segment nobody holds is a dead receiver's once it is this old, s machine."""


NOTE_LENGTH = 900
"""Airflow cuts notes at 1,000 characters."""

COMES_BACK = timedelta(minutes=5)
"""A task waits for the end of its hour when it is no further away than this (Graph time)."""


class WorkWaitingTrigger(BaseEventTrigger):
    """Rings while notifications or due hints wait and no drain is at work on them.

    `poke_s` and `ring_every_s` are seconds of machine time. Its state is not kept: after a
    restart it looks and rings again, and a ring too many finds nothing to do.
    """

    def __init__(self, poke_s: float = 0.5, ring_every_s: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.poke_s = poke_s
        self.ring_every_s = ring_every_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: their hash is the trigger's identity."""
        return (
            "outlook_lake.airflow.WorkWaitingTrigger",
            {"poke_s": self.poke_s, "ring_every_s": self.ring_every_s},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ring for ever; never ends by itself, never blocks the triggerer's loop."""
        bell = _Bell(Settings.load())
        rung = float("-inf")
        while True:
            try:
                waiting = await asyncio.to_thread(bell.look)
            except Exception:
                # A trigger that raises is gone until the next parse. A look that fails (disk
                # full, database being restored) is tried again; the log says why.
                log.exception("the doorbell could not look; it tries again")
                waiting = {}
                await asyncio.sleep(self.ring_every_s)
            if not waiting:
                rung = float("-inf")
            elif time.monotonic() - rung >= self.ring_every_s:
                rung = time.monotonic()
                yield TriggerEvent(waiting)  # type: ignore[no-untyped-call]
            await asyncio.sleep(self.poke_s)


class _Bell:
    """Looks, cheaply, whether there is anything a drain would do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: Engine | None = None

    def look(self) -> dict[str, int]:
        """What waits: numbers of segments, dead receivers' segments, due hints. Empty = nothing."""
        if self._everyone_drains():
            return {}
        waiting = {
            "segments": _count(self.settings.staging / "ready"),
            "abandoned": _abandoned(self.settings.staging / "open"),
            "due": self._due(),
        }
        return {name: count for name, count in waiting.items() if count}

    def _everyone_drains(self) -> bool:
        lanes = range(self.settings.stream.lanes)
        return all(_is_locked(_lane_lock(self.settings, lane)) for lane in lanes)

    def _due(self) -> int:
        """1 when a hint is due that a drain could take; 0 also while there is no database."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.exc import OperationalError

        from outlook_lake.clock import machine_us
        from outlook_lake.state.database import url_of

        file = self.settings.state_file
        if file is not None and not file.exists():
            return 0
        if self.engine is None:
            self.engine = create_engine(url_of(self.settings), pool_size=1, hide_parameters=True)
        try:
            with self.engine.connect() as connection:
                due = connection.execute(text(DUE), {"now": machine_us()}).first()
        except OperationalError:  # no tables yet, or locked by a migration: look again
            return 0
        return int(due is not None)


def doorbell() -> Asset:
    """The asset that starts `outlook_stream`."""
    watcher = AssetWatcher(name="outlook_doorbell", trigger=WorkWaitingTrigger())
    return Asset("outlook_segments_waiting", uri="outlook://staging/segments", watchers=[watcher])


@contextmanager
def draining(lane: int) -> Iterator[None]:
    """Hold the mark that a drain of this lane is at work: the doorbell keeps quiet meanwhile.

    The mark is a file lock, so it is gone with its process, however that ends. It excludes
    nobody; leases do that.
    """
    path = _lane_lock(Settings.load(), lane)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as mark:
        fcntl.flock(mark, fcntl.LOCK_SH)
        yield


def tenant_connection(conn_id: str) -> TenantConnection:
    """The credentials in an Airflow connection of type `msgraph`, from any secrets backend.

    Raises UsageError, in words, when a field is missing or a host is not one of Graph's.
    """
    from airflow.sdk import BaseHook

    from outlook_lake.tenants.credentials import parse_connection

    connection = BaseHook.get_connection(conn_id)
    fields = {name: getattr(connection, name) for name in CONNECTION_FIELDS}
    return parse_connection(conn_id, {**fields, "extra": connection.extra_dejson})


def run_step(name: str, **arguments: Any) -> dict[str, Any]:
    """Run one step of `outlook_lake.steps` inside a task; returns its counts.

    Errors that another try can mend are raised as they are and Airflow tries again; the
    others fail the task at once, with the words that say what to do.
    """
    from airflow.sdk.exceptions import AirflowFailException

    from outlook_lake import steps
    from outlook_lake.application import Application
    from outlook_lake.errors import OutlookLakeError, is_transient

    try:
        with Application.open(
            Settings.load(), connection=tenant_connection, run_id=_try_name()
        ) as app:
            outcome = getattr(steps, name)(app, **arguments)
            counts = asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome
    except OutlookLakeError as error:
        if is_transient(error):
            raise
        raise AirflowFailException(str(error)) from error
    log.info("%s: %s", name, counts)
    return dict(counts)


def one_tenant() -> Param:
    """The form field that limits a run to one tenant."""
    return Param(
        None,
        type=["null", "string"],
        title="Tenant",
        description="Its domain, for example contoso.com; empty = every tenant",
        section="Scope",
    )


def announce_hours(outlet_events: Any, counts: dict[str, Any]) -> None:
    """Emit one partition of `outlook_events` for every hour an export wrote."""
    hours = sorted({name.rpartition("/")[2] for name in counts.get("sealed", [])})
    if hours:
        outlet_events[OUTLOOK_EVENTS].add_partitions(hours)
        outlet_events[OUTLOOK_EVENTS].extra = {"hours": len(hours)}


def hour_of(interval_start: datetime | None) -> str | None:
    """`2026-11-24T09`, the hour a data interval begins with; None for a run without interval."""
    from outlook_lake.clock import hour_name

    return None if interval_start is None else hour_name(interval_start)


def not_over_yet(hour: str | None) -> NoReturn:
    """Answer a run whose interval is not over in Graph time: come back in a moment, or skip.

    The run of an hour starts on the stroke, and the hour is over a little later
    (`lake.over_s`): the task gives its slot back and comes again then. An hour that is further
    from its end is skipped, which is green: a later run seals it.
    """
    from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

    from outlook_lake.clock import HOUR, graph_now, machine_now, parse_hour

    if hour is not None:
        over_at = parse_hour(hour) + HOUR + timedelta(seconds=Settings.load().lake.over_s)
        wait = over_at - graph_now()
        if wait <= COMES_BACK:
            raise AirflowRescheduleException(  # type: ignore[no-untyped-call]
                machine_now() + wait + timedelta(seconds=1)
            )
    raise AirflowSkipException(f"{hour} is not over yet in Graph's time")


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


class RunNotes:
    """A listener of the scheduler: a run that ended well says in its note what it did."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        """Write the counts that the run's tasks returned into the note of the run."""
        del msg  # the hook's signature
        if not dag_run.dag_id.startswith("outlook_"):
            return
        told = [note_of(counts) for counts in _returned(dag_run)]
        parts = [part for part in (dag_run.note, *told) if part]
        if told and parts:
            dag_run.note = " → ".join(parts)[:NOTE_LENGTH]


def note_of(counts: dict[str, Any]) -> str:
    """`730 events, 868 looks`: what is not zero of a step's counts, in its own order."""
    sizes = {
        name: len(value) if isinstance(value, list) else value for name, value in counts.items()
    }
    return ", ".join(
        f"{value:,} {name.replace('_', ' ')}"
        for name, value in sizes.items()
        if isinstance(value, int) and not isinstance(value, bool) and value
    )


def _returned(dag_run: Any) -> list[dict[str, Any]]:
    """What the tasks of a run returned, where that is a dictionary of counts."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return []
    query = select(XComModel).where(
        XComModel.dag_run_id == dag_run.id, XComModel.key == "return_value"
    )
    values = [XComModel.deserialize_value(row) for row in session.scalars(query)]
    return [value for value in values if isinstance(value, dict)]


def _try_name() -> str:
    """This try of this task: who holds a lease, and who may take over its own."""
    from airflow.sdk import get_current_context

    ti = get_current_context()["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.try_number}"


def _lane_lock(settings: Settings, lane: int) -> Path:
    return settings.home / "run" / f"drain-{lane}.lock"


def _is_locked(path: Path) -> bool:
    try:
        with path.open("a") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _count(folder: Path) -> int:
    try:
        return sum(1 for entry in os.scandir(folder) if not entry.name.startswith("."))
    except FileNotFoundError:
        return 0


def _abandoned(folder: Path) -> int:
    """Open segments whose writer is gone: old enough, not empty, and nobody holds the lock."""
    count = 0
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return 0
    for entry in entries:
        try:
            stat = entry.stat()
            if stat.st_size and time.time() - stat.st_mtime > ABANDONED_S:
                count += not _is_locked(Path(entry.path))
        except FileNotFoundError:  # closed and renamed meanwhile: it is in ready now
            continue
    return count
