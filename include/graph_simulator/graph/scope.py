"""From a path to what it names: the person, the usable mailbox, the folder, the item."""

from __future__ import annotations

from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Call
from graph_simulator.ids import IdError
from graph_simulator.world.box import Box
from graph_simulator.world.model import Folder, Item, Mailbox
from graph_simulator.world.world import World

__all__ = ["find_box", "find_folder", "find_item", "find_user", "item_not_found"]


def find_user(world: World, call: Call) -> Mailbox:
    """The person named by `users/{id}`. Raises GraphError (404)."""
    reference = call.parts[1]
    mailbox = world.find(reference)
    if mailbox is None or mailbox.tenant != call.caller.tenant.number or mailbox.state == "left":
        raise GraphError(
            404,
            "Request_ResourceNotFound",
            f"Resource '{reference[:80]}' does not exist or one of its queried "
            "reference-property objects are not present.",
        )
    return mailbox


def find_box(world: World, call: Call) -> Box:
    """The contents of the mailbox named by `users/{id}`. Raises GraphError (404).

    A person without a usable mailbox is answered with two codes in turn, as Graph does.
    """
    reference = call.parts[1]
    mailbox = world.find(reference)
    if mailbox is None or mailbox.tenant != call.caller.tenant.number or mailbox.state == "left":
        raise GraphError(
            404, "ErrorInvalidUser", f"The requested user '{reference[:80]}' is invalid."
        )
    if mailbox.state == "unlicensed":
        world.refusals[mailbox.number] += 1
        if world.refusals[mailbox.number] % 2 == 0:
            raise GraphError(404, "ResourceNotFound", "Resource could not be discovered.")
        raise GraphError(
            404,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        )
    return world.box(mailbox)


def find_folder(world: World, box: Box, reference: str) -> Folder:
    """The folder of an id or well-known name. Raises GraphError (404, or 400 for a bad id)."""
    folder = world.folder(box, reference)
    if folder is None:
        if len(reference) < 40:  # a display name, as people try it
            raise GraphError(400, "ErrorInvalidIdMalformed", "Id is malformed.")
        raise item_not_found()
    return folder


def find_item(world: World, box: Box, reference: str) -> Item | None:
    """The item of an id, None when it is not there. Raises GraphError (400) for a bad id."""
    try:
        return world.item(box, reference)
    except IdError:
        raise GraphError(400, "ErrorInvalidIdMalformed", "Id is malformed.") from None


def item_not_found() -> GraphError:
    """404 as Exchange says it."""
    return GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")
