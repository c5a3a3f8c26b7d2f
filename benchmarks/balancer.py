"""Two receivers behind nginx, one killed and started again every so often, while mail flows.

    make drill NAME=balancer        needs nginx (Debian: apt-get install nginx-light)

The simulator posts to nginx, set up as docs/operate/nginx-receivers.conf says; the steps run as
`outlook-lake run` does, without Airflow. Then the journal has to balance, in order, with nothing
excused by a gap that the kills would explain: the other receiver was there all the time.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.reporting import finish, free_ports, progress
from tests.support.stage import Stage, stage

CONF = Path(__file__).resolve().parents[1] / "docs" / "operate" / "nginx-receivers.conf"
AWAY_S = 2.0
"""How long a killed receiver stays away: a service manager's pause."""
KEYS = ("lost", "doubled", "wrong_action", "wrong_hour", "out_of_order")


def main() -> int:
    """Exit code 0 when the journal balances and no gap was opened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balancer")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between kills")
    parser.add_argument("--mailboxes", type=int, default=12)
    parser.add_argument("--rate", type=float, default=5.0, help="mailbox changes a second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        progress("nginx is missing (Debian: apt-get install nginx-light)")
        return 1
    front, second = (free_ports(1, first=first) for first in (23_100, 23_500))
    with (
        # nginx wants to read it as another user
        tempfile.TemporaryDirectory(prefix="drill-balancer-", dir="/var/tmp") as folder,
        stage(
            Path(folder),
            mailboxes=given.mailboxes,
            back="PT2H",
            OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL=f"http://127.0.0.1:{front}/notifications",
        ) as made,
        _nginx(nginx, Path(folder), front, (made.receiver_port, second)),
        _second_receiver(made, second),
    ):
        figures = _drill(made, given, second)
    finish(**figures)
    return 0 if not any(figures[name] for name in (*KEYS, "gaps")) and figures["kills"] else 1


def _drill(made: Stage, given: argparse.Namespace, second: int) -> dict[str, Any]:
    began = time.monotonic()
    made.run("subscriptions")
    made.run("prime")
    made.call("POST", "traffic", {"generator": True, "rate": given.rate, "seed": given.seed})
    progress(f"{given.mailboxes} mailboxes watched; {given.minutes:g} minutes of traffic")
    ended, kills = threading.Event(), [0]
    killing = threading.Thread(
        target=_kill, args=(made, second, given.every, random.Random(given.seed), ended, kills)
    )
    killing.start()
    end = time.monotonic() + given.minutes * 60
    try:
        while time.monotonic() < end:
            made.run("stream", until_idle=True)
            time.sleep(0.2)
    finally:
        ended.set()
        killing.join()
    made.call("DELETE", "traffic")
    made.settle()
    made.run("catch_up")
    made.settle()
    verdict = made.audit()
    with made.app() as app, app.db.read() as connection:
        gaps = connection.execute(text("SELECT count(*) FROM gap")).scalar_one()
        took = connection.execute(
            text('SELECT count(DISTINCT receiver) FROM segment WHERE "rows" > 0')
        )
        receivers = took.scalar_one()
    for problem in verdict["problems"]:
        progress(f"not clean: {problem}")
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "kills": kills[0],
        "receivers": receivers,
        "journal": verdict["journal"],
        "events": verdict["events"],
        **{name: verdict[name] for name in KEYS},
        "excused": verdict["excused"],
        "excused_by": verdict["excused_by"],
        "gaps": gaps,
    }


def _kill(
    made: Stage,
    second: int,
    every_s: float,
    chance: random.Random,
    ended: threading.Event,
    kills: list[int],
) -> None:
    """Now this one, now that one; the other stays."""
    while not ended.wait(every_s * chance.uniform(0.8, 1.0)):
        name, port = ("receiver", made.receiver_port) if kills[0] % 2 else ("receiver-2", second)
        made.kill(name)
        kills[0] += 1
        progress(f"killed {name}")
        ended.wait(AWAY_S)
        made.processes[name] = _start(made, name, port)


@contextmanager
def _second_receiver(made: Stage, port: int) -> Iterator[None]:
    """Beside the stage's own; the stage ends it."""
    made.processes["receiver-2"] = _start(made, "receiver-2", port)
    time.sleep(1)
    yield


def _start(made: Stage, name: str, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "outlook_lake.receiver", "--port", str(port)]
    with (made.home / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, env={**os.environ, **made.environ}, stdout=log, stderr=log)


@contextmanager
def _nginx(nginx: str, folder: Path, front: int, behind: tuple[int, int]) -> Iterator[None]:
    """The documented configuration, with these ports."""
    conf = CONF.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{front}")
    for documented, port in zip(("8081", "8082"), behind, strict=True):
        conf = conf.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{port}")
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{ {temporary}\n{conf}\n}}\n"
    )
    folder.chmod(0o755)
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(main)])
    try:
        time.sleep(0.5)
        if process.poll() is not None:
            raise OSError(f"nginx ended: {(folder / 'nginx.log').read_text()[-1000:]}")
        yield
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(10)


if __name__ == "__main__":
    sys.exit(main())
