"""Receivers without the workers' disk: a segment is in the store whole, and nothing is lost."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlook_lake.errors import StorageError
from outlook_lake.receiver.append_blob import AppendBlobWriter, OpenBlobs
from outlook_lake.receiver.segments import SUFFIX, read_segment, ready_segments, record
from outlook_lake.receiver.shipping import Shipper, Store, collect, collect_open
from tests.support.ports import free_port
from tests.support.receiver import item, key_of, landed, post_of, running, settings_of

AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def segment(staging: Path, name: str, text: bytes = b"x") -> Path:
    path = staging / "ready" / f"{name}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


@pytest.fixture
def azurite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Microsoft's own emulator of Blob storage, where it is installed (npm install azurite)."""
    binary = shutil.which("azurite-blob") or os.environ.get("AZURITE_BLOB")
    if not binary:
        pytest.skip("azurite-blob is not installed; a folder and memory stand for the store")
    port = free_port()
    command = [binary, "--blobPort", str(port), "--location", str(tmp_path / "az"), "--silent"]
    process = subprocess.Popen([*command, "--skipApiVersionCheck", "--disableTelemetry"])
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        text = (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        )
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        from azure.storage.blob import BlobServiceClient

        BlobServiceClient.from_connection_string(text).create_container("staging")
        yield "abfs://staging/outlook"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path}"


def test_what_is_shipped_arrives_once_and_whole(tmp_path: Path, url: str) -> None:
    here, there = tmp_path / "receiver", tmp_path / "workers"
    paths = [segment(here, f"{n}", b"content %d" % n) for n in range(3)]

    assert Shipper(here, url).ship() == 3
    assert not any(path.exists() for path in paths)
    assert Store(url).names() == [path.name for path in paths]

    assert collect(url, there) == 3
    assert [path.read_bytes() for path in ready_segments(there)] == [
        b"content 0",
        b"content 1",
        b"content 2",
    ]
    assert Store(url).names() == []
    assert collect(url, there) == 0


def test_a_store_that_is_not_there_yet_is_empty(tmp_path: Path, url: str) -> None:
    assert Store(url).names() == []
    assert collect(url, tmp_path / "workers") == 0
    Store(url).remove("never-was.segment")


def test_a_crash_between_put_and_removal_ships_it_again_under_the_same_name(
    tmp_path: Path, url: str
) -> None:
    here = tmp_path / "receiver"
    path = segment(here, "one", b"content")
    Store(url).put(path)  # and killed before the local file went away

    Shipper(here, url).ship()

    assert Store(url).names() == [path.name]
    assert Store(url).get(path.name) == b"content"


def test_what_workers_of_the_same_disk_collected_is_not_shipped_again(
    tmp_path: Path, url: str
) -> None:
    staging = tmp_path / "both"
    path = segment(staging, "one")
    shipper = Shipper(staging, url)
    shipper.ship()
    collect(url, staging)

    assert shipper.ship() == 0
    assert path.exists()


def test_while_the_store_fails_segments_wait_and_no_secret_is_told(tmp_path: Path) -> None:
    here = tmp_path / "receiver"
    path = segment(here, "one")
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")

    with pytest.raises(StorageError) as found:
        Shipper(here, f"file://{blocked}/sig=secret").ship()

    assert path.exists()
    assert "secret" not in str(found.value)


def test_the_receiver_ships_what_it_acknowledged_and_what_a_killed_one_left(
    tmp_path: Path,
) -> None:
    home, workers, store = tmp_path / "home", tmp_path / "workers", f"file://{tmp_path}/store"
    with running(home, ship_to=store, segment_age_s=30) as receiver:
        assert receiver.post(post_of(item(key_of(home), "left-open"))).status == 202
        receiver.kill()
    assert Store(store).names() == []

    with running(home, ship_to=store) as receiver:
        assert receiver.post(post_of(item(key_of(home), "closed"))).status == 202
        assert b"outlook_receiver_shipping_ok 1" in receiver.get("/metrics").body

    assert not ready_segments(settings_of(home).staging)
    collect(store, settings_of(workers).staging)
    assert sorted(str(one) for one in landed(workers).items()) == ["closed", "left-open"]


def test_a_store_that_comes_back_gets_everything(tmp_path: Path) -> None:
    home, blocked = tmp_path / "home", tmp_path / "store"
    blocked.write_text("no folder")
    with running(home, ship_to=f"file://{blocked}", segment_age_s=0.05) as receiver:
        key = key_of(home)
        assert receiver.post(post_of(item(key, "one"))).status == 202
        deadline = time.monotonic() + 10
        while b"outlook_receiver_shipping_ok 0" not in receiver.get("/metrics").body:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert receiver.get("/ready").status == 200  # it can still keep what comes
        blocked.unlink()
        while not (blocked / "ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        receiver.stop()
        assert "segments wait on this disk" in receiver.log()

    [name] = Store(f"file://{blocked}").names()
    assert [one.item for one in read_segment(blocked / "ready" / name).notifications] == ["one"]


@pytest.mark.slow
def test_a_receiver_without_a_disk_writes_to_append_blobs(tmp_path: Path, azurite: str) -> None:
    logging.getLogger("azure").setLevel(logging.ERROR)
    home, workers = tmp_path / "home", tmp_path / "workers"
    blobs = {"ship_to": azurite, "open_segment": "append_blob", "segment_age_s": 30}
    with running(home, **blobs) as receiver:
        key = key_of(home)
        for name in ("killed-one", "killed-two"):
            assert receiver.post(post_of(item(key, name))).status == 202
        receiver.kill()
    with running(home, **{**blobs, "segment_age_s": 0.2}) as receiver:
        assert receiver.post(post_of(item(key, "closed"))).status == 202
        receiver.stop()
        assert "staging cannot be written" not in receiver.log()
        assert "blob.core" not in receiver.log() and "devstoreaccount1" not in receiver.log()

    assert not list(home.rglob(f"*{SUFFIX}"))
    assert collect_open(azurite, settings_of(workers).staging) == 1
    assert landed(workers).items() == ["closed"]
    left = OpenBlobs(azurite, abandoned_s=0)
    [name] = left.names()
    with left.taking(name) as data:
        assert data is not None
        path = segment(settings_of(workers).staging, "left", data)
    read = read_segment(path)
    assert [one.item for one in read.notifications] == ["killed-one", "killed-two"]
    assert (read.footer, read.torn_bytes) == (None, 0)
    assert left.names() == []


@pytest.mark.slow
def test_a_sleeper_whose_blob_was_taken_answers_503_then_opens_another(
    tmp_path: Path, azurite: str
) -> None:
    writer = AppendBlobWriter(
        azurite, "sleeper", age_s=30, size_bytes=1 << 20, vouched_since=lambda: None
    )
    writer.probe()
    writer.append([record(b"n", b"[]")], 0)
    blobs = OpenBlobs(azurite, abandoned_s=0)
    [name] = blobs.names()

    with blobs.taking(name) as data:
        assert data is not None
        with pytest.raises(OSError, match="LeaseIdMissing"):
            writer.append([record(b"n", b"[]")], 0)
        with OpenBlobs(azurite, abandoned_s=0).taking(name) as second:
            assert second is None
    assert writer.close_in() is None
    writer.append([record(b"n", b"[]")], 0)
    writer.close()

    [another] = OpenBlobs(azurite).names()
    assert another > name


@pytest.mark.slow
def test_without_its_container_a_receiver_answers_503_and_says_why(
    tmp_path: Path, azurite: str
) -> None:
    with running(
        tmp_path / "home",
        wait=False,
        ship_to="abfs://nowhere/outlook",
        open_segment="append_blob",
    ) as receiver:
        assert b"ContainerNotFound" in receiver.wait_ready(503).body or receiver.wait_ready(503)
        refused = receiver.post(post_of(item(key_of(tmp_path / "home"), "refused")))
        assert refused.status == 503
        receiver.stop()
        assert "staging cannot be written: the append blob was refused" in receiver.log()
        assert AZURITE_KEY not in receiver.log()


@pytest.mark.slow
def test_azure_blob_storage_takes_them_as_well(tmp_path: Path, azurite: str) -> None:
    logging.getLogger("azure").setLevel(logging.ERROR)
    here, there = tmp_path / "receiver", tmp_path / "workers"
    path = segment(here, "one", b"content")

    assert Shipper(here, azurite).ship() == 1
    assert Store(azurite).names() == [path.name]
    assert collect(azurite, there) == 1
    assert (there / "ready" / path.name).read_bytes() == b"content"
    assert Store(azurite).names() == []
