"""What must be right before anything starts: one clear line each, all of them at once."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from outlook_lake.demo.options import Ports, run_folder
from outlook_lake.errors import AnotherInstanceError, StorageError, UsageError
from outlook_lake.settings import Settings

__all__ = ["Check", "all_checks", "alone", "refuse_failed"]

DISK_MB = 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: whether it is right, what was found, what to do if not."""

    name: str
    is_right: bool
    found: str
    cure: str = ""

    def line(self) -> str:
        """For people: `ok   disk: 80 GiB free`."""
        mark = "ok  " if self.is_right else "FAIL"
        return f"{mark} {self.name}: {self.found}" + (f". {self.cure}" if self.cure else "")


def all_checks(settings: Settings, ports: Ports, needed_mb: int = DISK_MB) -> list[Check]:
    """Python, disk, ports: everything is looked at, whatever fails first."""
    return [_python(), _disk(settings.home, needed_mb), _ports(ports)]


def refuse_failed(checks: list[Check]) -> None:
    """UsageError with every failed check's line."""
    failed = [check.line() for check in checks if not check.is_right]
    if failed:
        raise UsageError("\n".join(failed))


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the home's lock while the demo runs; a second demo beside it is refused in words."""
    folder = run_folder(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "demo.lock").open("a+")
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror}): free some space, or set "
            "OUTLOOK_LAKE_HOME to a folder on another disk"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise AnotherInstanceError(
                f"a demo is already running in {settings.home} (process {holder}): stop it with "
                "Ctrl-C, or set OUTLOOK_LAKE_HOME to another folder and PORT to other ports"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _python() -> Check:
    version = sys.version_info
    return Check(
        "Python",
        (3, 11) <= version[:2] <= (3, 13),
        f"{version.major}.{version.minor}.{version.micro}",
        "" if (3, 11) <= version[:2] <= (3, 13) else "Expected 3.11, 3.12 or 3.13",
    )


def _disk(home: Path, needed_mb: int) -> Check:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_mb = shutil.disk_usage(existing).free >> 20
    right = free_mb >= needed_mb
    cure = "" if right else f"The demo needs {needed_mb:,} MiB; free some, or set OUTLOOK_LAKE_HOME"
    return Check("disk", right, f"{free_mb:,} MiB free", cure)


def _ports(ports: Ports) -> Check:
    taken = [port for port in ports.all() if _is_taken(port)]
    if not taken:
        return Check("ports", True, f"{ports.airflow}-{ports.receiver} are free")
    names = ", ".join(map(str, taken))
    return Check(
        "ports",
        False,
        f"{names} in use by another program",
        f"Choose others: make demo PORT={ports.airflow + 1000}",
    )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
