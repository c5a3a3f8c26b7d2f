"""The signing keys come from the login host of the connection and from nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from outlook_lake.looks.rich.opening import Unusable
from outlook_lake.looks.rich.tokens import LARGEST, SigningKeys, TokenCheck, fetch_from
from outlook_lake.tenants.credential import Credential
from outlook_lake.tenants.credentials import Credentials
from tests.support.rich import Issuer

TENANT = "11111111-2222-4333-8444-555555555555"
CLIENT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
ISSUER = Issuer(TENANT, CLIENT)
ABOUT = "/common/.well-known/openid-configuration"
KEYS = "/common/discovery/keys"


@contextmanager
def login_host(pages: dict[str, tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """A host that answers these paths; its address and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = pages.get(self.path, (404, b""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body.decode())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def told(base: str) -> str | None:
    """Why a good token is not believed with the keys of this host."""
    credentials = Credentials(
        TENANT, CLIENT, Credential("current", secret="s"), "http://127.0.0.1:1", base
    )
    keys = SigningKeys(fetch_from(credentials))
    try:
        TokenCheck(keys, TENANT, CLIENT, credentials.cloud).check(ISSUER.token())
    except Unusable as unusable:
        return unusable.reason
    return None


def about(place: str) -> tuple[int, bytes]:
    return 200, json.dumps({"jwks_uri": place, "issuer": "x"}).encode()


def test_keys_are_found_by_what_the_login_host_says_of_itself():
    pages: dict[str, tuple[int, bytes]] = {KEYS: (200, ISSUER.document())}
    with login_host(pages) as (base, asked):
        pages[ABOUT] = about(base + KEYS)
        assert told(base) is None
    assert asked == [ABOUT, KEYS]


def test_keys_on_another_host_are_not_asked_for():
    other: dict[str, tuple[int, bytes]] = {KEYS: (200, ISSUER.document())}
    pages: dict[str, tuple[int, bytes]] = {}
    with login_host(other) as (elsewhere, not_asked), login_host(pages) as (base, _):
        pages[ABOUT] = about(elsewhere + KEYS)
        assert told(base) == "token_keys_unreachable"
        pages[ABOUT] = (302, (elsewhere + KEYS).encode())
        assert told(base) == "token_keys_unreachable"
    assert not_asked == []


@pytest.mark.parametrize(
    "page", [(500, b""), (404, b"{}"), (200, b"<html>"), (200, b"x" * (LARGEST + 1)), (200, b"[]")]
)
def test_a_login_host_in_trouble_costs_looks_only(page: tuple[int, bytes]):
    with login_host({ABOUT: page}) as (base, _):
        assert told(base) == "token_keys_unreachable"


def test_no_login_host_at_all_costs_looks_only():
    with login_host({}) as (base, _):
        pass
    assert told(base) == "token_keys_unreachable"
