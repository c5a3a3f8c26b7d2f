"""How a benchmark speaks: lines on stderr, figures as one JSON line on stdout."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

__all__ = ["finish", "free_ports", "progress"]


def progress(line: str) -> None:
    """How far it is, for people."""
    print(line, file=sys.stderr, flush=True)


def finish(**figures: Any) -> None:
    """The figures, last line of stdout."""
    print(json.dumps(figures), flush=True)


def free_ports(count: int, first: int = 18_200, last: int = 28_000) -> int:
    """The lowest port with `count` free ones in a row on loopback."""
    for base in range(first, last, count):
        if all(_is_free(port) for port in range(base, base + count)):
            return base
    raise OSError(f"no {count} free ports in a row between {first} and {last}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
