"""The traffic of 100,000 people, then ten times it, with and without everything hostile.

Honest POSTs come at a fixed rate and their latency counts from the moment they were due; in the
second half of each phase `benchmarks.hostile` runs beside them. Segments are read and removed
as landing would. Shown: memory, the slowest answers, and that what was acknowledged is stored.

    make drill NAME=flood                                     short: two minutes and one
    python -m benchmarks.flood --minutes 60 --peak-minutes 5  an hour at the mean rate
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.posting import Mailboxes, OpenLoop, Posts, Tally
from benchmarks.reporting import finish, free_ports, progress
from benchmarks.serving import receiver
from outlook_lake.receiver.client_state import ensure_keys, newest
from outlook_lake.receiver.segments import read_segment, ready_segments, take_abandoned
from outlook_lake.settings import Settings

MEAN_PER_S = 231.0
"""20 million notifications a day, of 100,000 mailboxes."""
SIZES = (1, 1, 1, 10)
TOO_LATE_S = 3.0
MOST_GROWTH_MB = 64
"""What hostile bodies may hold at a time, and no more however long it lasts."""
WARM_UP_S = 10.0
MIB = 1 << 20
DIGITS = slice(36, 144)
"""Of an id of `posting`: its running number."""


@dataclass
class Ledger:
    """How often each number was acknowledged and stored; a byte for each, so that it is small."""

    acknowledged: bytearray = field(default_factory=bytearray)
    stored: bytearray = field(default_factory=bytearray)
    replays: int = 0
    strangers: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def take(self, staging: Path) -> None:
        """Read and remove the closed segments."""
        for path in ready_segments(staging):
            segment = read_segment(path)
            for one in segment.notifications:
                number = _number(one.item or "")
                if number is None:
                    self.strangers += 1
                elif number == 1:
                    self.replays += 1
                else:
                    _count(self.stored, number)
            for entry in segment.quarantine:
                self.refused[entry.reason] += entry.count
            path.unlink()

    def lost(self) -> int:
        """Acknowledged and not stored."""
        stored = self.stored.ljust(len(self.acknowledged), b"\0")
        return sum(a > 0 and not s for a, s in zip(self.acknowledged, stored, strict=False))

    def doubled(self) -> int:
        """Stored more than once."""
        return sum(times > 1 for times in self.stored)


class _Counting(Tally):
    """A tally that writes into the ledger what was acknowledged."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def add(self, status: int, ids: list[str], seconds: float) -> None:
        super().add(status, ids, seconds)
        if status == 202:
            for one in ids:
                _count(self._ledger.acknowledged, int(one[DIGITS]))


def main() -> int:
    """Exit code 0: nothing lost or doubled, nobody waited 3 s, no surprise, memory flat."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood")
    parser.add_argument("--minutes", type=float, default=2.0, help="at the mean rate")
    parser.add_argument("--peak-minutes", type=float, default=1.0, help="at ten times that")
    parser.add_argument("--users", type=int, default=100_000, help="subscribed mailboxes")
    given = parser.parse_args()
    began = time.monotonic()
    # A folder of a real disk: /tmp may lie in memory.
    with tempfile.TemporaryDirectory(prefix="drill-flood-", dir="/var/tmp") as folder:
        figures = _drill(Path(folder), given.minutes * 60, given.peak_minutes * 60, given.users)
    finish(minutes=round((time.monotonic() - began) / 60, 1), **figures)
    return 0 if _good(figures) else 1


def _drill(home: Path, mean_s: float, peak_s: float, users: int) -> dict[str, Any]:
    settings, port = Settings(home=home), free_ports(1, first=24_400)
    progress(f"subscribing {users:,} mailboxes")
    mailboxes = Mailboxes(newest(ensure_keys(settings.keys)), users)
    captured = home / "captured"
    captured.write_bytes(mailboxes.post(1)[1])  # number 1: replayed, never counted
    ledger = Ledger()
    figures: dict[str, Any] = {"notifications": 0, "over_3s": 0}
    phases = (("mean", MEAN_PER_S, mean_s), ("peak", MEAN_PER_S * 10, peak_s))
    surprises: Counter[str] = Counter()
    attacks = 0
    with receiver(home, port) as process, _landing(ledger, settings.staging):
        posts = _mixed(mailboxes)
        # Each mailbox once: what the receiver remembers of proofs belongs to no phase.
        _run(port, mailboxes.fresh(100), users / WARM_UP_S, WARM_UP_S, ledger, a_post=100)
        before = worst = _resident(process.pid)
        for name, rate, seconds in phases:
            for beside in ("calm", "hostile"):
                hostile = _hostile(port, seconds / 2, captured) if beside == "hostile" else None
                tally = _run(port, posts, rate, seconds / 2, ledger)
                if hostile is not None:
                    told = json.loads(hostile.communicate(timeout=60)[0].splitlines()[-1])
                    attacks += told["attacks"]
                    surprises.update(told["surprises"])
                worst = max(worst, _resident(process.pid))
                figures["notifications"] += tally.notifications
                figures["over_3s"] += tally.slower_than(TOO_LATE_S)
                figures[f"p99_ms_{name}_{beside}"] = round(tally.percentile(0.99) * 1000, 1)
                figures[f"max_ms_{name}_{beside}"] = round(max(tally.seconds, default=0) * 1000)
                progress(
                    f"{name}, {beside}: {tally.notifications:,} notifications, p99 "
                    f"{tally.percentile(0.99) * 1000:.1f} ms, answers {dict(tally.statuses)}, "
                    f"broken {tally.broken}, {_resident(process.pid) / MIB:.0f} MiB"
                )
    take_abandoned(settings.staging)
    ledger.take(settings.staging)
    return {
        **figures,
        "lost": ledger.lost(),
        "doubled": ledger.doubled(),
        "strangers": ledger.strangers,
        "replays": ledger.replays,
        "rss_growth_mb": round((worst - before) / MIB, 1),
        "rss_mb": round(worst / MIB, 1),
        "refused": ledger.refused.total(),
        "refused_by": dict(ledger.refused.most_common()),
        "attacks": attacks,
        "surprises": dict(surprises),
    }


def _run(
    port: int,
    posts: Posts,
    per_s: float,
    seconds: float,
    ledger: Ledger,
    a_post: float = sum(SIZES) / len(SIZES),
) -> Tally:
    """So many notifications a second for so long."""
    tally = _Counting(ledger)
    gc.collect()
    loop = OpenLoop(port, posts, tally)
    uvloop.run(loop.run(per_s / a_post, seconds))
    return tally


def _mixed(mailboxes: Mailboxes) -> Posts:
    chance = random.Random(1)
    while True:
        yield mailboxes.post(chance.choice(SIZES))


def _hostile(port: int, seconds: float, captured: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.hostile", "--port", str(port)]
    command += ["--seconds", f"{seconds:.1f}", "--captured", str(captured)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@contextmanager
def _landing(ledger: Ledger, staging: Path) -> Iterator[None]:
    """Reads segments beside the drill, as fast as they are closed."""
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.5):
            ledger.take(staging)

    thread = threading.Thread(target=read, name="landing")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _number(item: str) -> int | None:
    digits = item[DIGITS]
    return int(digits) if len(digits) == 108 and digits.isdigit() else None


def _count(counts: bytearray, number: int) -> None:
    if number >= len(counts):
        counts.extend(bytes(max(1 << 16, number - len(counts) + 1)))
    counts[number] = min(255, counts[number] + 1)


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _good(figures: dict[str, Any]) -> bool:
    bad = {name: figures[name] for name in ("lost", "doubled", "strangers", "over_3s")}
    bad = {name: count for name, count in bad.items() if count}
    if figures["surprises"]:
        bad["surprises"] = figures["surprises"]
    if figures["rss_growth_mb"] > MOST_GROWTH_MB:
        bad["rss_growth_mb"] = figures["rss_growth_mb"]
    for name, found in bad.items():
        progress(f"not as promised: {name} {found}")
    return not bad


if __name__ == "__main__":
    sys.exit(main())
