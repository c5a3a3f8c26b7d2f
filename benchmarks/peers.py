"""Redis and PostgreSQL on a Unix socket below a folder, as Debian ships them, made for a run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.reporting import progress

__all__ = ["Peer", "cpu_s", "peers"]


@dataclass
class Peer:
    """A store beside a front: what the front must know, and the processes that do the work."""

    name: str
    version: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]


@contextmanager
def peers(folder: Path, only: set[str]) -> Iterator[tuple[dict[str, Peer], dict[str, str]]]:
    """Those that can be started, by name; and for each that cannot, why."""
    missing: dict[str, str] = {}
    found: dict[str, Peer] = {}
    with ExitStack() as stack:
        for name, module, start in (
            ("redis", "redis", _redis),
            ("postgres", "psycopg", _postgres),
        ):
            if only and name not in only:
                continue
            if importlib.util.find_spec(module) is None:
                missing[name] = f"the Python package {module} is not installed"
                continue
            try:
                found[name] = stack.enter_context(start(folder))
            except (OSError, subprocess.SubprocessError, StopIteration) as error:
                missing[name] = str(error) or type(error).__name__
        for name, why in missing.items():
            progress(f"{name} is not measured: {why}")
        yield found, missing


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU-seconds of a process and its children, user and system."""
    total = 0.0
    root = psutil.Process(process.pid)
    for one in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


@contextmanager
def _redis(folder: Path) -> Iterator[Peer]:
    binary = _binary("redis-server", "redis-server")
    home = folder / "redis"
    home.mkdir()
    socket = home / "s"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(home), "--save", ""]
    process = subprocess.Popen(
        [binary, *options, "--appendonly", "yes", "--appendfsync", "always"],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(socket, process)
        version = _first_line([binary, "--version"])
        yield Peer("redis", version, {"BENCH_REDIS": str(socket)}, process)
    finally:
        _end(process)


@contextmanager
def _postgres(folder: Path) -> Iterator[Peer]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    binary = Path(found[-1]) if found else Path(_binary("postgres", "postgresql"))
    home = folder / "postgres"
    home.mkdir()
    person: int | None = None
    if os.geteuid() == 0:  # it refuses to run as root
        person = pwd.getpwnam("nobody").pw_uid
        os.chown(home, person, -1)
        folder.chmod(0o711)
    data = home / "data"
    initdb = [str(binary.with_name("initdb")), "-D", str(data), "-U", "bench", "-A", "trust"]
    subprocess.run(initdb, check=True, capture_output=True, user=person)
    command = [str(binary), "-D", str(data), "-k", str(home), "-c", "listen_addresses="]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=person
    )
    try:
        _wait_for(home / ".s.PGSQL.5432", process)
        dsn = f"host={home} user=bench dbname=postgres"
        yield Peer("postgres", _first_line([str(binary), "-V"]), {"BENCH_POSTGRES": dsn}, process)
    finally:
        _end(process)


def _binary(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise OSError(f"{name} is not installed (Debian: apt-get install {package})")
    return found


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError(f"{process.args!r} did not start")
        time.sleep(0.05)
    time.sleep(0.5)  # the socket exists a moment before it is answered


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_line(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]
