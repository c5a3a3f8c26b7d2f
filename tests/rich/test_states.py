"""A pushed state stands in for a look only where it surely holds everything the hint tells of."""

from __future__ import annotations

import msgspec
import pytest

from outlook_lake.graph.messages import Message
from outlook_lake.hints.rich import Sealed
from outlook_lake.looks.items import DueHint
from outlook_lake.looks.rich.states import is_told_whole, latest
from outlook_lake.state.kinds import HintKind

SECOND = 1_000_000
NINE = 1_795_510_800 * SECOND
"""2026-11-24T09:00:00Z."""


def hint(kinds: HintKind = HintKind.UPDATED, count: int = 1, **more: int) -> DueHint:
    known = {"first_at": NINE, "earliest_at": None, "attempts": 0, "absent_at": None} | more
    return DueHint(1, b"k" * 16, "AAMk", int(kinds), count=count, **known)  # type: ignore[arg-type]


def sealed(at: int = 5, copies: int = 1) -> Sealed:
    return Sealed(b"k" * 16, b"d", NINE + at * SECOND + 300_000, copies, None, *"dskct")


def message(modified: str = "2026-11-24T09:00:02Z", **more: object) -> Message:
    return msgspec.structs.replace(Message("AAMk", modified_at=modified, is_read=False), **more)


def test_a_hint_is_told_whole_when_each_of_its_notifications_brought_a_state():
    assert is_told_whole(hint(), [sealed()])
    assert is_told_whole(hint(HintKind.CREATED | HintKind.UPDATED, 3), [sealed(), sealed(6, 2)])
    assert not is_told_whole(hint(count=2), [sealed()])
    assert not is_told_whole(hint(count=1), [sealed(), sealed(6)])  # one came after the count


@pytest.mark.parametrize(
    "kind", [k for k in HintKind if k not in (HintKind.CREATED, HintKind.UPDATED)]
)
def test_whatever_else_a_hint_says_makes_a_look(kind: HintKind):
    assert not is_told_whole(hint(HintKind.UPDATED | kind), [sealed()])


def test_a_hint_that_was_asked_before_is_asked_again():
    assert not is_told_whole(hint(attempts=1), [sealed()])
    assert not is_told_whole(hint(absent_at=5), [sealed()])


def test_a_state_was_shown_by_the_second_it_came():
    state = latest([(sealed(5), message())])
    assert state is not None and state.known_by == NINE + 5 * SECOND


def test_of_several_states_the_one_modified_last_counts_whatever_came_last():
    flagged = message("2026-11-24T09:00:04Z", importance="high")
    state = latest([(sealed(5), flagged), (sealed(6), message())])
    assert state is not None and state.message is flagged


def test_states_of_one_second_have_to_agree_but_for_their_version():
    pair = [(sealed(5), message(change_key="1")), (sealed(6), message(change_key="2"))]
    assert latest(pair) is not None
    assert latest([(sealed(5), message()), (sealed(6), message(is_read=True))]) is None


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-24T09:00:02", "2026-11-24T09:05:00Z"])
def test_a_date_nobody_can_use_makes_a_look(text: str):
    assert latest([(sealed(5), message(text))]) is None
