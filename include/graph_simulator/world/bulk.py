"""A large mailbox's old mail, made when it is looked at: 800,000 messages cost nothing until then.

Numbers 1 to `mailbox.bulk` of the mailbox are spread over three folders, older ones first. A
message comes from its number and the mailbox alone; only what somebody changed is kept. Bulk mail
is read, unflagged, and lies where it was put until an act takes it away.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

from graph_simulator.world.model import Folder, Item, Mailbox

__all__ = ["Bulk", "LazyItems", "LazyMembers"]

YEARS_S = 10 * 365 * 86400
"""Seconds before the mailbox's start over which its bulk mail was received."""
_SHARES = (("inbox", 5), ("archive", 3), ("sentitems", 2))
_SENDERS = tuple(
    f"{name}@{domain}"
    for name in ("sales", "chris", "invoices", "robin", "support", "news", "billing")
    for domain in ("fabrikam.example", "northwind.example", "mail.example")
)


class Bulk:
    """Which numbers lie in which folder, and what each message is."""

    def __init__(self, mailbox: Mailbox, known: Mapping[str, Folder]) -> None:
        self._mailbox = mailbox
        self._base = mailbox.number << 24
        self.spans: dict[int, range] = {}
        """Folder number -> the item numbers that lie there from the beginning."""
        first, parts = 1, sum(share for _, share in _SHARES)
        for place, (name, share) in enumerate(_SHARES):
            last = place == len(_SHARES) - 1
            end = mailbox.bulk + 1 if last else first + mailbox.bulk * share // parts
            self.spans[known[name].number] = range(self._base + first, self._base + end)
            first = end
        self._sent = known["sentitems"].number

    def home(self, number: int) -> int:
        """The folder a bulk message was put into, 0 for a number that is none."""
        for folder, span in self.spans.items():
            if number in span:
                return folder
        return 0

    def received(self, span: range, number: int) -> int:
        """When a message was received, a Unix second; later numbers later."""
        age = (span.stop - number) * YEARS_S // (len(span) + 1)
        return self._mailbox.born - 1 - age

    def make(self, number: int) -> Item | None:
        """The message of a number, None when bulk holds none."""
        folder, mailbox = self.home(number), self._mailbox
        if not folder:
            return None
        at = self.received(self.spans[folder], number)
        mixed = (number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        other = _SENDERS[(mixed >> 24) % len(_SENDERS)]
        outward = folder == self._sent
        sender = mailbox.address if outward else other
        return Item(
            number=number,
            folder=folder,
            created=at,
            received=at,
            sent=at - (0 if outward else mixed >> 62),
            modified=at,
            sender=sender,
            to=[other] if outward else [mailbox.address],
            cc=[],
            bcc=[],
            imid=f"<bulk.{number:x}@{sender.split('@')[1]}>",
            conversation=f"bulk-{(mixed >> 32) % 100_000}",
            read=True,
            attachments=(mixed >> 40) % 7 == 0,
            focused=(mixed >> 44) % 3 > 0,
            change=1,
            loud_change=1,
        )


class LazyItems(dict[int, Item]):
    """Items by number: those somebody changed are kept, the others are made again each time."""

    def __init__(self, bulk: Bulk) -> None:
        super().__init__()
        self._bulk = bulk

    def __missing__(self, number: int) -> Item:
        item = self._bulk.make(number)
        if item is None:
            raise KeyError(number)
        return item

    def get(self, number: int, default: Any = None) -> Any:
        """The item, kept or made."""
        found = super().get(number)
        return found or self._bulk.make(number) or default

    def values(self) -> Any:
        """All items, bulk ones made as they come."""
        return self._all()

    def _all(self) -> Iterator[Item]:
        yield from super().values()
        for span in self._bulk.spans.values():
            for number in span:
                if number not in self:
                    item = self._bulk.make(number)
                    assert item is not None
                    yield item


class LazyMembers(dict[int, Item]):
    """What lies in a folder: others than its bulk, and its bulk less what was taken away."""

    def __init__(self, bulk: Bulk, items: LazyItems, span: range) -> None:
        super().__init__()
        self._bulk = bulk
        self._items = items
        self._span = span
        self._away: set[int] = set()

    def __setitem__(self, number: int, item: Item) -> None:
        if number in self._span:
            self._away.discard(number)
        else:
            super().__setitem__(number, item)

    def __delitem__(self, number: int) -> None:
        if number in self._span:
            self._away.add(number)
        else:
            super().__delitem__(number)

    def __contains__(self, number: object) -> bool:
        if number in self._span:
            return number not in self._away
        return super().__contains__(number)

    def __len__(self) -> int:
        return super().__len__() + len(self._span) - len(self._away)

    def __iter__(self) -> Iterator[int]:
        if self._away:
            yield from (number for number in self._span if number not in self._away)
        else:
            yield from self._span
        yield from super().__iter__()

    def values(self) -> Any:
        """All items in the folder, bulk ones made as they come."""
        return (self._items[number] for number in self)

    def by_date(self) -> list[int]:
        """All item numbers, the last received first; untouched bulk is not made for it."""
        changed = {item.number: item for item in self.changed()}
        here = [n for n in self._span if n not in self._away and n not in changed]
        for item in changed.values():
            key = (item.received, item.number)
            here.insert(
                bisect_left(here, key, key=lambda n: self._date_of(n, changed)), item.number
            )
        here.reverse()
        return here

    def _date_of(self, number: int, changed: Mapping[int, Item]) -> tuple[int, int]:
        item = changed.get(number)
        return (self._bulk.received(self._span, number) if item is None else item.received, number)

    def changed(self) -> Iterator[Item]:
        """The items that can be other than bulk is: unread ones are among these."""
        yield from super().values()
        for number, item in self._items.items():
            if number in self._span and number not in self._away:
                yield item
