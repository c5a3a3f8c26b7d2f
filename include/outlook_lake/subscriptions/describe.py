"""A plan as people read it: counts by kind and reason, and how each stream is served.

No id and no address gets in here: the text goes to logs and task notes.
"""

from __future__ import annotations

from collections import Counter

from outlook_lake.subscriptions.model import Plan

__all__ = ["SERVED_BY", "describe", "note"]

SERVED_BY = {
    "messages": ("subscription", "one on each mailbox: created, updated, deleted"),
    "folders": ("delta", "Graph refuses subscriptions on mail folders"),
    "rules": ("snapshot", "Graph refuses subscriptions on inbox rules and has no delta of them"),
}
"""Stream → how it is served, and why so (graph-facts 1.6)."""


def describe(plan: Plan) -> str:
    """The plan as a table in plain text, for a log."""
    lines = ["stream    served by     why"]
    for stream, (way, why) in SERVED_BY.items():
        if stream not in plan.streams:
            way, why = "-", "switched off for this tenant"
        lines.append(f"{stream:<9} {way:<13} {why}")
    lines += [
        "",
        f"{plan.mailboxes} mailbox(es) to be watched, {plan.watched} with a living subscription",
    ]
    if not plan.actions:
        return "\n".join([*lines, "nothing to do"])
    lines += ["", "action       reason         how many"]
    counts = Counter((action.kind, action.reason) for action in plan.actions)
    lines += [f"{kind:<12} {reason:<14} {count:>8}" for (kind, reason), count in counts.items()]
    return "\n".join(lines)


def note(plan: Plan) -> str:
    """The plan in one line, for a task note."""
    counts = Counter(action.kind for action in plan.actions)
    todo = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    return f"{plan.watched} of {plan.mailboxes} watched; " + (todo or "nothing to do")
