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
from outlook_lake.receiver.segments import SUFFIX, read_segment, ready_segments
from outlook_lake.receiver.shipping import Shipper, Store, collect
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
    process = subprocess.Popen([*command, "--skipApiVersionCheck"])
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
def test_azure_blob_storage_takes_them_as_well(tmp_path: Path, azurite: str) -> None:
    logging.getLogger("azure").setLevel(logging.ERROR)
    here, there = tmp_path / "receiver", tmp_path / "workers"
    path = segment(here, "one", b"content")

    assert Shipper(here, azurite).ship() == 1
    assert Store(azurite).names() == [path.name]
    assert collect(azurite, there) == 1
    assert (there / "ready" / path.name).read_bytes() == b"content"
    assert Store(azurite).names() == []
