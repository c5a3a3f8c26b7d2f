"""The short way makes the same record to the byte, and takes nothing sifting would not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outlook_lake.receiver import rotation
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.quick import Quick
from outlook_lake.receiver.sifting import sift
from tests.receiver.test_sifting import BAD_ITEMS, JSON_VALUES, MEMBERS
from tests.support.receiver import MAILBOX, item, key_of, lifecycle, post_of, settings_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def keyring(home: Path) -> Keyring:
    return Keyring(settings_of(home).keys)


@pytest.fixture(scope="module")
def key(home: Path, keyring: Keyring) -> Any:
    return key_of(home)


@pytest.fixture(scope="module")
def quick(keyring: Keyring) -> Quick:
    return Quick(keyring)


@pytest.mark.parametrize("vouched", [None, 7])
@pytest.mark.parametrize("change", ["created", "updated", "deleted"])
def test_usual_posts_become_the_record_sifting_makes(
    keyring: Keyring, key: Any, quick: Quick, change: str, vouched: int | None
) -> None:
    body = post_of(*(item(key, f"AAMk/a+b={n}", changeType=change) for n in range(3)))

    assert quick.sift(body, 50, vouched) == sift(body, keyring, 50, vouched)
    assert quick.sift(body, 51, vouched) == sift(body, keyring, 51, vouched)  # remembered


@pytest.mark.parametrize(("changed", "reason"), BAD_ITEMS)
def test_what_sifting_would_refuse_is_left_to_it(
    key: Any, quick: Quick, changed: dict[str, Any], reason: str
) -> None:
    assert quick.sift(post_of(item(key, "known")), 1, None) is not None
    assert quick.sift(post_of(item(key, "a"), item(key, "b", **changed)), 1, None) is None


@pytest.mark.parametrize(
    "unusual",
    [
        pytest.param({"resource": f"users('{MAILBOX}')/messages('a')"}, id="another spelling"),
        pytest.param({"resourceData": None}, id="an id in the path only"),
        pytest.param({"encryptedContent": {"data": "x"}}, id="rich"),
    ],
)
def test_what_needs_a_closer_look_is_left_to_sifting(
    key: Any, quick: Quick, unusual: dict[str, Any]
) -> None:
    assert quick.sift(post_of(item(key, "a", **unusual)), 1, None) is None
    assert quick.sift(post_of(lifecycle(key, "missed")), 1, None) is None


def test_a_proof_is_for_its_mailbox_and_subscription_only(key: Any, quick: Quick) -> None:
    good = item(key, "a")
    assert quick.sift(post_of(good), 1, None) is not None
    theirs = MAILBOX.replace("a", "b")

    assert quick.sift(post_of({**good, "resource": f"Users/{theirs}/Messages/a"}), 1, None) is None
    assert quick.sift(post_of({**good, "tenantId": theirs}), 1, None) is None
    assert quick.sift(post_of({**good, "subscriptionId": "a b"}), 1, None) is None


def test_a_key_that_is_gone_proves_nothing_any_more(tmp_path: Path) -> None:
    folder = settings_of(tmp_path).keys
    keyring = Keyring(folder)
    quick = Quick(keyring)
    key = key_of(tmp_path)
    body = post_of(item(key, "a"))
    assert quick.sift(body, 1, None) is not None

    (folder / "client_state.json").unlink()
    rotation.rotate(folder)
    keyring.refresh()

    assert quick.sift(body, 1, None) is None
    assert [one.reason for one in sift(body, keyring, 1, None).refused] == ["unknown_key"]


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    member=st.sampled_from(MEMBERS),
    value=JSON_VALUES | st.text(alphabet="0123456789abcdef-./?$%#&\\'\"\x00\n\ud83d\ude00é"),
)
def test_whatever_member_comes_both_ways_agree(
    keyring: Keyring, key: Any, quick: Quick, member: str, value: Any
) -> None:
    body = post_of(item(key, "x"), item(key, "y", **{member: value}))

    found = quick.sift(body, 5, 4)

    assert found is None or found == sift(body, keyring, 5, 4)
