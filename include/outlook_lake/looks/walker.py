"""What all walks of a tenant share: the client, the decoder, and where to commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from outlook_lake.errors import UsageError
from outlook_lake.events.observation import Observed
from outlook_lake.graph.client import GraphClient
from outlook_lake.looks.decode import Decoder
from outlook_lake.settings import Settings
from outlook_lake.state import Database

__all__ = ["STREAMS", "Commit", "Walker"]

Commit = Callable[[Observed], Awaitable[bool]]
"""Commits through apply; False when the lease was lost."""

STREAMS = frozenset({"messages", "folders", "rules"})
"""What a tenant can be watched for; a connection may name fewer."""


async def _nowhere(observed: Observed) -> bool:
    raise UsageError("a walk needs somewhere to commit to")


@dataclass(frozen=True, slots=True)
class Walker:
    """What all walks of a tenant share."""

    client: GraphClient
    decoder: Decoder
    db: Database
    settings: Settings
    name_key: bytes
    commit: Commit = _nowhere
    streams: frozenset[str] = STREAMS

    def with_commit(self, commit: Commit) -> Walker:
        """The same, committing elsewhere."""
        return replace(self, commit=commit)
