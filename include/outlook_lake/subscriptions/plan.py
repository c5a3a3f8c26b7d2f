"""What to do about subscriptions: a pure function of mailboxes, subscriptions and Graph time.

no subscription, or it expired → create      one half-way through its life → renew
a row `creating` from an earlier run → create again with its nonce (`resume`)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Action", "MailboxRow", "SubscriptionRow", "plan"]

WANTED = frozenset({"new", "subscribing", "priming", "live"})

Kind = Literal["create", "resume", "renew"]


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """What planning needs to know of a mailbox."""

    mailbox_id: int
    state: str


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """What planning needs to know of a subscription. Times: microseconds, Graph time."""

    nonce: str
    subscription_id: str | None
    mailbox_id: int
    state: str
    expires_at: int | None
    renew_at: int | None
    last_notified_at: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do; `reason` is a word an operator reads."""

    kind: Kind
    mailbox_id: int
    reason: str
    nonce: str | None = None
    """The row it is about: the one to resume or renew; for a lapsed one, the old row."""


def plan(
    mailboxes: Iterable[MailboxRow], subscriptions: Iterable[SubscriptionRow], now_us: int
) -> list[Action]:
    """Actions in the order of their urgency: what is unwatched first, then what ends soonest."""
    active: dict[int, SubscriptionRow] = {}
    creating: dict[int, SubscriptionRow] = {}
    for row in subscriptions:
        if row.state == "active":
            known = active.get(row.mailbox_id)
            if known is None or (row.expires_at or 0) > (known.expires_at or 0):
                active[row.mailbox_id] = row
        elif row.state == "creating":
            creating[row.mailbox_id] = row
    actions: list[tuple[int, Action]] = []
    for mailbox in mailboxes:
        if mailbox.state in WANTED:
            action = _for_one(
                mailbox,
                active.get(mailbox.mailbox_id),
                creating.get(mailbox.mailbox_id),
                now_us,
            )
            if action is not None:
                ends = active.get(mailbox.mailbox_id) if action.kind == "renew" else None
                actions.append(((ends.expires_at or 0) if ends else 0, action))
    actions.sort(key=lambda entry: (entry[0], entry[1].mailbox_id))
    return [action for _, action in actions]


def _for_one(
    mailbox: MailboxRow,
    active: SubscriptionRow | None,
    creating: SubscriptionRow | None,
    now_us: int,
) -> Action | None:
    mailbox_id = mailbox.mailbox_id
    if active is not None and (active.expires_at or 0) > now_us:
        if mailbox.state in ("new", "subscribing"):
            # Parked and usable again: what Graph still has is proven by renewing it.
            return Action("renew", mailbox_id, "back", active.nonce)
        if (active.renew_at or 0) <= now_us:
            return Action("renew", mailbox_id, "half_life", active.nonce)
        return None
    if creating is not None:
        return Action("resume", mailbox_id, "unfinished", creating.nonce)
    if active is not None:
        return Action("create", mailbox_id, "lapsed", active.nonce)
    return Action("create", mailbox_id, "missing")
