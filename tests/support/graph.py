"""A small real Graph for tests: HTTP for Graph, HTTPS with a private CA for the token.

The test says what each path answers; the server counts what it was asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outlook_lake.graph.auth import TokenSource
from outlook_lake.graph.client import GraphClient
from outlook_lake.settings import Settings
from outlook_lake.tenants.credential import Credential
from outlook_lake.tenants.credentials import Credentials

TENANT = "3f0b1a9e-0000-4000-8000-000000000001"
USER = "7a1e5c00-1111-4222-8333-444455556666"
OTHER_USER = "7a1e5c00-1111-4222-8333-444455557777"
GRAPH_TIME = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def graph_error(
    status: int, code: str, message: str = "", headers: dict[str, str] | None = None
) -> web.Response:
    """A refusal in Graph's shape."""
    body = {"error": {"code": code, "message": message, "innerError": {}}}
    return web.json_response(
        body, status=status, headers={"request-id": "aa-11", **(headers or {})}
    )


@dataclass
class SmallGraph:
    """What the server was asked and what it shall answer."""

    folder: Path
    handler: Handler | None = None
    graph_url: str = ""
    authority_url: str = ""
    now: datetime = GRAPH_TIME
    tokens_given: int = 0
    token_lifetime_s: int = 3600
    good_tokens: set[str] = field(default_factory=set)
    refuse_secret: bool = False
    secrets: set[str] = field(default_factory=lambda: {"secret"})
    certificates: list[str] = field(default_factory=list)
    """PEM of the certificates registered with the application."""
    token_status: int = 200
    """Another one and the token endpoint answers with it alone."""
    asked: list[web.Request] = field(default_factory=list)

    @property
    def credentials(self) -> Credentials:
        """Credentials that fit this server."""
        return Credentials(
            TENANT,
            "client",
            Credential("current", secret="secret"),
            self.graph_url,
            self.authority_url,
            str(self.folder / "ca.pem"),
        )

    @asynccontextmanager
    async def client(self, settings: Settings | None = None) -> AsyncIterator[GraphClient]:
        """A Graph client with a token source of its own."""
        tokens = TokenSource(self.credentials)
        async with GraphClient(self.credentials, tokens, settings or Settings()) as client:
            yield client

    async def graph(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.good_tokens:
            return self._dated(graph_error(401, "InvalidAuthenticationToken"))
        assert self.handler is not None
        return self._dated(await self.handler(request))

    def _dated(self, response: web.StreamResponse) -> web.StreamResponse:
        response.headers["Date"] = format_datetime(self.now, usegmt=True)
        return response

    async def discovery(self, request: web.Request) -> web.Response:
        base = f"{self.authority_url}/{request.match_info['tenant']}"
        return web.json_response(
            {
                "issuer": f"{base}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "jwks_uri": f"{base}/keys",
            }
        )

    def _refusal(self, form: Any) -> str | None:
        if "client_assertion" not in form:
            good = not self.refuse_secret and form.get("client_secret") in self.secrets
            return None if good else "AADSTS7000215"
        for pem in self.certificates:
            key = x509.load_pem_x509_certificate(pem.encode()).public_key()
            with suppress(jwt.InvalidTokenError):
                jwt.decode(
                    form["client_assertion"],
                    key,  # type: ignore[arg-type]
                    algorithms=["PS256", "RS256"],
                    audience=f"{self.authority_url}/{TENANT}/oauth2/v2.0/token",
                    issuer="client",
                )
                return None
        return "AADSTS700027"

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if self.token_status != 200:
            return web.Response(status=self.token_status, headers={"Retry-After": "1"})
        refused = self._refusal(form)
        if refused:
            return web.json_response(
                {"error": "invalid_client", "error_description": refused}, status=401
            )
        self.tokens_given += 1
        token = f"token-{self.tokens_given}"
        self.good_tokens.add(token)
        return web.json_response(
            {"token_type": "Bearer", "access_token": token, "expires_in": self.token_lifetime_s}
        )


@asynccontextmanager
async def small_graph(folder: Path, handler: Handler | None = None) -> AsyncIterator[SmallGraph]:
    """The server, running on two free ports of loopback."""
    server = SmallGraph(folder, handler)
    plain = web.Application()
    plain.router.add_route("*", "/v1.0/{rest:.*}", server.graph)
    login = web.Application()
    login.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", server.discovery)
    login.router.add_post("/{tenant}/oauth2/v2.0/token", server.token)
    runners = [web.AppRunner(plain, access_log=None), web.AppRunner(login, access_log=None)]
    for runner in runners:
        await runner.setup()
    try:
        server.graph_url = f"http://127.0.0.1:{await _listen(runners[0], None)}"
        server.authority_url = f"https://127.0.0.1:{await _listen(runners[1], private_tls(folder))}"
        yield server
    finally:
        for runner in runners:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, tls: ssl.SSLContext | None) -> int:
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    assert runner.addresses
    return int(runner.addresses[0][1])


def private_tls(folder: Path) -> ssl.SSLContext:
    """A server context whose self-signed certificate is also `ca.pem` in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


def message_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """One message as Graph writes it, with the content fields a client must drop."""
    person = {"emailAddress": {"name": "Ann", "address": "ann@contoso.example"}}
    row = {
        "@odata.etag": 'W/"CQAAABYA"',
        "id": f"AAkALg{number:04d}=",
        "subject": "CANARY subject",
        "bodyPreview": "CANARY preview",
        "changeKey": "CQAAABYA",
        "createdDateTime": "2026-11-24T05:59:00Z",
        "lastModifiedDateTime": "2026-11-24T05:59:01Z",
        "receivedDateTime": "2026-11-24T05:59:00Z",
        "sentDateTime": "2026-11-24T05:58:59Z",
        "hasAttachments": False,
        "internetMessageId": f"<{number}@contoso.example>",
        "importance": "normal",
        "parentFolderId": "AQMkADAwATM3=",
        "conversationId": "AAQkADAw=",
        "isRead": False,
        "isDraft": False,
        "inferenceClassification": "focused",
        "categories": [],
        "from": person,
        "sender": person,
        "toRecipients": [person],
        "ccRecipients": [],
        "bccRecipients": [],
        "replyTo": [],
        "flag": {"flagStatus": "notFlagged"},
    }
    return row | changes


def answering(*answers: web.Response) -> Handler:
    """A handler that gives these answers one after another, the last for ever."""
    left = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={k: v for k, v in answer.headers.items() if k.lower() != "content-length"},
        )

    return handler


async def wait_until(claim: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for a claim to become true; fails the test when it does not."""
    async with asyncio.timeout(within_s):
        while not claim():  # noqa: ASYNC110  (any claim, whoever makes it true)
            await asyncio.sleep(0.005)


def json_body(value: object) -> web.Response:
    """A 200 with JSON."""
    return web.Response(body=json.dumps(value).encode(), content_type="application/json")
