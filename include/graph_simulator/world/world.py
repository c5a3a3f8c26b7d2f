"""Everything that exists, and the one door through which people change it: `World.act`."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from graph_simulator.clock import Clock
from graph_simulator.errors import ActRefused, ControlRefused
from graph_simulator.ids import IdError, immutable_id, named_uuid, parse_folder_id, parse_item_id
from graph_simulator.journal import Journal
from graph_simulator.store import Store
from graph_simulator.world.args import Args
from graph_simulator.world.box import Box, state_of
from graph_simulator.world.history import fill
from graph_simulator.world.model import (
    ActResult,
    Folder,
    Group,
    Item,
    Mailbox,
    Subscription,
    Tenant,
)

__all__ = ["DEFAULT_ROLES", "Act", "Notice", "World"]

DEFAULT_ROLES = ("Mail.ReadBasic", "Mail.ReadBasic.All", "MailboxSettings.Read", "User.Read.All")
_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Europe/London")
_PLACES = (("Engineering", "Berlin"), ("Sales", "Boston"), ("Finance", "Pune"), ("Legal", "London"))

Act = Callable[["World", Mailbox, Args, int], ActResult]
Notice = Callable[[Box, Item, str, int, int], None]
"""Called with (box, item, change type, folder number, item version) for each thing Graph saw."""


class World:
    """The whole simulated Microsoft 365. Not thread-safe: it lives in one event loop."""

    def __init__(self, store: Store, clock: Clock, seed: int) -> None:
        self.store = store
        self.clock = clock
        self.seed = seed
        self.journal = Journal(store)
        clock.resume_after(self.journal.last_at)
        self.rng = random.Random(f"{seed}/{self.journal.number}")
        self.tenants: dict[int, Tenant] = {}
        self.mailboxes: dict[int, Mailbox] = {}
        self.people: dict[str, Mailbox] = {}
        """Mailboxes by Entra object id and by lower-case address (also that of leavers)."""
        self.staff: dict[int, list[Mailbox]] = {}
        self.groups: dict[str, Group] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.watchers: dict[int, list[Subscription]] = {}
        """Subscriptions by mailbox number."""
        self.notices: list[Notice] = []
        self.begun: list[Callable[[Subscription], None]] = []
        """Called with each subscription that begins."""
        self.ended: list[Callable[[Subscription], None]] = []
        """Called with each subscription that ends, or whose mailbox does."""
        self.lifecycle: list[Callable[[Subscription, str], None]] = []
        """Called with a subscription and the lifecycle event its client is to hear of."""
        self.refusals: Counter[int] = Counter()
        """Answers `no mailbox` so far, by mailbox: their two codes take turns."""
        self.born = clock.instant() // 1_000_000
        self._boxes: dict[int, Box] = {}
        self._load()

    def _load(self) -> None:
        for body in self.store.bodies("tenant"):
            tenant = msgspec.msgpack.decode(body, type=Tenant)
            self.tenants[tenant.number] = tenant
            self.staff[tenant.number] = []
        for body in self.store.bodies("team"):
            group = msgspec.msgpack.decode(body, type=Group)
            self.groups[group.id] = group
        for body in self.store.bodies("mailbox"):
            self._enter(msgspec.msgpack.decode(body, type=Mailbox))
        for body in self.store.bodies("subscription"):
            self.subscribe(msgspec.msgpack.decode(body, type=Subscription))

    # -- tenants and people ------------------------------------------------------------------

    def create_tenant(
        self,
        domain: str,
        mailboxes: int = 0,
        *,
        seed: int | None = None,
        history: int = 20,
        roles: list[str] | None = None,
    ) -> Tenant:
        """Make an organisation with `mailboxes` people named `person-001@domain` and so on.

        `history` = messages each has from before now. Raises ControlRefused (409) when the domain
        exists.
        """
        domain = domain.strip().lower()
        if not domain or "@" in domain or len(domain) > 200:
            raise ControlRefused(400, "domain must be a name such as contoso.example.")
        if any(t.domain == domain for t in self.tenants.values()):
            raise ControlRefused(409, f"a tenant with the domain {domain} exists already.")
        seed = self.seed if seed is None else seed
        number = max(self.tenants, default=0) + 1
        tenant = Tenant(
            number=number,
            id=named_uuid(seed, domain, "tenant"),
            domain=domain,
            client_id=named_uuid(seed, domain, "client"),
            secret=f"sim~{hashlib.sha256(f'{seed}/{domain}/secret'.encode()).hexdigest()[:34]}",
            roles=list(DEFAULT_ROLES if roles is None else roles),
            principal_id=named_uuid(seed, domain, "principal"),
        )
        self.tenants[number] = tenant
        self.staff[number] = []
        self.save_tenant(tenant)
        width = max(3, len(str(mailboxes)))
        for n in range(1, mailboxes + 1):
            self.add_mailbox(
                tenant, f"person-{n:0{width}d}@{domain}", f"Person {n}", history=history, seed=seed
            )
        return tenant

    def save_tenant(self, tenant: Tenant) -> None:
        """Keep a tenant's row."""
        self.store.put("tenant", tenant.number, tenant)

    def add_mailbox(
        self,
        tenant: Tenant,
        address: str,
        name: str = "",
        *,
        history: int = 0,
        seed: int | None = None,
        time_zone: str | None = None,
        day_start: str = "08:00:00.0000000",
        day_end: str = "17:00:00.0000000",
        department: str | None = None,
        office: str | None = None,
        title: str = "Employee",
        purpose: str = "user",
        mail: str | None = None,
        bulk: int = 0,
    ) -> Mailbox:
        """Make a person with a mailbox (`bulk` = old mail in it), or (`mail`) a guest without one.

        Raises ControlRefused (409) when the address is taken.
        """
        address = address.strip().lower()
        if address.count("@") != 1:
            raise ControlRefused(400, "a mailbox needs an address such as person@contoso.example.")
        if address in self.people:
            raise ControlRefused(409, "a mailbox with this address exists already.")
        number = max(self.mailboxes, default=0) + 1 if not self.mailboxes else self._next_number()
        place = _PLACES[number % len(_PLACES)]
        tenant.user_change += 1
        mailbox = Mailbox(
            number=number,
            tenant=tenant.number,
            aad_id=named_uuid(self.seed if seed is None else seed, tenant.id, address),
            address=address,
            name=name or address.split("@")[0].replace(".", " ").title(),
            department=department or place[0],
            office=office or place[1],
            title=title,
            time_zone=time_zone or _ZONES[number % len(_ZONES)],
            day_start=day_start,
            day_end=day_end,
            purpose=purpose,
            history=history,
            born=self.clock.instant() // 1_000_000,
            user_change=tenant.user_change,
            user_born=tenant.user_change,
            mail=mail,
            bulk=bulk,
            state="live" if mail is None else "unlicensed",
        )
        self._enter(mailbox)
        self.store.put("mailbox", number, mailbox)
        self.save_tenant(tenant)
        return mailbox

    def _next_number(self) -> int:
        return next(reversed(self.mailboxes)) + 1

    def _enter(self, mailbox: Mailbox) -> None:
        self.mailboxes[mailbox.number] = mailbox
        self.people[mailbox.aad_id] = mailbox
        for address in (mailbox.address, *mailbox.aliases):
            self.people[address] = mailbox
        self.staff[mailbox.tenant].append(mailbox)

    def user_changed(self, mailbox: Mailbox, *fields: str) -> None:
        """Note that these properties of a person changed (users/delta shows them)."""
        tenant = self.tenants[mailbox.tenant]
        tenant.user_change += 1
        mailbox.user_change = tenant.user_change
        mailbox.user_fields = {
            **mailbox.user_fields, **dict.fromkeys(fields, tenant.user_change),
        }  # fmt: skip
        self.save_tenant(tenant)
        self.store.put("mailbox", mailbox.number, mailbox)

    def find(self, reference: str) -> Mailbox | None:
        """The mailbox of an Entra object id or an address, None when there is none."""
        return self.people.get(reference) or self.people.get(reference.lower())

    def mailbox(self, reference: str) -> Mailbox:
        """The same. Raises ControlRefused (404) when there is none."""
        found = self.find(reference)
        if found is None:
            raise ControlRefused(404, "no mailbox has this object id or address.")
        return found

    def tenant(self, reference: str) -> Tenant | None:
        """The tenant of an id or a domain."""
        wanted = reference.lower()
        for tenant in self.tenants.values():
            if wanted in (tenant.id, tenant.domain):
                return tenant
        return None

    def box(self, mailbox: Mailbox) -> Box:
        """A mailbox's contents, loaded (and at the very first touch: made) on demand."""
        box = self._boxes.get(mailbox.number)
        if box is None:
            box = Box(self.store, mailbox)
            if not mailbox.filled:
                staff = self.staff[mailbox.tenant][:40]
                fill(box, self.seed, [m.address for m in staff if m is not mailbox])
            self._boxes[mailbox.number] = box
        return box

    # -- subscriptions -----------------------------------------------------------------------

    def subscribe(self, subscription: Subscription) -> None:
        """Let a subscription watch its mailbox."""
        self.subscriptions[subscription.id] = subscription
        self.watchers.setdefault(subscription.mailbox, []).append(subscription)
        for call in self.begun:
            call(subscription)

    def tell(self, subscription: Subscription, event: str) -> None:
        """Let the client hear a lifecycle event; reauthorizationRequired does not pause."""
        for call in self.lifecycle:
            call(subscription, event)

    def pause(self, subscription: Subscription) -> None:
        """Stop deliveries until the client renews, and tell it so."""
        subscription.paused = True
        self.store.put("subscription", subscription.id, subscription)
        self.tell(subscription, "reauthorizationRequired")

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self.subscriptions.pop(subscription.id, None)
        watching = self.watchers.get(subscription.mailbox, [])
        if subscription in watching:
            watching.remove(subscription)
        self.store.delete("subscription", subscription.id)
        for call in self.ended:
            call(subscription)

    # -- finding things ----------------------------------------------------------------------

    def item(self, box: Box, reference: str) -> Item | None:
        """The item of an id of either format; None when gone or moved away. Raises IdError."""
        number, version = parse_item_id(reference)
        item = box.items.get(number)
        if item is None or (version is not None and version != item.version):
            return None
        return item

    def folder(self, box: Box, reference: str) -> Folder | None:
        """The folder of an id or a well-known name."""
        known = box.known.get(reference.lower())
        if known is not None:
            return known
        try:
            found = box.folders.get(parse_folder_id(reference))
        except IdError:
            return None
        return None if found is None or found.gone else found

    # -- acts --------------------------------------------------------------------------------

    def act(self, mailbox: str, do: str, **args: Any) -> ActResult:
        """Let a person do something now; the journal row is written with it.

        `mailbox` is an Entra object id or an address; `do` and its arguments are those of
        `POST /simulator/act`. Raises ActRefused: 404 unknown item, 409 nothing would change,
        400 malformed.
        """
        from graph_simulator.world.acts import ACTS

        act = ACTS.get(do)
        if act is None:
            raise ActRefused(400, f"unknown act {do!r}; known: {', '.join(sorted(ACTS))}.")
        return act(self, self.mailbox(mailbox), Args(do, args), self.clock.tick())

    def notice(self, box: Box, item: Item, change: str, folder: int, version: int) -> None:
        """Tell the delivery room that Graph saw a change of an item."""
        if box.mailbox.number in self.watchers:
            for call in self.notices:
                call(box, item, change, folder, version)

    def record(
        self,
        box: Box,
        item: Item,
        at: int,
        action: str,
        field: str,
        from_folder: str | None,
        to_folder: str | None,
        *,
        by: str,
        bumped: bool = False,
        observable: bool = True,
    ) -> ActResult:
        """Write the journal row of an act on an item and return its result."""
        number = self.journal.act(
            at, box.mailbox.aad_id, action, item=item, field=field, from_folder=from_folder,
            to_folder=to_folder, state=state_of(item), bumped=bumped, observable=observable, by=by,
        )  # fmt: skip
        return ActResult(
            immutable_id(item.number), number, self.when(at), mailbox=box.mailbox.aad_id
        )

    @staticmethod
    def when(us: int) -> datetime:
        """Aware UTC datetime of microseconds."""
        second, micro = divmod(us, 1_000_000)
        return datetime.fromtimestamp(second, UTC).replace(microsecond=micro)
