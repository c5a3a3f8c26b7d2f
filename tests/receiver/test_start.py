"""A restart is short: what Graph posts meanwhile is sent again, late."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.receiver import running


@pytest.mark.slow
def test_it_takes_data_within_two_seconds_of_its_start_in_an_empty_folder(tmp_path: Path) -> None:
    took = []
    for attempt in range(3):  # the machine may be busy with something else once
        began = time.monotonic()
        with running(tmp_path / str(attempt)):
            took.append(time.monotonic() - began)

    assert min(took) < 2
