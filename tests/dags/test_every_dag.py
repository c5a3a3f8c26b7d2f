"""What holds for every DAG: it parses, explains itself, and can be run again."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
HOURLY = ("outlook_catch_up", "outlook_export")
EXPECTED = {
    "outlook_catch_up",
    "outlook_disconnect",
    "outlook_doctor",
    "outlook_export",
    "outlook_maintain",
    "outlook_prime",
    "outlook_reprocess",
    "outlook_stream",
    "outlook_subscriptions",
}


@pytest.fixture(scope="module")
def bag():
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags"), collect_dags=True)


def test_every_file_parses_and_is_one_dag_named_after_it(bag):
    assert not bag.import_errors
    assert set(bag.dags) == {file.stem for file in FILES} >= EXPECTED


def test_parsing_stays_cheap(bag):
    slow = [s.file for s in bag.dagbag_stats if s.duration.total_seconds() > 1.0]
    assert not slow


def test_no_dag_file_is_longer_than_a_screenful_of_logic():
    too_long = [file.name for file in FILES if len(file.read_text().splitlines()) > 90]
    assert not too_long


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_docstring_is_the_runbook(file, bag):
    dag = bag.dags[file.stem]
    docstring = ast.get_docstring(ast.parse(file.read_text()), clean=False)
    assert dag.doc_md is not None
    assert docstring is not None
    assert dag.doc_md.strip() == docstring.strip()
    for word in ("**Owns:**", "**Runs:**", "**Repair:**"):
        assert word in docstring
    red = set(re.findall(r"\*\*Red `(\w+)`\*\*", docstring))
    assert red, "every DAG says what to do about a red task"
    assert red <= {task.task_id for task in dag.tasks}


@pytest.mark.parametrize("dag_id", sorted(EXPECTED))
def test_a_stranger_can_read_its_name_tags_and_form(dag_id, bag):
    dag = bag.dags[dag_id]
    assert dag.dag_display_name.startswith("Outlook: ")
    assert dag.description
    assert "outlook" in dag.tags
    for name in dag.params:
        param = dag.params.get_param(name)
        schema = param.schema
        assert schema.get("title"), f"{name} has no title"
        assert schema.get("section"), f"{name} would open a section of its own"
        assert param.description
    for task in dag.tasks:
        assert task.owner == "outlook"
        assert task.task_display_name != task.task_id


@pytest.mark.parametrize("dag_id", sorted(EXPECTED))
def test_every_task_is_tried_again(dag_id, bag):
    for task in bag.dags[dag_id].tasks:
        assert task.retries >= 2


@pytest.mark.parametrize("dag_id", HOURLY)
def test_an_hourly_dag_covers_the_hour_that_ended_and_can_be_backfilled(dag_id, bag):
    import pendulum
    from airflow.sdk import CronDataIntervalTimetable

    dag = bag.dags[dag_id]
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert not dag.catchup
    assert dag.start_date <= pendulum.datetime(2026, 11, 1, tz="UTC")


def test_the_lake_is_announced_by_those_who_write_it(bag):
    for dag_id in HOURLY:
        outlets = {asset.name for task in bag.dags[dag_id].tasks for asset in task.outlets}
        assert "outlook_events" in outlets


def test_the_stream_is_started_by_the_doorbell_one_run_at_a_time(bag):
    dag = bag.dags["outlook_stream"]
    assets = dag.timetable.asset_condition.objects
    assert [asset.name for asset in assets] == ["outlook_segments_waiting"]
    assert [watcher.name for watcher in assets[0].watchers] == ["outlook_doorbell"]
    assert dag.max_active_runs == 1


def test_nothing_is_done_without_an_answer(bag):
    asked = [task for dag in bag.dags.values() for task in dag.tasks if task.task_id == "approve"]
    assert {task.dag_id for task in asked} == {"outlook_disconnect", "outlook_reprocess"}
    for task in asked:
        assert list(task.defaults) == ["Reject"]
        assert task.response_timeout.total_seconds() == 3600


@pytest.mark.parametrize(
    ("run_type", "asked"),
    [
        ("manual", True),
        ("backfill", True),
        ("scheduled", False),
        ("asset_triggered", False),
    ],
)
def test_who_asks_for_past_hours_gets_full_rounds(run_type, asked):
    from types import SimpleNamespace

    from airflow.utils.types import DagRunType

    from outlook_lake.airflow import was_asked_for

    assert was_asked_for(SimpleNamespace(run_type=DagRunType(run_type))) is asked
    assert was_asked_for(SimpleNamespace(run_type=run_type)) is asked
