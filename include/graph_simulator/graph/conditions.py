"""`$filter` on users: comparisons joined by `and` and `or` (`and` binds closer).

Taken are `<property> eq|ne <value>`, `startswith(<property>,'…')`, `endswith(<property>,'…')`;
everything else is refused, as Graph refuses what it does not support.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from graph_simulator.errors import GraphError

__all__ = ["Condition", "read_condition"]

Condition = Callable[[dict[str, Any]], bool]

_TEXT = r"'((?:[^']|'')*)'"
_COMPARED = re.compile(rf"([A-Za-z]+)\s+(eq|ne)\s+(?:{_TEXT}|(true|false|null))", re.IGNORECASE)
_CALLED = re.compile(rf"(startswith|endswith)\(\s*([A-Za-z]+)\s*,\s*{_TEXT}\s*\)", re.IGNORECASE)
_JOINED = re.compile(r"\s+(and|or)\s+", re.IGNORECASE)
_NAMES = {
    name.lower(): name
    for name in (
        "id", "displayName", "givenName", "surname", "mail", "userPrincipalName", "department",
        "officeLocation", "jobTitle", "accountEnabled", "userType",
    )
}  # fmt: skip
_WORDS = {"true": True, "false": False, "null": None}


def _refused(text: str) -> GraphError:
    return GraphError(
        400, "Request_UnsupportedQuery", f"Unsupported or invalid query filter: '{text[:60]}'."
    )


def _property(text: str) -> str:
    name = _NAMES.get(text.lower())
    if name is None:
        raise _refused(text)
    return name


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _compared(found: re.Match[str]) -> Condition:
    name, text, word = _property(found[1]), found[3], found[4]
    value = _WORDS[word.lower()] if word else text.replace("''", "'").lower()
    equal = found[2].lower() == "eq"
    return lambda row: (_lower(row[name]) == value) is equal


def _called(found: re.Match[str]) -> Condition:
    name, text = _property(found[2]), found[3].replace("''", "'").lower()
    if found[1].lower() == "startswith":
        return lambda row: str(row[name] or "").lower().startswith(text)
    return lambda row: str(row[name] or "").lower().endswith(text)


def read_condition(text: str) -> Condition:
    """The condition of a filter. Raises GraphError (400) for anything but the forms above."""
    groups: list[list[Condition]] = [[]]
    place = 0
    while True:
        compared = _COMPARED.match(text, place)
        called = None if compared else _CALLED.match(text, place)
        found = compared or called
        if found is None:
            raise _refused(text)
        groups[-1].append(_compared(found) if compared else _called(found))
        place = found.end()
        if not text[place:].strip():
            break
        joined = _JOINED.match(text, place)
        if joined is None:
            raise _refused(text)
        if joined[1].lower() == "or":
            groups.append([])
        place = joined.end()
    return lambda row: any(all(one(row) for one in group) for group in groups)
