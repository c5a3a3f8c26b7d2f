"""Acts on folders. Graph sends no notification for them; mailFolders/delta shows them."""

from __future__ import annotations

from graph_simulator.errors import ActRefused
from graph_simulator.ids import folder_id
from graph_simulator.world.acts.found import open_box, the_folder
from graph_simulator.world.acts.moves import relocate, vanish
from graph_simulator.world.args import Args
from graph_simulator.world.box import Box, folder_state
from graph_simulator.world.model import ActResult, Folder, Mailbox
from graph_simulator.world.world import Act, World

__all__ = ["ACTS"]


def _result(
    world: World, box: Box, folder: Folder, at: int, action: str, field: str, by: str
) -> ActResult:
    name = folder_id(folder.number)
    folder.acted = True
    box.touch_folder(folder)
    number = world.journal.act(
        at, box.mailbox.aad_id, action, field=field, from_folder=folder.kind,
        to_folder=folder.kind, by=by, about=name,
        observable=not (folder.search or folder.hidden), state=folder_state(folder),
    )  # fmt: skip
    return ActResult(name, number, world.when(at), mailbox=box.mailbox.aad_id)


def _own_folder(world: World, box: Box, args: Args) -> Folder:
    folder = the_folder(world, box, args, "folder")
    if folder.well_known:
        raise ActRefused(409, f"{args.do}: a well-known folder cannot be changed.")
    return folder


def _no_namesake(box: Box, parent: int, name: str, args: Args) -> None:
    if any(f.name.lower() == name.lower() for f in box.children(parent, hidden=True)):
        raise ActRefused(409, f"{args.do}: a folder with this name exists there already.")


def _create(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    name = args.needed("name")
    parent = the_folder(world, box, args, "parent", "msgfolderroot")
    hidden, search = args.truth("hidden"), args.truth("search")
    args.done()
    _no_namesake(box, parent.number, name, args)
    folder = box.add_folder(parent.number, name, hidden=hidden)
    folder.search = search
    return _result(world, box, folder, at, "folder_created", "existence", args.by)


def _rename(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    folder = _own_folder(world, box, args)
    name = args.needed("name")
    args.done()
    _no_namesake(box, folder.parent, name, args)
    folder.name = name
    return _result(world, box, folder, at, "folder_renamed", "name", args.by)


def _move(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    folder = _own_folder(world, box, args)
    target = the_folder(world, box, args, "to")
    args.done()
    above: Folder | None = target
    while above is not None:
        if above is folder:
            raise ActRefused(409, "move_folder: a folder cannot move below itself.")
        above = box.folders.get(above.parent)
    if folder.parent == target.number:
        raise ActRefused(409, "move_folder: the folder is there already.")
    _no_namesake(box, target.number, folder.name, args)
    folder.parent = target.number
    return _result(world, box, folder, at, "folder_moved", "folder", args.by)


def _delete(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    """A folder's messages go to Deleted Items (`hard`: for good), then the folder is gone.

    Folders below it go first, each with a row of its own.
    """
    box = open_box(world, mailbox)
    folder = _own_folder(world, box, args)
    hard = args.truth("hard")
    args.done()
    doomed, queue = [folder], [folder]
    while queue:
        below = box.children(queue.pop().number, hidden=True)
        doomed += below
        queue += below
    deleted = box.known["deleteditems"]
    for gone in reversed(doomed):
        for item in list(box.members[gone.number].values()):
            if hard:
                vanish(world, box, item, at, args.by)
            else:
                relocate(world, box, item, deleted, at, args.by)
            at = world.clock.tick()
        gone.gone = True
        box.touch_folder(gone)
        if gone is not folder:
            _result(world, box, gone, at, "folder_deleted", "existence", args.by)
            at = world.clock.tick()
    return _result(world, box, folder, at, "folder_deleted", "existence", args.by)


ACTS: dict[str, Act] = {
    "create_folder": _create,
    "rename_folder": _rename,
    "move_folder": _move,
    "delete_folder": _delete,
}
