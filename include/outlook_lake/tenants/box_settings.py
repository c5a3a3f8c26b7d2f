"""What a mailbox says of itself: time zone, working hours and purpose, exactly these three."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from outlook_lake.errors import MailboxGoneError
from outlook_lake.graph.client import BATCH_LIMIT, BatchRequest, GraphClient
from outlook_lake.graph.messages import MailboxSettings, User, decode_settings
from outlook_lake.graph.resources import mailbox_settings_path

__all__ = ["of_settings", "read_settings"]

AT_ONCE = 64
"""Batches asked for before their answers are kept."""


async def read_settings(
    client: GraphClient, users: Sequence[User]
) -> dict[str, MailboxSettings | None]:
    """Settings by user id; None = no usable mailbox behind the user; absent = not told."""
    parts = [users[n : n + BATCH_LIMIT] for n in range(0, len(users), BATCH_LIMIT)]
    told: dict[str, MailboxSettings | None] = {}
    for start in range(0, len(parts), AT_ONCE):
        for some in await asyncio.gather(
            *(_settings_of(client, part) for part in parts[start : start + AT_ONCE])
        ):
            told.update(some)
    return told


async def _settings_of(
    client: GraphClient, users: Sequence[User]
) -> dict[str, MailboxSettings | None]:
    requests = [
        BatchRequest(str(n), mailbox_settings_path(user.id)) for n, user in enumerate(users)
    ]
    answer = await client.batch(requests)
    told: dict[str, MailboxSettings | None] = {}
    for user, request, item in zip(users, requests, answer.items, strict=True):
        if item.status == 200:
            # Settings that cannot be read only cost the time zone.
            with suppress(msgspec.DecodeError):
                told[user.id] = decode_settings(item.body)
        elif isinstance(item.error(request.path), MailboxGoneError):
            told[user.id] = None
    return told


def of_settings(settings: MailboxSettings | None) -> dict[str, Any]:
    """The columns of `mailbox` that settings fill; nulls without settings."""
    hours = settings.working_hours if settings else None
    return {
        "time_zone": settings.time_zone if settings else None,
        "working_hours": msgspec.to_builtins(hours) if hours else None,
        "purpose": settings.user_purpose if settings else None,
    }
