"""The receiver as a FastAPI sub-application, for hosts that mount one (Airflow's API server).

Only a FastAPI mount has its lifespan entered by the host, and only the lifespan opens and
closes segments; the work itself stays in the raw ASGI application below it. Nothing is
opened at import: plugins are imported by every component of Airflow.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from outlook_lake.errors import StateError
from outlook_lake.receiver.answers import UNAVAILABLE
from outlook_lake.receiver.app import Receive, Receiver, Scope, Send, create_app
from outlook_lake.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["create_fastapi"]

log = logging.getLogger(__name__)


class _Mounted:
    """Hands over to the receiver once there is one; 503 before and without."""

    def __init__(self) -> None:
        self.receiver: Receiver | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.receiver is not None:
            await self.receiver(scope, receive, send)
        elif scope["type"] == "http":
            await send(UNAVAILABLE.start)
            await send(UNAVAILABLE.end)
        else:
            await send({"type": "websocket.close"})


def create_fastapi(settings: Settings) -> FastAPI:
    """A sub-application with `/notifications`, `/live`, `/ready` and `/metrics` and nothing else.

    Unusable keys are logged and answered 503; they never stop the host.
    """
    from fastapi import FastAPI

    mounted = _Mounted()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            mounted.receiver = create_app(settings)
        except StateError as error:
            log.error("the receiver answers 503 until this is repaired: %s", error)
            yield
            return
        await mounted.receiver.startup()
        try:
            yield
        finally:
            await mounted.receiver.shutdown()

    app = FastAPI(
        title="Outlook notifications",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.mount("/", mounted)
    return app
