"""Subscriptions for 100,000 mailboxes: planned here, some of them made for real.

1. The plan of a first run and that of a steady day, over tables of so many rows: time, memory.
2. `--real` mailboxes are subscribed in the simulator, paced under Graph's limit; the process is
   killed half way and another one goes on. Graph may refuse nothing, and nothing may be double.
3. The steady state is computed from two quiet weeks of a small tenant, its requests counted by the
   simulator: renewals; and from what a run may ask at most: `subscriptions.checks_per_run`
   questions by id, Graph's list once a day, every page of the users each quarter hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks.reporting import finish, progress
from outlook_lake import clock, steps
from outlook_lake.application import Application
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import mailbox, subscription
from outlook_lake.subscriptions import records
from outlook_lake.subscriptions.model import Plan, Wanted
from outlook_lake.subscriptions.plan import plan, renewal
from tests.support.receiver import running
from tests.support.simulator import SimulatorProcess, running_simulator

URL = "https://hooks.contoso.example/notifications"
QUARTER_S = 900
PAGE, USERS_PAGE = 100, 999
"""Rows on a page of Graph's lists."""
FEW, STEPS, STEP, DAYS = 15, 28, "PT12H", 14
PROGRAM = (
    "import asyncio\n"
    "from outlook_lake import steps\n"
    "from outlook_lake.application import Application\n"
    "from outlook_lake.settings import Settings\n"
    "with Application.open(Settings.load()) as app:\n"
    "    asyncio.run(steps.subscriptions(app))\n"
)


def main() -> int:
    """Exit code 0 when the figures are within what is promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan")
    parser.add_argument("--mailboxes", type=int, default=100_000)
    parser.add_argument("--real", type=int, default=2_000, help="made in the simulator")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
        planned = _planning(Path(folder), given.mailboxes)
        real = _for_real(Path(folder) / "real", given.real)
        renewed = _quiet_days(Path(folder) / "quiet")
    steady = _steady(given.mailboxes, renewed)
    pace = Settings().subscriptions.writes_per_s
    figures = {
        "mailboxes": given.mailboxes,
        **planned,
        **real,
        "computed_creation_minutes": round(given.mailboxes / pace / 60, 1),
        "steady_requests_per_s": round(sum(steady.values()), 3),
        "steady_computed_from": {name: round(value, 3) for name, value in steady.items()},
    }
    finish(**figures)
    good = (
        planned["plan_s"] < 5
        and planned["peak_mb"] < 1024
        and real["created"] == given.real
        and not real["throttled"]
        and not real["doubled"]
        and figures["steady_requests_per_s"] < 2
    )
    return 0 if good else 1


# -- planning ------------------------------------------------------------------------------


def _planning(folder: Path, mailboxes: int) -> dict[str, Any]:
    """Read the tables and plan, for a first run and for a steady day; the slower one counts."""
    settings = replace(Settings(), home=folder / "planned")
    db = Database.open(settings)
    try:
        progress(f"filling the tables of {mailboxes:,} mailboxes")
        _fill_mailboxes(db, mailboxes)
        first_s, first = _timed_plan(db)
        progress(f"first run: {len(first.actions):,} actions in {first_s:.2f} s")
        _fill_subscriptions(db, mailboxes)
        steady_s, steady = _timed_plan(db)
        progress(f"a steady day: {len(steady.actions):,} actions in {steady_s:.2f} s")
    finally:
        db.close()
    if len(first.actions) != mailboxes:
        raise AssertionError(f"{len(first.actions)} actions planned for {mailboxes} mailboxes")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"plan_s": round(max(first_s, steady_s), 2), "peak_mb": round(peak)}


def _timed_plan(db: Database) -> tuple[float, Plan]:
    began = time.perf_counter()
    with db.read() as connection:
        mailboxes, rows = records.read_rows(connection, "t")
    made = plan(mailboxes, rows, clock.graph_us(), Wanted(url=URL, keys=frozenset({"k"})))
    return time.perf_counter() - began, made


def _fill_mailboxes(db: Database, count: int) -> None:
    rows = [
        {
            "mailbox_id": n,
            "tenant_id": "t",
            "aad_id": f"7a1e5c00-1111-4222-8333-{n:012d}",
            "tuid": f"tuid-{n}",
            "shard": n % 256,
            "state": "new",
        }
        for n in range(1, count + 1)
    ]
    with db.write() as connection:
        connection.execute(mailbox.insert(), rows)


def _fill_subscriptions(db: Database, count: int) -> None:
    """Every mailbox has one, made some time in the last half life, most heard of today."""
    now, life = clock.graph_us(), 9_900 * 60_000_000
    rows = []
    for n in range(1, count + 1):
        made = now - (n * 2_654_435_761) % (life // 2)
        rows.append(
            {
                "nonce": f"nonce-{n}",
                "subscription_id": f"99999999-1111-4222-8333-{n:012d}",
                "mailbox_id": n,
                "mode": "basic",
                "key_id": "k",
                "state": "active",
                "created_at": made,
                "renewed_at": made,
                "proven_at": made,
                "last_notified_at": now - (n % 48) * 1_800_000_000,
                "expires_at": made + life,
                "renew_at": renewal(f"nonce-{n}", made, made + life),
                "notification_url": URL,
                "lifecycle_url": URL,
            }
        )
    with db.write() as connection:
        connection.execute(mailbox.update().values(state="live"))
        connection.execute(subscription.insert(), rows)


# -- for real ------------------------------------------------------------------------------


@contextmanager
def _scene(folder: Path, mailboxes: int) -> Iterator[tuple[SimulatorProcess, dict[str, str]]]:
    """A simulator, a receiver, and the environment of a home between them."""
    clock_file = folder / "simulator" / "clock.json"
    with running_simulator(
        folder / "simulator",
        mailboxes=mailboxes,
        history=0,
        options=("--clock-file", str(clock_file), "--start-back", "P16D"),
    ) as simulator:
        home = folder / "home"
        with running(home, clock=clock_file) as receiver:
            connection = {
                "conn_type": "msgraph",
                "login": simulator.tenant["client_id"],
                "password": simulator.tenant["client_secret"],
                "host": "127.0.0.1",
                "schema": "http",
                "port": simulator.port,
                "extra": {
                    "tenant_id": simulator.tenant["tenant_id"],
                    "domain_id": "contoso.example",
                    "authority": f"127.0.0.1:{simulator.tls_port}",
                    "verify": str(simulator.state / "ca.pem"),
                },
            }
            root = Path(__file__).resolve().parents[1]
            yield (
                simulator,
                {
                    **os.environ,
                    "PYTHONPATH": f"{root / 'include'}:{root}",
                    "OUTLOOK_LAKE_HOME": str(home),
                    "OUTLOOK_LAKE_CLOCK": str(clock_file),
                    "OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT": json.dumps(connection),
                    "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL": (
                        f"http://127.0.0.1:{receiver.port}/notifications"
                    ),
                },
            )


def _for_real(folder: Path, mailboxes: int) -> dict[str, Any]:
    """Create, be killed half way, go on."""
    with _scene(folder, mailboxes) as (simulator, environ):
        os.environ.update(environ)
        progress(f"creating {mailboxes:,} subscriptions, killed half way")
        began = time.monotonic()
        child = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environ)
        while (made := len(_at_graph(simulator))) < mailboxes // 2 and child.poll() is None:
            time.sleep(0.5)
        child.send_signal(signal.SIGKILL)
        killed = child.wait() == -signal.SIGKILL
        progress(f"killed with {made:,} made; the next run waits for the dead one's lease")
        resumed = _run_step()
        took = time.monotonic() - began
        owners, ids = zip(*_at_graph(simulator), strict=True)
        unknown = set(ids) ^ _ours()
        throttled = simulator.control("GET", "stats")["throttled_429"]
    return {
        "created": len(set(owners)),
        "killed_at": made if killed else None,
        "adopted": resumed["adopted"],
        "seconds_with_the_kill": round(took),
        "doubled": len(owners) - len(set(owners)) + len(unknown),
        "throttled": throttled,
    }


def _quiet_days(folder: Path) -> float:
    """Requests a mailbox costs in two quiet weeks, but for questions and lists: renewals."""
    os.environ["OUTLOOK_LAKE_SUBSCRIPTIONS_WRITES_PER_S"] = "200"
    try:
        with _scene(folder, FEW) as (simulator, environ):
            os.environ.update(environ)
            _run_step()
            before = simulator.control("GET", "stats")["requests"]["subscriptions"]
            others = 0
            for _ in range(STEPS):
                simulator.control("POST", "clock", {"advance": STEP})
                did = _run_step()
                others += did.get("checked", 0) + math.ceil(did.get("listed", 0) / PAGE)
            counted = simulator.control("GET", "stats")["requests"]["subscriptions"] - before
    finally:
        del os.environ["OUTLOOK_LAKE_SUBSCRIPTIONS_WRITES_PER_S"]
    progress(f"{DAYS} days of {FEW} mailboxes: {counted} requests, {others} to ask and list")
    return (counted - others) / FEW


def _steady(mailboxes: int, renewed: float) -> dict[str, float]:
    """Requests a second of all mailboxes, by what they are for."""
    checks = Settings().subscriptions.checks_per_run
    return {
        "renewals": mailboxes * renewed / (DAYS * 86_400),
        "questions": min(mailboxes, checks) / QUARTER_S,
        "lists": math.ceil(mailboxes / PAGE) / 86_400,
        "users": math.ceil(mailboxes / USERS_PAGE) / QUARTER_S,
    }


def _at_graph(simulator: SimulatorProcess) -> list[tuple[str, str]]:
    """(mailbox, id) of every subscription there is."""
    rows = simulator.control("GET", "subscriptions")["subscriptions"]
    return [(row["mailbox"], row["id"]) for row in rows]


def _run_step() -> dict[str, Any]:
    async def step() -> dict[str, Any]:
        with Application.open(Settings.load()) as app:
            return await steps.subscriptions(app)

    return asyncio.run(step())


def _ours() -> set[str]:
    db = Database.open(Settings.load())
    try:
        with db.read() as connection:
            return set(
                connection.scalars(
                    select(subscription.c.subscription_id).where(subscription.c.state == "active")
                )
            )
    finally:
        db.close()


if __name__ == "__main__":
    sys.exit(main())
