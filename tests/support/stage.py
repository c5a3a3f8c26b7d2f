"""A whole stage without Airflow: a real simulator, a real receiver, and the steps in between.

Everything speaks real HTTP on free ports; the home and the simulator's state lie in one
temporary folder. The journal is the judge: `stage.audit()`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outlook_lake import steps
from outlook_lake.application import Application
from outlook_lake.settings import Settings
from tests.support.ports import free_ports

DOMAIN = "contoso.example"


@dataclass
class Stage:
    """One simulated tenant and one home that watches it."""

    home: Path
    simulator_port: int
    tls_port: int
    receiver_port: int
    environ: dict[str, str]
    users: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    shares_the_simulator: bool = False

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the simulator's control API; JSON in, JSON out."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.simulator_port}/simulator/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def act(self, user: int, do: str, **more: Any) -> dict[str, Any]:
        """Let person number `user` act."""
        return self.call("POST", "act", {"mailbox": self.users[user]["id"], "do": do, **more})

    def try_act(self, user: int, do: str, **more: Any) -> dict[str, Any] | None:
        """As `act`; None when the act makes no sense (already read, gone)."""
        try:
            return self.act(user, do, **more)
        except urllib.error.HTTPError as error:
            if error.code in (404, 409):
                return None
            raise

    def address(self, user: int) -> str:
        """The mail address of person number `user`."""
        return str(self.users[user]["address"])

    def advance(self, duration: str) -> None:
        """Move Graph's clock, for example by `PT1H`."""
        self.call("POST", "clock", {"advance": duration})

    def fault(self, kind: str, **more: Any) -> None:
        """Switch a fault on."""
        self.call("POST", "faults", {"kind": kind, **more})

    def journal(self) -> list[dict[str, Any]]:
        """Everything that happened."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.simulator_port}/simulator/journal?after=0", timeout=60
        ) as response:
            return [json.loads(line) for line in response]

    def stats(self) -> dict[str, Any]:
        """The simulator's counters."""
        return dict(self.call("GET", "stats"))

    def wait_delivered(self, patience_s: float = 30.0) -> None:
        """Wait until no notification is on its way any more."""
        deadline = time.monotonic() + patience_s
        while self.stats()["pending_deliveries"]:
            if time.monotonic() > deadline:
                raise AssertionError(f"deliveries still pending: {self.stats()}")
            time.sleep(0.05)

    def app(self) -> Application:
        """The home, opened."""
        return Application.open(Settings.load(self.environ))

    def run(self, step: str, **arguments: Any) -> dict[str, Any]:
        """Run one step in this process, as the command line does."""
        with self.app() as app:
            outcome = getattr(steps, step)(app, **arguments)
            return dict(asyncio.run(outcome) if asyncio.iscoroutine(outcome) else outcome)

    def settle(self) -> dict[str, Any]:
        """Let everything that was said be heard: deliveries, landing, looks, apply."""
        self.wait_delivered()
        time.sleep(float(self.environ.get("OUTLOOK_LAKE_RECEIVER_SEGMENT_AGE_S", "0.5")) + 0.2)
        return self.run("stream", until_idle=True)

    def audit(self, killed: Sequence[tuple[int, int]] = ()) -> dict[str, Any]:
        """The judge's word; `killed`: when workers died (from, to; machine microseconds)."""
        from outlook_lake.lake.audit import audit

        return audit(
            Settings.load(self.environ),
            f"http://127.0.0.1:{self.simulator_port}",
            known_only=self.shares_the_simulator,
            killed=killed,
        )

    def start_simulator(
        self,
        mailboxes: int,
        *,
        history: int,
        back: str,
        speed: float,
        large: int = 0,
        latency_ms: float = 8.0,
    ) -> None:
        """Start (or restart, with its state) the simulator.

        `large`: messages of one more mailbox, the last of `users`; none without. `latency_ms`:
        how long a request takes.
        """
        command = [
            *(sys.executable, "-m", "graph_simulator"),
            *("--port", str(self.simulator_port), "--tls-port", str(self.tls_port)),
            *("--state", str(self.home / "simulator")),
            *("--clock-file", self.environ["OUTLOOK_LAKE_CLOCK"]),
            *("--start-back", back, "--speed", str(speed)),
            *("--history", str(history)),
            *("--request-latency", str(latency_ms)),
        ]
        self._start("simulator", command)
        self._wait_http(f"http://127.0.0.1:{self.simulator_port}/simulator/stats")
        if not self.users:
            wanted = {"domain": DOMAIN, "mailboxes": mailboxes, "seed": 7}
            made = self.call("POST", "tenants", wanted | ({"large": large} if large else {}))
            self.users = made["users"]
            self.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"] = json.dumps(
                {
                    "conn_type": "msgraph",
                    "host": "127.0.0.1",
                    "schema": "http",
                    "port": self.simulator_port,
                    "login": made["client_id"],
                    "password": made["client_secret"],
                    "extra": {
                        "tenant_id": made["tenant_id"],
                        "domain_id": DOMAIN,
                        "internal_domains": [DOMAIN],
                        "authority": f"https://127.0.0.1:{self.tls_port}",
                        "verify": str(self.home / "simulator" / "ca.pem"),
                    },
                }
            )

    def start_receiver(self) -> None:
        """Start the stand-alone receiver."""
        self._start(
            "receiver",
            [sys.executable, "-m", "outlook_lake.receiver", "--port", str(self.receiver_port)],
        )
        self._wait_http(f"http://127.0.0.1:{self.receiver_port}/live")

    def kill(self, name: str) -> None:
        """`kill -9` a part."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        """Stop what was started."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.processes.clear()

    def _start(self, name: str, command: list[str]) -> None:
        log = self.home / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self.processes[name] = subprocess.Popen(
                command, env={**os.environ, **self.environ}, stdout=out, stderr=subprocess.STDOUT
            )

    def _wait_http(self, url: str, patience_s: float = 30.0) -> None:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                urllib.request.urlopen(url, timeout=2).read()
                return
            except OSError:
                for name, process in self.processes.items():
                    if process.poll() is not None:
                        log = (self.home / f"{name}.log").read_text(errors="replace")
                        raise AssertionError(f"{name} ended:\n{log[-3000:]}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@contextmanager
def stage(
    folder: Path,
    *,
    mailboxes: int = 3,
    history: int = 10,
    back: str = "PT6H",
    speed: float = 1.0,
    large: int = 0,
    latency_ms: float = 8.0,
    **environ: str,
) -> Iterator[Stage]:
    """A stage with everything up and the steps' environment set, taken down at the end."""
    simulator_port, tls_port, receiver_port = free_ports(3)
    home = folder / "home"
    made = Stage(
        home,
        simulator_port,
        tls_port,
        receiver_port,
        {
            "OUTLOOK_LAKE_HOME": str(home),
            "OUTLOOK_LAKE_CLOCK": str(home / "simulator" / "clock.json"),
            "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL": (
                f"http://127.0.0.1:{receiver_port}/notifications"
            ),
            "OUTLOOK_LAKE_RECEIVER_SEGMENT_AGE_S": "0.1",
            "OUTLOOK_LAKE_STREAM_COALESCE_S": "0.1",
            "OUTLOOK_LAKE_STREAM_BEAT_S": "0.05",
            "OUTLOOK_LAKE_STREAM_LAG_S": "1",
            "OUTLOOK_LAKE_STREAM_ABSENCE_S": "0.5",
            **environ,
        },
    )
    (home / "simulator").mkdir(parents=True)
    before = dict(os.environ)
    try:
        made.start_simulator(
            mailboxes,
            history=history,
            back=back,
            speed=speed,
            large=large,
            latency_ms=latency_ms,
        )
        made.start_receiver()
        os.environ.update(made.environ)
        yield made
    finally:
        made.stop()
        os.environ.clear()
        os.environ.update(before)
