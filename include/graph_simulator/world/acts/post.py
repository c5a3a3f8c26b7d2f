"""Mail that comes and goes: receive, draft, send.

Sending makes a transient outbox copy first (created and gone before anybody can look), then the
copy in Sent Items, then one arrival in each recipient's mailbox that lives here.
"""

from __future__ import annotations

from collections.abc import Iterable

from graph_simulator.errors import ActRefused
from graph_simulator.world.acts.found import open_box, the_folder, the_item
from graph_simulator.world.acts.moves import relocate
from graph_simulator.world.args import Args
from graph_simulator.world.box import Box
from graph_simulator.world.model import IMPORTANCES, ActResult, Folder, Item, Mailbox
from graph_simulator.world.world import Act, World

__all__ = ["ACTS"]

UPDATED_AFTER_CREATED = 0.3
"""Share of arrivals for which Graph sends an `updated` after the `created`."""


def _people(args: Args, name: str) -> list[str]:
    found = args.texts(name)
    for address in found:
        if address.count("@") != 1:
            raise ActRefused(400, f"{args.do}: {name} must hold mail addresses.")
    return found


def _arrive(world: World, box: Box, item: Item, folder: Folder, at: int, by: str) -> ActResult:
    """Put a delivered message into the Inbox (or Junk); a rule may file it at once."""
    lands = folder if folder.kind in ("inbox", "junk") else box.known["inbox"]
    item.folder = lands.number
    box.add(item)
    result = world.record(box, item, at, "email_received", "existence", None, lands.kind, by=by)
    world.notice(box, item, "created", item.folder, item.version)
    if folder is not lands:
        relocate(world, box, item, folder, world.clock.tick(), "rule")
    elif world.rng.random() < UPDATED_AFTER_CREATED:
        world.notice(box, item, "updated", item.folder, item.version)
    return result


def _receive(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    second = at // 1_000_000
    sender = args.text("from", "sales@fabrikam.example")
    folder = the_folder(world, box, args, "folder", "inbox")
    sent = args.second("sent_at")
    number = box.next_number()
    item = Item(
        number=number,
        folder=folder.number,
        created=second,
        received=second,
        sent=second if sent is None else min(sent, second),
        modified=second,
        sender=args.text("sender") or sender,
        on_behalf_of=sender if args.has("sender") else None,
        to=_people(args, "to") or [mailbox.address],
        cc=_people(args, "cc"),
        bcc=[],
        imid=args.text("internet_message_id")
        or f"<{number:x}.{second:x}@{sender.rpartition('@')[2]}>",
        conversation=args.text("conversation") or f"c{number:x}",
        attachments=args.truth("has_attachments"),
        importance=args.choice("importance", IMPORTANCES, "normal"),
        focused=args.truth("focused", True),
        categories=sorted(set(args.texts("categories"))),
    )
    if item.on_behalf_of == item.sender:
        item.on_behalf_of = None
    if folder.kind in ("drafts", "outbox", "sent", "dumpster"):
        raise ActRefused(400, "receive: mail lands in inbox, junkemail, or where a rule files it.")
    args.done()
    return _arrive(world, box, item, folder, at, args.by)


def _deliver(world: World, sent: Item, sender: str, to: Iterable[str]) -> tuple[ActResult, ...]:
    """One arrival in each recipient's mailbox that lives here."""
    results = []
    for address in dict.fromkeys(a.lower() for a in to):
        recipient = world.find(address)
        if recipient is None or recipient.state != "live":
            continue
        box = world.box(recipient)
        at = world.clock.tick()
        second = at // 1_000_000
        copy = Item(
            number=box.next_number(),
            folder=0,
            created=second,
            received=second,
            sent=sent.sent,
            modified=second,
            sender=sent.sender,
            on_behalf_of=sent.on_behalf_of,
            to=sent.to,
            cc=sent.cc,
            bcc=[],
            imid=sent.imid,
            conversation=sent.conversation,
            attachments=sent.attachments,
            importance=sent.importance,
        )
        results.append(_arrive(world, box, copy, box.known["inbox"], at, "transport"))
    return tuple(results)


def _transient(world: World, box: Box, at: int, like: Item) -> None:
    """The outbox copy: its own id, announced by Graph, gone before a GET can see it."""
    number = box.next_number()
    outbox = box.known["outbox"]
    copy = Item(
        number=number, folder=outbox.number, created=like.created, received=like.received,
        sent=like.sent, modified=like.modified, sender=like.sender, to=[], cc=[], bcc=[],
        imid=like.imid, conversation=like.conversation, draft=True, read=True,
    )  # fmt: skip
    box.bury(copy)
    world.record(
        box, copy, at, "outbox_transient", "existence", None, "outbox", by="client",
        observable=False,
    )  # fmt: skip
    world.notice(box, copy, "created", outbox.number, 1)
    world.notice(box, copy, "deleted", outbox.number, 1)


def _compose(world: World, mailbox: Mailbox, args: Args, at: int, folder: str) -> Item:
    """A message of the mailbox's owner, not yet in its folder."""
    box = world.box(mailbox)
    second = at // 1_000_000
    number = box.next_number()
    owner = args.text("on_behalf_of")
    return Item(
        number=number,
        folder=box.known[folder].number,
        created=second,
        received=second,
        sent=second,
        modified=second,
        sender=mailbox.address,
        on_behalf_of=owner or None,
        to=_people(args, "to"),
        cc=_people(args, "cc"),
        bcc=_people(args, "bcc"),
        imid=args.text("internet_message_id")
        or f"<{number:x}.{second:x}@{mailbox.address.rpartition('@')[2]}>",
        conversation=args.text("conversation") or f"c{number:x}",
        read=True,
        draft=folder == "drafts",
        attachments=args.truth("has_attachments"),
        importance=args.choice("importance", IMPORTANCES, "normal"),
    )


def _draft(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    item = _compose(world, mailbox, args, at, "drafts")
    args.done()
    box.add(item)
    result = world.record(box, item, at, "email_drafted", "existence", None, "drafts", by=args.by)
    world.notice(box, item, "created", item.folder, item.version)
    return result


def _send(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    if args.has("draft"):
        result, item = _send_draft(world, box, args, at)
    else:
        item = _compose(world, mailbox, args, at, "sentitems")
        args.done()
        if not (item.to or item.cc or item.bcc):
            raise ActRefused(400, "send: nobody to send it to; give to, cc or bcc.")
        _transient(world, box, at, item)
        at = world.clock.tick()
        second = at // 1_000_000
        item.created = item.received = item.sent = item.modified = second
        box.add(item)
        result = world.record(box, item, at, "email_sent", "existence", None, "sent", by=args.by)
        world.notice(box, item, "created", item.folder, item.version)
    delivered = _deliver(world, item, mailbox.address, [*item.to, *item.cc, *item.bcc])
    return ActResult(
        result.item_id, result.number, result.at, mailbox=result.mailbox, delivered=delivered
    )


def _send_draft(world: World, box: Box, args: Args, at: int) -> tuple[ActResult, Item]:
    draft = Args("send", {"item": args.needed("draft"), "by": args.by})
    args.done()
    item = the_item(world, box, draft)
    if not item.draft or box.folders[item.folder].kind != "drafts":
        raise ActRefused(409, "send: this item is no draft in Drafts.")
    if not (item.to or item.cc or item.bcc):
        raise ActRefused(409, "send: the draft names nobody to send it to.")
    item.draft = False
    item.received = item.sent = at // 1_000_000
    result = relocate(world, box, item, box.known["sentitems"], at, args.by, "email_sent")
    return result, item


ACTS: dict[str, Act] = {"receive": _receive, "draft": _draft, "send": _send}
