"""Server processes of the receiver's benches and drills: started, watched, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path

__all__ = ["receiver", "serving"]


@contextmanager
def serving(
    module: list[str], home: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m MODULE … --port P` on a home, once it answers; ended in good order."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OUTLOOK_")}
    env |= {"OUTLOOK_LAKE_HOME": str(home), **(environment or {})}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, "--port", str(port)], env=env, stdout=log, stderr=log
        )
    try:
        _wait(process, port, home)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def receiver(
    home: Path, port: int, **settings: object
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The stand-alone receiver; settings as in `receiver.*`."""
    named = {f"OUTLOOK_LAKE_RECEIVER_{name.upper()}": str(v) for name, v in settings.items()}
    return serving(["outlook_lake.receiver"], home, port, named)


def _wait(process: subprocess.Popen[bytes], port: int, home: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OSError(f"{process.args!r} ended: {(home / 'server.log').read_text()[-2000:]}")
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status != 503:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    raise OSError(f"{process.args!r} never answered")
