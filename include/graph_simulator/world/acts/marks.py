"""Acts on an item that stays where it is: read, flag, categories, importance.

Read and unread do not bump `lastModifiedDateTime`; the others do.
"""

from __future__ import annotations

from graph_simulator.errors import ActRefused
from graph_simulator.world.acts.found import open_box, the_item
from graph_simulator.world.args import Args
from graph_simulator.world.box import Box
from graph_simulator.world.model import IMPORTANCES, ActResult, Item, Mailbox
from graph_simulator.world.world import Act, World

__all__ = ["ACTS"]


def _changed(
    world: World, box: Box, item: Item, at: int, action: str, field: str, by: str, bumped: bool
) -> ActResult:
    if bumped:
        item.modified = at // 1_000_000
    box.touch(item, loud=bumped)
    kind = box.folders[item.folder].kind
    observable = kind != "dumpster"
    result = world.record(
        box, item, at, action, field, kind, kind, by=by, bumped=bumped, observable=observable
    )
    if observable:
        world.notice(box, item, "updated", item.folder, item.version)
    return result


def _read(value: bool) -> Act:
    def act(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
        box = open_box(world, mailbox)
        item = the_item(world, box, args)
        args.done()
        if item.read == value:
            raise ActRefused(409, f"{args.do}: the item is {'' if value else 'un'}read already.")
        item.read = value
        action = "email_read" if value else "email_unread"
        return _changed(world, box, item, at, action, "read", args.by, bumped=False)

    return act


def _flag(value: int, action: str) -> Act:
    def act(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
        box = open_box(world, mailbox)
        item = the_item(world, box, args)
        args.done()
        if item.flag == value:
            raise ActRefused(409, f"{args.do}: the flag has that status already.")
        item.flag = value
        item.flagged_at = at // 1_000_000 if value else 0
        return _changed(world, box, item, at, action, "flag", args.by, bumped=True)

    return act


def _categorize(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = the_item(world, box, args)
    categories = sorted(set(args.texts("categories")))
    args.done()
    if item.categories == categories:
        raise ActRefused(409, "categorize: the item has these categories already.")
    item.categories = categories
    return _changed(world, box, item, at, "email_categorized", "categories", args.by, bumped=True)


def _set_importance(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = the_item(world, box, args)
    importance = args.choice("importance", IMPORTANCES, "high")
    args.done()
    if item.importance == importance:
        raise ActRefused(409, "set_importance: the item has this importance already.")
    item.importance = importance
    return _changed(world, box, item, at, "email_changed", "importance", args.by, bumped=True)


ACTS: dict[str, Act] = {
    "read": _read(True),
    "unread": _read(False),
    "flag": _flag(1, "email_flagged"),
    "unflag": _flag(0, "email_unflagged"),
    "complete": _flag(2, "email_flag_completed"),
    "categorize": _categorize,
    "set_importance": _set_importance,
}
