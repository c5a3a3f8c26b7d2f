"""Random people, random faults, random crashes: the journal has the last word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.seeds import SeedRun, differences
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("seeds"), mailboxes=0, back="P20D") as made:
        yield made


@pytest.mark.parametrize("seed", range(1, 41))
def test_a_seed_of_acts_and_faults_balances(
    shared: Stage, seed: int, tmp_path_factory: pytest.TempPathFactory
):
    played = SeedRun(shared, seed, tmp_path_factory.mktemp(f"seed{seed}")).run()
    assert played["acts"] > 0
    assert differences(played["verdict"]) == 0, played
