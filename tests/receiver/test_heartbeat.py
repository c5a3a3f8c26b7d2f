"""A receiver leaves word of when it was there, and a leap of Graph's clock is no absence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from outlook_lake.clock import graph_us
from outlook_lake.receiver import heartbeat
from outlook_lake.receiver.app import create_app
from outlook_lake.receiver.heartbeat import Heartbeat, read_beats
from outlook_lake.settings import Settings

SECOND = 1_000_000
HOUR = 3600 * SECOND


async def left_by(staging: Path, *beats: int, refused: tuple[int, ...] = ()) -> heartbeat.Beats:
    """What a receiver leaves that beats at these times, and refuses at those."""
    one = Heartbeat(staging, "r1")
    for at in beats:
        one.beat(at)
        await asyncio.sleep(0)
    for at in refused:
        one.refuse(at)
    await one.stop(max(beats))
    (found,) = read_beats(staging).values()
    return found


async def test_beats_in_a_row_are_one_span_also_when_graphs_clock_leaps(tmp_path: Path):
    found = await left_by(tmp_path, SECOND, 2 * SECOND, 9 * HOUR)

    assert found.spans == [(SECOND, 9 * HOUR)]
    assert found.beat_at > 0


async def test_a_process_that_was_stopped_begins_a_new_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heartbeat, "PAUSE_S", 0.0)  # any pause is too long
    found = await left_by(tmp_path, SECOND, 9 * HOUR)

    assert [since for since, _ in found.spans] == [SECOND, 9 * HOUR]


async def test_refusals_close_together_are_one_span(tmp_path: Path):
    minute = 60 * SECOND
    found = await left_by(tmp_path, HOUR, refused=(minute, 9 * minute, 40 * minute))

    assert found.refusals == [(minute, 9 * minute), (40 * minute, 40 * minute)]


async def test_a_disk_that_takes_nothing_keeps_no_beat_and_stops_no_receiver(tmp_path: Path):
    (tmp_path / "pulse").write_text("in the way")
    one = Heartbeat(tmp_path, "r1")
    one.beat(SECOND)
    await one.stop(2 * SECOND)

    assert read_beats(tmp_path) == {}


def test_a_torn_file_tells_nothing(tmp_path: Path):
    (tmp_path / "pulse").mkdir()
    (tmp_path / "pulse" / "r1.json").write_text('{"receiver": "r')

    assert read_beats(tmp_path) == {}


async def test_the_receiver_itself_leaves_its_beats(settings: Settings):
    began = graph_us()
    receiver = create_app(settings)
    await receiver.startup()
    await asyncio.sleep(0.4)
    await receiver.shutdown()

    (found,) = read_beats(settings.staging).values()
    ((since, until),) = found.spans
    assert began <= since < until <= graph_us()
    assert found.refusals == []
