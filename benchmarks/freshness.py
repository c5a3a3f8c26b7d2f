"""How old a change is when an analyst can see it, through real Airflow, at a constant rate.

From the simulator's act (`wall_at`, machine time) to the first poll of `events_live` that shows
its row; the view is polled every 0.5 s. Speed 1, one stream run, the receiver mounted in
Airflow's API server.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict, deque
from datetime import datetime, timedelta
from typing import Any

import duckdb

from benchmarks.reporting import finish, free_ports
from outlook_lake import clock
from outlook_lake.demo.freshness import percentile
from outlook_lake.demo.options import Options
from outlook_lake.demo.screen import Screen
from outlook_lake.demo.session import running
from outlook_lake.demo.stage import Stage
from outlook_lake.errors import OutlookLakeError
from outlook_lake.lake.views import open_lake
from outlook_lake.state.kinds import item_key

POLL_S = 0.5
WARM_UP_S = 20.0
LOOK_BACK = timedelta(minutes=2)
NEW_ROWS = """
    SELECT event_id, item_key, action FROM events_live WHERE observed_at >= $since ORDER BY seq
"""


def main() -> int:
    """Exit code 0 when the figures are within what is promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness")
    parser.add_argument("--rate", type=float, default=20.0, help="mailbox changes a second")
    parser.add_argument("--seconds", type=float, default=120.0, help="measured, after warming up")
    parser.add_argument("--mailboxes", type=int, default=60)
    given = parser.parse_args()
    options = Options(port=free_ports(6), mailboxes=given.mailboxes, speed=1.0)
    screen = Screen()
    try:
        with running(options, screen, fresh_home="bench-freshness") as stage:
            stage.simulator.traffic(generator=True, rate=given.rate, seed=options.seed)
            ages = _measure(stage, given.seconds)
    except OutlookLakeError as error:
        screen.say(str(error))
        return 1
    p50, p95, p99 = (percentile(ages, share) or 0.0 for share in (0.5, 0.95, 0.99))
    finish(
        events=len(ages),
        rate=round(len(ages) / given.seconds, 2),
        p50_s=round(p50, 2),
        p95_s=round(p95, 2),
        p99_s=round(p99, 2),
        max_s=round(max(ages, default=0.0), 2),
    )
    return 0 if ages and p50 < 4 and p95 < 10 else 1


def _measure(stage: Stage, seconds: float) -> list[float]:
    """Ages, in seconds, of the rows of acts that happened after the warming up."""
    stage.screen.say(f"warming up for {WARM_UP_S:.0f} s, then measuring for {seconds:.0f} s")
    begin = time.time() + WARM_UP_S
    acts: defaultdict[tuple[bytes, str], deque[float]] = defaultdict(deque)
    seen: set[str] = set()
    ages: list[float] = []
    number = 0
    said = time.monotonic()
    with open_lake(stage.settings) as lake:
        while time.time() < begin + seconds:
            since = clock.graph_now() - LOOK_BACK
            try:
                shown = lake.sql(NEW_ROWS, params={"since": since}).to_arrow_table()
            except duckdb.Error as error:  # the age of what it would have shown goes on growing
                stage.screen.say(f"a poll failed: {error}")
                continue
            fresh, shown_at = shown.to_pylist(), time.time()
            for row in stage.simulator.journal(number):
                number = int(row["number"])
                _note(acts, row)
            for row in fresh:
                if row["event_id"] not in seen:
                    seen.add(row["event_id"])
                    happened = acts[row["item_key"], row["action"]]
                    if happened and (at := happened.popleft()) >= begin:
                        ages.append(shown_at - at)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                p50, p95 = percentile(ages, 0.5), percentile(ages, 0.95)
                stage.screen.say(f"{len(ages)} rows, p50 {p50 or 0:.1f} s, p95 {p95 or 0:.1f} s")
            time.sleep(POLL_S)
    return ages


def _note(acts: defaultdict[tuple[bytes, str], deque[float]], row: dict[str, Any]) -> None:
    if row["kind"] == "act" and row.get("observable") and row.get("item"):
        at = datetime.fromisoformat(row["wall_at"]).timestamp()
        acts[item_key(row["item"]), row["action"]].append(at)


if __name__ == "__main__":
    sys.exit(main())
