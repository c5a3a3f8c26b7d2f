"""Mail traffic for a simulated tenant: a seeded office, a steady stream, or a file of real mail.

Nothing here keeps a clock or touches a mailbox: it plans acts, and the simulator carries them
out when Graph time reaches them.

    spec ─▶ office · steady · replay ─▶ plan (lazy, in time order) ─▶ Player ─▶ the world acts
                                            readers' later acts ◀─ what arrived ◀┘
"""

from __future__ import annotations

from graph_simulator.traffic.errors import (
    TrafficClockError,
    TrafficError,
    TrafficFileError,
    TrafficSpecError,
)
from graph_simulator.traffic.model import PlannedAct, Traffic, TrafficSpec
from graph_simulator.traffic.play import Player
from graph_simulator.traffic.prepare import go, start, start_back

__all__ = [
    "PlannedAct",
    "Player",
    "Traffic",
    "TrafficClockError",
    "TrafficError",
    "TrafficFileError",
    "TrafficSpec",
    "TrafficSpecError",
    "go",
    "start",
    "start_back",
]
