"""The command line keeps its promises: JSON for machines, words for people, three exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from outlook_lake.cli import app
from outlook_lake.clock import graph_now, hour_start
from outlook_lake.commands import document as cli_page
from outlook_lake.lake import dictionary as dictionary_page
from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import mailbox, quarantine, tenant
from tests.support import lake
from tests.support.audit import Story

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = [entry.callback.__name__ for entry in app.registered_commands if entry.callback]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path / "home"))
    return lake.home(tmp_path / "home")


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    yield database
    database.close()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def called(*arguments: str) -> dict[str, Any]:
    """The one JSON object a command prints; nothing else may stand on stdout."""
    result = call(*arguments, "--json")
    assert result.stderr == "" or result.exit_code
    answer: dict[str, Any] = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    return answer


@pytest.fixture
def whole_lake(db: Database, settings: Settings) -> Settings:
    lake.add_tenant(db)
    lake.commit(db, settings, [lake.event(1), lake.event(2)])
    export(db, settings)
    lake.commit(db, settings, [lake.event(3, at=hour_start(graph_now()))])
    return settings


# -- every command ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = call(command, "--help")

    assert result.exit_code == 0
    assert f"outlook-lake {command}" in result.stdout.partition("Example: ")[2]


def test_the_page_about_the_commands_is_current() -> None:
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == cli_page.document(), (
        "write it again: python -m outlook_lake.commands.document docs/cli.md"
    )


def test_the_data_dictionary_is_current() -> None:
    page = (DOCS / "data-dictionary.md").read_text(encoding="utf-8")
    assert page == dictionary_page.document(), (
        "write it again: python -m outlook_lake.lake.dictionary docs/data-dictionary.md"
    )


@pytest.mark.parametrize("command", ["sql", "views", "status", "verify", "audit"])
def test_a_home_that_is_not_there_is_said_and_not_made(settings: Settings, command: str) -> None:
    result = call(command)

    assert result.exit_code == 2
    assert "there is no lake in" in result.stderr
    assert "make demo" in result.stderr
    assert not settings.home.exists()


def test_an_unknown_command_or_option_is_wrong_use() -> None:
    assert call("nonsense").exit_code == 2
    assert call("run", "nonsense").exit_code == 2
    assert call("status", "--nonsense").exit_code == 2


def test_a_setting_that_cannot_be_is_wrong_use(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLOOK_LAKE_LAKE_THREADS", "many")
    result = call("settings")

    assert result.exit_code == 2
    assert "OUTLOOK_LAKE_LAKE_THREADS='many': expected a whole number" in result.stderr


@pytest.mark.slow
def test_the_program_runs_as_a_process_of_its_own(whole_lake: Settings) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "outlook_lake.cli", "sql", "--json", "-c", "SELECT 1 AS one"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (answer.stdout, answer.stderr) == ('{"one":1}\n', "")


# -- sql and views ---------------------------------------------------------------------------


def test_sql_prints_a_table_csv_or_json_lines(whole_lake: Settings) -> None:
    query = "SELECT seq, to_domains FROM events_live ORDER BY seq"

    assert "acme.example" in call("sql", "-c", query).stdout
    assert call("sql", "-c", query, "--format", "csv").stdout.splitlines() == [
        '"seq","to_domains"',
        '"1","[acme.example]"',
        '"2","[acme.example]"',
        '"3","[acme.example]"',
    ]
    lines = call("sql", "-c", query, "--json").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]


def test_sql_reads_queries_from_stdin(whole_lake: Settings) -> None:
    text = "SELECT count(*) AS n\nFROM events;\nSELECT 7 AS n"
    result = CliRunner().invoke(app, ["sql", "--format", "json"], input=text)

    assert [json.loads(line) for line in result.stdout.splitlines()] == [{"n": 2}, {"n": 7}]


def test_a_query_that_cannot_be_answered_is_wrong_use(whole_lake: Settings) -> None:
    result = call("sql", "-c", "SELECT nothing FROM events")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing" in result.stderr


def test_views_writes_a_file_others_can_open(whole_lake: Settings, tmp_path: Path) -> None:
    target = tmp_path / "there" / "lake.duckdb"
    answer = called("views", "--file", str(target))

    assert answer["file"] == str(target)
    assert answer["has_sealed_hours"] is True
    assert target.is_file()


# -- run and status --------------------------------------------------------------------------


def test_run_export_answers_what_was_sealed(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1)])
    answer = called("run", "export")

    assert (answer["step"], answer["sealed"], answer["rows"]) == (
        "export",
        ["acme/2026-11-23T09"],
        1,
    )


def test_an_hour_that_is_not_over_is_answered_and_no_failure(settings: Settings) -> None:
    running = f"{graph_now():%Y-%m-%dT%H}"
    answer = called("run", "export", "--hour", running)

    assert answer["not_over"] == [running]


def test_a_step_refuses_an_hour_that_is_none_and_options_it_does_not_know(
    settings: Settings,
) -> None:
    assert "expected the form 2026-11-24T09" in call("run", "export", "--hour", "9").stderr
    result = call("run", "maintain", "--hour", "2026-11-24T09")
    assert (result.exit_code, "maintain does not take --hour" in result.stderr) == (2, True)


def test_a_step_that_fails_ends_with_one(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1)])
    for path in settings.log.glob("date=*/*.parquet"):
        path.unlink()
    result = call("run", "export")

    assert result.exit_code == 1
    assert "2026-11-23T09" in result.stderr


def test_status_tells_how_things_stand_without_an_address(
    db: Database, whole_lake: Settings
) -> None:
    with db.write() as connection:
        connection.execute(
            mailbox.insert(),
            [
                {
                    "tenant_id": lake.TENANT,
                    "aad_id": f"aad-{state}",
                    "tuid": f"tuid-{state}",
                    "shard": 1,
                    "state": state,
                    "reason": "no usable mailbox" if state == "parked" else None,
                }
                for state in ("live", "parked")
            ],
        )
        connection.execute(
            quarantine.insert().values(
                minute=2**62, stage="edge", reason="forged", count=3, bytes=9, samples=[]
            )
        )
    (whole_lake.staging / "ready").mkdir(parents=True)
    (whole_lake.staging / "ready" / "1.segment").touch()

    answer = called("status")

    assert answer["mailboxes"] == {
        "by_state": {"live": 1, "parked": 1},
        "parked": [{"tuid": "tuid-parked", "reason": "no usable mailbox"}],
    }
    assert answer["hours"] == {
        "open": 1,
        "dirty": 0,
        "sealed": 1,
        "last_sealed": "2026-11-23T09",
    }
    assert answer["segments"] == {"open": 0, "ready": 1}
    assert answer["quarantine"] == [{"stage": "edge", "reason": "forged", "count": 3}]
    assert answer["freshness"]["events"] == 3
    assert answer["freshness"]["newest_event_age_s"] >= 0
    assert [batch["seq"] for batch in answer["batches"]] == [2, 1]
    assert "parked: tuid-parked: no usable mailbox" in call("status").stdout


def test_status_of_an_empty_home_is_an_answer_too(db: Database) -> None:
    answer = called("status")

    assert answer["freshness"]["p50_s"] is None
    assert answer["hints"] == {"waiting": 0, "due": 0, "retried": 0, "oldest_due_s": 0.0}


def test_settings_names_every_value_with_its_source(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLOOK_LAKE_LAKE_THREADS", "1")
    answer = called("settings")

    assert answer["lake.threads"]["value"] == "1"
    assert answer["lake.threads"]["source"] == "environment (OUTLOOK_LAKE_LAKE_THREADS)"
    assert answer["stream.coalesce_s"]["unit"] == "s machine"


def test_migrate_makes_the_database(settings: Settings) -> None:
    assert called("migrate") == {"version": "0001"}
    assert (settings.home / "state" / "outlook.db").stat().st_mode & 0o777 == 0o600


# -- audit and verify ------------------------------------------------------------------------


def journal_file(story: Story, path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in story.rows), encoding="utf-8")
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    story = Story().act("email_received", 1, item="item-1").look(2, item="item-1")
    return journal_file(story, tmp_path / "journal.jsonl")


def watch(db: Database) -> None:
    with db.write() as connection:
        connection.execute(
            tenant.insert().values(
                tenant_id=lake.TENANT,
                domain_id="acme",
                conn_id="acme",
                cloud="global",
                internal_domains=[],
                state="live",
            )
        )
        connection.execute(
            mailbox.insert().values(
                tenant_id=lake.TENANT,
                aad_id="aad-1",
                tuid="tuid-1",
                shard=1,
                state="live",
                watch_from=int(lake.NINE.timestamp()) * 1_000_000,
                primed_at=int(lake.NINE.timestamp()) * 1_000_000,
            )
        )


def test_a_clean_audit_ends_with_zero(db: Database, settings: Settings, journal: Path) -> None:
    watch(db)
    lake.commit(db, settings, [lake.event(1)])

    answer = called("audit", "--journal", str(journal))

    assert (answer["journal"], answer["events"], answer["clean"]) == (1, 1, True)
    assert call("audit", "--journal", str(journal)).stdout.rstrip().endswith("clean")


def test_an_audit_that_finds_something_ends_with_one(db: Database, journal: Path) -> None:
    watch(db)
    result = call("audit", "--journal", str(journal), "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["lost"] == 1


def test_an_audit_against_half_a_journal_is_refused(
    db: Database, settings: Settings, tmp_path: Path
) -> None:
    story = Story().act("email_received", 1).act("email_read", 2).act("email_unread", 3)
    del story.rows[1]
    holes = journal_file(story, tmp_path / "holes.jsonl")
    torn = tmp_path / "torn.jsonl"
    torn.write_text(holes.read_text()[:-30])

    for path in (holes, torn):
        result = call("audit", "--journal", str(path))
        assert (result.exit_code, "get it again" in result.stderr) == (1, True)


def test_an_audit_asks_only_a_simulator_on_this_machine(db: Database) -> None:
    result = call("audit", "--simulator", "http://graph.microsoft.com/")
    assert (result.exit_code, "on this machine" in result.stderr) == (2, True)

    result = call("audit", "--simulator", "http://127.0.0.1:9")
    assert (result.exit_code, "is the simulator running" in result.stderr) == (1, True)


def test_an_audit_needs_exactly_one_journal_and_times_it_can_read(db: Database) -> None:
    assert call("audit").exit_code == 2
    result = call("audit", "--journal", "x", "--from", "yesterday")
    assert (result.exit_code, "2026-11-24T09:30:00Z" in result.stderr) == (2, True)


def test_verify_of_a_whole_lake_finds_nothing(whole_lake: Settings) -> None:
    answer = called("verify")

    assert (answer["hours"], answer["batches"], answer["findings"]) == (1, 2, [])


def test_verify_finds_a_damaged_hour_and_repair_writes_it_again(whole_lake: Settings) -> None:
    path = layout.hour_file(whole_lake, lake.DOMAIN, "2026-11-23T09")
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])

    result = call("verify", "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["kind"], finding["where"]) == ("hour", "acme/2026-11-23T09")

    assert called("verify", "--repair")["repaired"] == ["acme/2026-11-23T09"]
    assert path.read_bytes() == before
    assert called("verify")["findings"] == []
