"""A run says in its note what it did."""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl

__all__ = ["RunNotes", "note_of"]

NOTE_LENGTH = 900
"""Airflow cuts notes at 1,000 characters."""


class RunNotes:
    """A listener of the scheduler: a run that ended says in its note what it did."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        """Write the counts that the run's tasks returned into the note of the run."""
        del msg  # the hook's signature
        _write_note(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """A red run tells too what it did, and which tenants could not be served."""
        del msg
        _write_note(dag_run)


def note_of(counts: dict[str, Any]) -> str:
    """`730 events, 868 looks`: what is not zero of a step's counts, in its own order.

    A step that has words of its own (`note`) is quoted instead; tenants that could not be
    served are named in any case.
    """
    told = [str(counts["note"])] if counts.get("note") else [_sizes(counts)]
    told += [f"{one['tenant']}: {one['what']}" for one in counts.get("troubles") or []]
    return "; ".join(part for part in told if part)


def _sizes(counts: dict[str, Any]) -> str:
    sizes = {
        name: len(value) if isinstance(value, list) else value
        for name, value in counts.items()
        if name not in ("plan", "troubles")
    }
    return ", ".join(
        f"{value:,} {name.replace('_', ' ')}"
        for name, value in sizes.items()
        if isinstance(value, int) and not isinstance(value, bool) and value
    )


def _write_note(dag_run: Any) -> None:
    if not dag_run.dag_id.startswith("outlook_"):
        return
    told = [note_of(counts) for counts in _returned(dag_run)]
    parts = list(dict.fromkeys(part for part in (dag_run.note, *told) if part))
    if told and parts:
        dag_run.note = " → ".join(parts)[:NOTE_LENGTH]


def _returned(dag_run: Any) -> list[dict[str, Any]]:
    """What the tasks of a run returned: dictionaries of counts, and words under `note`."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return []
    query = (
        select(XComModel)
        .where(XComModel.dag_run_id == dag_run.id, XComModel.key.in_(("return_value", "note")))
        .order_by(XComModel.timestamp)
    )
    told: list[dict[str, Any]] = []
    for row in session.scalars(query):
        value = XComModel.deserialize_value(row)
        if row.key == "note":
            told.append({"note": value})
        elif isinstance(value, dict) and "chosen_options" in value:
            told.append({"note": _answer_of(value)})
        elif isinstance(value, dict):
            told.append(value)
    return told


def _answer_of(approval: dict[str, Any]) -> str:
    """`Approve by ada`, or `Reject (nobody answered)`."""
    user = (approval.get("responded_by_user") or {}).get("name")
    chosen = ", ".join(approval["chosen_options"])
    return f"{chosen} by {user}" if user else f"{chosen} (nobody answered)"
