"""Write `docs/cli.md` from the commands themselves: `python -m outlook_lake.commands.document`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo

from outlook_lake.cli import app

__all__ = ["document"]

_HEAD = """# `outlook-lake`

What a person or a script can ask of the Outlook Activity Lake. This page is made from the
commands: `make docs` writes it, a test holds it to them.

Every command answers `--help` with an example. `--json` puts one JSON object (for `sql`: one a
line) on stdout and nothing else there; words for people and faults go to stderr. Exit codes:
0 as asked, 1 a finding (a failed check, an unclean audit, a step that could not finish), 2 wrong
use, with a message that says what to do.

The home is the folder `OUTLOOK_LAKE_HOME` names (default `.lake-home`); every setting can be
given as `OUTLOOK_LAKE_<GROUP>_<NAME>`, see `outlook-lake settings`.
"""


_NAMES = {str: "TEXT", Path: "FILE", int: "NUMBER", float: "NUMBER"}


def document() -> str:
    """The page, as Markdown."""
    commands = {function.__name__: function for function in _functions()}
    index = [
        f"- [`{name}`](#outlook-lake-{name}): {_paragraphs(function)[0]}"
        for name, function in commands.items()
    ]
    parts = [_HEAD, "\n".join(index) + "\n"]
    parts += [_section(name, function) for name, function in commands.items()]
    return "\n".join(parts)


def _functions() -> list[Callable[..., Any]]:
    return [entry.callback for entry in app.registered_commands if entry.callback is not None]


def _paragraphs(function: Callable[..., Any]) -> list[str]:
    return [" ".join(part.split()) for part in (function.__doc__ or "").strip().split("\n\n")]


def _section(name: str, function: Callable[..., Any]) -> str:
    lines = [f"## `outlook-lake {name}`", ""]
    for paragraph in _paragraphs(function):
        if paragraph.startswith("Example: "):
            lines += ["```sh", paragraph.removeprefix("Example: "), "```", ""]
        else:
            lines += [paragraph, ""]
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    rows = [_row(key, hint) for key, hint in hints.items() if key != "return"]
    if rows:
        lines += ["| option | what it is for |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(name: str, hint: Any) -> str:
    kind, info = get_args(hint)
    plain = next((part for part in get_args(kind) if part is not type(None)), kind)
    choices = [word.value for word in plain] if issubclass(plain, Enum) else []
    if isinstance(info, ArgumentInfo):
        names = f"`{name.upper()}`"
    else:
        # In an Annotated hint the first spelling stands where a default otherwise would.
        given = [one for one in (info.default, *info.param_decls) if isinstance(one, str)]
        names = ", ".join(f"`{one}`" for one in given or [f"--{name.replace('_', '-')}"])
        if plain is not bool and not choices:
            names += f" `{info.metavar or _NAMES[plain]}`"
    text = info.help or ""
    if choices:
        text += " One of " + ", ".join(f"`{word}`" for word in choices) + "."
    return f"| {names} | {text} |"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if target:
        target.write_text(document(), encoding="utf-8")
    else:
        sys.stdout.write(document())
