"""Acts that take an item elsewhere: move, delete, purge, restore, copy, import.

A move is seen by Graph as `created` in the target and, usually, `deleted` in the source. The
dumpster lies outside what a subscription on messages sees: into it is `deleted` alone.
"""

from __future__ import annotations

from graph_simulator.errors import ActRefused
from graph_simulator.world.acts.found import open_box, the_folder, the_item
from graph_simulator.world.args import Args
from graph_simulator.world.box import Box
from graph_simulator.world.model import ActResult, Folder, Item, Mailbox
from graph_simulator.world.world import Act, World

__all__ = ["ACTS", "OLD_MAIL", "add_copy", "relocate"]

OLD_MAIL = 7 * 86400
"""Received so much earlier than it was created: an import or a restore, not an arrival."""
DELETED_TOO = 0.8
"""Share of moves for which Graph also sends `deleted` (reports count about four in five)."""
ARRIVALS = ("inbox", "junk", "sent", "drafts")


def action_of_move(source: str, target: str) -> str:
    """The product's word for a change of folder, from the two folders' kinds."""
    if target == "dumpster":
        return "email_purged"
    if target == "deleted" and source != "deleted":
        return "email_deleted"
    if source in ("deleted", "dumpster") and target not in ("deleted", "dumpster"):
        return "email_restored"
    return "email_moved"


def relocate(
    world: World, box: Box, item: Item, target: Folder, at: int, by: str, action: str = ""
) -> ActResult:
    """Move an item, tell the delivery room, write the journal."""
    source = box.folders[item.folder]
    action = action or action_of_move(source.kind, target.kind)
    old_version = item.version
    bumped = action != "email_purged"
    if bumped:
        item.modified = at // 1_000_000
    box.relocate(item, target)
    result = world.record(
        box, item, at, action, "folder", source.kind, target.kind, by=by, bumped=bumped
    )
    if target.kind != "dumpster":
        world.notice(box, item, "created", target.number, item.version)
    if source.kind != "dumpster" and (
        target.kind == "dumpster" or world.rng.random() < DELETED_TOO
    ):
        world.notice(box, item, "deleted", source.number, old_version)
    return result


def _move(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = the_item(world, box, args)
    target = the_folder(world, box, args, "to")
    args.done()
    if item.folder == target.number:
        raise ActRefused(409, "move: the item is in this folder already.")
    if box.folders[item.folder].kind == "dumpster":
        raise ActRefused(409, "move: the item lies in the dumpster; use restore.")
    return relocate(world, box, item, target, at, args.by)


def _delete(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = the_item(world, box, args)
    args.done()
    if box.folders[item.folder].kind in ("deleted", "dumpster"):
        raise ActRefused(409, "delete: the item is deleted already; use purge.")
    return relocate(world, box, item, box.known["deleteditems"], at, args.by)


def _purge(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = the_item(world, box, args)
    hard = args.truth("hard")
    args.done()
    source = box.folders[item.folder]
    if source.kind != "dumpster" and not hard:
        return relocate(world, box, item, box.known["recoverableitemsdeletions"], at, args.by)
    return vanish(world, box, item, at, args.by)


def vanish(world: World, box: Box, item: Item, at: int, by: str) -> ActResult:
    """Remove an item for good. Out of the dumpster nothing more can be observed."""
    source = box.folders[item.folder]
    seen = source.kind != "dumpster"
    box.vanish(item)
    result = world.record(
        box, item, at, "email_purged", "existence", source.kind, None, by=by, observable=seen
    )
    if seen:
        world.notice(box, item, "deleted", source.number, item.version)
    return result


def _restore(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = the_item(world, box, args)
    target = the_folder(world, box, args, "to", "inbox")
    args.done()
    if box.folders[item.folder].kind not in ("deleted", "dumpster"):
        raise ActRefused(409, "restore: the item is neither in Deleted Items nor in the dumpster.")
    if target.kind in ("deleted", "dumpster"):
        raise ActRefused(400, "restore: to must be a folder outside Deleted Items.")
    return relocate(world, box, item, target, at, args.by)


def add_copy(world: World, box: Box, item: Item, at: int, by: str) -> ActResult:
    """Let a new item appear that was not delivered here: copied, imported, restored.

    First seen elsewhere than where arrivals land, its place is a second fact: the journal then
    holds a second row (email_moved or email_deleted, source unknown).
    """
    folder = box.folders[item.folder]
    if item.draft:
        action = "email_drafted"
    elif folder.kind == "sent":
        action = "email_sent"
    elif item.created - item.received > OLD_MAIL:
        action = "email_added"
    else:
        action = "email_received"
    box.add(item)
    result = world.record(box, item, at, action, "existence", None, folder.kind, by=by)
    if folder.kind not in ARRIVALS and not item.draft:
        second = "email_deleted" if folder.kind == "deleted" else "email_moved"
        world.record(
            box, item, world.clock.tick(), second, "folder", None, folder.kind, by=by, bumped=True
        )
    world.notice(box, item, "created", item.folder, item.version)
    return result


def _copy(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = the_item(world, box, args)
    target = the_folder(world, box, args, "to")
    args.done()
    if target.kind == "dumpster":
        raise ActRefused(400, "copy: nothing can be copied into the dumpster.")
    second = at // 1_000_000
    copy = Item(
        number=box.next_number(), folder=target.number, created=second, received=item.received,
        sent=item.sent, modified=second, sender=item.sender, to=list(item.to), cc=list(item.cc),
        bcc=list(item.bcc), imid=item.imid, conversation=item.conversation,
        on_behalf_of=item.on_behalf_of, read=item.read, draft=item.draft,
        attachments=item.attachments, focused=item.focused, importance=item.importance,
        flag=item.flag, flagged_at=item.flagged_at, categories=list(item.categories),
    )  # fmt: skip
    return add_copy(world, box, copy, at, args.by)


def _import(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    second = at // 1_000_000
    received = args.second("received_at")
    received = second - 30 * 86400 if received is None else received
    sender = args.text("from", "archive@mail.example")
    folder = the_folder(world, box, args, "folder", "inbox")
    read = args.truth("read", True)
    args.done()
    if received > second:
        raise ActRefused(400, "import: received_at lies in the future.")
    number = box.next_number()
    item = Item(
        number=number, folder=folder.number, created=second, received=received, sent=received,
        modified=second, sender=sender, to=[mailbox.address], cc=[], bcc=[],
        imid=f"<{number:x}.import@{sender.rpartition('@')[2]}>", conversation=f"import-{number}",
        read=read,
    )  # fmt: skip
    return add_copy(world, box, item, at, args.by)


ACTS: dict[str, Act] = {
    "move": _move,
    "delete": _delete,
    "purge": _purge,
    "restore": _restore,
    "copy": _copy,
    "import": _import,
}
