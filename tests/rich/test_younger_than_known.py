"""A pushed state never takes the record backwards: in doubt the item is looked at."""

from __future__ import annotations

from typing import Any

import pytest

from outlook_lake.state.kinds import HintKind
from tests.support.observations import MINUTE, SECOND, WATCHED, Mailbox, absent, shown

CREATED, UPDATED = HintKind.CREATED, HintKind.UPDATED


def pushed(*, at: int, modified: int | None = None, vouched: bool = False, **more: Any) -> Any:
    """A state that came with a notification at `at`; modified at 10 unless said otherwise."""
    hint = more.pop("hint", UPDATED)
    row = shown(at=at, hint=hint, **more)
    if modified is not None:
        row["modified_at"] = WATCHED + modified * SECOND
    if vouched:
        row["hint_earliest_at"] = row["hint_first_at"] - 5 * MINUTE
    return row | {"sighting": "rich"}


def actions(events: list[dict[str, Any]]) -> list[str]:
    return [event["action"] for event in events]


def answer(box: Mailbox, row: dict[str, Any]) -> dict[str, Any]:
    (found,) = box.compare([row]).answers.to_pylist()
    return dict(found)


def test_an_unknown_item_is_an_arrival_with_graphs_own_date():
    (event,) = Mailbox().look(pushed(at=12, hint=CREATED))
    assert (event["action"], event["time_basis"]) == ("email_received", "graph")
    assert event["sighting"] == "notification"


def test_what_was_modified_since_is_believed_and_dated_by_it():
    box = Mailbox()
    box.look(pushed(at=12, hint=CREATED))
    (event,) = box.look(pushed(at=100, modified=90, flag_status="flagged"))
    assert (event["action"], event["time_basis"]) == ("email_flagged", "graph")
    assert event["timestamp"].timestamp() == WATCHED / SECOND + 90


def test_a_read_toggle_soon_after_is_looked_at():
    box = Mailbox()
    box.look(shown(at=12, hint=CREATED))
    row = pushed(at=60, is_read=True)
    assert box.look(row) == []
    assert answer(box, row)["postponed"]


def test_a_read_toggle_a_receiver_vouches_for_is_believed_and_lies_within_five_minutes():
    box = Mailbox()
    box.look(pushed(at=12, hint=CREATED))
    (event,) = box.look(pushed(at=1000, is_read=True, vouched=True))
    assert (event["action"], event["time_basis"]) == ("email_read", "notified")
    assert event["earliest_at"].timestamp() == WATCHED / SECOND + 700
    assert event["latest_at"].timestamp() == pytest.approx(WATCHED / SECOND + 1000.999999)


def test_an_older_state_that_comes_late_changes_nothing_and_is_looked_at():
    box = Mailbox()
    box.look(shown(at=12, hint=CREATED, is_read=True))
    late = pushed(at=20, hint=CREATED, is_read=False)
    assert box.look(late) == []
    assert answer(box, late)["postponed"]
    assert not answer(box, pushed(at=20, hint=CREATED, is_read=True))["postponed"]  # it agrees


def test_of_two_flags_the_older_that_comes_last_is_not_believed():
    box = Mailbox()
    box.look(pushed(at=12, hint=CREATED))
    box.look(pushed(at=100, modified=95, flag_status="complete"))
    assert box.look(pushed(at=101, modified=90, flag_status="flagged")) == []


def test_an_item_that_was_gone_is_looked_at_whatever_is_pushed():
    box = Mailbox()
    box.look(shown(at=12, hint=CREATED))
    box.look(absent(at=50))
    late = pushed(at=60, modified=40, folder="deleted", vouched=True)
    assert box.look(late) == []
    assert answer(box, late)["postponed"]


def test_the_next_change_may_lie_before_the_moment_a_state_came():
    box = Mailbox()
    box.look(pushed(at=160, hint=CREATED))  # two and a half minutes on its way
    (event,) = box.look(shown(at=170, hint=UPDATED, hint_at=168, is_read=True))
    assert event["earliest_at"].timestamp() == WATCHED / SECOND + 10  # lastModifiedDateTime
    (event,) = box.look(shown(at=300, hint=UPDATED, is_read=False))
    assert event["earliest_at"].timestamp() == WATCHED / SECOND + 170  # a look: its Date


def test_a_delta_row_soon_after_a_pushed_state_does_not_reverse_it():
    box = Mailbox()
    box.look(pushed(at=12, hint=CREATED))
    box.look(pushed(at=100, modified=95, flag_status="flagged"))
    assert box.look(shown(at=130)) == []


def test_an_update_without_a_difference_is_looked_at_once_more():
    box = Mailbox()
    box.look(pushed(at=12, hint=CREATED))
    assert answer(box, pushed(at=13))["once_more"]
