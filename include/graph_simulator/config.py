"""The options of one simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graph_simulator.traffic import TrafficSpec

__all__ = ["Config"]


@dataclass(frozen=True, slots=True)
class Config:
    """What `python -m graph_simulator` was asked for."""

    port: int
    """Plain HTTP on 127.0.0.1."""
    state: Path
    """Folder of the state file, the certificates and the clock file."""
    tls_port: int | None = None
    """The same over TLS on 127.0.0.1, for msal."""
    clock_file: Path | None = None
    """Where the clock's line is written at each change; default `clock.json` in the state."""
    start_back_s: float = 0.0
    """Seconds behind machine time at which Graph time starts."""
    speed: float = 1.0
    """Graph seconds a machine second."""
    seed: int = 1
    mailboxes: int = 0
    """Mailboxes of the tenant made at the first start; 0 = none."""
    history: int = 20
    """Messages each of them has from before the start."""
    domain: str = "contoso.example"
    traffic: TrafficSpec | None = None
    """File of mail, prepared at the start; `POST /simulator/traffic {"go": true}` plays it."""
    delivery_latency_s: tuple[float, float] = (0.05, 0.3)
    """Machine seconds between a change and its notification, lowest and highest."""
    request_latency_s: float = 0.008
    """Machine seconds a Graph request takes."""
    batch: int = 50
    """Most notifications in one POST."""
    endpoint_states: bool = False
    """Whether slow endpoints are held back or dropped, as Graph does."""
    legacy: bool = False
    """Put plain message fields into `resourceData`, as some descriptions of Graph show it."""
    delta_days: int = 30
    """Graph days until a delta token is forgotten."""
