"""Starts parts, restarts what dies, stops everything it started and nothing else.

Every part is a session of its own: Ctrl-C in the terminal reaches only the supervisor, and a
part is stopped with all it has made. What is running stands in `run/<part>.pid`, so a
supervisor that was killed itself leaves nothing behind: the next one clears it away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from outlook_lake.errors import OutlookLakeError

__all__ = ["Part", "PartFailedError", "Supervisor", "clear_leftovers"]

LOOK_S = 0.5
RAPID_DEATHS = 5
"""A part that dies so often within a minute is not restarted again: something is wrong."""


class PartFailedError(OutlookLakeError):
    """A part that cannot stay up; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component: its command, and how long it gets to stop (s machine) before it is killed.

    `keeps_children`: a child that disappears while the part lives means that the part is
    damaged, and it is restarted whole. (A killed worker of the local executor can take the
    queue's lock with it, and then no task starts any more.)
    """

    name: str
    command: Sequence[str]
    patience_s: float = 4.0
    keeps_children: bool = False


@dataclass(slots=True)
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    began: float
    children: set[int] = field(default_factory=set)


class Supervisor:
    """`folder` gets logs and pid files; `say` gets a line for people at each restart."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.say = say
        self.restarts = 0
        self.failure: PartFailedError | None = None
        self._running: dict[str, _Running] = {}
        self._deaths: dict[str, list[float]] = {}
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._watch = threading.Thread(target=self._watch_all, name="supervisor", daemon=True)
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, part: Part) -> None:
        """Start a part; from now on it is kept alive."""
        with self._lock:
            self._launch(part)
            if not self._watch.is_alive():
                self._watch.start()

    def stop(self, names: Sequence[str], patience_s: float | None = None) -> None:
        """Stop these parts together: TERM to each leader, then KILL for what is left of it."""
        with self._lock:
            chosen = [self._running.pop(name) for name in names if name in self._running]
        for running in chosen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.process.pid, signal.SIGTERM)
        for running in chosen:
            patience = running.part.patience_s if patience_s is None else patience_s
            _end(running.process, time.monotonic() + patience)
            (self.folder / f"{running.part.name}.pid").unlink(missing_ok=True)

    def restart(self, name: str, why: str) -> None:
        """End a part at once and start it again; says why."""
        with self._lock:
            running = self._running.get(name)
            if running is None or self._ending.is_set():
                return
            self._replace(running, why)

    def end(self) -> None:
        """No more restarts from now on; call before the first `stop` of an orderly end."""
        self._ending.set()

    def pid(self, name: str) -> int | None:
        """The process id of a part's leader, while it runs."""
        with self._lock:
            running = self._running.get(name)
            return running.process.pid if running else None

    def names(self) -> list[str]:
        """Parts that run, in the order they were started."""
        with self._lock:
            return list(self._running)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a part's log."""
        try:
            text = (self.folder / f"{name}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _launch(self, part: Part) -> None:
        log = self.folder / f"{part.name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        self._running[part.name] = _Running(part, process, time.monotonic())
        try:
            born = psutil.Process(process.pid).create_time()
        except psutil.NoSuchProcess:
            return
        (self.folder / f"{part.name}.pid").write_text(f"{process.pid} {born}")

    def _watch_all(self) -> None:
        while not self._ending.wait(LOOK_S):
            with self._lock:
                for running in list(self._running.values()):
                    if self._ending.is_set():
                        return
                    self._look_at(running)

    def _look_at(self, running: _Running) -> None:
        code = running.process.poll()
        if code is not None:
            self._replace(running, f"ended ({_how(code)})")
        elif running.part.keeps_children:
            try:
                children = _living_children(running.process.pid)
            except psutil.NoSuchProcess:
                return
            if running.children - children:
                self._replace(running, "lost a worker")
            else:
                running.children = children

    def _replace(self, running: _Running, why: str) -> None:
        name = running.part.name
        now = time.monotonic()
        deaths = [at for at in self._deaths.get(name, []) if now - at < 60] + [now]
        self._deaths[name] = deaths
        _signal_session(running.process.pid, signal.SIGKILL)
        _end(running.process, now)
        if len(deaths) >= RAPID_DEATHS:
            del self._running[name]
            self.failure = PartFailedError(
                f"{name} {why} {len(deaths)} times within a minute; its log ends:\n"
                + self.log_tail(name)
            )
            return
        self.restarts += 1
        self._launch(running.part)
        self.say(f"{name} {why}; started again after {time.monotonic() - now:.1f} s")


def clear_leftovers(folder: Path) -> int:
    """Kill what a killed supervisor with this folder left running; returns how many parts.

    Returns when they are gone, and their ports with them (at most 5 s, machine time).
    """
    cleared: list[int] = []
    for file in sorted(folder.glob("*.pid")):
        words = file.read_text().split()
        file.unlink(missing_ok=True)
        if len(words) == 2 and _is_ours(int(words[0]), float(words[1])):
            cleared.append(int(words[0]))
            _signal_session(cleared[-1], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(_has_members, cleared)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(cleared)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _signal_session(leader: int, number: int) -> None:
    """Signal every process of a part's session.

    Airflow puts each task into a process group of its own, so the group is not enough; the
    session still names them all, also when its leader is dead.
    """
    for pid in psutil.pids():
        if _session(pid) == leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _end(process: subprocess.Popen[bytes], deadline: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.05, deadline - time.monotonic()))
    _signal_session(process.pid, signal.SIGKILL)
    process.wait()


def _living_children(pid: int) -> set[int]:
    """A dead child that its parent has not asked after is a zombie: it counts as gone."""
    return {
        child.pid
        for child in psutil.Process(pid).children()
        if child.status() != psutil.STATUS_ZOMBIE
    }


def _is_ours(leader: int, born: float) -> bool:
    """Whether that session is still the one that was started: its number may be somebody else's."""
    try:
        return bool(abs(psutil.Process(leader).create_time() - born) < 1.0)
    except psutil.NoSuchProcess:
        # The leader is dead. No new process gets its number while its session has members.
        return any(_session(pid) == leader for pid in psutil.pids())


def _has_members(leader: int) -> bool:
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            if _session(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
