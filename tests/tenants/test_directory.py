"""Addresses live in the directory only, and events know them by a keyed hash."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from outlook_lake.errors import StateError
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import directory
from outlook_lake.tenants.directory import (
    DirectoryKey,
    Person,
    address_key,
    address_keys,
    ensure_key,
    export_directory,
    remember,
)

KEY = DirectoryKey(b"k" * 32)
NOON = 1_764_000_000_000_000
HOUR_US = 3_600_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), home=tmp_path)


@pytest.fixture
def db(settings: Settings):
    database = Database.open(settings)
    yield database
    database.close()


def rows(db: Database):
    with db.read() as connection:
        return connection.execute(select(directory).order_by(directory.c.address)).all()


def test_an_address_in_capitals_is_the_same_address():
    assert address_key(KEY, " Ann@Contoso.Example ") == address_key(KEY, "ann@contoso.example")
    assert len(address_key(KEY, "a@b")) == 16


def test_another_home_hashes_an_address_differently():
    assert address_key(KEY, "a@b") != address_key(DirectoryKey(b"z" * 32), "a@b")


def test_a_column_of_addresses_keeps_its_order_and_its_nulls():
    hashed = address_keys(KEY, ["b@x", None, "a@x", "b@x"])

    assert hashed.to_pylist() == [
        address_key(KEY, "b@x"),
        None,
        address_key(KEY, "a@x"),
        address_key(KEY, "b@x"),
    ]


def test_the_key_is_made_once_private_and_never_shown(settings: Settings):
    first, second = ensure_key(settings.keys), ensure_key(settings.keys)

    assert first == second
    assert len(first.secret) == 32
    assert repr(first) == "DirectoryKey()"
    path = settings.keys / "directory.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in settings.keys.iterdir()] == ["directory.json"]


def test_a_spoilt_key_file_is_not_replaced_by_a_new_key(settings: Settings):
    ensure_key(settings.keys)
    (settings.keys / "directory.json").write_text("{}")

    with pytest.raises(StateError, match="backup"):
        ensure_key(settings.keys)


def test_a_person_is_remembered_once_and_never_emptied(db: Database):
    with db.write() as connection:
        remember(connection, KEY, "t", [Person("Ann@X.example", "Ann", 7)], NOON)
        remember(connection, KEY, "t", [Person("ann@x.example", None, None)], NOON + HOUR_US)

    (row,) = rows(db)
    assert (row.address, row.name, row.mailbox_id, row.domain) == (
        "ann@x.example",
        "Ann",
        7,
        "x.example",
    )
    assert (row.first_seen, row.last_seen) == (NOON, NOON + HOUR_US)


def test_nothing_new_within_the_hour_writes_nothing(db: Database):
    with db.write() as connection:
        remember(connection, KEY, "t", [Person("a@x", "A")], NOON)
        remember(connection, KEY, "t", [Person("a@x", "A")], NOON + HOUR_US - 1)

    assert rows(db)[0].last_seen == NOON


def test_the_export_is_private_and_names_mailboxes_by_tuid(db: Database, settings: Settings):
    with db.write() as connection:
        remember(connection, KEY, "t", [Person("a@x", "A"), Person("b@x")], NOON)
    os.umask(0o022)

    path = export_directory(db, settings)

    table = pq.read_table(path)
    assert table.column("address").to_pylist() == [
        row.address for row in sorted(rows(db), key=lambda row: row.address_key)
    ]
    assert table.column("tuid").to_pylist() == [None, None]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_empty_directory_still_exports_its_columns(db: Database, settings: Settings):
    assert "address_key" in pq.read_table(export_directory(db, settings)).column_names
