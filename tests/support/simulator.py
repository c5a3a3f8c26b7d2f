"""A real simulator in a process of its own, and the few calls tests make to it.

with running_simulator(tmp_path, mailboxes=3) as graph:
    arrived = graph.act(graph.people[0], "receive")
    answer = graph.get(f"/users/{graph.people[0]}/messages/{arrived['item']}")
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

INCLUDE = Path(__file__).resolve().parents[2] / "include"
IMMUTABLE = 'IdType="ImmutableId"'


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, decoded body (None when empty) and headers with lower-case names."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class SimulatorProcess:
    """A running simulator: its address, its first tenant, and calls to both sides of it."""

    port: int
    tls_port: int
    state: Path
    process: subprocess.Popen[bytes]
    tenant: dict[str, Any] = field(default_factory=dict, repr=False)
    people: list[str] = field(default_factory=list)
    """Entra object ids of the first tenant's people."""
    token: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self.port}"

    def http(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; an error status is a Reply too."""
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            url if url.startswith("http") else self.url + url,
            data=data,
            method=method,
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            raw = answer.read()
            kept = {name.lower(): value for name, value in answer.headers.items()}
        is_json = "json" in kept.get("content-type", "") and "ndjson" not in kept["content-type"]
        return Reply(answer.status, json.loads(raw) if raw and is_json else raw or None, kept)

    def graph(self, method: str, path: str, body: Any = None, prefer: str = IMMUTABLE) -> Reply:
        """One call below /v1.0 (or of a link) with the tenant's token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if prefer:
            headers["Prefer"] = prefer
        url = path if path.startswith("http") else f"{self.url}/v1.0{path}"
        return self.http(method, url, body, headers)

    def get(self, path: str, prefer: str = IMMUTABLE) -> Reply:
        """GET below /v1.0."""
        return self.graph("GET", path, prefer=prefer)

    def try_act(self, mailbox: str, do: str, **args: Any) -> Reply:
        """An act that may be refused."""
        return self.http("POST", "/simulator/act", {"mailbox": mailbox, "do": do, **args})

    def act(self, mailbox: str, do: str, **args: Any) -> dict[str, Any]:
        """An act that must be done."""
        reply = self.try_act(mailbox, do, **args)
        assert reply.status == 200, reply.body
        return dict(reply.body)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """A control call that must succeed; returns its body."""
        reply = self.http(method, f"/simulator/{path}", body)
        assert reply.status < 300, reply.body
        return reply.body

    def journal(self, after: int = 0) -> list[dict[str, Any]]:
        """Journal rows numbered above `after`."""
        raw = self.http("GET", f"/simulator/journal?after={after}").body or b""
        return [json.loads(line) for line in raw.splitlines()]

    def fetch_token(self) -> str:
        """A fresh access token of the first tenant."""
        form = urllib.parse.urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": self.tenant["client_id"],
                "client_secret": self.tenant["client_secret"],
                "scope": "https://graph.microsoft.com/.default",
            }
        )
        reply = self.http(
            "POST",
            f"/{self.tenant['tenant_id']}/oauth2/v2.0/token",
            form.encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert reply.status == 200, reply.body
        self.token = reply.body["access_token"]
        return self.token

    def wait_until_quiet(self, seconds: float = 10.0) -> dict[str, Any]:
        """Wait until nothing is waiting to be delivered or played; returns the statistics."""
        until = time.monotonic() + seconds
        while True:
            stats: dict[str, Any] = self.control("GET", "stats")
            if stats["quiet"]:
                return stats
            assert time.monotonic() < until, "the simulator did not become quiet"
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Stop the process; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=20)

    def sign_in(self) -> None:
        """Learn the first tenant and fetch a token."""
        tenants = self.control("GET", "tenants")["tenants"]
        if tenants:
            self.tenant = tenants[0]
            self.people = [user["id"] for user in self.tenant["users"]]
            self.fetch_token()


def start_simulator(
    state: Path,
    *,
    mailboxes: int = 3,
    history: int = 20,
    port: int | None = None,
    tls_port: int | None = None,
    options: tuple[str, ...] = (),
) -> SimulatorProcess:
    """Start a simulator whose state is in `state` and wait until it answers."""
    port, tls_port = port or free_port(), tls_port or free_port()
    command = [
        sys.executable, "-m", "graph_simulator", "--port", str(port), "--tls-port", str(tls_port),
        "--state", str(state), "--mailboxes", str(mailboxes), "--history", str(history),
        "--delivery-latency", "5-20", *options,
    ]  # fmt: skip
    state.mkdir(parents=True, exist_ok=True)
    with (state / "output.log").open("ab") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(INCLUDE)}, stdout=log, stderr=log
        )
    simulator = SimulatorProcess(port, tls_port, state, process)
    until = time.monotonic() + 20
    while True:
        try:
            simulator.control("GET", "clock")
            break
        except (urllib.error.URLError, ConnectionError):
            alive = process.poll() is None
            if not alive or time.monotonic() > until:
                simulator.stop(signal.SIGKILL)
                raise AssertionError((state / "output.log").read_text()) from None
            time.sleep(0.03)
    simulator.sign_in()
    return simulator


@contextmanager
def running_simulator(state: Path, **given: Any) -> Iterator[SimulatorProcess]:
    """`start_simulator` for the length of a with statement."""
    simulator = start_simulator(state, **given)
    try:
        yield simulator
    finally:
        simulator.stop()


def in_hours(simulator: SimulatorProcess, hours: float) -> str:
    """The instant so many hours of Graph time from now."""
    from datetime import datetime, timedelta

    now = datetime.fromisoformat(simulator.control("GET", "clock")["graph_now"])
    return (now + timedelta(hours=hours)).isoformat()


def subscribe(simulator: SimulatorProcess, mailbox: str, url: str, **changed: Any) -> Reply:
    """Ask for a subscription on a mailbox's messages."""
    wish = {
        "changeType": "created,updated,deleted",
        "notificationUrl": url,
        "resource": f"users/{mailbox}/messages",
        "expirationDateTime": in_hours(simulator, 24),
        "clientState": "state of mine",
        **changed,
    }
    prefer = changed.pop("prefer", IMMUTABLE)
    wish.pop("prefer", None)
    return simulator.graph("POST", "/subscriptions", wish, prefer)
