"""Where a value comes from: the first of these that says something.

    environment           OUTLOOK_LAKE_STREAM_COALESCE_S=2
    Airflow Variable      outlook_lake = {"stream.coalesce_s": 2}; each task leaves a copy of it
                          in <home>/state/settings.json, so that every process sees the same
    file                  <home>/settings.toml:  [stream]  coalesce_s = 2
    default

Every fault of every layer is told at once, with its layer and what would do.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

__all__ = ["PREFIX", "Told", "read_layers"]

PREFIX = "OUTLOOK_LAKE_"
FILE = "settings.toml"
COPY = Path("state") / "settings.json"


@dataclass(slots=True)
class Told:
    """What the layers say."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By group and name."""
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_layers(home: Path, env: Mapping[str, str], groups: Mapping[str, type[Any]]) -> Told:
    """All layers, the weakest first. `groups`: the dataclass of each group of settings."""
    told = Told()
    files: tuple[_Said, ...] = ()
    if not _may_be_folder(home):
        told.faults.append(f"{PREFIX}HOME={home}: a file is there; expected a folder")
    else:
        files = (*_of_file(home / FILE, told.faults), *_of_copy(home / COPY, told.faults))
    for said in (
        *files,
        *_of_environment(env, groups),
    ):
        _take(told, groups, said)
    return told


def _may_be_folder(path: Path) -> bool:
    """Whether it is a folder, or could be made: nothing on the way to it is a file."""
    there = next((one for one in (path, *path.parents) if os.path.lexists(one)), path)
    return there.is_dir()


@dataclass(frozen=True, slots=True)
class _Said:
    name: str
    value: Any
    source: str
    place: str
    """As a fault names it."""


def _take(told: Told, groups: Mapping[str, type[Any]], said: _Said) -> None:
    name, value = said.name, said.value
    group, _, field_name = name.partition(".")
    known = {
        f"{one}.{entry.name}": entry
        for one, kind in groups.items()
        for entry in dataclasses.fields(kind)
    }
    entry = known.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "`outlook-lake settings` lists all"
        told.faults.append(f"{said.place}: no such setting; {hint}")
        return
    wanted = get_type_hints(groups[group])[field_name]
    try:
        given = _as(wanted, value)
    except ValueError:
        told.faults.append(f"{said.place}={value!r:.60}: expected {_kind(wanted)}")
        return
    fault = _out_of_range(given, entry.metadata)
    if fault:
        told.faults.append(f"{said.place}={value!r:.60}: expected {fault}")
        return
    told.values.setdefault(group, {})[field_name] = given
    told.sources[name] = said.source


def _as(wanted: Any, value: Any) -> Any:
    """A value of the wanted type; ValueError when it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    if wanted is str:
        return str(value)
    try:
        number = float(value)
    except OverflowError:
        raise ValueError from None
    # Neither is below or above any limit, so no range would refuse them.
    if not math.isfinite(number) or (wanted is int and number != int(number)):
        raise ValueError
    return int(value) if wanted is int else number


def _kind(wanted: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text"}.get(wanted, str(wanted))


def _out_of_range(value: Any, metadata: Mapping[str, Any]) -> str | None:
    unit = f" ({metadata['unit']})" if metadata["unit"] else ""
    if metadata["one_of"] and value not in metadata["one_of"]:
        return " or ".join(metadata["one_of"])
    if metadata["low"] is not None and value < metadata["low"]:
        return f"at least {metadata['low']}{unit}"
    if metadata["high"] is not None and value > metadata["high"]:
        return f"at most {metadata['high']}{unit}"
    return None


def _of_environment(env: Mapping[str, str], groups: Mapping[str, type[Any]]) -> Iterator[_Said]:
    """Variables of a known group; others (HOME, CLOCK, CONN_…) are no settings."""
    for variable in sorted(env):
        name = variable.removeprefix(PREFIX).lower()
        group = next((one for one in groups if name.startswith(f"{one}_")), None)
        if variable.startswith(PREFIX) and group is not None:
            setting = f"{group}.{name.removeprefix(f'{group}_')}"
            yield _Said(setting, env[variable], f"environment ({variable})", variable)


def _of_copy(file: Path, faults: list[str]) -> Iterator[_Said]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        faults.append(f"{file.name}: cannot be read; remove it, the next task writes it again")
        return
    for name, value in values.items():
        source = "Airflow Variable outlook_lake"
        yield _Said(name, value, source, f"{source}: {name}")


def _of_file(file: Path, faults: list[str]) -> Iterator[_Said]:
    try:
        groups = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except OSError as error:
        faults.append(f"{file.name}: cannot be read ({error.strerror}); expected a file of TOML")
        return
    except (ValueError, RecursionError) as error:
        faults.append(f"{file.name}: cannot be read as TOML: {error}")
        return
    for group, values in groups.items():
        if not isinstance(values, dict):
            faults.append(f"{file.name} ({group}): settings stand in groups, such as [stream]")
            continue
        for name, value in values.items():
            setting = f"{group}.{name}"
            yield _Said(setting, value, f"file ({file.name})", f"{file.name}: {setting}")
