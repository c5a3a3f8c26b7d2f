"""Keys rotate without a notification being lost, and nobody can lock themselves out."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from outlook_lake.clock import machine_us
from outlook_lake.errors import UsageError
from outlook_lake.receiver.client_state import (
    KEY_FILE,
    KeyFile,
    Proof,
    ensure_keys,
    load_keys,
    make,
    newest,
)
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.rotation import REDELIVERY_US, forget, retire, rotate

TENANT = "11111111-2222-4333-8444-555555555555"
MAILBOX = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def retired_long_ago(folder: Path, key_id: str) -> None:
    file = msgspec.json.decode((folder / KEY_FILE).read_bytes(), type=KeyFile)
    for record in file.keys:
        if record.id == key_id:
            record.retired_at = machine_us() - REDELIVERY_US - 1
    (folder / KEY_FILE).write_bytes(msgspec.json.encode(file))


def test_a_new_key_signs_and_the_old_one_goes_on_proving(tmp_path: Path):
    old = newest(ensure_keys(tmp_path))
    ring = Keyring(tmp_path)
    new = rotate(tmp_path)

    assert newest(load_keys(tmp_path)) == new
    assert ring.refresh()
    for key in (old, new):
        assert ring.check(make(key, TENANT, MAILBOX, "n"), TENANT, MAILBOX) == Proof(
            "n", key.key_id
        )


def test_a_retired_key_still_proves_what_is_on_its_way_but_signs_nothing(tmp_path: Path):
    old = newest(ensure_keys(tmp_path))
    new = rotate(tmp_path)
    retire(tmp_path, new.key_id)
    ring = Keyring(tmp_path)

    assert newest(load_keys(tmp_path)).key_id == old.key_id
    assert isinstance(ring.check(make(new, TENANT, MAILBOX, "n"), TENANT, MAILBOX), Proof)


def test_the_only_key_that_signs_cannot_be_retired(tmp_path: Path):
    only = newest(ensure_keys(tmp_path))

    with pytest.raises(UsageError, match="keys rotate` first"):
        retire(tmp_path, only.key_id)
    with pytest.raises(UsageError, match="no key"):
        retire(tmp_path, "unheard of")


def test_a_retired_key_is_forgotten_when_nothing_can_arrive_with_it_any_more(tmp_path: Path):
    old = newest(ensure_keys(tmp_path))
    rotate(tmp_path)
    retire(tmp_path, old.key_id)

    assert forget(tmp_path, set()) == []  # what is on its way may take four hours
    retired_long_ago(tmp_path, old.key_id)
    assert forget(tmp_path, {old.key_id}) == []  # a subscription still lives by it
    assert forget(tmp_path, set()) == [old.key_id]
    assert old.key_id not in load_keys(tmp_path)


def test_two_who_rotate_at_once_both_get_their_key(tmp_path: Path):
    ensure_keys(tmp_path)
    with ThreadPoolExecutor(4) as people:
        made = [one.key_id for one in people.map(lambda _: rotate(tmp_path), range(8))]

    assert set(made) < set(load_keys(tmp_path))
    assert len(load_keys(tmp_path)) == 9


def test_the_key_file_is_for_its_owner_alone(tmp_path: Path):
    rotate(tmp_path)

    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
