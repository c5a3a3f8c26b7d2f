"""Small traffic files and worlds for the tests of the simulator's traffic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from graph_simulator.clock import Clock
from graph_simulator.errors import ActRefused
from graph_simulator.store import Store
from graph_simulator.traffic import Player
from graph_simulator.world.world import World

ZONE = ZoneInfo("America/Chicago")
SCHEMA = pa.schema(
    {
        "message_id": pa.string(),
        "sent_at": pa.timestamp("us", "UTC"),
        "clock": pa.string(),
        "date_ok": pa.bool_(),
        "sender": pa.string(),
        "sender_internal": pa.bool_(),
        "to": pa.list_(pa.string()),
        "cc": pa.list_(pa.string()),
        "conversation_id": pa.string(),
        "size_bytes": pa.int32(),
        "attachment_hints": pa.int32(),
    }
)


def message(
    name: str,
    at: str = "2001-10-03 10:00:05",
    sender: str = "ann@corp.example",
    to: Sequence[str | None] = ("bob@corp.example",),
    **more: Any,
) -> dict[str, Any]:
    """A row of a traffic file; `at` is wall time in Chicago."""
    return {
        "message_id": name,
        "sent_at": datetime.fromisoformat(at).replace(tzinfo=ZONE).astimezone(UTC),
        "clock": "exchange-second",
        "date_ok": True,
        "sender": sender,
        "sender_internal": sender.endswith("corp.example"),
        "to": list(to),
        "cc": [],
        "attachment_hints": 0,
        **more,
    }


def write_file(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    """A traffic file of these rows."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
    return path


@contextmanager
def open_world(folder: Path, back: timedelta = timedelta(days=9), seed: int = 1) -> Iterator[World]:
    """A world of its own whose clock stands still `back` before now."""
    store = Store(folder / "simulator")
    try:
        yield World(store, Clock.start(back.total_seconds(), 0), seed)
    finally:
        store.close()


def play_until(world: World, player: Player, end: datetime | None = None) -> None:
    """Carry out everything planned before `end`, moving the clock from act to act."""
    while (at := player.next_at) is not None and (end is None or at < end):
        ahead = (at - world.when(world.clock.instant())).total_seconds()
        world.clock.advance(max(0.0, ahead) + 0.001)
        for act in player.due(world.when(world.clock.instant())):
            try:
                player.done(act, world.act(act.mailbox, act.do, **act.args))
            except ActRefused as refusal:
                player.refused(act, str(refusal.status))


def office_day(path: Path) -> Path:
    """A file of 600 messages among 12 people and from 3 outsiders, over 12 hours."""
    rows = [
        message(
            f"m{n}",
            f"2001-10-{1 + n % 5:02d} {7 + n % 12:02d}:{n % 60:02d}:{n % 59:02d}",
            sender=f"out{n % 3}@elsewhere.example" if n % 4 == 0 else f"p{n % 12}@corp.example",
            to=[f"p{(n + 1) % 12}@corp.example", f"p{(n * 7) % 12}@corp.example"],
        )
        for n in range(600)
    ]
    return write_file(path, rows)


def journal(world: World) -> list[dict[str, Any]]:
    """Every row of the world's journal."""
    world.store.commit()
    return [json.loads(line) for _, line in world.store.lines(0, 10**6)]
