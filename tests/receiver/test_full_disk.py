"""No space, no folder, no writing: 503 and a clear line, never 202, and nothing is lost."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.receiver import item, key_of, landed, post_of, running, settings_of


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB on which staging lives."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root; the limit on file size covers it")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def remount(folder: Path, how: str) -> None:
    """Tried again while a segment is open for writing."""
    command = ["mount", "-o", f"remount,{how}", str(folder)]
    deadline = time.monotonic() + 10
    while subprocess.run(command, capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_disk_that_became_read_only_answers_503_until_it_takes_data_again(
    tmp_path: Path, tiny_disk: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    settings_of(home).staging.symlink_to(tiny_disk)
    with running(home, segment_age_s=0.05) as receiver:
        key = key_of(home)
        assert receiver.post(post_of(item(key, "before"))).status == 202
        remount(tiny_disk, "ro")

        assert receiver.post(post_of(item(key, "refused"))).status == 503
        assert b"Read-only file system" in receiver.wait_ready(503).body
        assert b"outlook_receiver_ready 0" in receiver.get("/metrics").body

        remount(tiny_disk, "rw")
        receiver.wait_ready(200)
        assert receiver.post(post_of(item(key, "after"))).status == 202
        receiver.stop()
        assert "staging cannot be written: Read-only file system" in receiver.log()

    assert landed(home).items() == ["before", "after"]


def test_a_volume_that_went_away_is_answered_503_and_its_mount_point_takes_nothing(
    tmp_path: Path, tiny_disk: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    settings_of(home).staging.symlink_to(tiny_disk)
    with running(home, segment_age_s=30) as receiver:
        key = key_of(home)
        assert receiver.post(post_of(item(key, "before"))).status == 202
        subprocess.run(["umount", "-l", str(tiny_disk)], check=True)

        for number in range(3):
            assert receiver.post(post_of(item(key, f"refused-{number}"))).status == 503
        assert b"another volume" in receiver.wait_ready(503).body
        receiver.stop()
        assert "staging cannot be written" in receiver.log()

    assert landed(home).items() == []
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tiny_disk)], check=True)


@pytest.mark.parametrize("way", ["removed", "renamed"])
def test_staging_that_vanishes_is_answered_503_and_made_anew(tmp_path: Path, way: str) -> None:
    staging = settings_of(tmp_path).staging
    with running(tmp_path, segment_age_s=30) as receiver:
        key = key_of(tmp_path)
        assert receiver.post(post_of(item(key, "before"))).status == 202
        staging.rename(tmp_path / "elsewhere")
        if way == "removed":
            shutil.rmtree(tmp_path / "elsewhere")

        assert receiver.post(post_of(item(key, "refused"))).status == 503
        receiver.wait_ready(200)
        assert receiver.post(post_of(item(key, "after"))).status == 202
        receiver.stop()
        assert "the open segment was removed under the receiver" in receiver.log()

    assert landed(tmp_path).items() == ["after"]


def test_a_full_disk_answers_503_and_every_202_is_kept(tmp_path: Path, tiny_disk: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    settings_of(home).staging.symlink_to(tiny_disk)
    acknowledged: list[str] = []
    with running(home, segment_age_s=0.05) as receiver:
        key = key_of(home)
        for number in range(60):
            ids = [f"n{number}-{at}" for at in range(40)]
            answer = receiver.post(post_of(*(item(key, one) for one in ids)))
            assert answer.status in (202, 503)
            acknowledged += ids if answer.status == 202 else []
        assert answer.status == 503
        receiver.wait_ready(503)
        assert "No space left on device" in receiver.get("/ready").body.decode()
        assert "staging cannot be written: No space left on device" in receiver.log()

        kept = landed(home).items()
        for path in (tiny_disk / "ready").iterdir():
            path.unlink()  # landing makes room
        receiver.wait_ready(200)
        assert receiver.post(post_of(item(key, "after"))).status == 202

    assert 0 < len(acknowledged) < 60 * 40
    assert kept == acknowledged
    assert landed(home).items() == ["after"]


def test_a_write_that_stops_in_the_middle_is_answered_503_and_cut_away(tmp_path: Path) -> None:
    with running(tmp_path, segment_age_s=30) as receiver:
        key = key_of(tmp_path)
        assert receiver.post(post_of(item(key, "small"))).status == 202
        receiver.limit_file_size(5_000)

        assert receiver.post(post_of(*(item(key, f"n{n}") for n in range(100)))).status == 503
        assert receiver.post(post_of(item(key, "small-again"))).status == 202

        receiver.limit_file_size(resource.RLIM_INFINITY)
        receiver.stop()
        assert "staging cannot be written: File too large" in receiver.log()

    assert landed(tmp_path).items() == ["small", "small-again"]
    assert all(b"n99" not in path.read_bytes() for path in tmp_path.rglob("*.segment"))


def test_what_the_disk_cannot_keep_up_with_is_answered_503_in_time(tmp_path: Path) -> None:
    with running(tmp_path, pending_limit_bytes=1024) as receiver:
        key = key_of(tmp_path)
        started = time.monotonic()
        assert receiver.post(post_of(*(item(key, f"n{n}") for n in range(10)))).status == 503
        assert time.monotonic() - started < 1
        assert receiver.post(post_of(item(key, "fits"))).status == 202
        receiver.stop()
        assert "the disk cannot keep up: answering 503" in receiver.log()

    assert landed(tmp_path).items() == ["fits"]


def test_a_refusal_ends_the_span_the_receiver_vouches_for(tmp_path: Path) -> None:
    with running(tmp_path) as receiver:
        key = key_of(tmp_path)
        receiver.limit_file_size(0)
        assert receiver.post(post_of(item(key, "refused"))).status == 503
        receiver.limit_file_size(resource.RLIM_INFINITY)
        receiver.wait_ready(200)
        assert receiver.post(post_of(item(key, "taken"))).status == 202
        receiver.stop()

    [entry] = landed(tmp_path).notifications
    assert (entry.item, entry.vouched_since) == ("taken", None)


def test_staging_that_cannot_be_a_folder_is_answered_503_until_it_can(tmp_path: Path) -> None:
    staging = settings_of(tmp_path).staging
    staging.write_text("a file where the folder should be")
    with running(tmp_path, wait=False) as receiver:
        receiver.wait_ready(503)
        key = key_of(tmp_path)
        assert receiver.post(post_of(item(key, "refused"))).status == 503
        assert receiver.get("/live").status == 200
        assert "staging cannot be written" in receiver.log()

        staging.unlink()
        receiver.wait_ready(200)
        assert receiver.post(post_of(item(key, "taken"))).status == 202
        assert "staging takes data again" in receiver.log()

    assert landed(tmp_path).items() == ["taken"]


def test_a_ready_folder_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    staging = settings_of(tmp_path).staging
    with running(tmp_path, segment_age_s=0.05) as receiver:
        key = key_of(tmp_path)
        assert receiver.post(post_of(item(key, "one"))).status == 202
        (staging / "ready").rename(staging / "elsewhere")
        (staging / "ready").write_text("in the way")
        status = receiver.post(post_of(item(key, "two"))).status
        (staging / "ready").unlink()
        os.rename(staging / "elsewhere", staging / "ready")
        receiver.wait_ready(200)
        receiver.stop()

    assert status in (202, 503)
    assert landed(tmp_path).items() == (["one", "two"] if status == 202 else ["one"])
