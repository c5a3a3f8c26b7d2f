"""The Airflow Variable `outlook_lake`: settings an administrator changes in the UI.

    Admin ▸ Variables ▸ outlook_lake = {"stream.coalesce_s": 2, "stream.idle_s": 30}

Every task copies it into the home before it does anything, so that the receiver, the doorbell
and the command line see the same. The environment outranks it.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from outlook_lake.errors import SettingsError
from outlook_lake.settings import Settings

__all__ = ["VARIABLE", "copy_variable", "current_settings", "faults_of"]

VARIABLE = "outlook_lake"
"""Name of the Variable."""


def current_settings() -> Settings:
    """Settings with what the Variable says right now; SettingsError lists every fault at once."""
    copy_variable()
    return Settings.load()


def copy_variable() -> None:
    """Bring `state/settings.json` of the home up to the Variable.

    Raises SettingsError, naming the Variable, when something in it cannot be; the copy that was
    good stays as it is then, so that the receiver goes on.
    """
    from airflow.sdk import Variable

    text = Variable.get(VARIABLE, default=None)
    values = {} if text is None else _parsed(text)
    faults = faults_of(values)
    if faults:
        raise SettingsError(faults)
    _keep(_home() / "state" / "settings.json", values)


def faults_of(values: dict[str, Any]) -> list[str]:
    """What cannot be in these `group.name: value`; each fault names the Variable."""
    with tempfile.TemporaryDirectory() as home:  # no file and no environment beside it
        _keep(Path(home) / "state" / "settings.json", values)
        try:
            Settings.load({"OUTLOOK_LAKE_HOME": home})
        except SettingsError as error:
            return list(error.faults)
    return []


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise SettingsError(
            [
                f"Airflow Variable {VARIABLE}: is not a JSON object; expected "
                '{"group.name": value, …}, for example {"stream.coalesce_s": 2}'
            ]
        )
    return values


def _home() -> Path:
    return Path(os.environ.get("OUTLOOK_LAKE_HOME", ".lake-home")).absolute()


def _keep(file: Path, values: dict[str, Any]) -> None:
    wanted = json.dumps(values, indent=1, sort_keys=True)
    if not values and not file.exists():
        return
    if file.exists() and file.read_text(encoding="utf-8") == wanted:
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    passing = file.with_name(f".{file.name}.{os.getpid()}")
    passing.write_text(wanted, encoding="utf-8")
    passing.replace(file)
