"""Random people, random faults, random crashes, 200 times: the journal has the last word.

What a seed does is in `tests/support/seeds.py`. A few seeds run side by side, each worker with
a simulator of its own. `--first 57 --seeds 1 --workers 1` plays one again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.reporting import finish, progress
from tests.support.seeds import SeedRun, differences
from tests.support.stage import stage

PER_STAGE = 20
"""Seeds one simulator serves: each moves its clock by some hours, which end at machine time."""


def main() -> int:
    """Exit code 0 when no seed shows a difference."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3)
    given = parser.parse_args()
    numbers = list(range(given.first, given.first + given.seeds))
    chunks = [numbers[start : start + PER_STAGE] for start in range(0, len(numbers), PER_STAGE)]
    began = time.monotonic()
    played: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    waiting: list[list[int]] = list(chunks)
    running: list[Any] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while len(played) < len(numbers):
            running = [process for process in running if process.is_alive()]
            while waiting and len(running) < given.workers:
                process = context.Process(target=_play, args=(waiting.pop(0), results))
                process.start()
                running.append(process)
            try:
                result = results.get(timeout=5)
            except queue.Empty:
                if running or waiting:
                    continue  # a worker has ended: the next one starts
                progress("a worker died before it had played its seeds")
                break
            played.append(result)
            progress(_line(result, len(played), len(numbers), began))
    finally:
        for process in running:  # told to end, they take their simulators with them
            process.terminate()
    faults = Counter(kind for one in played for kind in one["faults"])
    excused = sum(one["verdict"].get("excused", 0) for one in played)
    wrong = sum(one["differences"] for one in played)
    finish(
        seeds=len(played),
        acts=sum(one["acts"] for one in played),
        faults=dict(faults),
        crashes=sum(one["crashes"] for one in played),
        differences=wrong,
        excused=excused,
        **{kind: sum(_count(one, kind) for one in played) for kind in ("folders", "rules")},
        failed_seeds=[one["seed"] for one in played if one["differences"]],
        unplayed=len(numbers) - len(played),
        minutes=round((time.monotonic() - began) / 60, 1),
    )
    return 0 if wrong == 0 and len(played) == len(numbers) else 1


def _play(numbers: list[int], results: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="seeds-") as folder,
        stage(Path(folder), mailboxes=0, back="P20D") as shared,
    ):
        for number in numbers:
            results.put(_one(shared, number, Path(folder)))


def _one(shared: Any, number: int, folder: Path) -> dict[str, Any]:
    run: SeedRun | None = None
    try:
        run = SeedRun(shared, number, folder)
        played = run.run()
        played["differences"] = differences(played["verdict"])
    except Exception as error:
        played = {
            "seed": number,
            "acts": run.acts if run else 0,
            "faults": run.faults if run else [],
            "crashes": run.crashes if run else 0,
            "verdict": {},
            "differences": 1,
            "error": f"{type(error).__name__}: {error}"[:300],
        }
    return played


def _count(played: dict[str, Any], kind: str) -> int:
    """How many acts on folders or rules the audit judged."""
    return int(played["verdict"].get(kind, {}).get("journal", 0))


def _line(result: dict[str, Any], done: int, of: int, began: float) -> str:
    words = result.get("error") or (
        "balanced" if not result["differences"] else f"{result['differences']} differences"
    )
    spent = time.monotonic() - began
    return (
        f"[{done}/{of}, {spent:.0f} s] seed {result['seed']}: {result['acts']} acts, "
        f"{', '.join(result['faults'])}, {result['crashes']} kills: {words}"
    )


if __name__ == "__main__":
    sys.exit(main())
