"""Fixtures every room uses: a home of its own for each test, and nothing shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from outlook_lake.settings import Settings
from outlook_lake.state import Database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a fresh home."""
    return Settings.load({"OUTLOOK_LAKE_HOME": str(tmp_path / "home")})


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The state database of that home."""
    database = Database.open(settings)
    yield database
    database.close()
