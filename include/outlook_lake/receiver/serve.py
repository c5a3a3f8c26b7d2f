"""The stand-alone receiver: one process, one worker, no access log."""

from __future__ import annotations

import gc
import logging
import resource
from contextlib import suppress

from outlook_lake.receiver.app import Receiver
from outlook_lake.settings import Settings

__all__ = ["serve"]

MOST_CONNECTIONS = 4096
"""Each costs about 10 KB; one more is answered 503 and closed."""
SPARE_FILES = 64


def serve(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Run until SIGTERM or SIGINT; then store what waits and close the open segment.

    To use more cores, start more of these on other ports behind a load balancer: they share
    nothing but the staging folder and the key file.
    """
    import uvicorn

    from outlook_lake.receiver.protocol import Doorkeeper, protocol_of

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    receiver = Receiver(settings)
    keeper = Doorkeeper(receiver.intake, _most_connections())
    # "Invalid HTTP request" and the like: counted in quarantine, where no flood fills a disk.
    logging.getLogger("uvicorn.error").addFilter(lambda line: line.levelno != logging.WARNING)
    # What exists now lives as long as the process, and what a request makes has no cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvicorn.run(
        receiver,
        host=host or settings.receiver.host,
        port=port or settings.receiver.port,
        loop="uvloop",
        http=protocol_of(keeper),
        ws="none",
        lifespan="on",
        access_log=False,  # a query string may hold a validation token
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
        backlog=4096,
    )


def _most_connections() -> int:
    """As many as the system lets us have files, up to a limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + SPARE_FILES
    allowed = wanted if most == resource.RLIM_INFINITY else min(most, wanted)
    with suppress(ValueError, OSError):
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < allowed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(MOST_CONNECTIONS, soft - SPARE_FILES))
