"""Runs a step in a process that kills itself (`kill -9`) at a chosen place of apply.

    python -m tests.support.killer after outlook_lake.events.log:write_batch stream

The place is a function; `before` or `after` its first call the process is gone, with no
chance to clean up. The product itself has no such hooks.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def arm(when: str, place: str) -> None:
    """Make the function at `module:name` (or `module:Class.name`) deadly."""
    module_name, _, path = place.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original: Callable[..., Any] = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcome = original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    setattr(owner, name, deadly)


def main() -> None:
    """Arm, then run the step until it is done or dead."""
    when, place, step = sys.argv[1:4]
    arm(when, place)
    from outlook_lake import steps
    from outlook_lake.application import Application
    from outlook_lake.settings import Settings

    arguments: dict[str, Any] = {"until_idle": True} if step == "stream" else {}
    with Application.open(Settings.load()) as app:
        outcome = getattr(steps, step)(app, **arguments)
        if asyncio.iscoroutine(outcome):
            asyncio.run(outcome)


if __name__ == "__main__":
    main()
