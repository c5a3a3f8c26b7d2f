"""A segment is readable after a crash at any byte; what was acknowledged is in it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import msgspec
import pytest

from outlook_lake.errors import StorageError, TornSegmentError
from outlook_lake.receiver.segments import (
    Notification,
    Quarantined,
    open_folder,
    read_segment,
    ready_segments,
    record,
    take_abandoned,
)
from outlook_lake.receiver.writer import SegmentWriter


def notification(item: str) -> Notification:
    return Notification("nonce", "k1", "tenant", "subscription", 1_000, "created", None, item, 900)


def line(*items: str) -> bytes:
    return record(b"n", msgspec.json.encode([notification(item) for item in items]))


def writer_of(staging: Path, **changed: float) -> SegmentWriter:
    return SegmentWriter(
        staging,
        "r1",
        age_s=changed.get("age_s", 60.0),
        size_bytes=int(changed.get("size_bytes", 1 << 20)),
        vouched_since=lambda: 900,
    )


def closed(staging: Path, *lines: bytes) -> Path:
    writer = writer_of(staging)
    for one in lines:
        writer.append([one], 1)
    writer.close()
    return ready_segments(staging)[-1]


def left_by_a_dead_receiver(staging: Path, data: bytes) -> Path:
    open_folder(staging).mkdir(parents=True, exist_ok=True)
    path = open_folder(staging) / "0000000000000001-dead.segment"
    path.write_bytes(data)
    return path


def test_a_closed_segment_tells_what_was_put_into_it_and_by_whom(tmp_path: Path) -> None:
    counts = [Quarantined(60, "receiver", "forged", 3, 900, [("ab" * 32, 300)])]

    found = read_segment(
        closed(tmp_path, line("a", "b"), record(b"q", msgspec.json.encode(counts)), line("c"))
    )

    assert found.notifications == [notification("a"), notification("b"), notification("c")]
    assert found.quarantine == counts
    assert (found.header.receiver, found.header.pid, found.header.vouched_since) == (
        "r1",
        os.getpid(),
        900,
    )
    assert found.footer is not None
    assert (found.footer.records, found.records) == (3, 3)
    assert (found.torn_bytes, found.damaged) == (0, 0)


def test_every_line_is_json_that_any_tool_can_read(tmp_path: Path) -> None:
    path = closed(tmp_path, line("a"))

    kinds = [json.loads(text)[0] for text in path.read_text().splitlines()]

    assert kinds == ["h", "n", "f"]


def test_names_sort_by_time_and_differ_between_receivers(tmp_path: Path) -> None:
    names = [closed(tmp_path, line(str(number))).name for number in range(5)]

    assert names == sorted(names)
    assert len(set(names)) == 5
    assert all("-r1." in name for name in names)


def test_a_torn_tail_is_cut_at_the_last_whole_record_at_every_byte(tmp_path: Path) -> None:
    last = record(b"n", msgspec.json.encode([Notification("n", "k", "t", "s", 1, "created")]))
    whole = closed(tmp_path / "model", line("a"), last).read_bytes()
    footer_at = whole.rindex(b'["f"')
    last_at = whole.rindex(b'["n"', 0, footer_at)

    for size in range(last_at, footer_at):
        staging = tmp_path / str(size)
        left_by_a_dead_receiver(staging, whole[:size])

        [taken] = take_abandoned(staging)

        found = read_segment(taken)
        assert [entry.item for entry in found.notifications] == ["a"], f"cut at byte {size}"
        assert (found.torn_bytes, taken.stat().st_size) == (0, last_at)
        assert found.footer is None
        assert not list(open_folder(staging).iterdir())


def test_a_torn_footer_loses_no_record(tmp_path: Path) -> None:
    whole = closed(tmp_path / "model", line("a"), line("b")).read_bytes()

    for size in range(whole.rindex(b'["f"'), len(whole)):
        path = tmp_path / f"{size}.segment"
        path.write_bytes(whole[:size])

        assert [entry.item for entry in read_segment(path).notifications] == ["a", "b"]


@pytest.mark.parametrize("place", ["kind", "checksum", "length", "payload"])
def test_a_record_with_one_wrong_byte_is_not_believed(tmp_path: Path, place: str) -> None:
    path = closed(tmp_path, line("a"), line("b"))
    data = bytearray(path.read_bytes())
    at = data.index(b'["n"')
    comma = data.index(b",", at + 5)
    places = {"kind": at + 2, "checksum": at + 6, "length": comma + 1, "payload": comma + 30}
    data[places[place]] ^= 1
    path.write_bytes(data)

    found = read_segment(path)

    assert [entry.item for entry in found.notifications] == ["b"]
    assert found.damaged == 1


def test_a_damaged_header_does_not_take_the_records_with_it(tmp_path: Path) -> None:
    whole = bytearray(closed(tmp_path / "model", line("a")).read_bytes())
    whole[10] ^= 1
    left_by_a_dead_receiver(tmp_path, bytes(whole))

    [taken] = take_abandoned(tmp_path)

    found = read_segment(taken)
    assert [entry.item for entry in found.notifications] == ["a"]
    assert found.header.receiver == "unknown"


def test_a_file_that_is_no_segment_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "notes.segment"
    path.write_bytes(b"not a segment\n")

    with pytest.raises(TornSegmentError, match=r"notes\.segment is not a segment"):
        read_segment(path)


def test_a_segment_of_a_newer_version_is_refused_rather_than_misread(tmp_path: Path) -> None:
    path = closed(tmp_path, line("a"))
    header = {"version": 2, "receiver": "r", "pid": 1, "opened_at": 1, "vouched_since": None}
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(record(b"h", json.dumps(header).encode()) + b"".join(lines[1:]))

    with pytest.raises(StorageError, match="update the workers before the receivers"):
        read_segment(path)


def test_an_open_segment_whose_receiver_lives_is_left_alone(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    writer.append([line("a")], 1)

    assert take_abandoned(tmp_path) == []

    writer.close()
    assert len(ready_segments(tmp_path)) == 1


def test_an_open_segment_without_a_record_is_removed(tmp_path: Path) -> None:
    whole = closed(tmp_path / "model", line("a")).read_bytes()
    for data in (b"", whole[:20], whole[: whole.index(b'["n"')]):
        path = left_by_a_dead_receiver(tmp_path, data)

        assert take_abandoned(tmp_path) == []
        assert not path.exists()


def test_two_landings_at_once_take_a_segment_once(tmp_path: Path) -> None:
    path = left_by_a_dead_receiver(tmp_path, closed(tmp_path / "model", line("a")).read_bytes())
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert take_abandoned(tmp_path) == []

    assert len(take_abandoned(tmp_path)) == 1
    assert take_abandoned(tmp_path) == []


def test_nothing_is_waiting_where_there_is_no_staging_yet(tmp_path: Path) -> None:
    assert ready_segments(tmp_path) == take_abandoned(tmp_path) == []


def test_a_segment_is_due_by_size_and_by_age(tmp_path: Path) -> None:
    by_size = writer_of(tmp_path / "size", size_bytes=200)
    assert by_size.close_in() is None
    by_size.append([line("a")], 1)
    assert by_size.close_in() == 0

    by_age = writer_of(tmp_path / "age", age_s=30)
    by_age.append([line("a")], 1)
    assert 29 < (by_age.close_in() or 0) <= 30


def test_a_failed_append_leaves_nothing_and_what_was_durable_before_is_kept(
    tmp_path: Path,
) -> None:
    broken: list[bool] = []

    def sync(fd: int) -> None:
        if broken:
            raise OSError(5, "Input/output error")
        os.fdatasync(fd)

    writer = SegmentWriter(
        tmp_path, "r1", age_s=60, size_bytes=1 << 20, vouched_since=lambda: None, sync=sync
    )
    writer.append([line("kept")], 1)
    broken.append(True)
    with pytest.raises(OSError, match="Input/output"):
        writer.append([line("refused")], 1)
    broken.clear()
    writer.append([line("after")], 1)
    writer.close()

    found = [read_segment(path).notifications for path in ready_segments(tmp_path)]
    assert [entry.item for entries in found for entry in entries] == ["kept", "after"]
    assert not list(open_folder(tmp_path).iterdir())


def test_an_open_segment_removed_by_somebody_is_noticed_before_the_202(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    writer.append([line("a")], 1)
    for path in open_folder(tmp_path).iterdir():
        path.unlink()

    with pytest.raises(OSError, match="removed under the receiver"):
        writer.append([line("b")], 1)

    writer.append([line("c")], 1)
    writer.close()
    [path] = ready_segments(tmp_path)
    assert [entry.item for entry in read_segment(path).notifications] == ["c"]
