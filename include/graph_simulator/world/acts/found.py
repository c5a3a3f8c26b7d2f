"""Finding what an act names: the mailbox's contents, the item, the folder. Refusals in words."""

from __future__ import annotations

from graph_simulator.errors import ActRefused
from graph_simulator.ids import IdError
from graph_simulator.world.args import Args
from graph_simulator.world.box import Box
from graph_simulator.world.model import Folder, Item, Mailbox
from graph_simulator.world.world import World

__all__ = ["open_box", "the_folder", "the_item"]


def open_box(world: World, mailbox: Mailbox) -> Box:
    """The contents of a mailbox that can be used."""
    if mailbox.state != "live":
        raise ActRefused(409, f"this mailbox is {mailbox.state}: nobody can act in it.")
    return world.box(mailbox)


def the_item(world: World, box: Box, args: Args) -> Item:
    """The item named by `item`."""
    reference = args.needed("item")
    try:
        item = world.item(box, reference)
    except IdError:
        raise ActRefused(400, f"{args.do}: item is not an item id.") from None
    if item is None or item.gone:
        raise ActRefused(404, f"{args.do}: this item is not in the mailbox (any more).")
    return item


def the_folder(world: World, box: Box, args: Args, name: str, default: str = "") -> Folder:
    """The folder named by a folder id, a well-known name or, uniquely, its display name."""
    reference = args.text(name, default)
    if not reference:
        raise ActRefused(400, f"{args.do}: {name} is missing.")
    folder = world.folder(box, reference)
    if folder is None:
        alike = [f for f in box.folders.values() if f.name == reference and not f.gone]
        if len(alike) != 1:
            raise ActRefused(
                404,
                f"{args.do}: {name} names no folder of this mailbox. Give a folder id, a "
                "well-known name such as inbox, or a display name that occurs once.",
            )
        folder = alike[0]
    if folder.search and name != "folder":
        raise ActRefused(409, f"{args.do}: a search folder holds nothing of its own.")
    return folder
