"""The Airflow Variable `outlook_lake`: settings an administrator changes in the UI.

    Admin ▸ Variables ▸ outlook_lake = {"stream.coalesce_s": 2, "stream.idle_s": 30}

Every task copies it into the home before it does anything, so that the receiver, the doorbell
and the command line see the same. The environment outranks it.
"""

from __future__ import annotations

import difflib
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

PLACES = ("home", "database_url")
"""Settings that say where the product's own things are: a Variable cannot move them."""


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
        raise SettingsError([f"Airflow Variable {VARIABLE}: {fault}" for fault in faults])
    _keep(_home() / "state" / "settings.json", values)


def faults_of(values: dict[str, Any]) -> list[str]:
    """What cannot be in these `group.name: value`, in the order they stand there."""
    known = [knob.name for knob in Settings().knobs() if knob.name not in PLACES]
    faults = []
    for name, value in values.items():
        if name in PLACES:
            faults.append(f"{name}: stands in the environment only (OUTLOOK_LAKE_{name.upper()})")
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; `outlook-lake settings` lists all"
            faults.append(f"{name}: no such setting{hint}")
        elif isinstance(value, dict | list) or value is None:
            faults.append(f"{name}: expected one value, not {type(value).__name__}")
    as_environment = {
        "OUTLOOK_LAKE_" + name.replace(".", "_").upper(): _as_text(value)
        for name, value in values.items()
        if name in known and not (isinstance(value, dict | list) or value is None)
    }
    with tempfile.TemporaryDirectory() as nowhere:  # neither a file nor an older copy beside it
        try:
            Settings.load({**as_environment, "OUTLOOK_LAKE_HOME": nowhere})
        except SettingsError as error:
            names = {"OUTLOOK_LAKE_" + name.replace(".", "_").upper(): name for name in known}
            faults += [_renamed(fault, names) for fault in error.faults]
    return faults


def _renamed(fault: str, names: dict[str, str]) -> str:
    for variable in sorted(names, key=len, reverse=True):
        fault = fault.replace(variable, names[variable])
    return fault


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


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
