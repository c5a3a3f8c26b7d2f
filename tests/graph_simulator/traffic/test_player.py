"""The player merges plan and reactions, in order, and counts what happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from graph_simulator.traffic import PlannedAct, Player
from graph_simulator.world.model import ActResult

TEN = datetime(2026, 11, 18, 10, tzinfo=UTC)


class TwoMessages:
    """Two messages a minute apart; each is read 30 seconds later."""

    begins_at = TEN
    ends_at = None
    speed = None

    def begin(self, now: datetime, speed: float) -> None:
        """Nothing to settle."""

    def keep_pace(self, speed: float) -> None:
        """Nothing to keep."""

    def plan(self) -> Iterator[PlannedAct]:
        for nth in range(2):
            at = TEN + timedelta(minutes=nth)
            yield PlannedAct(at, "p@contoso.example", "receive", {"nth": nth}, 1)

    def reactions(self, act: PlannedAct, result: ActResult) -> list[PlannedAct]:
        if act.do != "receive":
            return []
        return [PlannedAct(result.at + timedelta(seconds=30), act.mailbox, "read", act.args)]

    def progress(self) -> dict[str, Any]:
        return {"kind": "two"}


def result(act: PlannedAct) -> ActResult:
    return ActResult("item", 1, act.at)


def test_nothing_is_handed_out_before_its_time() -> None:
    player = Player(TwoMessages())

    assert list(player.due(TEN - timedelta(seconds=1))) == []
    assert player.next_at == TEN


def test_reactions_take_their_place_among_what_is_planned() -> None:
    player = Player(TwoMessages())
    played = []
    for act in player.due(TEN + timedelta(hours=1)):
        played.append((act.do, act.args["nth"]))
        player.done(act, result(act))

    assert played == [("receive", 0), ("read", 0), ("receive", 1), ("read", 1)]
    assert player.next_at is None


def test_an_act_not_asked_for_is_kept_for_the_next_turn() -> None:
    player = Player(TwoMessages())
    first = next(player.due(TEN + timedelta(hours=1)))
    player.done(first, result(first))

    rest = []
    for act in player.due(TEN + timedelta(hours=1)):
        rest.append(act.do)
        player.done(act, result(act))

    assert rest == ["read", "receive", "read"]


def test_a_refusal_is_counted_and_the_play_goes_on() -> None:
    player = Player(TwoMessages())
    for act in player.due(TEN + timedelta(hours=1)):
        player.refused(act, "gone")

    progress = player.progress()
    assert progress["refused"] == {"receive: gone": 2}
    assert progress["played_records"] == 0
    assert progress["finished"] is True


def test_lag_is_how_far_behind_its_plan_an_act_was_done() -> None:
    player = Player(TwoMessages())
    act = next(player.due(TEN))
    player.done(act, ActResult("item", 1, TEN + timedelta(seconds=5)))

    assert player.progress()["worst_lag_graph_s"] == 5.0
