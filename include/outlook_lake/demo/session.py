"""One supervised session: checks first, then the stage is up, and at the end all of it is gone."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from outlook_lake import clock
from outlook_lake.demo import checks, parts
from outlook_lake.demo.options import Options, run_folder
from outlook_lake.demo.screen import Screen
from outlook_lake.demo.stage import Stage
from outlook_lake.demo.supervisor import clear_leftovers
from outlook_lake.settings import Settings

__all__ = ["running"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MADE_BY_A_SESSION = ("state", "staging", "log", "lake", "directory", "airflow", "simulator")


@contextmanager
def running(options: Options, screen: Screen, *, fresh_home: str | None = None) -> Iterator[Stage]:
    """Everything up inside, every mailbox live; down at the end, whatever ended it.

    `fresh_home` names a folder below the home, whose state is removed first; None = the home
    itself, as it is. Raises UsageError before anything is started when a check fails. INT,
    TERM and HUP become KeyboardInterrupt.
    """
    settings = Settings.load()
    if fresh_home is not None:
        settings = dataclasses.replace(settings, home=settings.home / fresh_home)
    os.environ[clock.CLOCK_ENV] = str(parts.clock_file(settings))
    with checks.alone(settings):
        # Before the ports are looked at: what a killed session left behind still holds them.
        cleared = clear_leftovers(run_folder(settings))
        if cleared:
            screen.say(f"cleared away {cleared} parts that a killed session left behind")
        looked = checks.all_checks(settings, options.ports)
        for check in looked:
            if check.is_right:
                screen.say(check.line())
        checks.refuse_failed(looked)
        if fresh_home is not None:
            _forget(settings)
        stage = Stage(settings, options, screen)
        with _taken_down(stage, screen):
            stage.up()
            yield stage


@contextmanager
def _taken_down(stage: Stage, screen: Screen) -> Iterator[None]:
    """The first signal ends the session; the ones after it do not disturb the end."""

    def interrupt(number: int, _frame: object) -> None:
        _ignore_signals()
        raise KeyboardInterrupt

    before = {name: signal.signal(name, interrupt) for name in SIGNALS}
    try:
        yield
    finally:
        _ignore_signals()
        began = time.monotonic()
        screen.say("stopping what was started")
        stage.down()
        screen.say(f"everything is stopped, after {time.monotonic() - began:.1f} s")
        for name, handler in before.items():
            signal.signal(name, handler)


def _ignore_signals() -> None:
    for name in SIGNALS:
        signal.signal(name, signal.SIG_IGN)


def _forget(settings: Settings) -> None:
    """Remove the state of the last such session, and only what a session makes."""
    for name in MADE_BY_A_SESSION:
        shutil.rmtree(settings.home / name, ignore_errors=True)
