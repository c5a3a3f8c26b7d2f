"""The arguments of an act, read once each; what is left over or malformed is refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graph_simulator.clock import parse_instant
from graph_simulator.errors import ActRefused

__all__ = ["Args"]


class Args:
    """Typed access to a control call's members. Every refusal is a 400 that names the member."""

    def __init__(self, do: str, given: Mapping[str, Any]) -> None:
        self.do = do
        self._given = dict(given)
        self.by = self.text("by", "owner")

    def has(self, name: str) -> bool:
        """Whether the member was given (and not null)."""
        return self._given.get(name) is not None

    def _take(self, name: str) -> Any:
        return self._given.pop(name, None)

    def text(self, name: str, default: str = "") -> str:
        """A string member."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ActRefused(400, f"{self.do}: {name} must be a string.")
        return value

    def needed(self, name: str) -> str:
        """A string member that must be there."""
        value = self.text(name)
        if not value:
            raise ActRefused(400, f"{self.do}: {name} is missing.")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings; a lone string counts as a list of one."""
        value = self._take(name)
        if value is None:
            return []
        if isinstance(value, str):
            return [value]
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise ActRefused(400, f"{self.do}: {name} must be a list of strings.")
        return list(value)

    def truth(self, name: str, default: bool = False) -> bool:
        """A boolean member."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ActRefused(400, f"{self.do}: {name} must be true or false.")
        return value

    def choice(self, name: str, among: tuple[str, ...], default: str) -> int:
        """A member with few values; returns the index of the value."""
        value = self.text(name, default).lower()
        if value not in among:
            raise ActRefused(400, f"{self.do}: {name} must be one of {', '.join(among)}.")
        return among.index(value)

    def second(self, name: str) -> int | None:
        """An ISO 8601 instant as Unix seconds, None when absent."""
        value = self._take(name)
        if value is None:
            return None
        try:
            return parse_instant(str(value)) // 1_000_000
        except ValueError:
            raise ActRefused(400, f"{self.do}: {name} must be an ISO 8601 instant.") from None

    def mapping(self, name: str) -> dict[str, Any]:
        """An object member, empty when absent."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ActRefused(400, f"{self.do}: {name} must be an object.")
        return value

    def done(self) -> None:
        """Refuse what nobody asked for: a misspelt member must not pass unseen."""
        if self._given:
            raise ActRefused(400, f"{self.do} does not know: {', '.join(sorted(self._given))}.")
