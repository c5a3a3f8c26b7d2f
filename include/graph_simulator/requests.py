"""The tail of what clients asked Graph, so that a test can prove what was never asked for."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from graph_simulator.clock import iso_micros, machine_us

__all__ = ["RequestLog"]


class RequestLog:
    """The newest requests, items of a $batch included (`batched`). Kept in memory only."""

    def __init__(self, keep: int = 50_000) -> None:
        self._rows: deque[tuple[int, int, str, str, dict[str, str], str, int, bool]] = deque(
            maxlen=keep
        )
        self.number = 0

    def add(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        prefer: str,
        status: int,
        *,
        batched: bool = False,
    ) -> None:
        """Note one request and how it was answered."""
        self.number += 1
        self._rows.append((self.number, machine_us(), method, path, query, prefer, status, batched))

    def tail(self, after: int = 0, last: int = 1000) -> list[dict[str, Any]]:
        """Rows numbered above `after`, at most the newest `last`, oldest first."""
        newest = list(islice(reversed(self._rows), last))
        newest.reverse()
        return [
            {
                "number": number, "wall_at": iso_micros(wall), "method": method, "path": path,
                "query": query, "prefer": prefer, "status": status, "batched": batched,
            }
            for number, wall, method, path, query, prefer, status, batched in newest
            if number > after
        ]  # fmt: skip
