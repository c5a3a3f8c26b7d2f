"""An endpoint for notifications whose manners a test can choose."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Sink:
    """What arrived, and how to answer what comes next."""

    port: int = 0
    posts: list[list[dict[str, Any]]] = field(default_factory=list)
    """`value` of each POST, in order of arrival, refused ones included."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Each POST as a whole."""
    arrived_at: list[float] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next POSTs; 202 when empty."""
    echo: str = "decoded"
    """How a handshake is answered: decoded, encoded, quoted, html, silence, forbidden."""
    delay_s: float = 0.0
    closed: bool = False

    @property
    def url(self) -> str:
        """Where notifications go; it has a query that must survive."""
        return f"http://127.0.0.1:{self.port}/hook?kept=a%20b"

    @property
    def items(self) -> list[dict[str, Any]]:
        """All notifications of all POSTs."""
        return [one for post in self.posts for one in post]

    def wait_for(self, count: int, seconds: float = 8.0) -> list[dict[str, Any]]:
        """Wait until `count` notifications have arrived."""
        until = time.monotonic() + seconds
        while len(self.items) < count:
            assert time.monotonic() < until, f"{len(self.items)} of {count} notifications came"
            time.sleep(0.01)
        return self.items


def _handler(sink: Sink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = urllib.parse.parse_qs(self.path.partition("?")[2])
            if sink.closed:  # a connection kept alive must not outlive the endpoint
                self.close_connection = True
                return
            sink.queries.append(query)
            if "validationToken" in query:
                self._shake_hands(query["validationToken"][0])
                return
            sink.bodies.append(json.loads(body))
            sink.posts.append(sink.bodies[-1]["value"])
            sink.arrived_at.append(time.monotonic())
            time.sleep(sink.delay_s)
            self._answer(sink.statuses.pop(0) if sink.statuses else 202, "", "text/plain")

        def _shake_hands(self, token: str) -> None:
            sink.tokens.append(token)
            if sink.echo == "silence":
                time.sleep(12)
            text = {
                "encoded": urllib.parse.quote(token, safe=""),
                "quoted": json.dumps(token),
            }.get(sink.echo, token)
            kind = "text/html" if sink.echo == "html" else "text/plain"
            self._answer(403 if sink.echo == "forbidden" else 200, text, kind)

        def _answer(self, status: int, text: str, kind: str) -> None:
            raw = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(raw)))
            with contextlib.suppress(OSError):  # whoever asked may have given up
                self.end_headers()
                self.wfile.write(raw)

    return Handler


@contextmanager
def open_sink(**manners: Any) -> Iterator[Sink]:
    """A listening sink."""
    sink = Sink(**manners)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(sink))
    server.daemon_threads = True
    sink.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.closed = True
        server.shutdown()
        server.server_close()
