"""One call to Graph and one answer, whether it came alone or inside a $batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from graph_simulator.errors import GraphError

if TYPE_CHECKING:
    from graph_simulator.graph.access import Caller

__all__ = ["Answer", "Call", "parts_of", "query_of"]

_PAREN = re.compile(r"^([A-Za-z]+)\('((?:[^']|'')*)'\)$")


def parts_of(raw_path: str) -> list[str]:
    """Decoded segments of a path below /v1.0; `users('x')` counts as `users`, `x`."""
    parts: list[str] = []
    for raw in raw_path.strip("/").split("/"):
        text = unquote(raw)
        keyed = _PAREN.match(text)
        if keyed:
            parts += [keyed.group(1), keyed.group(2).replace("''", "'")]
        else:
            # a function call is spelled delta, delta() or microsoft.graph.delta()
            parts.append("delta" if text.lower().endswith("delta()") else text)
    return parts


def query_of(raw_query: str) -> dict[str, str]:
    """The query options, decoded; the last of a repeated one wins."""
    return dict(parse_qsl(raw_query, keep_blank_values=True))


@dataclass(slots=True)
class Call:
    """A request as the handlers see it."""

    method: str
    parts: list[str]
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any
    base: str
    """`http://host:port/v1.0`, for links."""
    caller: Caller
    at: int = 0
    """Graph instant of the answer (microseconds), set right before the state is read."""
    batched: bool = False
    immutable: bool = field(init=False)
    page_size: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        prefer = self.headers.get("Prefer") or self.headers.get("prefer") or ""
        lowered = prefer.lower().replace(" ", "")
        self.immutable = 'idtype="immutableid"' in lowered
        found = re.search(r"odata\.maxpagesize=(\d+)", lowered)
        if found:
            self.page_size = max(1, min(1000, int(found.group(1))))

    def number(self, name: str, low: int, high: int) -> int | None:
        """A whole-number option. Raises GraphError (400) when it is none or out of range."""
        text = self.query.get(name)
        if text is None:
            return None
        if not text.isdigit() or not low <= int(text) <= high:
            raise GraphError(
                400,
                "ErrorInvalidUrlQuery",
                f"The value '{text[:20]}' of {name} must be a number from {low} to {high}.",
            )
        return int(text)


@dataclass(slots=True)
class Answer:
    """Status, JSON body (None = empty) and headers of an answer."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
