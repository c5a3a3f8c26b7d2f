"""What the handlers share: the world, the caller's limits, the faults, and what was shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from graph_simulator.faults import Faults
from graph_simulator.graph.access import Access
from graph_simulator.graph.call import Call
from graph_simulator.graph.limits import Limits
from graph_simulator.ids import folder_id
from graph_simulator.requests import RequestLog
from graph_simulator.stats import Stats
from graph_simulator.world.box import Box, folder_state, state_of
from graph_simulator.world.model import Folder, Item
from graph_simulator.world.world import World

__all__ = ["Service"]

FOREIGN_HOST = "graph.microsoft.example.net"
STATE_FIELDS = frozenset(
    {"parentFolderId", "isRead", "flag", "categories", "importance", "isDraft"}
)


@dataclass(slots=True)
class Service:
    """Everything a handler may touch."""

    world: World
    access: Access
    limits: Limits
    faults: Faults
    stats: Stats
    log: RequestLog
    latency_s: float = 0.008
    """Machine seconds a request takes; it holds one of the mailbox's four places so long."""
    delta_life_s: int = 30 * 86400
    """Graph seconds until a delta token is forgotten."""
    foreign_links: int = field(default=0)
    treeless: set[int] = field(default_factory=set)
    """Mailboxes whose folder delta was refused last: a listing now stands in for the tree."""

    def shown(self, box: Box, item: Item, at: int, fields: Iterable[str] | None = None) -> None:
        """Write a `served` row: an answer showed this state, again or for the first time.

        Again matters too: an answer may have gone to a client that died with it.
        """
        if fields is not None and STATE_FIELDS.isdisjoint(fields):
            return
        self.faults.remember(item)
        state = state_of(item)
        kept = box.items.get(item.number, item)
        if kept.shown != state:
            kept.shown = state
            box.keep(kept)
        folder = None if item.gone else box.folders[item.folder].kind
        self.world.journal.served(at, box.mailbox.aad_id, item, state, folder)

    def shown_folders(self, box: Box, folders: Iterable[Folder], at: int) -> None:
        """Write a `served` row for each folder somebody acted on: the tree showed it."""
        for one in folders:
            if one.acted and not one.search:
                name, state = folder_id(one.number), folder_state(one)
                self.world.journal.served_object(at, box.mailbox.aad_id, "folder", name, state)

    def link(self, link: str, call: Call) -> str:
        """A next link; under the fault `foreign_next_link` it points at another host."""
        if not self.faults.foreign_link(call.parts):
            return link
        self.foreign_links += 1
        return urlunsplit(urlsplit(link)._replace(scheme="https", netloc=FOREIGN_HOST))
