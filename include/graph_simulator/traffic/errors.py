"""What can be wrong with the traffic somebody asks for.

TrafficError (a ControlRefused, so the control API answers it in words)
  TrafficSpecError      400: the request contradicts itself or names an unknown option
  TrafficFileError      400: the file is missing, is not Parquet, or lacks what a replay needs
  TrafficClockError     409: Graph time is already past the moment at which the play begins

Every message says what was found and what to do. None of them holds an address.
"""

from __future__ import annotations

from graph_simulator.errors import ControlRefused

__all__ = ["TrafficClockError", "TrafficError", "TrafficFileError", "TrafficSpecError"]


class TrafficError(ControlRefused):
    """The traffic that was asked for cannot be played.

    Attributes: `found` (what is wrong) and `cure` (what to do about it).
    """

    http_status = 400

    def __init__(self, found: str, cure: str) -> None:
        self.found = found
        self.cure = cure
        super().__init__(self.http_status, f"{found}. {cure}.")


class TrafficSpecError(TrafficError):
    """A request with an unknown, malformed or contradictory option."""


class TrafficFileError(TrafficError):
    """A traffic file that cannot be read or holds nothing that can be played."""


class TrafficClockError(TrafficError):
    """The simulator's Graph time is past the moment at which the traffic begins."""

    http_status = 409
