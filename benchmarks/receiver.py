"""What a durable 202 costs, beside bare ones, Redis and PostgreSQL, in one interleaved run.

Every server runs in its own process; rounds take them in turn, so that whatever else the
machine does hits all alike. Figures are notifications a CPU-second of the server and, for the
peers, of their own processes too; ratios are medians over the rounds. Then 1,200 single POSTs
a second with the sender on another core, and more than the receiver may hold.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.peers import Peer, cpu_s, peers
from benchmarks.posting import Mailboxes, OpenLoop, Tally, closed_loop
from benchmarks.reporting import finish, free_ports, progress
from benchmarks.serving import receiver, serving
from outlook_lake.receiver.client_state import ensure_keys, newest
from outlook_lake.receiver.segments import read_segment, ready_segments, take_abandoned
from outlook_lake.settings import Settings

SIZES = (1, 10, 100)
CONNECTIONS = 64
RATE = 1200.0
SLOW_S = 2.5
GOALS = {
    "full_over_starlette_bare": 0.90,
    "over_floor_10": 0.55,
    "over_redis_1": 2.5,
    "over_redis_10": 2.5,
    "over_postgres_1": 2.5,
    "over_postgres_10": 2.5,
}
"""Ours / theirs, by CPU; a peer that is not installed is no failure."""


@dataclass
class Server:
    """One of those that are compared."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    peer: Peer | None = None

    def cpu_s(self) -> float:
        return cpu_s(self.process) + (cpu_s(self.peer.process) if self.peer else 0.0)


@dataclass
class Measured:
    """Notifications a CPU-second and a second, by server and size, one a round."""

    per_cpu: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    per_s: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def ratio(self, other: str, size: int) -> float | None:
        """Ours / theirs, median over the rounds; None where the other was not there."""
        pairs = zip(self.per_cpu["receiver", size], self.per_cpu[other, size], strict=False)
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
        return round(statistics.median(ratios), 2) if ratios else None


def main() -> int:
    """Exit code 0 when every goal is met and nothing acknowledged was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.receiver")
    parser.add_argument("--seconds", type=float, default=2.0, help="one server, size and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steady", type=float, default=30.0, help="seconds at 1,200 a second")
    parser.add_argument("--only", default="", help="servers to compare, by comma")
    given = parser.parse_args()
    # A folder of a real disk: /tmp may lie in memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(prefix="bench-receiver-", dir="/var/tmp") as folder:
        base = Path(folder)
        only = set(filter(None, given.only.split(",")))
        with peers(base, only) as (found, missing):
            measured = _compare(base, found, given.seconds, given.rounds, only)
        figures = _figures(measured)
        if not only:
            figures |= _steady(base, given.steady) | _overload(base)
    finish(**figures, connections=CONNECTIONS, missing=missing)
    return 0 if only or _good(figures) else 1


def _compare(
    base: Path, found: dict[str, Peer], seconds: float, rounds: int, only: set[str]
) -> Measured:
    measured = Measured()
    with ExitStack() as stack:
        port = free_ports(6)
        servers = []
        for name in ("receiver", "bare", "starlette", "floor", "redis", "postgres"):
            peer = found.get(name)
            if (name in ("redis", "postgres") and peer is None) or (only and name not in only):
                continue
            home = base / f"home-{name}"
            environment = peer.environment if peer else None
            module = ["outlook_lake.receiver"]
            if name != "receiver":
                module = ["benchmarks.fronts", name]
            process = stack.enter_context(serving(module, home, port, environment))
            servers.append(Server(name, port, process, peer))
            port += 1
        keys = {server.name: _mailboxes(base / f"home-{server.name}") for server in servers}
        for size in SIZES:
            for turn in range(rounds):
                for server in servers[turn % len(servers) :] + servers[: turn % len(servers)]:
                    _measure(server, keys[server.name], size, seconds, measured)
            progress(
                f"{size} a POST, notifications a CPU-second: "
                + ", ".join(
                    f"{one.name} {statistics.median(measured.per_cpu[one.name, size]):,.0f}"
                    for one in servers
                )
            )
    return measured


def _measure(
    server: Server, mailboxes: Mailboxes, size: int, seconds: float, measured: Measured
) -> None:
    posts = mailboxes.pool(size, max(20, 2000 // size))
    next(posts)

    async def run() -> tuple[Tally, float]:
        await closed_loop(server.port, posts, connections=CONNECTIONS, seconds=seconds / 8)
        before = server.cpu_s()
        tally = await closed_loop(server.port, posts, connections=CONNECTIONS, seconds=seconds)
        return tally, server.cpu_s() - before

    tally, spent = uvloop.run(run())
    if set(tally.statuses) != {202} or tally.broken:
        raise SystemExit(f"{server.name} answered {dict(tally.statuses)}, broken {tally.broken}")
    measured.per_cpu[server.name, size].append(tally.notifications / max(spent, 0.01))
    measured.per_s[server.name, size].append(tally.notifications / tally.took_s)


def _figures(measured: Measured) -> dict[str, float | None]:
    figures = {
        "full_over_starlette_bare": measured.ratio("starlette", 1),
        "full_over_bare": measured.ratio("bare", 1),
        "full_over_bare_10": measured.ratio("bare", 10),
        "full_over_bare_100": measured.ratio("bare", 100),
        "over_floor_1": measured.ratio("floor", 1),
        "over_floor_10": measured.ratio("floor", 10),
        "over_floor_100": measured.ratio("floor", 100),
    }
    for peer in ("redis", "postgres"):
        for size in SIZES:
            figures[f"over_{peer}_{size}"] = measured.ratio(peer, size)

    def ours(of: dict[tuple[str, int], list[float]], size: int) -> float | None:
        return round(statistics.median(of["receiver", size])) if of["receiver", size] else None

    figures["requests_per_s"] = ours(measured.per_s, 1)
    figures["requests_per_cpu_s"] = ours(measured.per_cpu, 1)
    for size in SIZES[1:]:
        figures[f"notifications_per_s_{size}"] = ours(measured.per_s, size)
        figures[f"notifications_per_cpu_s_{size}"] = ours(measured.per_cpu, size)
    return figures


def _steady(base: Path, seconds: float) -> dict[str, float | None]:
    """1,200 single POSTs a second; the sender and the receiver each on a core of its own."""
    home, port = base / "home-steady", free_ports(1)
    with receiver(home, port) as process, _cores_apart(process):
        mailboxes = _mailboxes(home)
        posts = mailboxes.pool(1, 2000)
        next(posts)
        before = cpu_s(process)
        gc.collect()
        gc.disable()
        tally = uvloop.run(OpenLoop(port, posts, Tally()).run(RATE, seconds))
        gc.enable()
        spent = cpu_s(process) - before
    asked = max(1, tally.statuses.total() + tally.broken)
    slow = tally.slower_than(SLOW_S)
    progress(
        f"{tally.statuses.total():,} single POSTs at {RATE:,.0f}/s: p50 "
        f"{tally.percentile(0.5) * 1000:.1f} ms, p99 {tally.percentile(0.99) * 1000:.1f} ms, "
        f"worst {max(tally.seconds) * 1000:.0f} ms, {spent / tally.took_s:.2f} core"
    )
    return {
        "p50_ms_1200": round(tally.percentile(0.5) * 1000, 2),
        "p99_ms_1200": round(tally.percentile(0.99) * 1000, 1),
        "max_ms_1200": round(max(tally.seconds) * 1000, 1),
        "over_2500ms_share": round(slow / asked, 6),
        "core_share_1200": round(spent / tally.took_s, 2),
    }


def _overload(base: Path) -> dict[str, float | None]:
    """More at once than may wait for the disk: 503 in time, and each 202 is kept once."""
    home, port = base / "home-overload", free_ports(1)
    with receiver(home, port, pending_limit_bytes=256 << 10):
        mailboxes = _mailboxes(home)
        tally = uvloop.run(
            closed_loop(
                port,
                mailboxes.fresh(20),
                connections=400,
                seconds=5,
                tally=Tally(keeps_ids=True),
            )
        )
    found = Counter(_stored(home))
    lost = sum(found[one] == 0 for one in tally.acknowledged)
    doubled = sum(times > 1 for times in found.values())
    progress(
        f"overload: {tally.statuses[202]:,} taken, {tally.statuses[503]:,} answered 503, slowest "
        f"answer {max(tally.seconds):.2f} s, lost {lost}, doubled {doubled}"
    )
    return {
        "overload_taken": tally.statuses[202],
        "overload_503": tally.statuses[503],
        "overload_slowest_s": round(max(tally.seconds), 3),
        "overload_over_2500ms": tally.slower_than(SLOW_S),
        "overload_lost": lost,
        "overload_doubled": doubled,
    }


def _stored(home: Path) -> list[str]:
    staging = Settings(home=home).staging
    take_abandoned(staging)
    return [
        str(note.item)
        for path in ready_segments(staging)
        for note in read_segment(path).notifications
    ]


def _mailboxes(home: Path) -> Mailboxes:
    return Mailboxes(newest(ensure_keys(Settings(home=home).keys)))


class _cores_apart:
    """The server on one core and this process on another, where there are two."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._pid = process.pid

    def __enter__(self) -> None:
        self._all = sorted(os.sched_getaffinity(0))
        if len(self._all) < 2:
            progress("one core only: the sender and the receiver share it")
            return
        for thread in Path(f"/proc/{self._pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {self._all[0]})
        os.sched_setaffinity(0, {self._all[1]})

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self._all)


def _good(figures: dict[str, float | None]) -> bool:
    behind = [
        f"{name} {figures[name]} < {goal}"
        for name, goal in GOALS.items()
        if figures[name] is not None and (figures[name] or 0) < goal
    ]
    behind += [
        f"{name} {figures[name]}"
        for name in ("over_2500ms_share", "overload_over_2500ms", "overload_lost")
        if figures[name]
    ]
    if (figures["p99_ms_1200"] or 0) >= 100:
        behind.append(f"p99_ms_1200 {figures['p99_ms_1200']} >= 100")
    for line in behind:
        progress(f"goal missed: {line}")
    return not behind


if __name__ == "__main__":
    sys.exit(main())
