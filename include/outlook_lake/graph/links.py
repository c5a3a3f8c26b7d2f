"""Where a bearer token may go: the configured origin, below `/v1.0/`, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from yarl import URL

from outlook_lake.errors import UntrustedLinkError

__all__ = ["VERSION", "Links"]

VERSION = "/v1.0"
_STRANGE = re.compile(r"[^\x21-\x7e]|[\\#]")


class Links:
    """Checks paths of ours and links of Graph's against one origin."""

    def __init__(self, graph_url: str) -> None:
        self._base = graph_url + VERSION
        self._origin = _origin(graph_url)

    def url(self, path_or_link: str) -> URL:
        """The URL to ask, never re-encoded; UntrustedLinkError (which quotes nothing) else."""
        text = self._base + path_or_link if path_or_link.startswith("/") else path_or_link
        if _STRANGE.search(text) or path_or_link.startswith("//"):
            raise UntrustedLinkError("a link that is not one of Graph's was not followed")
        if _origin(text) != self._origin:
            raise UntrustedLinkError("a link to another host was not followed")
        path = urlsplit(text).path
        steps = unquote(unquote(path)).split("/")
        if not path.startswith(VERSION + "/") or ".." in steps:
            raise UntrustedLinkError("a link outside of Graph's place was not followed")
        return URL(text, encoded=True)


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        raise UntrustedLinkError("a link that is not a URL was not followed") from None
    if parts.username is not None or parts.password is not None:
        raise UntrustedLinkError("a link with a user name in it was not followed")
    return parts.scheme, (parts.hostname or "").lower(), port
