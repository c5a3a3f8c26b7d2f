"""What the simulator refuses, and how it says so.

SimulatorError
  GraphError        an answer in Graph's own error shape (status, code, message)
  ControlRefused    a control call or an act that is refused in words (status, message)
    ActRefused      an act that does not apply: item gone, nothing would change
  StateError        the state folder cannot be used
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ActRefused", "ControlRefused", "GraphError", "SimulatorError", "StateError"]


class SimulatorError(Exception):
    """Base of everything the simulator raises on purpose."""


class GraphError(SimulatorError):
    """A refusal in Graph's shape: `{"error": {"code", "message", "innerError"}}`."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class ControlRefused(SimulatorError):
    """A control call that is refused; `message` says what would be accepted."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ActRefused(ControlRefused):
    """An act that does not apply (409), names nothing (404) or is malformed (400)."""


class StateError(SimulatorError):
    """The state folder is in use by another simulator or cannot be read."""
