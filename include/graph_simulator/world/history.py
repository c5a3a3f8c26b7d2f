"""The baseline of a mailbox: folders and messages from before the clock's start.

Made from the seed at the first touch, so that a tenant of 100,000 mailboxes costs 100,000 rows
until somebody looks inside.
"""

from __future__ import annotations

import random

from graph_simulator.world.box import Box
from graph_simulator.world.model import Item

__all__ = ["EXTERNALS", "fill"]

DAYS = 90
EXTERNALS = tuple(
    f"{local}@{domain}"
    for domain in ("fabrikam.example", "northwind.example", "mail.example")
    for local in ("sales", "chris", "invoices", "robin", "support")
)
_PLACES = (
    ("inbox", 0.45),
    ("sentitems", 0.2),
    ("deleteditems", 0.1),
    ("archive", 0.05),
    ("junkemail", 0.03),
    ("drafts", 0.02),
    ("own", 0.15),
)


def fill(box: Box, seed: int, colleagues: list[str]) -> None:
    """Give an untouched mailbox its folders and its baseline messages."""
    mailbox = box.mailbox
    dice = random.Random(f"{seed}/{mailbox.aad_id}/history")
    box.add_well_known()
    if mailbox.bulk:
        mailbox.items = mailbox.bulk
        box.open_bulk()
    root, inbox = box.known["msgfolderroot"].number, box.known["inbox"].number
    projects = box.add_folder(root, "Projects")
    own = [
        projects,
        box.add_folder(projects.number, "Alpha"),
        box.add_folder(projects.number, "Beta"),
        box.add_folder(root, "Receipts"),
        box.add_folder(root, "Reading"),
        box.add_folder(root, "Team"),
        box.add_folder(inbox, "Newsletters"),
    ]
    names = [name for name, _ in _PLACES]
    weights = [weight for _, weight in _PLACES]
    dates = sorted(mailbox.born - 1 - dice.randrange(DAYS * 86400) for _ in range(mailbox.history))
    for at in dates:
        place = dice.choices(names, weights)[0]
        folder = dice.choice(own) if place == "own" else box.known[place]
        other = dice.choice(colleagues if colleagues and dice.random() < 0.7 else EXTERNALS)
        outward = place in ("sentitems", "drafts")
        number = box.next_number()
        item = Item(
            number=number,
            folder=folder.number,
            created=at,
            received=at,
            sent=at - (0 if outward else dice.randrange(4)),
            modified=at + (dice.randrange(3600) if folder.kind not in ("inbox", "sent") else 0),
            sender=mailbox.address if outward else other,
            to=[other] if outward else [mailbox.address],
            cc=[dice.choice(colleagues)] if colleagues and dice.random() < 0.2 else [],
            bcc=[],
            imid=f"<{seed:x}.{number:x}@{(mailbox.address if outward else other).split('@')[1]}>",
            conversation=f"history-{dice.randrange(1 + mailbox.history // 2)}",
            read=outward or dice.random() < 0.85,
            draft=place == "drafts",
            attachments=dice.random() < 0.15,
            focused=dice.random() < 0.7,
            importance=2 if dice.random() < 0.05 else 1,
            flag=1 if dice.random() < 0.05 else 0,
            flagged_at=at + 60,
        )
        item.modified = min(item.modified, mailbox.born - 1)
        box.add(item)
    mailbox.filled = True
    box.save_mailbox()
