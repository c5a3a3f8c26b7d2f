"""A setting comes from the first layer that says something; every fault is told at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outlook_lake.errors import SettingsError
from outlook_lake.settings import Settings


def load(home: Path, **environ: str) -> Settings:
    return Settings.load({"OUTLOOK_LAKE_HOME": str(home), **environ})


def write_copy(home: Path, **values: object) -> None:
    (home / "state").mkdir(parents=True, exist_ok=True)
    named = {name.replace("__", "."): value for name, value in values.items()}
    (home / "state" / "settings.json").write_text(json.dumps(named))


def test_the_environment_outranks_the_variable_and_the_variable_the_file(tmp_path: Path):
    (tmp_path / "settings.toml").write_text("[stream]\ncoalesce_s = 5\nidle_s = 50\nrun_s = 500\n")
    write_copy(tmp_path, stream__coalesce_s=4, stream__idle_s=40)

    settings = load(tmp_path, OUTLOOK_LAKE_STREAM_COALESCE_S="3")

    assert (settings.stream.coalesce_s, settings.stream.idle_s, settings.stream.run_s) == (
        3.0,
        40.0,
        500.0,
    )


def test_each_value_tells_where_it_came_from(tmp_path: Path):
    (tmp_path / "settings.toml").write_text("[lake]\nthreads = 1\n")
    write_copy(tmp_path, stream__idle_s=40)

    knobs = {
        knob.name: knob.source for knob in load(tmp_path, OUTLOOK_LAKE_GRAPH_PAGE_SIZE="7").knobs()
    }

    assert knobs["lake.threads"] == "file (settings.toml)"
    assert knobs["stream.idle_s"] == "Airflow Variable outlook_lake"
    assert knobs["graph.page_size"] == "environment (OUTLOOK_LAKE_GRAPH_PAGE_SIZE)"
    assert knobs["stream.beat_s"] == "default"


def test_every_fault_of_every_layer_is_told_at_once(tmp_path: Path):
    (tmp_path / "settings.toml").write_text("[streem]\ncoalesce_s = 1\n[lake]\nthreads = 1.5\n")
    write_copy(tmp_path, stream__idel_s=40, privacy__recipients="clear")

    with pytest.raises(SettingsError) as refused:
        load(
            tmp_path,
            OUTLOOK_LAKE_SUBSCRIPTIONS_LIFETIME_MINUTES="20000",
            OUTLOOK_LAKE_STREAM_LANE="2",
        )

    assert sorted(refused.value.faults) == [
        "Airflow Variable outlook_lake: privacy.recipients='clear': expected hashed or off",
        "Airflow Variable outlook_lake: stream.idel_s: no such setting; did you mean "
        "stream.idle_s?",
        "OUTLOOK_LAKE_STREAM_LANE: no such setting; did you mean stream.lanes?",
        "OUTLOOK_LAKE_SUBSCRIPTIONS_LIFETIME_MINUTES='20000': expected at most 10070 (min Graph)",
        "settings.toml: lake.threads=1.5: expected a whole number",
        "settings.toml: streem.coalesce_s: no such setting; did you mean stream.coalesce_s?",
    ]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        pytest.param({"OUTLOOK_LAKE_STREAM_LANES": "4"}, "needs PostgreSQL", id="lanes"),
        pytest.param({"OUTLOOK_LAKE_STREAM_LEASE_S": "5"}, "leases would end", id="leases"),
        pytest.param({"OUTLOOK_LAKE_STREAM_COALESCE_S": "900"}, "no run would last", id="hints"),
        pytest.param({"OUTLOOK_LAKE_GRAPH_RETRY_WAIT_S": "40"}, "under a lease", id="waiting"),
    ],
)
def test_values_that_contradict_each_other_are_named(
    tmp_path: Path, environ: dict[str, str], told: str
):
    with pytest.raises(SettingsError, match=told):
        load(tmp_path, **environ)


def test_lanes_are_welcome_on_postgresql(tmp_path: Path):
    settings = load(
        tmp_path,
        OUTLOOK_LAKE_STREAM_LANES="4",
        OUTLOOK_LAKE_DATABASE_URL="postgresql://lake@db/outlook",
    )

    assert settings.stream.lanes == 4


def test_a_file_that_is_no_toml_is_named(tmp_path: Path):
    (tmp_path / "settings.toml").write_text("stream = {")

    with pytest.raises(SettingsError, match=r"settings\.toml: cannot be read as TOML"):
        load(tmp_path)


@pytest.mark.parametrize("below", ["", "/further/down"])
def test_a_home_that_is_a_file_is_said_to_be_no_folder(tmp_path: Path, below: str):
    (tmp_path / "home").touch()

    with pytest.raises(SettingsError) as refused:
        load(tmp_path / f"home{below}")

    (fault,) = refused.value.faults
    assert fault.startswith("OUTLOOK_LAKE_HOME=")
    assert fault.endswith("a file is there; expected a folder")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "", "true", "9" * 400])
@pytest.mark.parametrize("name", ["GRAPH_TIMEOUT_S", "LAKE_THREADS"])
def test_what_is_no_finite_number_is_refused_in_the_environment(
    tmp_path: Path, name: str, value: str
):
    with pytest.raises(SettingsError, match=f"OUTLOOK_LAKE_{name}=.*expected a (whole )?number"):
        load(tmp_path, **{f"OUTLOOK_LAKE_{name}": value})


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "-inf",
        "1e400",
        "true",
        "[1]",
        "{deep = {deeper = 1}}",
        "2026-11-24",
        "9" * 400,
    ],
)
@pytest.mark.parametrize("name", ["graph.timeout_s", "lake.threads"])
def test_what_is_no_finite_number_is_refused_in_the_file(tmp_path: Path, name: str, text: str):
    (tmp_path / "settings.toml").write_text(f"{name} = {text}\n")

    with pytest.raises(SettingsError, match=f"{name}=.*expected a (whole )?number"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", "null", "{}", "false"])
def test_what_is_no_finite_number_is_refused_in_the_variable(tmp_path: Path, text: str):
    write_copy(tmp_path)
    (tmp_path / "state" / "settings.json").write_text(f'{{"graph.timeout_s": {text}}}')

    with pytest.raises(SettingsError, match=r"graph\.timeout_s=.*expected a number"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["[1]", '"text"', "3", "null", '{"a": ', "\x00", "[" * 100_000])
def test_a_copy_of_the_variable_that_is_torn_is_named_with_its_cure(tmp_path: Path, text: str):
    write_copy(tmp_path)
    (tmp_path / "state" / "settings.json").write_text(text)

    with pytest.raises(SettingsError, match=r"settings\.json: cannot be read; remove it"):
        load(tmp_path)


def test_a_settings_file_that_is_a_folder_is_named(tmp_path: Path):
    (tmp_path / "settings.toml").mkdir()

    with pytest.raises(SettingsError, match=r"settings\.toml: cannot be read \(Is a directory\)"):
        load(tmp_path)
