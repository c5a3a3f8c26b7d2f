"""What planning speaks of: mailboxes, subscriptions, what is wanted, and actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "STREAMS",
    "Action",
    "Kind",
    "Listed",
    "MailboxRow",
    "Plan",
    "SubscriptionRow",
    "Wanted",
]

STREAMS = frozenset({"messages", "folders", "rules"})

Kind = Literal[
    "create", "resume", "adopt", "renew", "reauthorize", "recreate", "prime", "remove", "check"
]


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """What planning needs to know of a mailbox."""

    mailbox_id: int
    state: str
    unannounced: int = 0
    """Changes that rounds found and no notification told of."""
    aad_id: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """What planning needs to know of a subscription. Times: microseconds, Graph time."""

    nonce: str
    subscription_id: str | None
    mailbox_id: int
    state: str
    """`creating`, `active`; `lost` ones only where nothing came after them."""
    expires_at: int | None = None
    renew_at: int | None = None
    created_at: int | None = None
    renewed_at: int | None = None
    proven_at: int | None = None
    last_notified_at: int | None = None
    reauthorize_at: int | None = None
    key_id: str = ""
    notification_url: str | None = None
    lifecycle_url: str | None = None
    last_error: str | None = None
    mode: str = "basic"
    cert_id: str | None = None
    """What a rich one is encrypted for."""

    @property
    def alive_at(self) -> int:
        """The last sign of life."""
        signs = (self.created_at, self.renewed_at, self.proven_at, self.last_notified_at)
        return max(at or 0 for at in signs)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the subscriptions of a tenant should be."""

    url: str
    keys: frozenset[str]
    """Ids of the keys in use."""
    retired: frozenset[str] = frozenset()
    """Ids of keys whose proofs receivers still take, until nothing carries them any more."""
    silent_changes: int = 2
    checks: int = 900
    """Most subscriptions asked for by id in one run."""
    streams: frozenset[str] = STREAMS
    mode: str = "basic"
    cert_id: str | None = None
    """The certificate rich ones should be encrypted for."""
    leaving: bool = False
    """The tenant is being disconnected: nothing is wanted any more."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A subscription in Graph's own list that posts to our address."""

    subscription_id: str
    aad_id: str
    """Lower-case object id its resource names; empty when it is none of ours."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do; `reason` is a word an operator reads."""

    kind: Kind
    mailbox_id: int
    reason: str
    nonce: str | None = None
    """The row it is about; for a recreation the row of the old one."""
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All actions, the most urgent first, and what they were made from."""

    actions: tuple[Action, ...]
    mailboxes: int
    """Mailboxes that should be watched."""
    watched: int
    """Those of them with a subscription that lives."""
    streams: frozenset[str]
