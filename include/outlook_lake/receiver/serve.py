"""The stand-alone receiver: one process, one worker, no access log."""

from __future__ import annotations

import logging

from outlook_lake.receiver.app import create_app
from outlook_lake.settings import Settings

__all__ = ["serve"]


def serve(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Run until SIGTERM or SIGINT; then store what waits and close the open segment.

    To use more cores, start more of these on other ports behind a load balancer: they share
    nothing but the staging folder and the key file.
    """
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvicorn.run(
        create_app(settings),
        host=host or settings.receiver.host,
        port=port or settings.receiver.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,  # a query string may hold a validation token
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
        backlog=4096,
    )
