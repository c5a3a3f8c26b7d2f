"""The page of Graph's errors: every row has a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

from outlook_lake.subscriptions.plan import LOST_BY

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operate" / "graph-errors.md").read_text()
CLASSES = (
    "throttle", "transient", "token", "consent", "no mailbox", "item gone", "folder gone",
    "delta invalid", "delta unavailable", "permanent",
)  # fmt: skip


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = PAGE[PAGE.index(f"## {section}") :]
    text = text[: text.find("\n## ", 3)]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def named(cell: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", cell)


def test_every_class_of_error_has_its_row():
    assert {row[0] for row in rows("By class")} >= set(CLASSES)


def test_every_row_names_a_test_and_every_test_exists():
    missing = []
    for row in rows("By class") + rows("Known oddities"):
        tests = named(row[-1])
        assert tests, f"no test for {row[0]}"
        for file, name in tests:
            path = ROOT / file
            if not path.exists() or not re.search(
                rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE
            ):
                missing.append(f"{file}::{name}")
    assert not missing


def test_every_word_for_a_lost_subscription_is_explained():
    told = " ".join(row[1] for row in rows("Why a subscription is acted upon"))
    assert {word for word in LOST_BY if word not in told} == set()
