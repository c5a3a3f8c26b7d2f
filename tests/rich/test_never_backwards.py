"""Whatever way pushed states come, the record ends at the truth and dates nothing wrongly.

A model of one message: people read and flag it, each change is pushed as of some moment up to a
minute later, and comes up to three minutes after the change, in any order. What apply puts off
is looked at a second later, as the stream does.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from outlook_lake.state.kinds import HintKind
from tests.support.observations import MINUTE, SECOND, WATCHED, Mailbox, shown

FLAGS = {"email_unflagged": "notflagged", "email_flagged": "flagged"}
FLAGS["email_flag_completed"] = "complete"


class Truth:
    """What the message was when; times in seconds after the watch began."""

    def __init__(self, dice: random.Random, acts: int) -> None:
        self.states: list[tuple[int, dict[str, Any]]] = []
        self.acts: list[tuple[int, str]] = []
        state = {"is_read": False, "flag_status": "notflagged", "modified_at": 10}
        self.states.append((10, dict(state)))
        now = 10
        for _ in range(acts):
            now += dice.choice((1, 2, 5, 30, 90, 200, 600))
            if dice.random() < 0.5:  # does not count as a modification
                state["is_read"] = not state["is_read"]
                self.acts.append((now, "email_read" if state["is_read"] else "email_unread"))
            else:
                others = [name for name, flag in FLAGS.items() if flag != state["flag_status"]]
                name = dice.choice(others)
                state |= {"flag_status": FLAGS[name], "modified_at": now}
                self.acts.append((now, name))
            self.states.append((now, dict(state)))

    def at(self, second: int) -> dict[str, Any]:
        """The state at the end of a second, as columns."""
        state = next(state for at, state in reversed(self.states) if at <= second)
        return state | {"modified_at": WATCHED + state["modified_at"] * SECOND}


def pushes(truth: Truth, dice: random.Random, vouched: bool) -> list[dict[str, Any]]:
    """What comes of it, in the order it comes."""
    rows = []
    for at, _ in truth.states:
        shown_at = at + dice.choice((0, 0, 1, 10, 60))
        came = max(shown_at, at + dice.choice((0, 1, 2, 30, 100, 180)))
        kind = HintKind.CREATED if at == 10 else HintKind.UPDATED
        row = shown(at=came, hint=kind, **truth.at(shown_at)) | {"sighting": "rich"}
        if vouched:
            row["hint_earliest_at"] = row["hint_first_at"] - 5 * MINUTE
        rows += [row, row] if dice.random() < 0.2 else [row]
    return sorted(rows, key=lambda row: row["seen_at"])


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("seed", "vouched", "acts"),
    [
        (1, True, 3),
        *(pytest.param(seed, seed % 2 == 0, 14, marks=SLOW) for seed in range(2, 8)),
    ],
)
def test_the_record_ends_at_the_truth_and_each_event_lies_where_an_act_was(
    seed: int, vouched: bool, acts: int
):
    dice = random.Random(seed)
    truth = Truth(dice, acts)
    box = Mailbox()
    events: list[dict[str, Any]] = []
    used = 0
    for row in pushes(truth, dice, vouched):
        put_off = box.compare([row]).answers.to_pylist()[0]["postponed"]
        events += box.look(row)
        used += not put_off
        if put_off:
            at = (row["seen_at"] - WATCHED) // SECOND + 1
            hint = HintKind.UPDATED | HintKind.DOUBT
            events += box.look(shown(at=at, hint=hint, hint_at=at - 1, **truth.at(at)))
    assert used
    final = truth.at(10**6)
    (known,) = box.inventory.values()
    assert bool(known["bits"] & 1) == final["is_read"]
    flag = {"notflagged": 0, "flagged": 16, "complete": 32}[final["flag_status"]]
    assert known["bits"] & 48 == flag
    for event in events:
        if event["action"] != "email_received":
            earliest, latest = (
                event[name].timestamp() - WATCHED / SECOND for name in ("earliest_at", "latest_at")
            )
            about = [at for at, name in truth.acts if name == event["action"]]
            assert any(earliest <= at <= latest for at in about), (
                event["action"],
                earliest,
                latest,
            )
    # Nothing is said twice in a row: read after read, or the same flag again.
    for names in (("email_read", "email_unread"), tuple(FLAGS)):
        told = [event["action"] for event in events if event["action"] in names]
        assert all(one != other for one, other in pairwise(told)), told
