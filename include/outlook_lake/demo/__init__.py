"""The demo: a simulated Microsoft Graph, Airflow and the whole product in one terminal.

`play` is the story; `stage` brings the parts up and down, `supervisor` keeps them alive,
`clockwork` starts runs by Graph time, `judge` asks the audit.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """`outlook-lake demo …`; returns the exit code."""
    from outlook_lake.demo.play import main as play_main

    return play_main(arguments)
