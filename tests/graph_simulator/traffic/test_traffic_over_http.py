"""A simulator started with a traffic file prepares it, waits for `go`, and plays it to the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.traffic import office_day

pytestmark = pytest.mark.slow


class Running:
    """A simulator process and its control API."""

    def __init__(self, folder: Path, *options: str) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}/simulator"
        command = [sys.executable, "-m", "graph_simulator", "--port", str(port)]
        self.process = subprocess.Popen([*command, "--state", str(folder), *options])

    def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """GET without a body, POST with one."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.base}/{path}", data, timeout=20) as answer:
            return dict(json.load(answer))

    def wait_until(self, path: str, key: str, value: object, seconds: float = 30) -> dict[str, Any]:
        """Poll until the answer's `key` is `value`."""
        end = time.monotonic() + seconds
        answer: dict[str, Any] = {}
        while time.monotonic() < end:
            try:
                answer = self.call(path)
            except urllib.error.URLError:
                answer = {}
            if answer.get(key) == value:
                return answer
            time.sleep(0.1)
        raise AssertionError(f"{path} never showed {key} = {value!r}; last: {answer}")


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Running]:
    file = office_day(tmp_path / "mail.parquet")
    running = Running(tmp_path / "state", "--traffic", str(file), "--minutes", "0.1")
    yield running
    running.process.terminate()
    running.process.wait(20)


def test_the_file_is_played_when_told_to_go_and_in_the_minutes_asked_for(
    simulator: Running,
) -> None:
    simulator.wait_until("traffic", "prepared", True)
    assert len(simulator.call("tenants")["tenants"][0]["users"]) == 12
    assert simulator.call("clock")["speed"] == 1

    began = time.monotonic()
    simulator.call("traffic", {"go": True})
    done = simulator.wait_until("traffic", "finished", True)

    assert 5 < time.monotonic() - began < 15
    assert done["played_records"] == done["planned_records"] > 1000
    assert done["refused"] == {}
    assert done["error"] is None
