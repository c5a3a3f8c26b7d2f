"""What a connection asks for: which streams, and whose mailboxes.

    "scope": {"group": GROUP_ID, "filter": "department eq 'Sales'",
              "include": [...], "exclude": [...], "purposes": ["user", "shared"]}

`include` and `exclude` hold object ids or addresses. Without a scope every user with a mailbox
is in it. A group and a filter together mean who is in both; `include` adds, `exclude` wins.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "EVERYBODY",
    "MODES",
    "PURPOSES",
    "STREAMS",
    "Scope",
    "read_mode",
    "read_scope",
    "read_streams",
]

STREAMS = frozenset({"messages", "folders", "rules"})
MODES = ("basic", "rich")
"""What notifications bring: ids, or the selected fields too, encrypted."""
PURPOSES = ("user", "linked", "shared", "room", "equipment", "others")
"""mailboxSettings.userPurpose (graph-facts 5.4)."""

USUAL_PURPOSES = ("user", "linked", "shared", "others")
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FILTER = re.compile(r"[\w\s'(),.@/:=-]{1,400}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose mailboxes are watched."""

    group: str = ""
    filter: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    purposes: tuple[str, ...] = USUAL_PURPOSES
    """Rooms and equipment are left out unless they are named."""

    @property
    def is_everybody(self) -> bool:
        """Whether the list of users alone decides."""
        return not (self.group or self.filter)

    @property
    def digest(self) -> str:
        """Names this scope without saying it: another digest means another scope."""
        told = json.dumps(asdict(self), sort_keys=True).encode()
        return hashlib.blake2b(told, digest_size=8).hexdigest()


EVERYBODY = Scope()


def read_streams(value: Any, faults: list[str]) -> frozenset[str]:
    """The streams a connection asks for; all when it says nothing."""
    if value in (None, "", []):
        return STREAMS
    names = frozenset(_words(value))
    unknown = sorted(names - STREAMS)
    if unknown:
        faults.append(f"extra.streams knows {', '.join(sorted(STREAMS))}; not {unknown[0]!r:.40}")
    return names & STREAMS


def read_mode(value: Any, faults: list[str]) -> str:
    """How notifications come; `basic` when the connection says nothing."""
    mode = str(value or "basic").strip().lower()
    if mode not in MODES:
        faults.append(f"extra.mode knows {' and '.join(MODES)}; not {mode!r:.40}")
        return "basic"
    return mode


def read_scope(value: Any, faults: list[str]) -> Scope:
    """The scope a connection asks for; every fault is named and no address quoted."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            value = False
    if value in (None, "", {}):
        return EVERYBODY
    if not isinstance(value, Mapping):
        faults.append('extra.scope has to be an object such as {"group": "GROUP_ID"}')
        return EVERYBODY
    include, exclude = tuple(_words(value.get("include"))), tuple(_words(value.get("exclude")))
    scope = Scope(
        group=str(value.get("group") or "").lower(),
        filter=str(value.get("filter") or "").strip(),
        include=include,
        exclude=exclude,
        purposes=tuple(_words(value.get("purposes"))) or USUAL_PURPOSES,
    )
    unknown = sorted(set(value) - set(Scope.__dataclass_fields__))
    if unknown:
        known = ", ".join(Scope.__dataclass_fields__)
        faults.append(f"extra.scope knows {known}; not {unknown[0]!r:.40}")
    faults += _faults(scope)
    return scope


def _faults(scope: Scope) -> list[str]:
    faults = []
    if scope.group and not _GUID.fullmatch(scope.group):
        faults.append("extra.scope.group has to be the group's object id, not its name")
    if scope.filter and not _FILTER.fullmatch(scope.filter):
        faults.append("extra.scope.filter holds signs that no filter on users needs")
    if set(scope.purposes) - set(PURPOSES):
        faults.append(f"extra.scope.purposes knows {', '.join(PURPOSES)}")
    both = set(scope.include) & set(scope.exclude)
    if both:
        faults.append(f"extra.scope: {len(both)} of include also stand in exclude: decide")
    for name, people in (("include", scope.include), ("exclude", scope.exclude)):
        wrong = [one for one in people if not (_GUID.fullmatch(one) or one.count("@") == 1)]
        if wrong:
            faults.append(f"extra.scope.{name}: {len(wrong)} are neither object id nor address")
    return faults


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        return []
    return sorted({str(one).strip().lower() for one in value if str(one).strip()})
