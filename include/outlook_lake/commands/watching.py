"""`outlook-lake status`: how is it doing?"""

from __future__ import annotations

from typing import Any

import typer

from outlook_lake.commands.output import AsJson, answer, guarded, home_that_exists, table
from outlook_lake.lake.status import status as read_status

__all__ = ["status"]


@guarded
def status(as_json: AsJson = False) -> None:
    """Show freshness, backlog, subscriptions, mailboxes, hours, refusals and the last batches.

    Example: outlook-lake status --json
    """
    found = read_status(home_that_exists())
    if as_json:
        answer(found)
        return
    table("status", ("what", "how it stands"), _lines(found))
    for row in found["mailboxes"]["parked"]:
        typer.echo(f"parked: {row['tuid']}: {row['reason'] or 'no reason given'}")
    table(
        "last batches",
        ("seq", "lane", "rows", "committed (Graph time)"),
        [
            (row["seq"], row["lane"], row["rows"], f"{row['committed_at']:%Y-%m-%d %H:%M:%S}")
            for row in found["batches"]
        ],
    )


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    fresh, hints, hours = found["freshness"], found["hints"], found["hours"]
    refused = ", ".join(
        f"{row['count']} {row['stage']}/{row['reason']}" for row in found["quarantine"]
    )
    return [
        ("Graph time", f"{found['graph_now']:%Y-%m-%d %H:%M:%S} UTC"),
        ("newest event", _newest(fresh)),
        ("happened to committed", f"p50 {_age(fresh['p50_s'])}, p95 {_age(fresh['p95_s'])}"),
        ("last commit", _ago(fresh["last_commit_age_s"], "ago")),
        ("hints", f"{hints['waiting']} waiting, {hints['due']} due, {hints['retried']} retried"),
        ("segments", f"{found['segments']['ready']} ready, {found['segments']['open']} open"),
        ("subscriptions", _listed(found["subscriptions"]["by_state"])),
        ("mailboxes", _listed(found["mailboxes"]["by_state"])),
        ("hours", f"{hours['open']} open, {hours['dirty']} dirty, {hours['sealed']} sealed"),
        ("last sealed hour", hours["last_sealed"] or "none yet"),
        ("gaps", _listed(found["gaps"])),
        ("refused in 24 h", refused or "nothing"),
    ]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _newest(fresh: dict[str, Any]) -> str:
    if fresh["newest_event_age_s"] is None and fresh["last_commit_age_s"] is not None:
        return "a batch cannot be read: `outlook-lake verify` names it"
    return _ago(fresh["newest_event_age_s"], "old")


def _ago(seconds: float | None, word: str) -> str:
    return "none yet" if seconds is None else f"{_age(seconds)} {word}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
