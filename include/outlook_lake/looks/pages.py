"""Pages of a folder's delta: where a walk stands, what a page brought, what it leaves open.

A link follows its data (I4): the link of the next page is stored in the same transaction as
the rows before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET

from outlook_lake import clock
from outlook_lake.errors import UnreachableError
from outlook_lake.events.observation import NewHint, Observed
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.messages import Message, decode_page
from outlook_lake.graph.resources import message_delta_path, messages_path, paged
from outlook_lake.looks.decode import Decoder, is_whole, readable
from outlook_lake.looks.folders import FolderState
from outlook_lake.state.kinds import HintKind, item_key

__all__ = ["Page", "read_page"]

ORDINALS_PER_REQUEST = 20


@dataclass(frozen=True, slots=True)
class Page:
    """One page, already turned into rows and hints on `observed`."""

    next_link: str | None
    delta_link: str | None
    date_us: int
    """Graph's Date of the answer."""
    keys: list[bytes]
    """Keys of the items the page showed."""
    done: bool = False
    """The folder has nothing more to say."""
    whole: bool = True
    """False when a row could not even be named: the page proves nothing."""


async def read_page(
    client: GraphClient,
    decoder: Decoder,
    observed: Observed,
    folder: FolderState,
    link: str | None,
    page_size: int,
    *,
    sighting: str,
    listing: bool = False,
) -> Page:
    """Read one page of a folder into `observed`; raises the GraphError tree.

    Whole rows become observations. `@removed` and partial rows only say that something is
    different: they become hints. `listing` reads the plain list, where delta refuses.
    """
    lease = observed.lease
    first = messages_path if listing else message_delta_path
    answer = await client.get(
        link or first(lease.aad_id, folder.folder_id),
        mailbox=lease.aad_id,
        prefer=paged(page_size),
    )
    page = readable(decode_page, answer.body)
    ends = not page.next_link if listing else bool(page.delta_link)
    if not ends and (not page.next_link or page.next_link == link):
        raise UnreachableError("Graph's page does not say where the next one is")
    seen_at = clock.to_us(answer.date)
    keys = []
    for n, message in enumerate(page.value):
        keys.append(item_key(message.id))
        if message.removed is not UNSET or not is_whole(message):
            observed.hints.append(_hint(message, seen_at))
            continue
        observed.rows.append(
            decoder.row(
                lease,
                message,
                observed.people,
                ordinal=answer.sent * ORDINALS_PER_REQUEST + n,
                seen_at=seen_at,
                sighting=sighting,
            )
        )
    return Page(page.next_link, page.delta_link, seen_at, keys, ends, whole=page.refused == 0)


def _hint(message: Message, seen_at: int) -> NewHint:
    kind = HintKind.REMOVED if message.removed is not UNSET else HintKind.DOUBT
    return NewHint(item_key(message.id), message.id, kind, seen_at, clock.machine_us())
