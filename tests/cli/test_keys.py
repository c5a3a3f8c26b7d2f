"""`outlook-lake keys` in words and in JSON."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from outlook_lake.cli import app
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

runner = CliRunner()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))
    Database.open(Settings.load()).close()
    return tmp_path


def listed(*words: str) -> list[dict[str, object]]:
    return list(json.loads(runner.invoke(app, ["keys", *words, "--json"]).stdout)["keys"])


@pytest.mark.usefixtures("home")
def test_rotating_and_retiring_change_who_signs():
    first = listed("list")[0]["key_id"]
    assert [row["state"] for row in listed("rotate")] == ["proves", "signs"]

    assert [row["state"] for row in listed("retire", str(first))] == ["retired", "signs"]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["retire"], "name the key", id="retire without a name"),
        pytest.param(["rotate", "k1"], "takes no key id", id="rotate with a name"),
        pytest.param(["retire", "k1"], "no key 'k1'", id="an unknown key"),
    ],
)
def test_wrong_use_is_told(words: list[str], told: str):
    result = runner.invoke(app, ["keys", *words])

    assert result.exit_code == 2
    assert told in result.stderr


def test_no_secret_is_shown(home):
    shown = runner.invoke(app, ["keys", "list", "--json"]).output
    secret = json.loads((home / "state" / "keys" / "client_state.json").read_text())
    assert secret["keys"][0]["secret"] not in shown
