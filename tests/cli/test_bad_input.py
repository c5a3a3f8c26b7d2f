"""What is damaged, missing or forbidden is said in words, with the right exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from outlook_lake.cli import app
from outlook_lake.clock import graph_now, hour_start
from outlook_lake.events.manifest import live_path
from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake

COUNT = "SELECT count(*) AS n FROM events_live"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    folder = tmp_path / "a häuschen 100%"
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(folder))
    return lake.home(folder)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    lake.add_tenant(database)
    lake.commit(database, settings, [lake.event(1), lake.event(2)])
    export(database, settings)
    lake.commit(database, settings, [lake.event(3, at=hour_start(graph_now()))])
    yield database
    database.close()


def in_words(result: Result, exit_code: int) -> str:
    """The one thing said on stderr: no traceback, nothing on stdout."""
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("outlook-lake: ")
    return result.stderr


@pytest.mark.parametrize("damage", ["half", "junk"])
def test_a_damaged_hour_is_said_and_written_again(
    db: Database, settings: Settings, damage: str
) -> None:
    path = layout.hour_file(settings, lake.DOMAIN, "2026-11-23T09")
    path.write_bytes(path.read_bytes()[:4000] if damage == "half" else b"junk")

    said = in_words(call("sql", "-c", COUNT), 1)
    repaired = call("verify", "--repair")

    assert "outlook-lake verify --repair" in said
    assert repaired.exit_code == 0
    assert json.loads(call("sql", "--json", "-c", COUNT).stdout) == {"n": 3}


def test_a_damaged_batch_is_said_and_the_rest_of_the_status_told(
    db: Database, settings: Settings
) -> None:
    (batch,) = [path for path in settings.log.glob("date=*/*") if b"item-3" in path.read_bytes()]
    batch.write_bytes(batch.read_bytes()[:3000])

    said = in_words(call("sql", "-c", "SELECT * FROM events_live"), 1)
    status = call("status")

    assert "outlook-lake verify" in said
    assert status.exit_code == 0
    assert "a batch cannot be read" in status.stdout
    assert json.loads(call("status", "--json").stdout)["hours"]["sealed"] >= 1


def test_a_damaged_list_of_batches_is_said_and_made_again(db: Database, settings: Settings) -> None:
    live_path(settings).write_bytes(b"junk")

    said = in_words(call("sql", "-c", COUNT), 1)
    call("run", "export")

    assert "outlook-lake run export" in said
    assert json.loads(call("sql", "--json", "-c", COUNT).stdout) == {"n": 3}


@pytest.mark.parametrize("command", [["status"], ["verify"], ["run", "export"], ["migrate"]])
def test_a_state_database_that_is_none_is_said(settings: Settings, command: list[str]) -> None:
    assert settings.state_file is not None
    settings.state_file.parent.mkdir(parents=True)
    settings.state_file.write_bytes(b"this is not a database" * 100)

    assert "state database cannot be opened (file is not a database)" in in_words(call(*command), 1)


def test_a_folder_that_cannot_be_made_is_named(db: Database, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = in_words(call("views", "--file", str(tmp_path / "file" / "lake.duckdb")), 1)

    assert str(tmp_path / "file") in said


@pytest.mark.parametrize("step", ["export", "catch-up", "subscriptions"])
def test_a_tenant_nobody_knows_is_wrong_use(
    db: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    connection = {
        "conn_type": "msgraph",
        "login": "client",
        "password": "secret",
        "extra": {"tenant_id": lake.TENANT, "domain_id": lake.DOMAIN},
    }
    monkeypatch.setenv("OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT", json.dumps(connection))

    said = in_words(call("run", step, "--tenant", "nobody.example"), 2)

    assert f"no tenant 'nobody.example' here; known: {lake.DOMAIN}" in said


def test_every_statement_of_a_query_is_answered(db: Database) -> None:
    result = call("sql", "--json", "-c", "SELECT 1 AS a; SET VARIABLE x = 2; SELECT ';' AS b;")

    assert [json.loads(line) for line in result.stdout.splitlines()] == [{"a": 1}, {"b": ";"}]


def test_a_query_with_a_mistake_shows_where(db: Database) -> None:
    assert 'near "selekt"' in in_words(call("sql", "-c", "selekt 1"), 2)
    assert "No files found" in in_words(
        call("sql", "-c", "SELECT * FROM read_parquet('nowhere.parquet')"), 2
    )


def test_a_restored_database_is_refused_until_the_named_command_was_run(
    db: Database, settings: Settings
) -> None:
    with db.write() as connection:
        connection.execute(text("UPDATE meta SET value = '1' WHERE name = 'batch_seq'"))

    refused = in_words(call("run", "export"), 1)
    accepted = call("migrate", "--restored", "--json")

    assert "outlook-lake migrate --restored" in refused
    assert json.loads(accepted.stdout)["mailboxes_in_a_new_epoch"] == 0
    assert call("run", "export").exit_code == 0
