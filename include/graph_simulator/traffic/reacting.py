"""From one act to what it sets off: readers' acts, and what becomes of a draft."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from graph_simulator.traffic.model import ActResult, Arrival, PlannedAct
from graph_simulator.traffic.readers import ALWAYS, Hours, Pace, habits_of, what_follows

__all__ = ["follow_up"]

DRAFTS_SENT, DRAFTS_DROPPED = 0.75, 0.15


def follow_up(
    seed: int,
    act: PlannedAct,
    result: ActResult,
    pace: Pace,
    since: datetime,
    hours: Callable[[str], Hours] = lambda _mailbox: ALWAYS,
) -> list[PlannedAct]:
    """All later acts that `act` leads to, in time order.

    The dice are thrown by the plan (seed, planned time `since` its beginning, mailbox), not by
    what the simulator answered, so that one seed gives one behaviour.
    """
    following: list[PlannedAct] = []
    copies = result.delivered if act.do == "send" else (result,) if act.do == "receive" else ()
    arrivals = [
        Arrival(copy.mailbox or act.mailbox, copy.item_id) for copy in copies if copy.item_id
    ]
    for arrival in arrivals:
        rng = Random(f"{seed}/{act.at - since}/{act.mailbox}/{arrival.mailbox}")
        habits = habits_of(seed, arrival.mailbox, hours(arrival.mailbox))
        following += what_follows(rng, habits, arrival, result.at, pace)
    if act.do == "draft" and result.item_id is not None:
        following += _fate_of_draft(
            Random(f"{seed}/{act.at - since}/{act.mailbox}/draft"), act, result, pace
        )
    return sorted(following)


def _fate_of_draft(rng: Random, act: PlannedAct, result: ActResult, pace: Pace) -> list[PlannedAct]:
    fate = rng.random()
    wait = max(pace.pause, timedelta(minutes=rng.lognormvariate(2.3, 0.7)) * pace.haste)
    at = result.at + wait
    if fate > DRAFTS_SENT + DRAFTS_DROPPED or (pace.until is not None and at >= pace.until):
        return []
    if fate < DRAFTS_SENT:
        return [PlannedAct(at, act.mailbox, "send", {"draft": result.item_id}, act.records)]
    return [PlannedAct(at, act.mailbox, "delete", {"item": result.item_id})]
