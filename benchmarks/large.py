"""A mailbox of 800,000 messages is primed while people work on, and priming is killed three times.

Priming and the stream are two processes, as in Airflow; twenty other mailboxes are live, and
people act in all of them, every fourth time in the large one. What has to hold: a change is a row
in seconds all the while, a killed priming goes on at the page it had reached, memory stays
bounded, and the journal balances.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from benchmarks.catchup import state_bytes, state_file
from benchmarks.reporting import finish, progress
from outlook_lake.demo.freshness import percentile
from outlook_lake.lake.merge import LANE
from outlook_lake.settings import Settings
from outlook_lake.state.kinds import item_key
from tests.support.stage import Stage, stage

OTHERS = 20
PROMISED_P95_S = 10.0
PROMISED_BYTES = 120.0
ACTIONS = {"receive": "email_received", "read": "email_read", "flag": "email_flagged"}
APART_S = 60.0
"""Two acts on one message are so far apart: what is first seen after a kill is one event, whatever
happened to it before."""
KILL_TAKES_S = 30.0
"""A killed priming holds its mailbox so long: its lease has to run out (`stream.lease_s`)."""
WORK_ON_S = 10


@dataclass
class Ages:
    """How old changes were when they became rows: seconds of machine time."""

    home: Path
    acts: int = 0
    all: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)
    """Those of the large mailbox, which are among all."""
    _waiting: dict[tuple[bytes, str], tuple[float, bool]] = field(default_factory=dict)
    _seq: int = 0

    def did(self, item: str, do: str, at: float, *, large: bool) -> None:
        """Somebody did something; `at`: the Unix second before it was asked for."""
        self.acts += 1
        self._waiting[item_key(item), ACTIONS[do]] = (at, large)

    def update(self) -> None:
        """Take in what was committed since the last time."""
        query = (
            "SELECT seq, path, committed_machine_at FROM batch "
            "WHERE seq > ? AND lane <> ? ORDER BY seq"
        )
        for seq, path, committed_us in rows_of(query, self._seq, LANE):
            self._seq = seq
            for row in pq.read_table(self.home / path, columns=["item_key", "action"]).to_pylist():
                at, large = self._waiting.pop((row["item_key"], row["action"]), (None, False))
                if at is not None:
                    self.all.append(committed_us / 1e6 - at)
                    if large:
                        self.large.append(self.all[-1])


class People(threading.Thread):
    """Two acts a second, every fourth in the large mailbox: mail arrives, is read, is flagged."""

    def __init__(self, shared: Stage, ages: Ages, rate: float, seed: int) -> None:
        super().__init__(name="people", daemon=True)
        self._ages = ages
        self.failed: BaseException | None = None
        self._stage, self._rate, self._dice = shared, rate, random.Random(seed)
        self._over = threading.Event()
        self._items: list[tuple[float, int, str, str]] = []

    def run(self) -> None:
        """Act until told to stop."""
        due = time.monotonic()
        try:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                due += 1 / self._rate
                self._act()
        except (OSError, urllib.error.HTTPError) as error:
            self.failed = error

    def stop(self) -> None:
        """Go home; returns when the last act is done."""
        self._over.set()
        self.join()

    def _act(self) -> None:
        now = time.monotonic()
        ready = [one for one in self._items[:50] if now - one[0] > APART_S]
        at = time.time()
        if ready and self._dice.random() < 0.5:
            chosen = self._dice.choice(ready)
            self._items.remove(chosen)
            _, user, item, do = chosen
            if self._stage.try_act(user, do, item=item) is None:
                return
            if do == "read":
                self._items.append((now, user, item, "flag"))
        else:
            large = self._dice.random() < 0.25
            user = OTHERS if large else self._dice.randrange(OTHERS)
            do = "receive"
            item = str(self._stage.act(user, do, **{"from": "sales@fabrikam.example"})["item"])
            self._items.append((now, user, item, "read"))
        self._ages.did(item, do, at, large=user == OTHERS)


class Step:
    """`outlook-lake run STEP` in a process of its own, started again whenever it ends."""

    def __init__(self, name: str, home: Path, *more: str) -> None:
        self.peak_mb = 0.0
        self.starts = 0
        self._command = [sys.executable, "-m", "outlook_lake.cli", "run", name, *more]
        self._log = home / f"{name}.log"
        self._process: psutil.Popen | None = None

    def watch(self) -> None:
        """Start it when it does not run; take note of its memory."""
        if self._process is None or self._process.poll() is not None:
            if self._process is not None and self._process.returncode not in (0, -signal.SIGKILL):
                raise SystemExit(f"{self._log.name}: {self._log.read_text()[-2000:]}")
            with self._log.open("ab") as out:
                self._process = psutil.Popen(self._command, stdout=out, stderr=subprocess.STDOUT)
            self.starts += 1
        try:
            self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 1048576)
        except psutil.NoSuchProcess:
            return

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)


def main() -> int:
    """Exit code 0 when everything promised was kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large")
    parser.add_argument("--messages", type=int, default=800_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2.0, help="changes a second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="large-") as folder,
        # Paces as they are set for real, not as tests hurry them.
        stage(
            Path(folder),
            mailboxes=OTHERS,
            back="PT6H",
            large=given.messages,
            OUTLOOK_LAKE_RECEIVER_SEGMENT_AGE_S="0.5",
            OUTLOOK_LAKE_STREAM_COALESCE_S="1.0",
            OUTLOOK_LAKE_STREAM_BEAT_S="0.4",
            OUTLOOK_LAKE_STREAM_LAG_S="30",
            OUTLOOK_LAKE_STREAM_ABSENCE_S="10",
        ) as shared,
    ):
        figures = _drill(shared, given)
    finish(**figures)
    return 0 if figures["kept"] else 1


def _drill(shared: Stage, given: argparse.Namespace) -> dict[str, Any]:
    large = shared.users[-1]["id"]
    shared.run("subscriptions")
    empty = state_bytes()
    settings = Settings.load(os.environ)
    ages = Ages(settings.home)
    people = People(shared, ages, given.rate, given.seed)
    prime = Step("prime", settings.home)
    stream = Step("stream", settings.home)
    _warm_up(prime, stream)
    before_large = _pages(shared) - _items(large) // settings.graph.page_size
    people.start()
    began = time.monotonic()
    killed, resumed = _prime(large, given, ages, prime, stream)
    took = time.monotonic() - began
    pages = _pages(shared) - before_large
    items = _items(large)
    size = state_bytes() - empty
    acts, everybody, in_large = ages.acts, list(ages.all), list(ages.large)
    progress(f"primed in {took:.0f} s")
    for _ in range(WORK_ON_S):
        stream.watch()
        time.sleep(1)
    people.stop()
    if people.failed is not None:
        raise people.failed
    shared.wait_delivered()
    prime.end()
    stream.end()
    before = _pages(shared)
    shared.settle()
    shared.run("catch_up")
    shared.settle()
    verdict = shared.audit(killed)
    least = -(-given.messages // settings.graph.page_size)
    figures = {
        "messages": given.messages,
        "kills": len(killed),
        "resumed_at": resumed,
        "pages": pages,
        "pages_at_least": least,
        "round_pages": _pages(shared) - before,
        "primed_s": round(took),
        "messages_per_s": round(given.messages / took),
        "acts": acts,
        "rows_seen": len(everybody),
        "p50_s": round(percentile(everybody, 0.5) or 0.0, 2),
        "p95_s": round(percentile(everybody, 0.95) or 0.0, 2),
        "p99_s": round(percentile(everybody, 0.99) or 0.0, 2),
        "large_rows": len(in_large),
        "large_p95_s": round(percentile(in_large, 0.95) or 0.0, 2),
        "large_max_s": round(max(in_large, default=0.0), 2),
        "bytes_per_item": round(size / max(items, 1), 1),
        "prime_peak_mb": round(prime.peak_mb),
        "stream_peak_mb": round(stream.peak_mb),
        **{k: verdict[k] for k in ("lost", "doubled", "wrong_action", "wrong_hour")},
        "out_of_order": verdict["out_of_order"],
        "excused": verdict["excused"],
        "excused_by": verdict["excused_by"],
        "clean": verdict["clean"],
    }
    # A death costs the pages since the last commit; each folder ends with a page of its own.
    few = 10 * (len(killed) + 1) + 20
    figures["kept"] = bool(
        verdict["clean"]
        and figures["p95_s"] < PROMISED_P95_S
        and pages <= least + few
        and figures["bytes_per_item"] < PROMISED_BYTES
    )
    return figures


def _warm_up(prime: Step, stream: Step) -> None:
    """Both up, and everybody but the large mailbox live."""
    while rows_of("SELECT count(*) FROM mailbox WHERE state <> 'live'")[0][0] > 1:
        prime.watch()
        stream.watch()
        time.sleep(0.5)


def _prime(
    large: str,
    given: argparse.Namespace,
    ages: Ages,
    prime: Step,
    stream: Step,
) -> tuple[list[tuple[int, int]], list[int]]:
    """Prime to the end, killed at equal parts of the way; when, and how many items were there."""
    ends = [given.messages * (n + 1) // (given.kills + 1) for n in range(given.kills)]
    killed: list[tuple[int, int]] = []
    resumed: list[int] = []
    told = time.monotonic()
    while True:
        prime.watch()
        stream.watch()
        ages.update()
        done = _items(large)
        if ends and done >= ends[0]:
            ends.pop(0)
            at = time.time_ns() // 1000
            prime.kill()
            killed.append((at, at + int(KILL_TAKES_S * 1e6)))
            resumed.append(_items(large))
            progress(f"killed at {resumed[-1]:,} messages; it waits for the dead one's lease")
        if time.monotonic() - told > 15:
            told = time.monotonic()
            p95 = percentile(ages.all, 0.95) or 0.0
            progress(
                f"{done:,} messages, {prime.peak_mb:.0f} MiB; {ages.acts} acts, "
                f"{len(ages.all)} rows, p95 {p95:.1f} s"
            )
        if _state(large) == "live":
            ages.update()
            return killed, resumed
        time.sleep(2)


def rows_of(query: str, *values: object) -> list[Any]:
    """Rows of the state database."""
    with closing(sqlite3.connect(state_file(), timeout=60)) as connection:
        return connection.execute(query, values).fetchall()


def _items(aad_id: str) -> int:
    query = (
        "SELECT count(*) FROM item JOIN mailbox m ON m.shard = item.shard "
        "AND m.mailbox_id = item.mailbox_id WHERE m.aad_id = ?"
    )
    return int(rows_of(query, aad_id)[0][0])


def _state(aad_id: str) -> str:
    return str(rows_of("SELECT state FROM mailbox WHERE aad_id = ?", aad_id)[0][0])


def _pages(shared: Stage) -> int:
    """Pages of messages Graph was asked for so far."""
    return int(shared.stats()["requests"].get("delta", 0))


if __name__ == "__main__":
    sys.exit(main())
