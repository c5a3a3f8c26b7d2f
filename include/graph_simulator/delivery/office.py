"""The post office: from what Graph saw to POSTs at the notification URLs.

    notice ─▶ faults ─▶ queue of the URL ─▶ POST of up to 50 ─▶ 2xx: done
                            ▲                    │ else, or nothing in 3 s
                            └── back-off 1 s … 30 s, for 4 h of Graph time, then dropped

What waits is in the state file until it is acknowledged or dropped.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import aiohttp
import msgspec

from graph_simulator.delivery.channel import Channel
from graph_simulator.delivery.rich import Enclosures, Signer
from graph_simulator.delivery.shapes import Notification
from graph_simulator.delivery.warden import Warden
from graph_simulator.faults import Faults
from graph_simulator.graph.render import etag, item_id
from graph_simulator.stats import Stats
from graph_simulator.world.box import Box
from graph_simulator.world.model import Item, Subscription
from graph_simulator.world.world import World

__all__ = ["PostOffice"]


class PostOffice:
    """Sends notifications. Latency is machine time, seconds, drawn evenly between two bounds."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        stats: Stats,
        latency: tuple[float, float] = (0.05, 0.3),
        at_most: int = 50,
        in_flight: int = 4,
        judged: bool = False,
        legacy: bool = False,
    ) -> None:
        self._world = world
        self._faults = faults
        self._stats = stats
        self._latency = latency
        self._at_most = at_most
        self._in_flight = in_flight
        self._judged = judged
        self.signer = Signer(world)
        self._enclosures = Enclosures(world, faults, self.signer, legacy=legacy)
        self._session: aiohttp.ClientSession | None = None
        self._channels: dict[str, Channel] = {}
        self._dice = random.Random(world.seed)
        self._number = 0
        self._left_over: list[Notification] = []
        for body in world.store.bodies("delivery"):
            self._left_over.append(msgspec.msgpack.decode(body, type=Notification))
        self._number = max((n.number for n in self._left_over), default=0)
        world.notices.append(self._notice)
        world.ended.append(self._ended)
        world.lifecycle.append(self.lifecycle)
        self._warden = Warden(world)

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client that POSTs and shakes hands."""
        assert self._session is not None, "start() first"
        return self._session

    @property
    def pending(self) -> int:
        """Notifications not yet acknowledged or dropped."""
        return sum(channel.pending for channel in self._channels.values())

    def states(self) -> dict[str, int]:
        """How many endpoints are in which state."""
        return dict(Counter(channel.state for channel in self._channels.values()))

    async def start(self) -> None:
        """Open the client and take up what was waiting when the simulator last stopped."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), skip_auto_headers=("User-Agent",)
        )
        for one in self._left_over:
            self._queue(one, 0.0)
        self._left_over.clear()
        self._warden.start()

    async def stop(self) -> None:
        """Stop sending; what is waiting stays in the state file."""
        await self._warden.stop()
        for channel in self._channels.values():
            await channel.stop()
        if self._session is not None:
            await self._session.close()

    def _notice(self, box: Box, item: Item, change: str, folder: int, version: int) -> None:
        for one in self._world.watchers.get(box.mailbox.number, ()):
            if one.dead or change not in one.change_type:
                continue
            if one.folder not in (0, folder) or one.expires <= self._world.clock.instant():
                continue
            shown = item
            if not one.immutable and version != item.version:
                shown = msgspec.structs.replace(item, version=version)
            self._offer(one, change, item_id(shown, one.immutable), etag(item), box, item)

    def _offer(
        self, one: Subscription, change: str, item: str, tag: str, box: Box, about: Item
    ) -> None:
        faults = self._faults
        facts = {"mailbox": box.mailbox.aad_id, "url": one.notification_url}
        wait, copies, not_before = self._dice.uniform(*self._latency), 1, 0
        if faults.is_any_on:
            facts["change"] = change
            if faults.strike("drop", **facts) or faults.strike("silence", **facts):
                self._stats.withheld += 1
                return
            if faults.strike("missed", **facts):
                self._stats.withheld += 1
                self.lifecycle(one, "missed")
                return
            held = faults.strike("reorder", **facts)
            if held:
                wait += self._dice.uniform(0.2, 1.0) * held.params["seconds"]
            late = faults.strike("delay", **facts)
            if late:
                seconds = self._dice.uniform(0.3, 1.0) * late.params["seconds"]
                not_before = self._world.clock.instant() + int(seconds * 1_000_000)
            if faults.strike("double", **facts):
                copies = 2
            if faults.strike("bad_item_id", **facts):
                item = "x?$select=body" if self._dice.random() < 0.5 else "../../users/other"
        for _ in range(copies):
            self._number += 1
            content = self._enclosures.at_notice(one, box, about, change, self._number)
            self._queue(
                Notification(
                    self._number, one.id, change, "", item, tag, self._world.clock.instant(),
                    not_before, item_number=about.number, content=content,
                ),
                wait,
            )  # fmt: skip
            wait += self._dice.uniform(*self._latency)

    def _ended(self, one: Subscription) -> None:
        channel = self._channels.get(one.notification_url)
        if channel is not None:
            channel.forget(one.id)

    def lifecycle(self, one: Subscription, event: str) -> None:
        """Send a lifecycle notification, when the subscription has a URL for it."""
        if one.lifecycle_url is None:
            return
        self._number += 1
        made = self._world.clock.instant()
        self._queue(
            Notification(self._number, one.id, "", event, "", "", made),
            self._dice.uniform(*self._latency),
            one,
        )

    def _queue(self, one: Notification, wait: float, owner: Subscription | None = None) -> None:
        owner = owner or self._world.subscriptions.get(one.subscription)
        if owner is None:
            self._world.store.delete("delivery", one.number)
            return
        self._world.store.put("delivery", one.number, one)
        url = owner.lifecycle_url if one.lifecycle else owner.notification_url
        assert url is not None
        self.channel(url).put(one, owner, wait)

    def channel(self, url: str) -> Channel:
        """The queue of one URL."""
        channel = self._channels.get(url)
        if channel is None:
            channel = Channel(
                url,
                self._world,
                self._stats,
                self.session,
                self._at_most,
                self._in_flight,
                max(0.001, self._latency[1] / 3),
                self._judged,
                self._enclosures.enclose,
            )
            self._channels[url] = channel
        return channel

    async def early(self, one: Subscription, seconds: float) -> None:
        """Send an `updated` of the newest item now, and let `seconds` (machine) pass."""
        box = self._world.box(self._world.mailboxes[one.mailbox])
        live = [item for item in box.items.values() if not item.gone]
        if live:
            newest = max(live, key=lambda i: i.number)
            self._number += 1
            self._queue(
                Notification(
                    self._number, one.id, "updated", "", item_id(newest, one.immutable),
                    etag(newest), self._world.clock.instant(), item_number=newest.number,
                ),
                0.0,
            )  # fmt: skip
        self._world.store.commit()
        await asyncio.sleep(seconds)
