"""A company of three mailboxes, its state database and Graph's desk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from outlook_lake import clock
from outlook_lake.settings import ReceiverSettings, Settings, SubscriptionSettings
from outlook_lake.state import Database
from tests.support.subscriptions import URL, Company


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    """Three new mailboxes; Graph time is machine time."""
    monkeypatch.delenv(clock.CLOCK_ENV, raising=False)
    clock.set_offset(0.0)
    settings = replace(
        Settings(),
        home=tmp_path,
        receiver=ReceiverSettings(notification_url=URL),
        subscriptions=SubscriptionSettings(writes_per_s=1000.0),
    )
    database = Database.open(settings)
    yield Company(database, settings, tmp_path)
    database.close()
    clock.set_offset(0.0)
