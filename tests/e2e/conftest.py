"""One Airflow for all end-to-end tests: the demo itself, in a folder whose name has a space."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from outlook_lake.clock import CLOCK_ENV
from tests.support.demo import RunningDemo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """A demo with mail flowing."""
    clock_before = os.environ.get(CLOCK_ENV)
    running = RunningDemo(tmp_path_factory.mktemp("demo") / "a home", mailboxes=20)
    try:
        running.wait_said("first event can be queried", 240)
        yield running
    finally:
        if running.process.poll() is None:
            running.interrupt()
        if clock_before is None:
            os.environ.pop(CLOCK_ENV, None)
        else:
            os.environ[CLOCK_ENV] = clock_before
