"""What the demo says about itself: the live table, and the audit's verdict at the end.

The end is: traffic stops, quiet, a catch-up and an export through Airflow, then the audit over
everything the simulator's journal holds.
"""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import duckdb

from outlook_lake import clock
from outlook_lake.demo.freshness import Freshness
from outlook_lake.errors import OutlookLakeError
from outlook_lake.lake.audit import FAULTS, Span, audit

if TYPE_CHECKING:
    from outlook_lake.demo.stage import Stage

__all__ = ["Judge"]

AUDIT_EVERY_S = 30.0
AUDIT_SHARE = 30
"""The pause is at least so many times as long as the last audit took."""
QUIET_S = 3.0
QUIET_PATIENCE_S = 300.0
LONG = ("outside", "samples")
"""Parts of a verdict that are for people, not for the line of figures."""


class Judge:
    """Reads and asks; changes nothing but, in `close`, the simulator's traffic and clock."""

    def __init__(self, stage: Stage, freshness: Freshness) -> None:
        self.stage = stage
        self.freshness = freshness
        self.verdict: dict[str, Any] = {}
        self._verdict_at = ""
        self._stop = threading.Event()
        self._fresh_lock = threading.Lock()

    def rows(self) -> list[tuple[str, str]]:
        """The live table."""
        figures = self.stage.figures()
        with contextlib.suppress(OutlookLakeError), self._fresh_lock:
            self.freshness.update()
        p50, p95, _ = self.freshness.quantiles(last=500)
        graph, machine = clock.graph_now(), clock.machine_now()
        behind = (machine - graph).total_seconds()
        where = "at machine time" if behind < 5 else f"{timedelta(seconds=int(behind))} behind"
        return [
            ("Graph time", f"{graph:%Y-%m-%d %H:%M:%S} UTC, {where}"),
            ("mailboxes", f"{figures.live} live of {figures.mailboxes}"),
            ("notifications", f"{figures.notifications:,}"),
            ("events", f"{figures.events:,}"),
            ("age of new events", f"p50 {_s(p50)}, p95 {_s(p95)} (last 500)"),
            ("waiting", f"{figures.segments} segments, {figures.hints} hints"),
            ("hours", f"{figures.sealed} sealed, {figures.open} open"),
            ("open gaps", str(figures.gaps)),
            ("audit", self._verdict_line()),
        ]

    def footer(self) -> list[str]:
        """Below the table."""
        restarts = self.stage.supervisor.restarts
        again = f" · {restarts} restarts" if restarts else ""
        return [f"Airflow: http://127.0.0.1:{self.stage.options.port} · Ctrl-C ends{again}"]

    def keep_judging(self) -> None:
        """Audit now and then while the demo runs; returns after `stop`."""
        settled_us, pause_s = clock.graph_us(), AUDIT_EVERY_S
        while not self._stop.wait(pause_s):
            began = time.monotonic()
            # What happened since the last look may still be on its way.
            with contextlib.suppress(OutlookLakeError, duckdb.Error):
                self._take_verdict(Span(to_us=settled_us))
            settled_us = clock.graph_us()
            # A long journal takes longer: the audit gets a small share of the machine.
            pause_s = max(AUDIT_EVERY_S, AUDIT_SHARE * (time.monotonic() - began))

    def stop(self) -> None:
        """End `keep_judging`."""
        self._stop.set()

    def close(self) -> dict[str, Any]:
        """Bring everything to rest and judge it. Raises PartFailedError when it does not rest."""
        stage = self.stage
        with stage.screen.stage("traffic stops, what waits is worked off"):
            stage.simulator.call("DELETE", "/simulator/traffic")
            stage.simulator.move_clock(speed=1)
            self._settle()
        # Only a round that starts after an hour's end proves it, so the last hour ends first; a
        # run started by hand is full.
        self._finish_hour()
        with stage.screen.stage("catch-up through Airflow"):
            stage.run_dag("outlook_catch_up", "The demo's traffic has ended")
            self._settle()
        with stage.screen.stage("export through Airflow"):
            stage.run_dag("outlook_export", "The demo's last hours")
        with stage.screen.stage("audit against the simulator's journal"):
            self.freshness.update()
            verdict = self._take_verdict()
        p50, p95, _ = self.freshness.quantiles()
        stage.screen.say(self._verdict_line())
        for row in verdict["samples"]:
            stage.screen.say(str(row))
        for problem in verdict["problems"]:
            stage.screen.say(f"not clean: {problem}")
        kept = {name: value for name, value in verdict.items() if name not in LONG}
        return {**kept, "p50_s": _round(p50), "p95_s": _round(p95)}

    def _settle(self) -> None:
        """Until nothing has waited for a few seconds on end."""
        quiet_since = 0.0

        def is_quiet() -> bool:
            nonlocal quiet_since
            if not self.stage.figures().is_quiet:
                quiet_since = 0.0
                return False
            quiet_since = quiet_since or time.monotonic()
            return time.monotonic() - quiet_since >= QUIET_S

        self.stage.wait(is_quiet, "what waits to be worked off", QUIET_PATIENCE_S)

    def _finish_hour(self) -> None:
        """Move Graph time on so that the last hour is over, where machine time allows it."""
        now = clock.graph_now()
        over = clock.hour_start(now) + clock.HOUR
        over += timedelta(seconds=self.stage.settings.lake.over_s + 5)
        ahead = over - now
        if now + ahead < clock.machine_now():
            self.stage.simulator.move_clock(advance=f"PT{ahead.total_seconds():.0f}S")

    def _take_verdict(self, span: Span | None = None) -> dict[str, Any]:
        self.verdict = audit(self.stage.settings, self.stage.simulator.base, span=span)
        self._verdict_at = f"{clock.machine_now():%H:%M:%S}"
        return self.verdict

    def _verdict_line(self) -> str:
        if not self.verdict:
            return "first one in a moment"
        verdict = self.verdict
        faults = ", ".join(f"{verdict[name]} {name.replace('_', ' ')}" for name in FAULTS)
        return (
            f"{verdict['journal']:,} acts, {verdict['events']:,} events: {faults}; "
            f"{verdict['excused']} excused ({self._verdict_at})"
        )


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
