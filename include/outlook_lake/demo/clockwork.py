"""While Graph time runs behind, Airflow's schedules are wrong, and this is the clockwork instead.

Whenever Graph time passes an hour (and that hour is over) it starts `outlook_export`, and every
15 Graph minutes `outlook_subscriptions`, through the REST API, and not while one still runs. When
Graph time has met machine time it does nothing any more: schedules and Graph time agree again.

It also watches for the one hang of the local executor that no process list shows: tasks that
stay queued although the executor has room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from outlook_lake import clock
from outlook_lake.demo.rest import AirflowApi, RestError

__all__ = ["Clockwork"]

BEAT_S = 1.0
QUEUED_TOO_LONG_S = 15.0
QUARTER_S = 900
AT_MACHINE_TIME = timedelta(seconds=5)
SETTLES_S = 20.0
"""After the clocks met, late answers about the last fast hour take so long (machine time)."""


class Clockwork:
    """`over_s`: an hour is over so long after its end, s Graph. `restart` mends the executor."""

    def __init__(
        self,
        airflow: AirflowApi,
        *,
        over_s: int,
        slots: int,
        hang_s: float = QUEUED_TOO_LONG_S,
        restart: Callable[[str], None],
    ) -> None:
        self.airflow = airflow
        self.over = timedelta(seconds=over_s)
        self.slots = slots
        self.hang_s = hang_s
        self.restart = restart
        self._hour = self._last_hour_over(clock.graph_now())
        self._quarter = self._last_quarter(clock.graph_now())
        self._queued_since: dict[str, float] = {}
        self._met_at: float | None = None
        self._sealed = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clockwork", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Start nothing any more."""
        self._stop.set()

    def _run(self) -> None:
        beat = 0
        while not self._stop.wait(BEAT_S):
            beat += 1
            try:
                self._tick()
                if beat % 5 == 0:
                    self._look_for_hang()
            except (RestError, KeyError, TypeError, ValueError):
                continue  # the API server or the simulator is being restarted

    def _tick(self) -> None:
        now = clock.graph_now()
        behind = clock.machine_now() - now
        if behind < AT_MACHINE_TIME:
            self._hand_over(now)
            return
        self._met_at = None
        hour, quarter = self._last_hour_over(now), self._last_quarter(now)
        if hour > self._hour and self._export(hour):
            self._hour = hour
        if quarter > self._quarter and self._subscriptions(now):
            self._quarter = quarter

    def _hand_over(self, now: datetime) -> None:
        """Graph time has met machine time: seal what the fast hours left, then keep still."""
        if self._met_at is None:
            self._met_at, self._sealed = time.monotonic(), False
        if not self._sealed and time.monotonic() - self._met_at > SETTLES_S:
            self._sealed = self._export(self._last_hour_over(now))
        self._hour, self._quarter = self._last_hour_over(now), self._last_quarter(now)

    def _export(self, hour: datetime) -> bool:
        if self._stop.is_set() or self.airflow.active_runs("outlook_export"):
            return False
        self.airflow.start_run(
            "outlook_export",
            f"Graph time passed the end of {clock.hour_name(hour)}",
            interval=(hour, hour + clock.HOUR),
        )
        return True

    def _subscriptions(self, now: datetime) -> bool:
        if self._stop.is_set() or self.airflow.active_runs("outlook_subscriptions"):
            return False
        self.airflow.start_run(
            "outlook_subscriptions", f"15 minutes of Graph time went by, it is {now:%H:%M}"
        )
        return True

    def _last_hour_over(self, now: datetime) -> datetime:
        return clock.hour_start(now - self.over) - clock.HOUR

    @staticmethod
    def _last_quarter(now: datetime) -> int:
        return int(now.timestamp()) // QUARTER_S

    def _look_for_hang(self) -> None:
        now = time.monotonic()
        queued = {str(task["id"]) for task in self.airflow.tasks("queued")}
        self._queued_since = {name: self._queued_since.get(name, now) for name in queued}
        longest = max((now - since for since in self._queued_since.values()), default=0.0)
        if longest > self.hang_s and len(self.airflow.tasks("running")) < self.slots:
            self._queued_since.clear()
            self.restart(f"did not start a task for {longest:.0f} s")
