"""Kill the receiver with `kill -9` under load, again and again: nothing acknowledged is lost.

Each receiver works on what the one before left behind, and dies at a random moment up to a
second after its first 202. Every 50 kills the abandoned segments are closed as landing closes
them, and all are compared with the answers: each acknowledged notification is there, and none
twice. Process death only: what the system was told to write survives it; that a power cut
spares it too is the promise of the fdatasync before each 202, which no kill can test.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.posting import Mailboxes, Posts, Tally, closed_loop
from benchmarks.reporting import finish, free_ports, progress
from benchmarks.serving import receiver
from outlook_lake.receiver.client_state import ensure_keys, newest
from outlook_lake.receiver.segments import read_segment, ready_segments, take_abandoned
from outlook_lake.settings import Settings

CHECK_EVERY = 50
CONNECTIONS = 16
LONGEST_S = 20.0
SEGMENT_BYTES = (20_000, 8 << 20)
"""Small ones close all the time, large ones by age: kills meet both."""


@dataclass
class Found:
    """What the segments showed, over all checks."""

    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    abandoned: int = 0
    torn: int = 0
    damaged: int = 0
    unchecked: list[str] = field(default_factory=list)
    newest: str = ""
    """The highest id of earlier checks; ids ascend, so that a later one below it came twice."""

    def check(self, staging: Path) -> None:
        """Compare, then remove the segments as landing would."""
        self.abandoned += len(take_abandoned(staging))
        stored: Counter[str] = Counter()
        for path in ready_segments(staging):
            segment = read_segment(path)
            self.torn += segment.torn_bytes > 0
            self.damaged += segment.damaged
            stored.update(str(one.item) for one in segment.notifications)
            path.unlink()
        self.acknowledged += len(self.unchecked)
        self.stored += len(stored)
        self.lost += sum(stored[one] == 0 for one in self.unchecked)
        self.doubled += sum(times > 1 for times in stored.values())
        self.doubled += sum(one <= self.newest for one in stored)
        self.newest = max(stored, default=self.newest)
        self.unchecked.clear()


@dataclass
class _Watched(Tally):
    """`first` is set by the first 202."""

    first: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, status: int, ids: list[str], seconds: float) -> None:
        super().add(status, ids, seconds)
        if status == 202:
            self.first.set()


def main() -> int:
    """Exit code 0 when every acknowledged notification was found once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    progress(f"seed {given.seed}")
    logging.getLogger("outlook_lake").setLevel(logging.ERROR)  # a closed segment a kill
    chance = random.Random(given.seed)
    found, kills, began = Found(), 0, time.monotonic()
    # A folder of a real disk: /tmp may lie in memory.
    with tempfile.TemporaryDirectory(prefix="drill-kills-", dir="/var/tmp") as folder:
        settings = Settings(home=Path(folder))
        mailboxes = Mailboxes(newest(ensure_keys(settings.keys)))
        while kills < given.kills:
            _one(settings.home, mailboxes, chance, found)
            kills += 1
            if kills % CHECK_EVERY == 0 or kills == given.kills:
                found.check(settings.staging)
                progress(
                    f"{kills} kills, {found.acknowledged:,} acknowledged, {found.lost} lost, "
                    f"{found.doubled} doubled, {found.abandoned} segments left open"
                )
    finish(
        minutes=round((time.monotonic() - began) / 60, 1),
        kills=kills,
        acknowledged=found.acknowledged,
        lost=found.lost,
        doubled=found.doubled,
        damaged=found.damaged,
        stored=found.stored,
        left_open=found.abandoned,
        seed=given.seed,
    )
    return 0 if found.acknowledged and not (found.lost or found.doubled or found.damaged) else 1


def _one(home: Path, mailboxes: Mailboxes, chance: random.Random, found: Found) -> None:
    """One life of a receiver, from its start to its kill."""
    port = free_ports(1, first=chance.randrange(22_000, 27_000))
    tally = _Watched(keeps_ids=True)
    with receiver(home, port, segment_bytes=chance.choice(SEGMENT_BYTES)) as process:
        posts = _mixed(mailboxes, chance)
        uvloop.run(_kill_under_load(process, port, posts, chance.uniform(0, 1), tally))
    if set(tally.statuses) != {202}:
        raise SystemExit(f"the receiver answered {dict(tally.statuses)}")
    found.unchecked += tally.acknowledged


async def _kill_under_load(
    process: subprocess.Popen[bytes], port: int, posts: Posts, after_s: float, tally: _Watched
) -> None:
    load = asyncio.create_task(
        closed_loop(port, posts, connections=CONNECTIONS, seconds=LONGEST_S, tally=tally)
    )
    await asyncio.wait_for(tally.first.wait(), LONGEST_S)
    await asyncio.sleep(after_s)
    process.kill()
    await load
    process.wait(10)


def _mixed(mailboxes: Mailboxes, chance: random.Random) -> Posts:
    """Mostly single notifications, some tens: a batch is whole in a segment or absent."""
    while True:
        yield mailboxes.post(chance.choice((1, 1, 1, 10)))


if __name__ == "__main__":
    sys.exit(main())
