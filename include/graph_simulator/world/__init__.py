"""The world: tenants, people, mailboxes, folders and messages, and what people do with them."""

from __future__ import annotations

from graph_simulator.world.model import ActResult, Folder, Item, Mailbox, Subscription, Tenant
from graph_simulator.world.world import World

__all__ = ["ActResult", "Folder", "Item", "Mailbox", "Subscription", "Tenant", "World"]
