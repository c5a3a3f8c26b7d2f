"""Ports for servers of tests, below those the system gives to outgoing connections.

A port the system hands out for "any" may be taken by somebody's outgoing connection before
the server listens; these are not.
"""

from __future__ import annotations

import random
import socket

__all__ = ["free_port", "free_ports"]

FIRST, LAST = 20_000, 31_999
_dice = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """So many different ports nobody listens on right now."""
    found: list[int] = []
    while len(found) < count:
        port = _dice.randint(FIRST, LAST)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def free_port() -> int:
    """A port nobody listens on right now."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
