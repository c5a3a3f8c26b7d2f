"""docs/simulator.md is true: its examples run, and what it lists is what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from graph_simulator.__main__ import config_of, parser
from graph_simulator.faults import KINDS
from graph_simulator.world.acts import ACTS
from tests.support.simulator import SimulatorProcess

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "simulator.md").read_text()


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples use curl")
def test_the_examples_run_as_they_stand(graph: SimulatorProcess) -> None:
    script = "set -euo pipefail\n" + "\n".join(blocks("sh")).replace("8081", str(graph.port))
    ran = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "no_proxy": "127.0.0.1"},
    )
    assert ran.returncode == 0, ran.stderr or ran.stdout
    assert ran.stdout.count('"number":') >= 5 and "CANARY" not in ran.stdout


def test_the_command_that_starts_it_is_understood() -> None:
    [block] = blocks("console")
    words = block.replace("\\\n", " ").split()
    config = config_of(words[words.index("graph_simulator") + 1 :])
    assert (config.port, config.start_back_s, config.speed) == (8081, 10800, 60)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fault_is_described(kind: str) -> None:
    assert f"`{kind}`" in PAGE


@pytest.mark.parametrize("do", sorted(ACTS))
def test_every_act_is_described(do: str) -> None:
    assert f"`{do}`" in PAGE


def test_every_option_is_described() -> None:
    options = {text for action in parser()._actions for text in action.option_strings}
    assert {o for o in options - {"-h", "--help"} if o not in PAGE} == set()
