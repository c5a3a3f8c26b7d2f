"""`python -m graph_simulator.traffic FILE` shows what would be played, and plays nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.traffic import office_day


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "graph_simulator.traffic", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_json_is_one_object_whose_hours_add_up(tmp_path: Path) -> None:
    told = run(str(office_day(tmp_path / "f.parquet")), "--minutes", "5", "--all-days", "--json")

    counts = json.loads(told.stdout)
    assert told.returncode == 0
    assert counts["speed"] == 144
    assert sorted(counts["by_hour"]) == [f"{hour:02d}" for hour in range(7, 19)]
    hours = counts["by_hour"].values()
    assert sum(hour["records"] for hour in hours) == counts["records"]
    assert sum(hour["send"] + hour["receive"] for hour in hours) == counts["acts"]
    assert counts["busiest_second"]["records"] >= 2
    assert "@" not in told.stdout


def test_people_get_a_page_that_says_what_is_left_out(tmp_path: Path) -> None:
    told = run(str(office_day(tmp_path / "f.parquet")), "--limit", "200")

    assert told.returncode == 0
    assert "busiest second" in told.stdout
    assert "of 5 days of the file" in told.stdout
    assert "--all-days or a larger --limit plays more" in told.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["gone.parquet"], id="no such file"),
        pytest.param(["gone.parquet", "--mailboxes", "0"], id="no mailboxes"),
        pytest.param(["gone.parquet", "--time-zone", "Mars/Up"], id="no such zone"),
    ],
)
def test_wrong_use_ends_with_two_and_one_line_on_stderr(arguments: list[str]) -> None:
    told = run(*arguments)

    assert (told.returncode, told.stdout) == (2, "")
    assert len(told.stderr.strip().splitlines()) == 1
