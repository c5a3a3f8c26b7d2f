"""clientState proves that we made the subscription, for this tenant and this mailbox."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from outlook_lake.errors import StateError
from outlook_lake.receiver.client_state import (
    MAX_LENGTH,
    Key,
    Proof,
    Refusal,
    Verifier,
    check,
    ensure_keys,
    load_keys,
    make,
    new_nonce,
    newest,
)
from outlook_lake.receiver.keyring import Keyring

KEY = Key("k1", b"k" * 32)
OTHER_KEY = Key("k2", b"o" * 32)
TENANT = "11111111-2222-4333-8444-555555555555"
MAILBOX = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def test_what_we_made_is_proven_and_names_its_nonce() -> None:
    nonce = new_nonce()

    assert check({"k1": KEY}, make(KEY, TENANT, MAILBOX, nonce), TENANT, MAILBOX) == Proof(
        nonce, "k1"
    )


def test_ids_are_compared_without_regard_to_their_case() -> None:
    state = make(KEY, TENANT.upper(), MAILBOX, "n")

    assert check({"k1": KEY}, state, TENANT, MAILBOX.upper()) == Proof("n", "k1")


def test_a_lifecycle_item_names_no_mailbox_and_is_proven_by_the_mac_alone() -> None:
    assert check({"k1": KEY}, make(KEY, TENANT, MAILBOX, "n"), TENANT, None) == Proof("n", "k1")


def test_it_fits_into_what_graph_keeps() -> None:
    key = Key("0123abcd", b"k" * 32)

    assert len(make(key, TENANT, MAILBOX, new_nonce())) <= MAX_LENGTH == 128


def test_a_nonce_that_would_not_come_back_whole_is_refused_when_making() -> None:
    with pytest.raises(ValueError, match="nonce and key id"):
        make(KEY, TENANT, MAILBOX, "a.b")


@pytest.mark.parametrize("position", range(5))
def test_a_change_of_any_part_is_refused(position: int) -> None:
    parts = make(KEY, TENANT, MAILBOX, "nonce").split(".")
    parts[position] = ("A" if parts[position][0] != "A" else "B") + parts[position][1:]

    assert isinstance(check({"k1": KEY}, ".".join(parts), TENANT, MAILBOX), Refusal)


def test_a_mac_of_another_key_under_our_key_id_is_forged() -> None:
    theirs = make(Key("k1", OTHER_KEY.secret), TENANT, MAILBOX, "n")

    assert check({"k1": KEY}, theirs, TENANT, MAILBOX) == Refusal("forged")


def test_another_tenants_subscription_pointed_at_us_is_forged() -> None:
    state = make(KEY, TENANT, MAILBOX, "n")

    assert check({"k1": KEY}, state, TENANT.replace("1", "9"), MAILBOX) == Refusal("forged")


def test_a_state_of_another_mailbox_is_refused_by_its_tag() -> None:
    state = make(KEY, TENANT, MAILBOX, "n")

    assert check({"k1": KEY}, state, TENANT, TENANT) == Refusal("other_mailbox")


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("", id="nothing"),
        pytest.param("secretClientValue", id="another product's"),
        pytest.param("1.k1.n.t", id="a part missing"),
        pytest.param("2.k1.n.t.m", id="a version we do not know"),
        pytest.param("1.k1.ñ.t.m", id="not ascii"),
        pytest.param("1.k1.n n.t.m", id="a blank in the nonce"),
        pytest.param("1.k1.n.t." + "m" * 128, id="too long"),
    ],
)
def test_what_has_not_our_form_is_refused_as_such(state: str) -> None:
    assert check({"k1": KEY}, state, TENANT, MAILBOX) == Refusal("bad_client_state")


def test_a_remembered_proof_does_not_answer_for_another_mailbox() -> None:
    verifier = Verifier({"k1": KEY})
    state = make(KEY, TENANT, MAILBOX, "n")
    assert isinstance(verifier.check(state, TENANT, MAILBOX), Proof)

    assert verifier.check(state, TENANT, TENANT) == Refusal("other_mailbox")
    assert verifier.check(state, MAILBOX, MAILBOX) == Refusal("forged")


def test_the_first_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "keys"
    made = ensure_keys(folder)

    assert ensure_keys(folder) == made == load_keys(folder)
    assert stat.S_IMODE((folder / "client_state.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["client_state.json"]


def _first_key_id(folder: Path) -> str:
    return newest(ensure_keys(folder)).key_id


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(6) as pool:
        ids = pool.map(_first_key_id, [tmp_path / "keys"] * 24, chunksize=1)

    assert len(set(ids)) == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{}", id="no keys"),
        pytest.param('{"keys": []}', id="an empty list"),
        pytest.param('{"keys": [{"id": "a", "secret": "c2hvcnQ"}]}', id="a short secret"),
    ],
)
def test_an_unusable_key_file_is_refused_in_words_and_never_replaced(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "client_state.json").write_text(text)

    with pytest.raises(StateError, match="key file") as caught:
        ensure_keys(tmp_path)

    assert "c2hvcnQ" not in str(caught.value)
    assert (tmp_path / "client_state.json").read_text() == text


def test_a_key_is_never_shown_by_its_repr() -> None:
    assert "kkkk" not in repr(KEY)


def test_a_rotated_key_is_taken_up_when_the_file_changes(tmp_path: Path) -> None:
    ensure_keys(tmp_path / "new")
    added = newest(load_keys(tmp_path / "new"))
    keyring = Keyring(tmp_path / "ours")
    state = make(added, TENANT, MAILBOX, "n")
    assert keyring.check(state, TENANT, MAILBOX) == Refusal("unknown_key")

    (tmp_path / "new" / "client_state.json").rename(tmp_path / "ours" / "client_state.json")

    assert keyring.refresh()
    assert keyring.check(state, TENANT, MAILBOX) == Proof("n", added.key_id)


def test_a_key_file_that_breaks_leaves_the_keys_read_before_in_use(tmp_path: Path) -> None:
    key = newest(ensure_keys(tmp_path))
    keyring = Keyring(tmp_path)

    (tmp_path / "client_state.json").write_text("{")

    assert not keyring.refresh()
    state = make(key, TENANT, MAILBOX, "n")
    assert isinstance(keyring.check(state, TENANT, MAILBOX), Proof)
