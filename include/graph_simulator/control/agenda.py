"""The agenda: acts planned for a Graph time, done when it comes, late ones at once.

Acts run in small slices, each committed, so that requests are answered in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graph_simulator.errors import ActRefused, ControlRefused
from graph_simulator.stats import Stats
from graph_simulator.world.world import World

if TYPE_CHECKING:
    from graph_simulator.traffic import Player, Traffic, TrafficSpec

__all__ = ["Agenda"]

SLICE_S = 0.004
"""Machine seconds of acting before requests get their turn."""
_WORDS = {404: "gone", 409: "no longer applies", 400: "malformed"}

log = logging.getLogger(__name__)


class Agenda:
    """Plays traffic against the world's clock."""

    def __init__(self, world: World, stats: Stats) -> None:
        self._world = world
        self._stats = stats
        self._player: Player | None = None
        self._prepared: Traffic | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.error: str | None = None
        world.clock.changed.append(self._wake.set)

    def start(self) -> None:
        """Begin to watch the clock."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop acting."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def play(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Start traffic; it replaces what was playing. Raises ControlRefused in words.

        `wait` true only prepares it (its mailboxes exist and can be primed); a later call with
        `go` true lets it begin.
        """
        asked = dict(spec)
        wait, begin = bool(asked.pop("wait", False)), bool(asked.pop("go", False))
        if not (begin and not asked):
            self.prepare(asked)
        if not wait:
            self._go()
        return self.progress()

    def prepare(self, spec: Mapping[str, Any] | TrafficSpec, *, history: int = 20) -> None:
        """Make the mailboxes that traffic needs, and the traffic; nothing is played yet."""
        from graph_simulator.traffic import start

        self._prepared = start(self._world, spec, history=history)

    def _go(self) -> None:
        from graph_simulator.traffic import Player, go

        if self._prepared is None:
            raise ControlRefused(409, "no traffic is prepared: name a file or the generator.")
        player = Player(self._prepared)
        go(self._world, self._prepared)
        self._player, self._prepared, self.error = player, None, None
        self._wake.set()

    def stop_playing(self) -> dict[str, Any]:
        """End the traffic; nothing more is played."""
        progress = self.progress()
        self._player = None
        return progress

    @property
    def playing(self) -> bool:
        """Whether acts are still to come."""
        return self._player is not None and self._player.next_at is not None

    def progress(self) -> dict[str, Any]:
        """How far the traffic is."""
        if self._player is None:
            prepared = self._prepared is not None
            return {
                "playing": False, "prepared": prepared, "finished": not prepared,
                "error": self.error,
            }  # fmt: skip
        return {
            "playing": self.playing, "prepared": self._prepared is not None, "error": self.error,
            **self._player.progress(),
        }  # fmt: skip

    async def _run(self) -> None:
        while True:
            try:
                wait = self._slice()
            except Exception as found:  # the play ends, the simulator goes on and says why
                log.exception("the traffic stopped")
                self.error, self._player, wait = f"{type(found).__name__}: {found}", None, None
            self._world.store.commit()
            if wait == 0:
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)
            self._wake.clear()

    def _slice(self) -> float | None:
        """Do what is due for a moment; seconds to wait (0 = more is due, None = nothing comes)."""
        world, player = self._world, self._player
        if player is None:
            return None
        began = time.perf_counter()
        for act in player.due(world.when(world.clock.instant())):
            try:
                result = world.act(act.mailbox, act.do, **act.args)
            except ControlRefused as refusal:
                player.refused(act, _WORDS.get(refusal.status, "refused"))
                if refusal.status == 400:
                    log.warning("planned act %s is malformed: %s", act.do, refusal.message)
                if not isinstance(refusal, ActRefused):
                    player.refused(act, "no mailbox")
            else:
                self._stats.acts[act.do] += 1
                player.done(act, result)
            if time.perf_counter() - began > SLICE_S:
                return 0
        if player.next_at is None:
            return None
        wait = world.clock.machine_seconds_until(int(player.next_at.timestamp() * 1_000_000))
        return min(wait, 3600.0)
