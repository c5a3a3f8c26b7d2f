"""A login host that refuses as Entra does, for what the simulator does not refuse yet."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from tests.support.graph import private_tls

TEXTS = {
    7000222: "The provided client secret keys for app '{}' are expired.",
    700027: "The certificate with identifier used to sign the client assertion is not registered.",
    7000112: "Application '{}' is disabled.",
}


@contextmanager
def refusing_login(folder: Path, number: int, client_id: str) -> Iterator[str]:
    """`https://127.0.0.1:port`: knows every tenant, refuses every token with AADSTS`number`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port, runner = asyncio.run_coroutine_threadsafe(
        _serve(private_tls(folder), number, client_id), loop
    ).result(10)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _serve(tls: ssl.SSLContext, number: int, client_id: str) -> tuple[int, web.AppRunner]:
    async def discovery(request: web.Request) -> web.Response:
        base = f"https://{request.host}/{request.match_info['tenant']}"
        return web.json_response(
            {
                "issuer": f"{base}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "jwks_uri": f"{base}/keys",
            }
        )

    async def token(request: web.Request) -> web.Response:
        del request
        told = {
            "error": "invalid_client",
            "error_description": f"AADSTS{number}: {TEXTS[number].format(client_id)} Trace ID: x",
            "error_codes": [number],
        }
        return web.json_response(told, status=401)

    app = web.Application()
    app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", discovery)
    app.router.add_post("/{tenant}/oauth2/v2.0/token", token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    return int(runner.addresses[0][1]), runner
