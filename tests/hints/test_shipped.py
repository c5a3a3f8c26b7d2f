"""Landing takes what receivers shipped through an object store, each segment once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from outlook_lake.hints.land import land
from outlook_lake.receiver.shipping import Shipper, Store
from outlook_lake.settings import ReceiverSettings, Settings
from outlook_lake.state import Database
from tests.hints.test_land import hints, put, said, watched

__all__ = ["watched"]


def test_shipped_segments_are_landed_once_although_they_were_shipped_twice(
    db: Database, settings: Settings, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/store"
    workers = dataclasses.replace(settings, receiver=ReceiverSettings(ship_to=url))
    elsewhere = dataclasses.replace(settings, home=tmp_path / "receiver")
    path = put(elsewhere, "1", said("created"))
    again = path.read_bytes()
    Shipper(elsewhere.staging, url).ship()

    assert land(db, workers, "me").hints == 1
    assert Store(url).names() == []
    put(elsewhere, "1", said("created")).write_bytes(again)
    Shipper(elsewhere.staging, url).ship()
    assert land(db, workers, "me").segments == 0

    (hint,) = hints(db)
    assert hint["count"] == 1
    assert Store(url).names() == []


def test_a_store_that_cannot_be_read_does_not_keep_landing_from_what_is_here(
    db: Database, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    workers = dataclasses.replace(
        settings, receiver=ReceiverSettings(ship_to=f"file://{tmp_path}/file/below")
    )
    put(workers, "1", said("created"))

    assert land(db, workers, "me").hints == 1
