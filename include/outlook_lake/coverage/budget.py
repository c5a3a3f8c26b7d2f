"""What Graph lets us ask, and what a plan of many requests costs of it.

Figures of Graph: graph-facts 7. Ours: looks/running walks 32 mailboxes at a time, and each has
one request in flight, so that live work always finds room.
"""

from __future__ import annotations

from math import ceil

__all__ = ["BUDGET", "minutes"]

GLOBAL_PER_S = 13_000
"""Graph: 130,000 requests in 10 s, per application over all tenants."""
MAILBOX_PER_10_MIN = 10_000
"""Graph: per application and mailbox; 4 at a time."""
WALKS_AT_ONCE = 32
REQUEST_S = 0.25
"""Machine time of a page of delta on a quiet day; a guess that only estimates rest on."""

BUDGET = {
    "global_per_s": GLOBAL_PER_S,
    "mailbox_per_10_min": MAILBOX_PER_10_MIN,
    "mailbox_at_once": 4,
    "walks_at_once": WALKS_AT_ONCE,
    "backfill_per_s": int(WALKS_AT_ONCE / REQUEST_S),
}


def minutes(requests: int, most_in_a_mailbox: int = 0) -> int:
    """Whole minutes (machine time) until so many requests are asked, at least."""
    paced = requests / BUDGET["backfill_per_s"] / 60
    alone = most_in_a_mailbox * REQUEST_S / 60
    throttled = (most_in_a_mailbox // MAILBOX_PER_10_MIN) * 10
    return ceil(max(paced, alone, throttled))
