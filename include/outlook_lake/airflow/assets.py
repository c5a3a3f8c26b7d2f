"""The assets the DAGs tell each other, and other people's DAGs, by."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset

__all__ = ["MAILBOXES_WAITING", "OUTLOOK_EVENTS", "announce_hours"]

MAILBOXES_WAITING = Asset("outlook_mailboxes_waiting", uri="outlook://mailboxes/waiting")
"""Some mailbox is to be primed; `outlook_subscriptions` says so, `outlook_prime` listens."""


OUTLOOK_EVENTS = Asset("outlook_events", uri="outlook://lake/events")
"""The lake: one partition (`2026-11-24T09`, UTC) for every hour that was written anew."""


def announce_hours(outlet_events: Any, counts: dict[str, Any]) -> None:
    """Emit one partition of `outlook_events` for every hour an export wrote."""
    hours = sorted({name.rpartition("/")[2] for name in counts.get("sealed", [])})
    if hours:
        outlet_events[OUTLOOK_EVENTS].add_partitions(hours)
        outlet_events[OUTLOOK_EVENTS].extra = {"hours": len(hours)}
