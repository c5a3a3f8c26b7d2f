"""Before anything starts: one clear line for what is wrong, and what to do about it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from benchmarks.reporting import free_ports
from outlook_lake.demo import checks
from outlook_lake.demo.options import Options, Ports, parse, working_day_begins_at
from outlook_lake.demo.parts import environment
from outlook_lake.errors import AnotherInstanceError, StorageError, UsageError


def test_a_taken_port_is_named_with_another_to_try(settings):
    base = free_ports(6)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 2))
        taken.listen()
        with pytest.raises(UsageError, match=rf"{base + 2} in use by another.*PORT={base + 1000}"):
            checks.refuse_failed(checks.all_checks(settings, Ports(base)))


def test_free_ports_python_and_disk_pass(settings):
    looked = checks.all_checks(settings, Ports(free_ports(6)))
    assert [check.name for check in looked] == ["Python", "disk", "ports"]
    checks.refuse_failed(looked)


def test_too_little_disk_is_said_before_anything_is_started(settings):
    more_than_anyone_has = 1 << 40
    looked = checks.all_checks(settings, Ports(free_ports(6)), needed_mb=more_than_anyone_has)
    with pytest.raises(UsageError, match=r"FAIL disk: .* MiB free\. The demo needs 1,099,"):
        checks.refuse_failed(looked)


def test_a_second_demo_in_the_same_home_is_refused_and_the_first_does_not_notice(settings):
    with checks.alone(settings):
        words = f"process {os.getpid()}"
        with pytest.raises(AnotherInstanceError, match=words), checks.alone(settings):
            pass
        with pytest.raises(AnotherInstanceError), checks.alone(settings):
            pass
    with checks.alone(settings):
        pass


def test_a_home_that_cannot_be_written_is_refused_in_words(settings):
    settings.home.parent.mkdir(parents=True, exist_ok=True)
    settings.home.write_text("a file where the folder should be")
    words = "set OUTLOOK_LAKE_HOME to a folder on another disk"
    with pytest.raises(StorageError, match=words), checks.alone(settings):
        pass


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--port", "80"], "expected 1024 to", id="a port that needs root"),
        pytest.param(["--traffic", "/no/such.parquet"], "no such file", id="no such traffic file"),
        pytest.param(["--traffic", __file__], "needs --minutes", id="traffic without an end"),
        pytest.param(["--minutes", "-1"], "cannot be negative", id="minutes below zero"),
    ],
)
def test_wrong_use_ends_with_code_2_and_says_what_to_do(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_wrong_use_of_the_whole_program_ends_with_code_2(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "outlook_lake.demo", "--port", port],
            env={**os.environ, "OUTLOOK_LAKE_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "FAIL ports" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("today", "begins"),
    [
        # 07:00 in Chicago is 13:00 UTC in winter and 12:00 UTC in summer.
        pytest.param((2026, 11, 24, 12), (2026, 11, 18, 13), id="a Tuesday in winter"),
        pytest.param((2026, 11, 22, 12), (2026, 11, 11, 13), id="a Sunday: its week is not whole"),
        pytest.param((2026, 7, 6, 12), (2026, 7, 1, 12), id="a Monday in summer"),
    ],
)
def test_a_replayed_day_is_the_wednesday_of_the_last_whole_week(today, begins):
    found = working_day_begins_at(datetime(*today, tzinfo=UTC))
    assert found == datetime(*begins, tzinfo=UTC)


def test_secrets_are_made_once_and_kept_for_the_user_alone(settings):
    first = environment(settings, Options())
    again = environment(settings, Options(port=9000))
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"):
        assert first[name] == again[name]
    assert (settings.home / "airflow" / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_no_setting_of_another_airflow_reaches_the_demos(settings, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "secret")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    made = environment(settings, Options())
    assert made["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW_CONN_OTHER" not in made
    assert "PYTHONDONTWRITEBYTECODE" not in made
