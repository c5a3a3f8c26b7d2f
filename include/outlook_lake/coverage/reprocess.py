"""Reprocess: what a person asks for, checked, and what it will cost and bring, before it is done.

    request ─▶ refused in words, or ─▶ preview ─▶ (a person approves) ─▶ work ─▶ receipt

Everything here only reads the state database. Depth `rounds` reads all folders and proves;
`window` lists what came or changed in the window and proves nothing, at a tenth of the requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, text

from outlook_lake.clock import HOUR, graph_now, hour_name, hour_start
from outlook_lake.coverage.budget import minutes
from outlook_lake.coverage.window import Window
from outlook_lake.errors import UsageError
from outlook_lake.settings import Settings
from outlook_lake.state import Database

__all__ = ["DEPTHS", "WHO", "Chosen", "Request", "gaps_of", "preview"]

DEPTHS = ("rounds", "window")
WHO = ("all", "unproven", "parked")
"""Which mailboxes, where they are not named one by one."""

ROUND_EXTRA = 3
"""Requests of a full round beside one a folder: the tree, the rules, the list below the root."""
WINDOW_REQUESTS = 2
"""Of a window look: what was received, and what was changed; more where there is more."""
PAGE = 200

_TENANTS = text("SELECT tenant_id, domain_id, state, watch_from FROM tenant ORDER BY domain_id")
_MAILBOXES = text(
    "SELECT mailbox_id, tenant_id, tuid, state, watch_from, complete_through, "
    "complete_through >= :until AND NOT EXISTS (SELECT 1 FROM gap g "
    "  WHERE g.mailbox_id = m.mailbox_id AND g.state = 'open' AND g.from_at < :until "
    "  AND (g.to_at IS NULL OR g.to_at > :since)) AS is_proven "
    "FROM mailbox m WHERE tenant_id IN :tenants AND state <> 'erased' ORDER BY mailbox_id"
).bindparams(bindparam("tenants", expanding=True))
_FOLDERS = text(
    "SELECT f.mailbox_id, count(*) FROM folder f JOIN mailbox m ON m.mailbox_id = f.mailbox_id "
    "WHERE m.tenant_id IN :tenants AND f.gone_at IS NULL GROUP BY f.mailbox_id"
).bindparams(bindparam("tenants", expanding=True))
_EVENTS = text(
    "SELECT coalesce(sum(rows), 0) FROM hour "
    "WHERE domain_id IN :domains AND hour >= :first AND hour < :last"
).bindparams(bindparam("domains", expanding=True))
_GAPS = text(
    "SELECT g.gap_id, g.mailbox_id, g.cause, g.loss, g.state FROM gap g "
    "JOIN mailbox m ON m.mailbox_id = g.mailbox_id WHERE m.tenant_id IN :tenants "
    "AND g.from_at < :until AND (g.to_at IS NULL OR g.to_at > :since)"
).bindparams(bindparam("tenants", expanding=True))

_LOST = {
    "timing": "when exactly something was changed: the events carry an interval",
    "created_and_purged": "items that came and were purged inside, changes that were undone inside",
    "changes": "changes that were overtaken or undone inside, items that came and were purged",
    "all": "whatever was no longer there when it could be read again",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """One mailbox of a request. `is_proven`: for all of the window, and no gap is open in it."""

    mailbox_id: int
    tenant_id: str
    state: str
    is_proven: bool


@dataclass(frozen=True, slots=True)
class Request:
    """A window, whose mailboxes, how deep, and why; made by `of`, which refuses what cannot be."""

    window: Window
    tenants: dict[str, str]
    """Tenant id → domain_id."""
    chosen: tuple[Chosen, ...]
    not_watched: int
    """Asked for, but first watched after the window."""
    depth: str
    reason: str

    @classmethod
    def of(
        cls,
        db: Database,
        settings: Settings,
        *,
        from_hour: str,
        to_hour: str,
        tenant: str | None = None,
        mailboxes: str | Sequence[str] = "all",
        depth: str = "rounds",
        reason: str = "",
    ) -> Request:
        """Check what was asked for; UsageError in words when it cannot be done.

        Hours `YYYY-MM-DDTHH`, the end not included. `mailboxes`: `all`, `unproven`, `parked` or
        tuids. Without `tenant` all tenants that are not gone.
        """
        if len(reason.strip()) < 3:
            raise UsageError("say why: the reason is kept in the receipt")
        if depth not in DEPTHS:
            raise UsageError(f"depth is one of {', '.join(DEPTHS)}, not {depth!r}")
        if not from_hour or not to_hour:
            raise UsageError("a window needs its first hour and the first hour after it")
        window = Window.of(from_hour, to_hour)
        last = hour_start(graph_now() - timedelta(seconds=settings.lake.over_s))
        if window.end > last:
            raise UsageError(
                f"the window ends with {hour_name(window.end - HOUR)}, which is not over yet: "
                f"only what is over can be proven, up to {hour_name(last)} (not included)"
            )
        with db.read() as connection:
            tenants = _tenants(connection, tenant, window)
            watched, late = _choose(connection, window, list(tenants), mailboxes)
        return cls(window, tenants, tuple(watched), late, depth, reason.strip())

    @property
    def name(self) -> str:
        """For leases and receipts: the tenant, or `all`."""
        return next(iter(self.tenants.values())) if len(self.tenants) == 1 else "all"

    def in_state(self, *states: str) -> list[Chosen]:
        """The mailboxes that are in one of these states."""
        return [one for one in self.chosen if one.state in states]


def preview(db: Database, request: Request) -> dict[str, Any]:
    """What the work would cost and bring: counts, sentences, and a `table` in Markdown.

    Requests and minutes (machine time) are estimates against the budget of a backfill, which
    gives way to live work.
    """
    readable = request.in_state("live", "priming")
    tenants = list(request.tenants)
    with db.read() as connection:
        folders = dict(tuple(row) for row in connection.execute(_FOLDERS, {"tenants": tenants}))
        events = connection.execute(
            _EVENTS,
            {
                "domains": sorted(request.tenants.values()),
                "first": hour_name(request.window.start),
                "last": hour_name(request.window.end),
            },
        ).scalar_one()
    if request.depth == "rounds":
        each = [folders.get(one.mailbox_id, 1) + ROUND_EXTRA for one in readable]
        requests = sum(each)
    else:
        each = [WINDOW_REQUESTS]
        requests = WINDOW_REQUESTS * len(readable) + int(events) // PAGE
    gaps = gaps_of(db, request)
    states = Counter(one.state for one in request.chosen)
    told = {
        "tenants": sorted(request.tenants.values()),
        "from": hour_name(request.window.start),
        "to": hour_name(request.window.end),
        "hours": request.window.hours,
        "depth": request.depth,
        "reason": request.reason,
        "mailboxes": len(request.chosen),
        "readable": len(readable),
        "parked": states["parked"],
        "leaving": states["leaving"],
        "not_watched_then": request.not_watched,
        "proven_already": sum(one.is_proven for one in request.chosen),
        "requests": requests,
        "minutes": minutes(requests, max(each, default=0)),
        "gaps_open": _counted(gap for gap in gaps.values() if gap[3] == "open"),
        "gaps_partial": _counted(gap for gap in gaps.values() if gap[3] == "partial"),
        "cannot_be_recovered": _beyond(request, gaps),
    }
    note = (
        f"{told['mailboxes']:,} mailboxes, {told['hours']} hours, about {requests:,} requests in "
        f"{told['minutes']} min; {told['proven_already']:,} are proven already"
    )
    return {**told, "table": _table(told), "note": note}


def gaps_of(db: Database, request: Request) -> dict[int, tuple[int, str, str, str]]:
    """Gaps of the chosen mailboxes that touch the window: id → (mailbox, cause, loss, state)."""
    mine = {one.mailbox_id for one in request.chosen}
    window = request.window
    values = {"tenants": list(request.tenants), "since": window.from_us, "until": window.to_us}
    with db.read() as connection:
        rows = connection.execute(_GAPS, values)
        return {
            row.gap_id: (row.mailbox_id, row.cause, row.loss, row.state)
            for row in rows
            if row.mailbox_id in mine
        }


def _tenants(connection: Connection, tenant: str | None, window: Window) -> dict[str, str]:
    rows = connection.execute(_TENANTS).all()
    named = [row for row in rows if tenant in (None, row.domain_id)]
    if tenant is not None and not named:
        known = ", ".join(row.domain_id for row in rows) or "none"
        raise UsageError(f"no tenant {tenant!r} here; known: {known}")
    if tenant is not None and named[0].state == "gone":
        raise UsageError(f"tenant {tenant!r} was disconnected: nothing of it can be read any more")
    watched = [
        row
        for row in named
        if row.state != "gone" and row.watch_from is not None and row.watch_from < window.to_us
    ]
    if not watched:
        raise UsageError(
            f"nobody was watched before {hour_name(window.end)}: there is nothing to prove in "
            "this window"
        )
    return {row.tenant_id: row.domain_id for row in watched}


def _choose(
    connection: Connection, window: Window, tenants: list[str], mailboxes: str | Sequence[str]
) -> tuple[list[Chosen], int]:
    if isinstance(mailboxes, str) and mailboxes not in WHO:
        mailboxes = [mailboxes]
    rows = connection.execute(
        _MAILBOXES, {"tenants": tenants, "since": window.from_us, "until": window.to_us}
    ).all()
    if not isinstance(mailboxes, str):
        known = {row.tuid for row in rows}
        # What was typed may be an address: it is counted, not repeated.
        strange = [str(n) for n, name in enumerate(mailboxes, start=1) if name not in known]
        if not mailboxes or strange:
            which = f"number {', '.join(strange)} of those named" if strange else "none was named"
            raise UsageError(
                f"mailboxes are named by their tuid, as in events and gaps: {which}"
                f"{' is not known here' if strange else ''}"
            )
        named = set(mailboxes)
        rows = [row for row in rows if row.tuid in named]
    elif mailboxes == "parked":
        rows = [row for row in rows if row.state == "parked"]
    elif mailboxes == "unproven":
        rows = [row for row in rows if not row.is_proven]
    chosen = [
        Chosen(row.mailbox_id, row.tenant_id, row.state, bool(row.is_proven))
        for row in rows
        if row.watch_from is not None and row.watch_from < window.to_us
    ]
    if not chosen:
        raise UsageError("no mailbox is left to do: none of these was watched in this window")
    return chosen, len(rows) - len(chosen)


def _counted(gaps: Iterable[tuple[int, str, str, str]]) -> list[dict[str, Any]]:
    counts = Counter((cause, loss) for _, cause, loss, _ in gaps)
    return [
        {"cause": cause, "loss": loss, "gaps": count}
        for (cause, loss), count in sorted(counts.items())
    ]


def _beyond(request: Request, gaps: dict[int, tuple[int, str, str, str]]) -> list[str]:
    """What no work can bring back, in sentences."""
    by_loss = Counter(loss for _, _, loss, _ in gaps.values())
    told = [f"in {count:,} gap(s): {_LOST[loss]}" for loss, count in sorted(by_loss.items())]
    parked = len(request.in_state("parked"))
    if parked:
        told.append(f"{parked:,} parked mailbox(es), unless they can be read again by then")
    left = len(request.in_state("leaving"))
    if left:
        told.append(f"{left:,} mailbox(es) that are no longer in scope")
    if request.depth == "window":
        told.append("what was read, moved on or purged in the window: its date tells nothing of it")
    return told


def _table(told: dict[str, Any]) -> str:
    rows = [
        ("tenants", ", ".join(f"`{name}`" for name in told["tenants"])),
        ("window", f"{told['from']} to {told['to']} (not included), {told['hours']} hours"),
        ("depth", told["depth"]),
        ("mailboxes", f"{told['mailboxes']:,}, of which {told['readable']:,} can be read now"),
        ("parked, no longer in scope", f"{told['parked']:,}, {told['leaving']:,}"),
        ("first watched later", f"{told['not_watched_then']:,}"),
        ("proven already", f"{told['proven_already']:,}"),
        ("requests", f"about {told['requests']:,}, in {told['minutes']} minutes or more"),
        ("open gaps", _words(told["gaps_open"])),
        ("gaps that stay partial", _words(told["gaps_partial"])),
        ("cannot be recovered", "; ".join(told["cannot_be_recovered"]) or "nothing"),
        ("reason", told["reason"].replace("|", "/").replace("\n", " ")),
    ]
    return "\n".join(["| what | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def _words(groups: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['gaps']:,} {one['cause']} ({one['loss']})" for one in groups) or "none"
