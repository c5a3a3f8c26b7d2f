"""Faults: everything Graph is reported to do wrong, on request, reproducible from a seed."""

from __future__ import annotations

from graph_simulator.faults.faults import KINDS, Fault, Faults

__all__ = ["KINDS", "Fault", "Faults"]
