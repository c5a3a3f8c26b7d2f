"""What quiet hours cost: counted requests of a hot-and-full cycle, and what 100,000 mailboxes make.

A simulated tenant of some thousand mailboxes is primed and read once. Then six quiet hours go by
with a catch-up each, as the DAG runs it: hot rounds hourly, each mailbox's full round in its own
hour. Requests are counted by the simulator, items of batches one by one. What is computed for
100,000 mailboxes is named `…_100k`.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import resource
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reporting import finish, progress
from outlook_lake import clock
from outlook_lake.settings import Settings
from tests.support.stage import Stage, stage

HOURS = 6
"""One cycle: every mailbox has one full round in it (`looks.full_every_h`)."""
ALL = 100_000
PROMISED_PER_S = 230.0
PROMISED_MINUTES = 20.0
LIMIT_PER_S = 1000.0


@dataclass
class Cost:
    """What some hours took."""

    requests: list[int] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    full: list[int] = field(default_factory=list)


def main() -> int:
    """Exit code 0 when the promised figures are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catchup")
    parser.add_argument("--mailboxes", type=int, default=2000)
    parser.add_argument("--history", type=int, default=2, help="messages a mailbox begins with")
    parser.add_argument("--latency", type=float, default=100.0, help="ms a request takes")
    parser.add_argument("--profile", action="store_true", help="the slowest functions, on stderr")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="catchup-") as folder,
        stage(
            Path(folder),
            mailboxes=given.mailboxes,
            history=given.history,
            back="P2D",
            latency_ms=given.latency,
            OUTLOOK_LAKE_SUBSCRIPTIONS_WRITES_PER_S="24",
        ) as shared,
    ):
        empty, folders = _prepare(shared, given.mailboxes)
        primed = state_bytes()
        cost = _quiet_hours(shared, given.mailboxes, profile=given.profile)
        after = state_bytes()
        subscriptions = _subscriptions_bytes()
        throttled = shared.stats()["throttled_429"]
    per_hour = sum(cost.requests) / HOURS / given.mailboxes
    worst = max(cost.requests) / given.mailboxes
    per_s = per_hour * ALL / 3600
    minutes = per_hour * ALL / LIMIT_PER_S / 60
    finish(
        mailboxes=given.mailboxes,
        folders=folders,
        requests_per_mailbox_hour=round(per_hour, 2),
        requests_per_s_100k=round(per_s, 1),
        minutes_at_1000_per_s=round(minutes, 1),
        worst_hour_minutes_at_1000_per_s=round(worst * ALL / LIMIT_PER_S / 60, 1),
        requests=cost.requests,
        full_rounds=cost.full,
        throttled=throttled,
        state_bytes_per_mailbox=round((primed - empty) / given.mailboxes),
        subscription_bytes_per_mailbox=round(subscriptions / given.mailboxes),
        state_growth_bytes_per_mailbox=round((after - primed) / given.mailboxes, 1),
        wall_s=round(cost.wall_s, 1),
        cpu_s=round(cost.cpu_s, 1),
        latency_ms=given.latency,
        requests_per_s=round(sum(cost.requests) / cost.wall_s),
        requests_per_cpu_s=round(sum(cost.requests) / cost.cpu_s),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )
    return 0 if per_s < PROMISED_PER_S and minutes < PROMISED_MINUTES else 1


def _prepare(shared: Stage, mailboxes: int) -> tuple[int, float]:
    """Everybody subscribed, primed and read once; bytes of the empty state, folders a mailbox."""
    with shared.app():
        empty = state_bytes()
    began = time.monotonic()
    made = shared.run("subscriptions")
    progress(f"subscribed in {time.monotonic() - began:.0f} s: {_briefly(made)}")
    while True:
        began = time.monotonic()
        did = shared.run("prime")
        progress(f"primed {did['primed']:,} in {time.monotonic() - began:.0f} s")
        if not did["left"]:
            break
    shared.advance("PT10M")
    began = time.monotonic()
    read = shared.run("catch_up", full=True)
    progress(f"first full rounds in {time.monotonic() - began:.0f} s: {_briefly(read)}")
    with closing(sqlite3.connect(state_file())) as connection:
        (folders,) = connection.execute(
            "SELECT count(*) FROM folder WHERE gone_at IS NULL AND kind <> 'dumpster'"
        ).fetchone()
    return empty, round(folders / mailboxes, 1)


def _quiet_hours(shared: Stage, mailboxes: int, *, profile: bool) -> Cost:
    """Hours in which nothing happens, each caught up with five minutes after its end."""
    cost = Cost()
    profiler = cProfile.Profile() if profile else None
    for _ in range(HOURS):
        hour = clock.hour_name(clock.graph_now())
        end = clock.parse_hour(hour) + clock.HOUR
        shared.call("POST", "clock", {"to": f"{end:%Y-%m-%dT%H:05:00Z}"})
        before, began, cpu = _asked(shared), time.monotonic(), _cpu_s()
        did = _profiled(shared, hour, profiler)
        cost.wall_s += time.monotonic() - began
        cost.cpu_s += _cpu_s() - cpu
        cost.requests.append(_asked(shared) - before)
        cost.full.append(did["full"])
        progress(
            f"{hour}: {did['rounds']:,} rounds, {did['full']:,} of them full, "
            f"{cost.requests[-1]:,} requests in {time.monotonic() - began:.0f} s"
        )
        if did["rounds"] != mailboxes or did["events"] or did["gave_up"]:
            raise SystemExit(f"not a quiet hour of {mailboxes}: {_briefly(did)}")
    if profiler is not None:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(40)
    return cost


def _profiled(shared: Stage, hour: str, profiler: cProfile.Profile | None) -> dict[str, Any]:
    if profiler is None:
        return shared.run("catch_up", hour=hour)
    return dict(profiler.runcall(shared.run, "catch_up", hour=hour))


def _asked(shared: Stage) -> int:
    """Requests Graph has seen: a batch counts as its items."""
    counts = shared.stats()["requests"]
    return sum(count for kind, count in counts.items() if kind not in ("batch", "token"))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def state_file() -> Path:
    found = Settings.load(os.environ).state_file
    if found is None:
        raise SystemExit("bytes are counted in SQLite: unset OUTLOOK_LAKE_DATABASE_URL")
    return found


def state_bytes() -> int:
    """Pages of the state database that hold something."""
    with closing(sqlite3.connect(state_file())) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,), (free,), (size,) = (
            connection.execute(f"PRAGMA {name}").fetchone()
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def _subscriptions_bytes() -> int:
    """Of what a mailbox costs, the part that is its subscription, by the length of its values."""
    with closing(sqlite3.connect(state_file())) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT * FROM subscription").fetchall()
    return sum(len(str(value)) for row in rows for value in row if value is not None)


def _briefly(did: dict[str, Any]) -> str:
    return ", ".join(f"{name} {n}" for name, n in did.items() if isinstance(n, int) and n)


if __name__ == "__main__":
    sys.exit(main())
