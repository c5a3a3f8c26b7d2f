"""A restored state database is noticed before it gives an event id twice."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from outlook_lake.application import Application
from outlook_lake.errors import RestoredStateError
from outlook_lake.events import manifest, restored
from outlook_lake.settings import Settings
from outlook_lake.state import Database


def test_every_step_refuses_a_database_older_than_the_log_and_names_the_command(
    settings: Settings, db: Database
):
    with db.write() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('batch_seq', '7')"))
    manifest.write_live(db, settings)
    with db.write() as connection:
        connection.execute(text("UPDATE meta SET value = '5' WHERE name = 'batch_seq'"))

    with pytest.raises(RestoredStateError, match="migrate --restored"):
        Application.open(settings)

    restored.accept_restored(db, settings)
    Application.open(settings).close()
