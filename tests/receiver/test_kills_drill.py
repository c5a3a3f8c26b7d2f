"""The judge of `make drill NAME=kills` sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.kills import Found
from outlook_lake.receiver.segments import Notification, ready_folder, record


def segment(staging: Path, name: str, *items: str) -> None:
    """A closed segment, without its footer, as a killed receiver leaves it."""
    ready_folder(staging).mkdir(parents=True, exist_ok=True)
    notes = [
        Notification("nonce", "key", "tenant", "subscription", 1, change="created", item=one)
        for one in items
    ]
    line = record(b"n", msgspec.json.encode(notes))
    (ready_folder(staging) / f"{name}.segment").write_bytes(line)


def test_what_was_acknowledged_and_is_nowhere_counts_as_lost(tmp_path: Path) -> None:
    found = Found(unchecked=["n1", "n2", "n3"])
    segment(tmp_path, "a", "n1", "n3")

    found.check(tmp_path)

    assert (found.acknowledged, found.lost, found.doubled) == (3, 1, 0)


def test_what_lies_in_two_segments_counts_as_doubled_even_checks_later(tmp_path: Path) -> None:
    found = Found(unchecked=["n1", "n2"])
    segment(tmp_path, "a", "n1", "n2")
    segment(tmp_path, "b", "n2")
    found.check(tmp_path)
    assert (found.lost, found.doubled) == (0, 1)

    found.unchecked = ["n3"]
    segment(tmp_path, "c", "n1", "n3")
    found.check(tmp_path)

    assert (found.lost, found.doubled) == (0, 2)


def test_what_was_stored_without_an_answer_is_nobodys_loss(tmp_path: Path) -> None:
    found = Found(unchecked=["n1"])
    segment(tmp_path, "a", "n1", "n2")

    found.check(tmp_path)

    assert (found.stored, found.lost, found.doubled) == (2, 0, 0)
