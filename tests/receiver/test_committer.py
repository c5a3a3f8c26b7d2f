"""Every waiter is answered in time, and True is said only of what is on the disk."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import msgspec

from outlook_lake.receiver.committer import Committer
from outlook_lake.receiver.segments import Notification, read_segment, ready_segments, record
from outlook_lake.receiver.writer import SegmentWriter


def line(item: str) -> bytes:
    entry = Notification("nonce", "k1", "tenant", "subscription", 1, "created", None, item)
    return record(b"n", msgspec.json.encode([entry]))


class Disk:
    """A real disk whose sync can be held back, or made to fail."""

    def __init__(self) -> None:
        self.flowing = threading.Event()
        self.flowing.set()
        self.error: OSError | None = None
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.flowing.wait(20)
        self.syncs += 1
        if self.error is not None:
            raise self.error
        os.fdatasync(fd)


class Trouble:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def committer_on(
    disk: Disk, staging: Path, trouble: Trouble | None = None, *, pending_limit: int = 1 << 20
) -> Committer:
    writer = SegmentWriter(
        staging,
        "r1",
        age_s=60,
        size_bytes=1 << 20,
        vouched_since=lambda: None,
        sync=disk.sync,
    )
    return Committer(
        writer, pending_limit=pending_limit, on_trouble=trouble or Trouble(), stuck_s=0.1
    )


async def started(committer: Committer) -> Committer:
    committer.start()
    await well_again(committer)
    return committer


async def well_again(committer: Committer) -> None:
    while committer.trouble:
        committer.tick()
        await asyncio.sleep(0.001)


def stored(staging: Path) -> list[str | None]:
    return [
        entry.item for path in ready_segments(staging) for entry in read_segment(path).notifications
    ]


async def test_what_waits_together_is_committed_together(tmp_path: Path) -> None:
    disk = Disk()
    committer = await started(committer_on(disk, tmp_path))
    before = disk.syncs

    waiters = [committer.submit(line(str(number)), 1) for number in range(50)]
    answers = [await waiter for waiter in waiters if waiter is not None]

    assert answers == [True] * 50
    assert disk.syncs - before == 1
    await committer.stop()
    assert stored(tmp_path) == [str(number) for number in range(50)]


async def test_true_is_not_said_before_the_sync_has_ended(tmp_path: Path) -> None:
    disk = Disk()
    committer = await started(committer_on(disk, tmp_path))
    disk.flowing.clear()

    waiter = committer.submit(line("a"), 1)
    assert waiter is not None
    await asyncio.sleep(0.05)
    assert not waiter.done()

    disk.flowing.set()
    assert await waiter
    await committer.stop()


async def test_when_the_disk_refuses_every_waiter_hears_it_and_vouching_ends(
    tmp_path: Path,
) -> None:
    disk, trouble = Disk(), Trouble()
    committer = await started(committer_on(disk, tmp_path, trouble))
    disk.error = OSError(28, "No space left on device")

    waiters = [committer.submit(line(str(number)), 1) for number in range(3)]
    answers = [await waiter for waiter in waiters if waiter is not None]

    assert answers == [False] * 3
    assert committer.trouble == "No space left on device"
    assert trouble.times == 1
    disk.error = None
    await committer.stop()
    assert stored(tmp_path) == []


async def test_space_that_comes_back_is_found_without_a_notification(tmp_path: Path) -> None:
    disk = Disk()
    committer = await started(committer_on(disk, tmp_path))
    disk.error = OSError(28, "No space left on device")
    refused = committer.submit(line("a"), 1)
    assert refused is not None
    assert not await refused

    disk.error = None
    await well_again(committer)

    waiter = committer.submit(line("b"), 1)
    assert waiter is not None
    assert await waiter
    await committer.stop()
    assert stored(tmp_path) == ["b"]


async def test_beyond_the_pending_limit_there_is_no_room_and_it_says_so_at_once(
    tmp_path: Path,
) -> None:
    disk = Disk()
    room = 10 * len(line("x"))
    committer = await started(committer_on(disk, tmp_path, pending_limit=room))
    disk.flowing.clear()

    waiters = [committer.submit(line("x"), 1) for _ in range(12)]

    assert [waiter is None for waiter in waiters] == [False] * 10 + [True] * 2
    assert committer.pending_bytes == room
    disk.flowing.set()
    assert all([await waiter for waiter in waiters if waiter is not None])
    assert committer.pending_bytes == 0
    await committer.stop()
    assert stored(tmp_path) == ["x"] * 10


async def test_a_disk_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    disk, trouble = Disk(), Trouble()
    committer = await started(committer_on(disk, tmp_path, trouble))
    disk.flowing.clear()
    in_flight = committer.submit(line("a"), 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    behind = committer.submit(line("b"), 1)
    assert in_flight is not None
    assert behind is not None

    await asyncio.sleep(0.15)
    committer.tick()

    assert (await in_flight, await behind) == (False, False)
    assert committer.submit(line("c"), 1) is None
    assert trouble.times == 1
    assert committer.trouble is not None

    disk.flowing.set()
    await well_again(committer)
    again = committer.submit(line("d"), 1)
    assert again is not None
    assert await again
    assert committer.pending_bytes == 0
    await committer.stop()
    assert "d" in stored(tmp_path)


async def test_stopping_stores_what_waits_and_closes_the_segment(tmp_path: Path) -> None:
    committer = await started(committer_on(Disk(), tmp_path))
    waiter = committer.submit(line("a"), 1)

    await committer.stop()

    assert waiter is not None
    assert waiter.result()
    [path] = ready_segments(tmp_path)
    assert read_segment(path).footer is not None
    assert committer.submit(line("b"), 1) is None
