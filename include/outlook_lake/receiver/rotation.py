"""Another key, without losing a notification.

    rotate   a new key signs what is made from now on; the older ones go on proving
    retire   subscriptions signed with it are moved to the newest key by the next run of
             `subscriptions`; it goes on proving what is on its way
    forget   a retired key that no subscription uses any more leaves the file, 4 hours after
             Graph could last deliver with it

Every change replaces the file in one step; receivers read it again within a second.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from outlook_lake.clock import machine_us
from outlook_lake.errors import StateError, UsageError
from outlook_lake.receiver.client_state import (
    KEY_FILE,
    Key,
    KeyFile,
    KeyRecord,
    ensure_keys,
    load_keys,
    new_record,
    sync_folder,
    write_private,
)

__all__ = ["REDELIVERY_US", "forget", "retire", "rotate"]

REDELIVERY_US = 4 * 3600 * 1_000_000
"""Graph delivers again for four hours (graph-facts 2.6); the same in machine time, at least."""


def rotate(folder: Path) -> Key:
    """Add a key, which signs from now on; returns it."""

    def add(records: list[KeyRecord]) -> list[KeyRecord]:
        return [*records, new_record()]

    return list(_change(folder, add).values())[-1]


def retire(folder: Path, key_id: str) -> Key:
    """Mark a key as retired; UsageError when it is unknown or nothing else could sign."""

    def mark(records: list[KeyRecord]) -> list[KeyRecord]:
        found = next((one for one in records if one.id == key_id), None)
        if found is None:
            raise UsageError(f"no key {key_id!r}; `outlook-lake keys list` shows them all")
        if not any(one for one in records if one.id != key_id and not one.retired_at):
            raise UsageError(
                f"{key_id} is the only key that signs: `outlook-lake keys rotate` first"
            )
        found.retired_at = found.retired_at or machine_us()
        return records

    return _change(folder, mark)[key_id]


def forget(folder: Path, in_use: Collection[str]) -> list[str]:
    """Take retired keys out of the file that nothing of `in_use` (key ids) needs; their ids."""
    before = machine_us() - REDELIVERY_US
    gone = [
        key.key_id
        for key in ensure_keys(folder).values()
        if key.retired_at and key.retired_at <= before and key.key_id not in in_use
    ]
    if gone:
        _change(folder, lambda records: [one for one in records if one.id not in gone])
    return gone


def _change(folder: Path, change: Callable[[list[KeyRecord]], list[KeyRecord]]) -> dict[str, Key]:
    ensure_keys(folder)
    with _alone(folder):
        records = msgspec.json.decode((folder / KEY_FILE).read_bytes(), type=KeyFile).keys
        beside = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
        try:
            write_private(beside, msgspec.json.encode(KeyFile(change(records))))
            beside.replace(folder / KEY_FILE)
            sync_folder(folder)
        except OSError as error:
            raise StateError(f"the keys cannot be written: {error.strerror}") from error
        finally:
            beside.unlink(missing_ok=True)
        return load_keys(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two commands at once change the file one after the other."""
    with (folder / ".lock").open("a") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        yield
