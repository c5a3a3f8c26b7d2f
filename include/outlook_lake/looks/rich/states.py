"""From what came with a hint to one state, or to the decision to look.

A pushed state is as of some moment between the change and its delivery. It stands in for a
look only where it surely holds everything the hint tells of:

    only `created` and `updated`, never asked before         else somebody doubts
    each notification of the hint came with a state          else one may tell of something later
    the states agree, or one was modified last               else nobody knows which is younger

Whether it is younger than what is known of the item is for apply to say (events/sql/compare).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from outlook_lake.clock import to_us
from outlook_lake.graph.messages import Message
from outlook_lake.hints.rich import Sealed
from outlook_lake.looks.items import DueHint
from outlook_lake.state.kinds import HintKind

__all__ = ["State", "is_told_whole", "latest"]

SECOND_US = 1_000_000
SKEW_US = 2 * SECOND_US
"""How far a receiver's Graph time may lie behind Graph's own."""
_TOLD = int(HintKind.CREATED | HintKind.UPDATED)


@dataclass(frozen=True, slots=True)
class State:
    """A message as pushed. `known_by`: Graph time at which it was surely shown, whole second."""

    message: Message
    known_by: int


def is_told_whole(hint: DueHint, sealed: Sequence[Sealed]) -> bool:
    """Whether every notification of a hint came with a state, and nobody doubts it."""
    plain = hint.kinds & ~_TOLD == 0 and hint.kinds != 0
    untried = hint.attempts == 0 and hint.absent_at is None
    return plain and untried and sum(one.copies for one in sealed) == hint.count


def latest(states: Sequence[tuple[Sealed, Message]]) -> State | None:
    """The youngest of some states of one item; None when that cannot be told."""
    dated: list[tuple[int, int, Message]] = []
    for sealed, message in states:
        modified = _moment(message.modified_at)
        if modified is None or modified > sealed.received_at + SKEW_US:
            return None  # no date, or one of a clock that is not the receiver's
        dated.append((modified, sealed.received_at, message))
    dated.sort(key=lambda one: one[:2])
    modified, received_at, message = dated[-1]
    for other_modified, _, other in dated[:-1]:
        if other_modified == modified and _without_version(other) != _without_version(message):
            return None
    return State(message, max(received_at // SECOND_US * SECOND_US, modified))


def _without_version(message: Message) -> Message:
    return msgspec.structs.replace(message, change_key=None)


def _moment(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else to_us(moment)
