"""JSON in and out of the control API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from graph_simulator.errors import ControlRefused

__all__ = ["Handler", "answer", "body_of", "only", "text_of", "texts_of", "whole"]

_encode = msgspec.json.Encoder().encode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(body: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_encode(body), status=status, content_type="application/json")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The object in a request's body, empty without one. Raises ControlRefused (400)."""
    try:
        body = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError as found:
        raise ControlRefused(400, f"the body is not JSON: {found}.") from None
    if not isinstance(body, dict):
        raise ControlRefused(400, "the body must be a JSON object.")
    return body


def only(body: dict[str, Any], what: str, *names: str) -> None:
    """Refuse members nobody knows: a misspelt one must not pass unseen."""
    unknown = sorted(set(body) - set(names))
    if unknown:
        raise ControlRefused(400, f"{what} does not know: {', '.join(unknown)}.")


def text_of(body: dict[str, Any], name: str) -> str:
    """A string member that must be there. Raises ControlRefused (400)."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ControlRefused(400, f"{name} is missing, or is no string.")
    return value


def texts_of(body: dict[str, Any], name: str) -> list[str]:
    """A list of strings that must be there. Raises ControlRefused (400)."""
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ControlRefused(400, f"{name} must be a list of strings.")
    return value


def whole(request: web.Request, name: str, default: int) -> int:
    """A whole number in the query. Raises ControlRefused (400)."""
    text = request.query.get(name, str(default))
    if not text.isdigit():
        raise ControlRefused(400, f"{name} must be a whole number.")
    return int(text)
