"""The demo itself: checks, stage, live table or verdict, exit code.

0 = as asked (with `--minutes`: the audit is clean), 1 = a finding, 2 = wrong use.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from outlook_lake.demo import parts
from outlook_lake.demo.clockwork import Clockwork
from outlook_lake.demo.freshness import Freshness
from outlook_lake.demo.judge import Judge
from outlook_lake.demo.options import Options, parse
from outlook_lake.demo.screen import Screen
from outlook_lake.demo.session import running
from outlook_lake.demo.stage import Stage
from outlook_lake.errors import OutlookLakeError, UsageError

__all__ = ["main", "play"]

FLOOR_AN_HOUR = 120
"""New messages in a Graph hour at the least, so that also a night has something to show."""

QUERIES = (
    "SELECT action, count(*) AS n FROM events_live GROUP BY action ORDER BY n DESC",
    "SELECT timestamp, action, from_domain, recipient_count FROM events_live "
    "ORDER BY timestamp DESC LIMIT 10",
    "SELECT hour, rows, sealed_at FROM hours ORDER BY hour",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """`outlook-lake demo …`; returns the exit code."""
    options = parse(arguments)
    screen = Screen()
    try:
        return play(options, screen)
    except UsageError as error:
        screen.say(str(error))
        return 2
    except OutlookLakeError as error:
        screen.say(str(error))
        return 1
    except KeyboardInterrupt:
        return 0 if not options.minutes else 1


def play(options: Options, screen: Screen) -> int:
    """Run one demo to its end. Ctrl-C, TERM and HUP end it in order."""
    # A judged demo has a home of its own below the other, empty at its start.
    with running(options, screen, fresh_home="check" if options.minutes else None) as stage:
        return _perform(stage)


def _perform(stage: Stage) -> int:
    """Let mail flow and watch it; with `minutes` come to a verdict."""
    settings = stage.settings
    clockwork = Clockwork(
        stage.airflow,
        over_s=settings.lake.over_s,
        slots=settings.stream.lanes + 6,
        restart=lambda why: stage.supervisor.restart("scheduler", why),
    )
    judge = Judge(stage, Freshness(stage.database, settings.home, stage.simulator))
    try:
        first_event_s = _first_event(stage, clockwork)
        _watch(stage, judge)
    finally:
        clockwork.stop()
    return _verdict(stage, judge, first_event_s) if stage.options.minutes else 0


def _first_event(stage: Stage, clockwork: Clockwork) -> float:
    """Start mail and wait until a row of it can be queried; returns seconds since the start."""
    screen, known = stage.screen, stage.figures()
    screen.say(f"{known.live} mailboxes are live; mail begins to flow")
    _start_traffic(stage)
    clockwork.start()
    stage.wait(lambda: stage.figures().events > known.events, "the first event")
    first_event_s = screen.elapsed_s
    screen.say(f"the first event can be queried, {first_event_s:.0f} s after the start")
    _invite(stage)
    return first_event_s


def _verdict(stage: Stage, judge: Judge, first_event_s: float) -> int:
    verdict = judge.close()
    result = {
        **verdict,
        "minutes": stage.options.minutes,
        "install_s": _install_s(),
        "first_event_s": round(first_event_s, 1),
    }
    if stage.options.as_json:
        print(json.dumps(result), flush=True)
    return 0 if verdict["clean"] else 1


def _start_traffic(stage: Stage) -> None:
    options = stage.options
    if options.traffic is not None:
        stage.simulator.traffic(go=True)
        return
    stage.simulator.traffic(generator=True, seed=options.seed, floor=FLOOR_AN_HOUR)
    stage.simulator.move_clock(speed=options.speed)


def _watch(stage: Stage, judge: Judge) -> None:
    """Until Ctrl-C, or until the minutes (or the played day) are over."""
    options = stage.options
    deadline = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    background = threading.Thread(target=judge.keep_judging, daemon=True)
    background.start()
    with stage.screen.table():
        while time.monotonic() < deadline:
            if stage.supervisor.failure is not None:
                raise stage.supervisor.failure
            with contextlib.suppress(OutlookLakeError):
                stage.screen.show(judge.rows(), judge.footer())
            time.sleep(1.0)
    judge.stop()
    background.join(timeout=60)


def _invite(stage: Stage) -> None:
    program = Path(sys.executable).with_name("outlook-lake")
    with contextlib.suppress(ValueError):
        program = program.relative_to(Path.cwd())
    home = stage.settings.home
    chosen = (
        "" if home == Path.cwd() / ".lake-home" else f"OUTLOOK_LAKE_HOME={shlex.quote(str(home))} "
    )
    lines = [f"Airflow: http://127.0.0.1:{stage.options.port}", ""]
    lines += ["Try, in another terminal:"]
    lines += [f'  {chosen}{shlex.quote(str(program))} sql -c "{query}"' for query in QUERIES]
    stage.screen.panel("Outlook Activity Lake", lines)


def _install_s() -> float:
    """What the last install took, as `make setup` noted it; 0 when unknown."""
    try:
        return float((parts.project_root() / ".lake-home" / "install_s").read_text())
    except (OSError, ValueError):
        return 0.0
