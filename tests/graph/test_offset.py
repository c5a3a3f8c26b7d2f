"""Graph's offset outlives a process: in the state database, and in a file for receivers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from outlook_lake import clock
from outlook_lake.graph.offset import keep_offset, load_offset
from outlook_lake.settings import Settings
from outlook_lake.state import Database


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(clock.CLOCK_ENV, raising=False)
    yield replace(Settings(), home=tmp_path)
    clock.set_offset(0.0)


@pytest.fixture
def db(settings: Settings):
    database = Database.open(settings)
    yield database
    database.close()


def test_the_offset_is_kept_for_the_next_process_and_for_receivers(db, settings):
    assert keep_offset(db, settings, -3600.0)
    clock.set_offset(0.0)

    assert load_offset(db) == -3600.0
    assert json.loads((settings.staging / "clock.json").read_text()) == {"offset_s": -3600.0}
    assert abs((clock.machine_now() - clock.graph_now()).total_seconds() - 3600) < 1


def test_noise_of_the_network_writes_nothing(db, settings):
    keep_offset(db, settings, 10.0)

    assert not keep_offset(db, settings, 11.5)
    assert load_offset(db) == 10.0


def test_a_lost_file_is_written_again(db, settings):
    keep_offset(db, settings, 10.0)
    (settings.staging / "clock.json").unlink()

    assert keep_offset(db, settings, 10.0)


def test_beside_a_clock_file_nothing_is_learnt(db, settings, monkeypatch):
    monkeypatch.setenv(clock.CLOCK_ENV, "somewhere")

    assert not keep_offset(db, settings, 10.0)
    assert not (settings.staging / "clock.json").exists()


def test_before_the_first_answer_the_offset_is_nothing(db, settings):
    assert not keep_offset(db, settings, None)
    assert load_offset(db) == 0.0
