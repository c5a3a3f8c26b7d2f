"""What a demo was asked to do, and where its things are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from outlook_lake.settings import Settings

__all__ = ["Options", "Ports", "parse", "run_folder", "working_day_begins_at"]

START_BACK_H = 3
"""The simulator's clock begins so many hours back, so that sealed hours exist within minutes."""

SPEED = 60.0
"""Graph seconds in a machine second, until the simulator's clock meets the machine's."""


SENDERS_ZONE = ZoneInfo("America/Chicago")
"""Where the senders of a traffic file lived: it keeps their local time of day."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port the demo listens on, all on loopback: six in a row."""

    airflow: int

    @property
    def simulator(self) -> int:
        """Graph, its token endpoint over plain HTTP, and the control API."""
        return self.airflow + 1

    @property
    def simulator_tls(self) -> int:
        """The token endpoint as msal wants it."""
        return self.airflow + 2

    @property
    def task_logs(self) -> int:
        """The executor's log server."""
        return self.airflow + 3

    @property
    def trigger_logs(self) -> int:
        """The triggerer's log server."""
        return self.airflow + 4

    @property
    def receiver(self) -> int:
        """A stand-alone receiver, where one is asked for."""
        return self.airflow + 5

    def all(self) -> tuple[int, ...]:
        """All six."""
        return tuple(range(self.airflow, self.airflow + 6))


@dataclass(frozen=True, slots=True)
class Options:
    """One demo. `minutes` 0 = until Ctrl-C; `traffic` None = the generator's office mail."""

    port: int = 8080
    minutes: float = 0.0
    traffic: Path | None = None
    mailboxes: int = 0
    seed: int = 7
    speed: float = SPEED
    as_json: bool = False
    standalone_receiver: bool = False
    """A receiver process of its own instead of the one mounted in Airflow's API server."""

    @property
    def ports(self) -> Ports:
        """The ports, counted from `port`."""
        return Ports(self.port)

    @property
    def mailbox_count(self) -> int:
        """Asked for, or 300 for a traffic file and 40 for the generator."""
        return self.mailboxes or (300 if self.traffic else 40)

    def traffic_plan(self, day: date) -> dict[str, Any]:
        """What the simulator is asked to play of the file, laid on `day`."""
        return {
            "file": str(self.traffic),
            "minutes": self.minutes,
            "mailboxes": self.mailbox_count,
            "seed": self.seed,
            "time_zone": SENDERS_ZONE.key,
            "day": day.isoformat(),
        }


def working_day_begins_at(now: datetime) -> datetime:
    """07:00 of the Wednesday of the last whole week before `now`, at the senders' place."""
    here = now.astimezone(SENDERS_ZONE)
    monday = here.date() - timedelta(days=here.weekday() + 7)
    return datetime.combine(monday + timedelta(days=2), time(7), SENDERS_ZONE)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; argparse ends the program with exit code 2 on wrong use."""
    parser = argparse.ArgumentParser(
        prog="outlook-lake demo",
        description="Simulator, Airflow and everything between, with a live table.",
        epilog="example: outlook-lake demo --minutes 2 --json",
    )
    parser.add_argument("--port", type=int, default=8080, help="Airflow's; the next five too")
    parser.add_argument("--minutes", type=float, default=0.0, help="end by itself, judged")
    parser.add_argument("--traffic", type=Path, help="a Parquet file of mail to replay")
    parser.add_argument("--mailboxes", type=int, default=0, help="40, or 300 with --traffic")
    parser.add_argument("--seed", type=int, default=7, help="of the generated people and mail")
    parser.add_argument("--json", action="store_true", help="one line of figures at the end")
    given = parser.parse_args(arguments)
    if not 1024 <= given.port <= 65_529:
        parser.error(f"--port {given.port}: expected 1024 to 65529")
    if given.minutes < 0 or given.mailboxes < 0:
        parser.error("--minutes and --mailboxes cannot be negative")
    if given.traffic is not None:
        if not given.traffic.is_file():
            parser.error(f"--traffic {given.traffic}: no such file")
        if not given.minutes:
            parser.error("--traffic needs --minutes: the day is played in that time")
    return Options(
        port=given.port,
        minutes=given.minutes,
        traffic=given.traffic.absolute() if given.traffic else None,
        mailboxes=given.mailboxes,
        seed=given.seed,
        as_json=given.json,
    )


def run_folder(settings: Settings) -> Path:
    """Pid files and logs of what the demo started."""
    return settings.home / "run"
