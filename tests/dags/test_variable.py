"""Settings an administrator changes in the UI: the Variable `outlook_lake`."""

from __future__ import annotations

import json

import pytest

from outlook_lake.errors import SettingsError


@pytest.fixture
def say(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))

    def put(value: object) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv("AIRFLOW_VAR_OUTLOOK_LAKE", text)

    return put


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "state" / "settings.json"


def test_what_the_variable_says_is_copied_for_those_who_cannot_ask_airflow(say, copy):
    from outlook_lake.airflow.variable import copy_variable

    say({"stream.coalesce_s": 2, "privacy.categories": "hashed"})
    copy_variable()
    assert json.loads(copy.read_text()) == {"stream.coalesce_s": 2, "privacy.categories": "hashed"}
    say({})
    copy_variable()
    assert json.loads(copy.read_text()) == {}


def test_every_fault_of_the_variable_is_told_at_once_and_the_good_copy_stays(say, copy):
    from outlook_lake.airflow.variable import copy_variable

    say({"stream.coalesce_s": 3})
    copy_variable()
    say(
        {
            "stream.coalesc_s": 2,
            "stream.lanes": "many",
            "subscriptions.lifetime_minutes": 10,
            "home": "/elsewhere",
            "graph.page_size": [1],
        }
    )
    with pytest.raises(SettingsError) as refused:
        copy_variable()
    told = str(refused.value)
    assert told.count("Airflow Variable outlook_lake: ") == 5
    assert "did you mean stream.coalesce_s?" in told
    assert "stream.lanes='many': expected a whole number" in told
    assert "subscriptions.lifetime_minutes" in told
    assert "at least 45" in told
    assert "home: no such setting" in told
    assert "graph.page_size=[1]: expected" in told
    assert json.loads(copy.read_text()) == {"stream.coalesce_s": 3}


@pytest.mark.parametrize("text", ["stream.lanes=2", "[1]", "2"])
def test_a_variable_that_is_no_object_is_refused_with_an_example(say, copy, text):
    from outlook_lake.airflow.variable import copy_variable

    say(text)
    with pytest.raises(
        SettingsError, match=r'is not a JSON object; expected .*"stream.coalesce_s"'
    ):
        copy_variable()
    assert not copy.exists()


def test_without_a_variable_nothing_is_made(tmp_path, monkeypatch, copy):
    from outlook_lake.airflow.variable import copy_variable

    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))
    copy_variable()
    assert not copy.exists()
