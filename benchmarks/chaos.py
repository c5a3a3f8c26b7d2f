"""Kill random parts while mail flows, and ask the audit afterwards.

Victims: the receiver (stand-alone here), a task with its worker, the triggerer, the DAG
processor, the API server, the scheduler with its workers. Never the simulator: it is the judge.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time

import psutil

from benchmarks.reporting import finish, free_ports
from outlook_lake.demo.freshness import Freshness
from outlook_lake.demo.judge import Judge
from outlook_lake.demo.options import Options
from outlook_lake.demo.screen import Screen
from outlook_lake.demo.session import running
from outlook_lake.demo.stage import Stage
from outlook_lake.errors import OutlookLakeError

VICTIMS = ("receiver", "task", "triggerer", "dag-processor", "api-server", "scheduler")
KEYS = ("lost", "doubled", "wrong_action", "wrong_hour", "out_of_order")


def main() -> int:
    """Exit code 0 when the audit is clean."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--minutes", type=float, default=15.0, help="of traffic and kills")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--quiet", type=float, default=5.0, help="minutes before the audit")
    parser.add_argument("--rate", type=float, default=5.0, help="mailbox changes a second")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    options = Options(port=free_ports(6), speed=1.0, standalone_receiver=True)
    screen = Screen()
    screen.say(f"seed {given.seed}")
    try:
        with running(options, screen, fresh_home="drill-chaos") as stage:
            stage.simulator.traffic(generator=True, rate=given.rate, seed=options.seed)
            kills = rampage(stage, random.Random(given.seed), given.kills, given.minutes * 60)
            stage.simulator.call("DELETE", "/simulator/traffic")
            screen.say(f"{kills} kills; now {given.quiet:g} quiet minutes")
            time.sleep(given.quiet * 60)
            judge = Judge(stage, Freshness(stage.database, stage.settings.home, stage.simulator))
            verdict = judge.close()
    except OutlookLakeError as error:
        screen.say(str(error))
        return 1
    figures = {name: verdict[name] for name in KEYS}
    more = {name: verdict[name] for name in ("journal", "events", "excused", "excused_by")}
    finish(minutes=given.minutes, kills=kills, **figures, **more, seed=given.seed)
    return 0 if verdict["clean"] else 1


def rampage(stage: Stage, dice: random.Random, kills: int, seconds: float) -> int:
    """Kill so many victims at random moments within so many seconds; returns how many died."""
    end = time.monotonic() + seconds
    moments = sorted(dice.uniform(0, seconds) for _ in range(kills))
    began, died = time.monotonic(), 0
    for moment in moments:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        if stage.supervisor.failure is not None:
            raise stage.supervisor.failure
        victim = dice.choice(VICTIMS)
        died += strike(stage, victim, dice)
    time.sleep(max(0.0, end - time.monotonic()))
    return died


def strike(stage: Stage, victim: str, dice: random.Random) -> bool:
    """Kill one victim; False when there was nothing of the kind to kill."""
    if victim == "task":
        pids = task_with_its_worker(stage.supervisor.pid("scheduler"), dice)
    else:
        pids = _part(stage, victim)
    strike_pids(pids)
    stage.screen.say(f"killed {victim}: {len(pids)} process(es)")
    return bool(pids)


def strike_pids(pids: list[int]) -> None:
    """KILL them all."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _part(stage: Stage, name: str) -> list[int]:
    """The leader of a part; for the scheduler with everything below it."""
    pid = stage.supervisor.pid(name)
    if pid is None:
        return []
    try:
        below = psutil.Process(pid).children(recursive=True) if name == "scheduler" else []
    except psutil.NoSuchProcess:
        return []
    return [pid, *(process.pid for process in below)]


def task_with_its_worker(scheduler: int | None, dice: random.Random) -> list[int]:
    """A worker of the local executor that has a task, and that task; empty when there is none."""
    if scheduler is None:
        return []
    try:
        workers = [w for w in psutil.Process(scheduler).children() if w.children()]
        chosen = dice.choice(workers) if workers else None
        return [chosen.pid, *(p.pid for p in chosen.children(recursive=True))] if chosen else []
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    sys.exit(main())
