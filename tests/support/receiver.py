"""Builders for receiver tests: a real receiver process, real HTTP, Graph's own shapes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from outlook_lake.receiver.client_state import Key, ensure_keys, make, newest
from outlook_lake.receiver.segments import (
    Notification,
    Quarantined,
    read_segment,
    ready_segments,
    take_abandoned,
)
from outlook_lake.settings import ReceiverSettings, Settings
from tests.support.ports import free_port

TENANT = "11111111-2222-4333-8444-555555555555"
MAILBOX = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
SUBSCRIPTION = "99999999-8888-4777-8666-555555555555"
NONCE = "nonce-of-the-subscription"
JSON = {"content-type": "application/json; charset=utf-8"}


def settings_of(home: Path, **receiver: Any) -> Settings:
    """Settings of a home, with some receiver settings changed."""
    return Settings(home=home, receiver=ReceiverSettings(**receiver))


def key_of(home: Path) -> Key:
    """The key a home signs with, made when there is none."""
    return newest(ensure_keys(settings_of(home).keys))


def item(key: Key, message_id: str = "AAMkAD-one=", **changed: Any) -> dict[str, Any]:
    """A basic notification as Graph posts it; `changed` replaces members, None removes."""
    made: dict[str, Any] = {
        "subscriptionId": SUBSCRIPTION,
        "subscriptionExpirationDateTime": "2026-11-30T10:00:00Z",
        "clientState": make(key, TENANT, MAILBOX, NONCE),
        "changeType": "created",
        "tenantId": TENANT,
        "resource": f"Users/{MAILBOX}/Messages/{message_id}",
        "resourceData": {
            "@odata.type": "#Microsoft.Graph.Message",
            "@odata.id": f"Users/{MAILBOX}/Messages/{message_id}",
            "@odata.etag": 'W/"CQAAABYA"',
            "id": message_id,
        },
    }
    made.update(changed)
    return {name: value for name, value in made.items() if value is not None}


def lifecycle(key: Key, event: str, **changed: Any) -> dict[str, Any]:
    """A lifecycle item: no change type, no resource."""
    return item(
        key, changeType=None, resource=None, resourceData=None, lifecycleEvent=event, **changed
    )


def post_of(*items: Any) -> bytes:
    """The body of one POST."""
    return json.dumps({"value": list(items)}).encode()


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class RunningReceiver:
    """A receiver process under test."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]
    lines: list[bytes]

    def post(
        self,
        body: bytes,
        *,
        headers: Mapping[str, str] = JSON,
        path: str = "/notifications",
        timeout: float = 20,
    ) -> Answer:
        return self._ask("POST", path, body, headers, timeout)

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None, {}, 20)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(15)

    def limit_file_size(self, size: int) -> None:
        """From now on no file of the process grows beyond `size`: a full disk, for root too."""
        limit = (size, resource.RLIM_INFINITY)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limit)

    def log(self) -> str:
        return b"".join(self.lines).decode()

    def wait_ready(self, wanted: int = 200, within_s: float = 15) -> Answer:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the receiver ended: {self.log()}")
            try:
                answer = self.get("/ready")
                if answer.status == wanted:
                    return answer
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"/ready never answered {wanted}: {self.log()}")


@contextmanager
def running(
    home: Path, *, wait: bool = True, clock: Path | None = None, **receiver: Any
) -> Iterator[RunningReceiver]:
    """Start `python -m outlook_lake.receiver` on this home; ends it whatever happens."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("OUTLOOK_")}
    env["OUTLOOK_LAKE_HOME"] = str(home)
    if clock is not None:
        env["OUTLOOK_LAKE_CLOCK"] = str(clock)
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    for name, value in receiver.items():
        env[f"OUTLOOK_LAKE_RECEIVER_{name.upper()}"] = str(value)
    home.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "outlook_lake.receiver", "--port", str(port)],
        env=env,
        stdout=subprocess.PIPE,  # not a file: a full disk must not silence the log
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    receiver_process = RunningReceiver(home, port, process, lines)
    try:
        if wait:
            receiver_process.wait_ready()
        yield receiver_process
    finally:
        if process.poll() is None:
            receiver_process.stop()
        reader.join(5)
        process.stdout.close()


@dataclass
class Landed:
    """What landing would find in staging."""

    notifications: list[Notification] = field(default_factory=list)
    quarantine: list[Quarantined] = field(default_factory=list)

    def items(self) -> list[str | None]:
        return [entry.item for entry in self.notifications]

    def refused(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for entry in self.quarantine:
            counts[entry.reason] = counts.get(entry.reason, 0) + entry.count
        return counts


def landed(home: Path) -> Landed:
    """Close what dead receivers left, then read every closed segment."""
    staging = settings_of(home).staging
    take_abandoned(staging)
    found = Landed()
    for path in ready_segments(staging):
        segment = read_segment(path)
        found.notifications += segment.notifications
        found.quarantine += segment.quarantine
    return found


def everything_written(home: Path) -> bytes:
    """All bytes of all files below a home."""
    return b"\n".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())
