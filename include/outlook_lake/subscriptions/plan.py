"""What to do about subscriptions: a pure function of what is wanted, what is, and Graph time.

    nothing there          → create, resume (a run that died), recreate (it was lost)
    there, not as it should → renew, reauthorize, recreate, adopt
    there, not wanted       → remove            quiet for long → check (ask Graph by id)
    messages not wanted, other streams are → prime without one

Each action carries one word that says why; `describe` makes a table of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from outlook_lake.subscriptions.model import (
    Action,
    Kind,
    Listed,
    MailboxRow,
    Plan,
    SubscriptionRow,
    Wanted,
)

__all__ = ["plan", "renewal"]

WATCHED = frozenset({"new", "subscribing", "priming", "live"})
"""States of mailboxes that should have a subscription."""

UNPRIMED = frozenset({"new", "subscribing"})

MINUTE_US = 60_000_000
REAUTHORIZE_EVERY_US = 10 * MINUTE_US
"""Graph time; requests to reauthorize can come in storms (docs#16899)."""
CHECK_AFTER_US = 60 * MINUTE_US
"""Graph time without a sign of life after which a subscription is asked for by id."""
ENDS_SOON_US = 6 * 60 * MINUTE_US
"""Graph time; what ends so soon is renewed before anything new is made."""
JITTER = 0.1
"""Renewals of one day spread over a fifth of their half life."""

LOST_BY = frozenset({"lapsed", "removed", "silent", "key", "rotated", "address", "mode"})
"""Words that say why a subscription was lost."""


class _Rows:
    """The subscriptions of one mailbox, sorted by what they are."""

    __slots__ = ("active", "creating", "lost", "surplus")

    def __init__(self) -> None:
        self.active: SubscriptionRow | None = None
        self.creating: SubscriptionRow | None = None
        self.lost: SubscriptionRow | None = None
        self.surplus: list[SubscriptionRow] = []

    def add(self, row: SubscriptionRow) -> None:
        if row.state == "active":
            old = self.active
            if old is not None and (old.expires_at or 0) >= (row.expires_at or 0):
                old, row = row, old
            self.active = row
        elif row.state == "creating":
            old, self.creating = self.creating, row
        else:
            old, self.lost = None, row
        if old is not None:
            self.surplus.append(old)

    def give_up_proofs_outside(self, keys: frozenset[str]) -> None:
        """One begun with a key that is gone cannot be carried on."""
        if self.creating is not None and self.creating.key_id not in keys:
            self.surplus.append(self.creating)
            self.creating = None


def renewal(nonce: str, from_us: int, expires_us: int) -> int:
    """When to renew: at half of its life, up to a tenth of that sooner or later by its nonce."""
    half = (expires_us - from_us) // 2
    dice = int.from_bytes(blake2b(nonce.encode(), digest_size=4).digest(), "big") / 0xFFFFFFFF
    return from_us + half + int(half * JITTER * (2 * dice - 1))


def plan(
    mailboxes: Iterable[MailboxRow],
    subscriptions: Iterable[SubscriptionRow],
    now_us: int,
    wanted: Wanted,
    listed: Sequence[Listed] | None = None,
) -> Plan:
    """The actions that bring the subscriptions of a tenant to what is wanted.

    `listed` is what Graph's list shows, when it was asked for; our own records are the truth,
    so that a listing only points at what nobody here knows and at what should be asked for.
    """
    by_mailbox: defaultdict[int, _Rows] = defaultdict(_Rows)
    for row in subscriptions:
        by_mailbox[row.mailbox_id].add(row)
    ranked: list[tuple[int, int, Action]] = []
    checks: list[tuple[int, Action]] = []
    in_list = None if listed is None else {entry.subscription_id for entry in listed}
    unknown = _unknown(by_mailbox.values(), listed or ())
    count = watched = 0
    nothing = _Rows()
    for mailbox in mailboxes:
        rows = by_mailbox.get(mailbox.mailbox_id, nothing)
        why_not = _not_wanted(mailbox, wanted)
        if why_not is not None:
            ranked += [
                (5, 0, _removal(row, why_not))
                for row in (rows.active, rows.creating, *rows.surplus)
                if row is not None
            ]
            if why_not == "stream_off" and wanted.streams and mailbox.state in UNPRIMED:
                ranked.append((2, 0, Action("prime", mailbox.mailbox_id, why_not)))
            continue
        count += 1
        rows.give_up_proofs_outside(wanted.keys | wanted.retired)
        active = rows.active
        alive = active is not None and (active.expires_at or 0) > now_us
        watched += alive
        surplus = [*rows.surplus, rows.creating] if alive else rows.surplus
        ranked += [(5, 0, _removal(row, "duplicate")) for row in surplus if row is not None]
        if active is None or not alive:
            theirs = unknown.get(mailbox.aad_id.lower()) if rows.creating else None
            there = theirs.pop() if theirs else None
            ranked.append((2, 0, _unwatched(mailbox.mailbox_id, rows, there)))
            continue
        entry = _watched(mailbox, active, now_us, wanted)
        if entry is not None:
            ranked.append(entry)
        elif in_list is not None and active.subscription_id not in in_list:
            checks.append((active.alive_at, _about("check", active, "unlisted")))
        elif active.alive_at <= now_us - CHECK_AFTER_US:
            checks.append((active.alive_at, _about("check", active, "quiet")))
    ranked += [
        (5, 0, Action("remove", 0, "foreign", None, subscription_id))
        for several in unknown.values()
        for subscription_id in several
    ]
    ranked.sort(key=lambda one: (one[0], one[1], one[2].mailbox_id))
    checks.sort(key=lambda one: (one[0], one[1].mailbox_id))
    actions = [one[2] for one in ranked] + [one[1] for one in checks[: wanted.checks]]
    return Plan(tuple(actions), count, watched, wanted.streams)


def _not_wanted(mailbox: MailboxRow, wanted: Wanted) -> str | None:
    if wanted.leaving:
        return "leaving"
    if mailbox.state not in WATCHED:
        return mailbox.state
    return None if "messages" in wanted.streams else "stream_off"


def _unknown(known: Iterable[_Rows], listed: Sequence[Listed]) -> dict[str, list[str]]:
    """Listed ids no row of ours knows, by mailbox (or by themselves where it is none)."""
    if not listed:
        return {}
    ids = {
        row.subscription_id
        for rows in known
        for row in (rows.active, rows.creating, rows.lost, *rows.surplus)
        if row is not None
    }
    unknown: dict[str, list[str]] = {}
    for entry in listed:
        if entry.subscription_id not in ids:
            about = entry.aad_id or entry.subscription_id
            unknown.setdefault(about, []).append(entry.subscription_id)
    return unknown


def _about(kind: Kind, row: SubscriptionRow, reason: str) -> Action:
    return Action(kind, row.mailbox_id, reason, row.nonce, row.subscription_id)


def _removal(row: SubscriptionRow, reason: str) -> Action:
    return _about("remove", row, reason)


def _unwatched(mailbox_id: int, rows: _Rows, there: str | None) -> Action:
    """A mailbox without a living subscription."""
    if rows.creating is not None and there is not None:
        return Action("adopt", mailbox_id, "unfinished", rows.creating.nonce, there)
    if rows.creating is not None:
        return _about("resume", rows.creating, "unfinished")
    if rows.active is not None:
        return _about("recreate", rows.active, "lapsed")
    if rows.lost is not None:
        why = rows.lost.last_error
        return _about("recreate", rows.lost, why if why in LOST_BY else "lost")
    return Action("create", mailbox_id, "missing")


def _useless(mailbox: MailboxRow, row: SubscriptionRow, wanted: Wanted) -> str | None:
    """Why a living subscription has to be replaced."""
    if row.key_id in wanted.retired:
        return "rotated"
    if row.key_id not in wanted.keys:
        return "key"
    if row.mode != wanted.mode:
        return "mode"
    return "silent" if mailbox.unannounced >= wanted.silent_changes else None


def _watched(
    mailbox: MailboxRow, row: SubscriptionRow, now_us: int, wanted: Wanted
) -> tuple[int, int, Action] | None:
    """What a living subscription needs: (rank, when it ends, action)."""
    ends = row.expires_at or 0
    why = _useless(mailbox, row, wanted)
    if why is not None:
        return 4, ends, _about("recreate", row, why)
    if row.reauthorize_at is not None and (row.renewed_at or 0) <= now_us - REAUTHORIZE_EVERY_US:
        return 0, ends, _about("reauthorize", row, "asked")
    if mailbox.state in UNPRIMED:
        # Parked and usable again: what Graph still has is proven by renewing it.
        return 1, ends, _about("renew", row, "back")
    if (row.notification_url or wanted.url) != wanted.url:
        return 1, ends, _about("renew", row, "address")
    if row.mode == "rich" and row.cert_id != wanted.cert_id:
        return 3, ends, _about("renew", row, "certificate")
    if (row.renew_at or 0) > now_us:
        return None
    if (row.lifecycle_url or wanted.url) != wanted.url:
        # PATCH moves notifications, not lifecycle notifications (graph-facts 1.1).
        return 4, ends, _about("recreate", row, "address")
    return 1 if ends <= now_us + ENDS_SOON_US else 3, ends, _about("renew", row, "half_life")
