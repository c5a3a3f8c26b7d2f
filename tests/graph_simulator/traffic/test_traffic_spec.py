"""A traffic request is refused in words that say what to write instead."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from graph_simulator.traffic import TrafficSpec, TrafficSpecError


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({}, "exactly one of 'file' and 'generator'", id="neither"),
        pytest.param({"file": "f", "generator": True}, "exactly one of", id="both"),
        pytest.param({"generator": True, "minuts": 3}, "unknown .* 'minuts'.*minutes", id="typo"),
        pytest.param({"file": "f", "minutes": 0}, "minutes is 0. Use a number above 0", id="zero"),
        pytest.param({"file": "f", "minutes": "5"}, "minutes is '5'", id="text for a number"),
        pytest.param({"file": "f", "mailboxes": 2.5}, "mailboxes is 2.5. Use a whole", id="half"),
        pytest.param({"file": "f", "readers": 2}, "readers is 2. Use .* 0 to 1", id="share of 2"),
        pytest.param({"file": "f", "seed": True}, "seed is True", id="truth for a number"),
        pytest.param({"file": "f", "unfolded": 1}, "unfolded is 1. Use true", id="one for true"),
        pytest.param({"file": "f", "time_zone": "Mars/Up"}, "Use an IANA name", id="odd zone"),
        pytest.param({"file": "f", "day": "18.11."}, "day is .* Use the form", id="odd day"),
        pytest.param({"file": "f", "rate": 20}, "belong to the generator", id="rate of a file"),
        pytest.param({"generator": True, "unfolded": True}, "belongs to a file", id="unfolded"),
    ],
)
def test_a_faulty_request_is_refused_with_its_cure(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(TrafficSpecError, match=words) as refusal:
        TrafficSpec.parse(spec)
    assert refusal.value.status == 400


def test_a_full_request_is_understood() -> None:
    spec = TrafficSpec.parse(
        {"file": "mail.parquet", "minutes": 10, "mailboxes": 300, "unfolded": False, "seed": 4,
         "all_days": True, "readers": 0.5, "time_zone": "Europe/Berlin", "day": "2026-11-18"}
    )  # fmt: skip

    assert spec == TrafficSpec(
        file=Path("mail.parquet"), minutes=10, mailboxes=300, seed=4, limit=None, readers=0.5,
        time_zone="Europe/Berlin", day=date(2026, 11, 18),
    )  # fmt: skip


def test_null_means_not_given() -> None:
    assert TrafficSpec.parse({"generator": True, "minutes": None}) == TrafficSpec(generator=True)


def test_every_option_is_documented() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "simulator.md"
    section = page.read_text(encoding="utf-8").partition("\n## Traffic\n")[2]

    undocumented = [one.name for one in fields(TrafficSpec) if f"`{one.name}`" not in section]
    assert undocumented == []
