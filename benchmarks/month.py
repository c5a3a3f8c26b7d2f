"""Thirty Graph days of removals, lapses, silence, lost consent, new keys and secrets.

The simulator's clock is stepped from tick to tick; between ticks people act, and the steps run
as `outlook-lake run` does, without Airflow. Nobody may stay without a live subscription for
longer than one run after the cause is gone, every interruption has to be a recorded gap, and
the journal has to balance once rounds have run. What goes wrong is in `tests/support/month.py`.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.reporting import finish, progress
from outlook_lake import clock
from tests.support.month import EVERYBODY, Scene, Trouble, skewed_clock, troubles
from tests.support.seeds import Person, SeedRun, differences
from tests.support.stage import Stage, stage

WATCHED_LATE = ("silence", "dead_201")
"""What looks healthy at Graph: found by the rounds, once people have acted."""

SKEW_S = 180.0


class Month(SeedRun):
    """One month; people act as in the seeds."""

    def __init__(self, shared: Stage, days: int, tick_h: int, seed: int) -> None:
        self.seed, self.dice, self.stage = seed, random.Random(seed), shared
        self.acts, self.faults, self.crashes = 0, [], 0
        self.killed: list[tuple[int, int]] = []
        self.people = [Person(number) for number in range(len(shared.users))]
        self.tick_h, self.ticks = tick_h, days * 24 // tick_h
        self.scene = Scene(shared, self.dice, clock.graph_us)
        self.plan = troubles(self.dice, self.ticks, tick_h, len(self.people))
        self.active: list[Trouble] = []
        self.uncovered: Counter[str] = Counter()
        self.without: dict[str, int] = {}
        """Mailboxes without a live subscription, and for how many runs after their cause ended."""

    def play(self) -> None:
        """All ticks, then quiet hours in which rounds prove what can be proven."""
        self._steps(0, prime=True)
        for tick in range(1, self.ticks + 1):
            self._troubles(tick)
            self._people(tick)
            self.stage.advance(f"PT{self.tick_h}H")
            if not self.scene.steps_stand:
                self._steps(tick)
                self._look_who_is_uncovered()
            if tick % 12 == 0:
                on = ", ".join(str(one) for one in self.active) or "quiet"
                progress(f"day {tick * self.tick_h / 24:.0f}: {self.acts} acts; {on}")
        for trouble in self.active:
            trouble.end(self.scene)
        self.active = []
        for _ in range(8):
            self.stage.advance("PT1H10M")
            self._steps(0, rounds=True)
        self.stage.run("export")

    def _troubles(self, tick: int) -> None:
        for trouble in [one for one in self.active if one.begins + one.lasts <= tick]:
            trouble.end(self.scene)
            self.active.remove(trouble)
        for trouble in [one for one in self.plan if one.begins == tick]:
            self.faults.append(trouble.kind)
            trouble.begin(self.scene)
            self.active.append(trouble)

    def _people(self, tick: int) -> None:
        busy = 6 <= (tick * self.tick_h) % 24 <= 20
        struck = [one.user for one in self.active if one.user != EVERYBODY]
        for _ in range(self.dice.randint(4, 12) if busy else self.dice.randint(0, 2)):
            # People in trouble act more often: silence shows only where something happens.
            chosen = self.dice.choice([*struck, self.dice.randrange(len(self.people))])
            self._act(self.people[chosen])
            if self.dice.random() < 0.6:
                self.stage.advance(f"PT{self.dice.choice((20, 61, 300))}S")

    def _steps(self, tick: int, *, prime: bool = False, rounds: bool = False) -> None:
        self._deliver()
        file = Path(self.stage.environ["OUTLOOK_LAKE_CLOCK"])
        os.environ["OUTLOOK_LAKE_CLOCK"] = str(
            skewed_clock(file, SKEW_S) if self.scene.skewed else file
        )
        self._try("subscriptions")
        self._try("prime")
        self._try("stream", until_idle=True)
        if rounds or (tick and tick % max(1, 6 // self.tick_h) == 0):
            self._try("catch_up")
            self._try("stream", until_idle=True)

    def _try(self, step: str, **arguments: Any) -> None:
        """A step may fail while consent or the receiver is away; else a failure is a failure."""
        try:
            self.stage.run(step, **arguments)
        except Exception as error:
            if not self.scene.consent_lost and "receiver" in self.stage.processes:
                raise
            self.faults.append(f"{step}: {type(error).__name__}")

    def _deliver(self) -> None:
        if "receiver" not in self.stage.processes:
            return
        deadline = time.monotonic() + 3
        while self.stage.stats()["pending_deliveries"] and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)

    def _look_who_is_uncovered(self) -> None:
        """Who has no live subscription at Graph although no cause is left, a run later?"""
        rows = self.stage.call("GET", "subscriptions")["subscriptions"]
        alive = {row["mailbox"] for row in rows if not row.get("dead") and not row.get("paused")}
        struck = {
            user["id"]
            for one in self.active
            for user in (
                self.stage.users if one.user == EVERYBODY else [self.stage.users[one.user]]
            )
        }
        for user in self.stage.users:
            mailbox = user["id"]
            if mailbox in alive or mailbox in struck:
                self.without.pop(mailbox, None)
                continue
            self.without[mailbox] = self.without.get(mailbox, 0) + 1
            late = any(
                one.mailbox == mailbox and one.kind in WATCHED_LATE and one.ends is None
                for one in self.scene.interruptions
            )
            if self.without[mailbox] > (24 // self.tick_h if late else 1):
                self.uncovered[mailbox] += 1
        self._end_interruptions(alive, struck)

    def _end_interruptions(self, alive: set[str], struck: set[str]) -> None:
        for one in self.scene.interruptions:
            if one.ends is None and one.mailbox in alive and one.mailbox not in struck:
                one.ends = clock.graph_us()

    def gaps(self) -> tuple[int, int, list[str]]:
        """(all gaps, gaps nothing explains, interruptions nobody recorded)."""
        with self.stage.app() as app, app.db.read() as connection:
            rows = connection.execute(
                text(
                    "SELECT mailbox.aad_id, gap.from_at, gap.to_at, gap.cause FROM gap "
                    "JOIN mailbox ON mailbox.mailbox_id = gap.mailbox_id"
                )
            ).all()
        end = clock.graph_us()
        slack = self.tick_h * 2 * 3_600_000_000
        explained = [
            any(
                one.mailbox == row.aad_id
                and row.from_at <= (one.ends or end) + slack
                and (row.to_at or end) >= one.begins - slack
                for one in self.scene.interruptions
            )
            for row in rows
        ]
        missing = [
            f"{one.kind} of {one.mailbox[:8]}"
            for one in self.scene.interruptions
            if one.must_be_gap
            and not any(
                row.aad_id == one.mailbox
                and row.from_at <= (one.ends or end)
                and (row.to_at or end) >= one.begins
                for row in rows
            )
        ]
        return len(rows), explained.count(False), missing


def main() -> int:
    """Exit code 0 when nothing was lost, nobody stayed uncovered, every gap is explained."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.month")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--tick-hours", type=int, default=2)
    parser.add_argument("--mailboxes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="month-") as folder,
        stage(
            Path(folder),
            mailboxes=given.mailboxes,
            back=f"P{given.days + 3}D",
            OUTLOOK_LAKE_STREAM_LEASE_S="5",
            OUTLOOK_LAKE_STREAM_RENEW_S="2",
            OUTLOOK_LAKE_STREAM_LAG_S="0.7",
            OUTLOOK_LAKE_SUBSCRIPTIONS_PAUSED_RETRY_S="0",
        ) as made,
    ):
        month = Month(made, given.days, given.tick_hours, given.seed)
        month.play()
        verdict = made.audit(month.killed)
        gaps, unexplained, missing = month.gaps()
    for line in missing[:20]:
        progress(f"no gap was recorded for {line}")
    finish(
        days=given.days,
        faults=dict(Counter(month.faults)),
        acts=month.acts,
        lost=verdict["lost"],
        doubled=verdict["doubled"],
        wrong_action=verdict["wrong_action"],
        wrong_hour=verdict["wrong_hour"],
        out_of_order=verdict["out_of_order"],
        excused_by=verdict["excused_by"],
        uncovered_mailboxes=len(month.uncovered),
        gaps=gaps,
        unexplained_gaps=unexplained,
        unrecorded_interruptions=len(missing),
        minutes=round((time.monotonic() - began) / 60, 1),
    )
    return int(bool(differences(verdict) or month.uncovered or unexplained or missing))


if __name__ == "__main__":
    sys.exit(main())
