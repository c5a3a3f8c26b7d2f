"""The content of messages, made from the item's number whenever it is asked for.

Every subject, body, preview and attachment name carries the item's canary,
`CANARY-<8 hex>-<field>`: wherever such a string turns up, content has leaked.
"""

from __future__ import annotations

from graph_simulator.world.model import Item

__all__ = ["attachments", "body", "canary", "preview", "subject"]

_TOPICS = (
    "Minutes of Tuesday",
    "Budget for next quarter",
    "Lunch on Friday?",
    "Re: your question",
    "Contract, last version",
    "Travel plans",
    "Numbers for the board",
    "Welcome to the team",
)


def canary(number: int, field: str) -> str:
    """The string by which a leak of this field of this item is found."""
    mixed = (number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    return f"CANARY-{mixed >> 32:08x}-{field}"


def subject(item: Item) -> str:
    """The subject line."""
    return f"{_TOPICS[item.number % len(_TOPICS)]} {canary(item.number, 'subject')}"


def preview(item: Item) -> str:
    """The first characters of the body, as `bodyPreview`."""
    return f"Hello, {canary(item.number, 'bodyPreview')} in short"


def body(item: Item) -> str:
    """The text of the body."""
    return f"Hello,\r\n{canary(item.number, 'body')} at length.\r\nRegards"


def attachments(item: Item) -> list[dict[str, object]]:
    """The attachments' metadata (empty when the message has none)."""
    if not item.attachments:
        return []
    return [
        {
            "@odata.type": "#microsoft.graph.fileAttachment",
            "id": f"AAMkAttach{item.number:x}",
            "name": f"{canary(item.number, 'attachment')}.pdf",
            "contentType": "application/pdf",
            "size": 20_000 + item.number % 5000,
            "isInline": False,
        }
    ]
