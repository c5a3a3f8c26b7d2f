"""At the edge a rich notification is kept unread: five bounded strings and its POST's tokens."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.segments import Notification, Rich
from outlook_lake.receiver.sifting import (
    LONGEST_TOKEN,
    MOST_CIPHERTEXT,
    MOST_TOKENS,
    MalformedPostError,
    Sifted,
    sift,
)
from tests.support.receiver import item, key_of, settings_of

SEALED = {
    "data": "ZGF0YQ==",
    "dataSignature": "c2lnbmF0dXJl",
    "dataKey": "a2V5",
    "encryptionCertificateId": "kid-1",
    "encryptionCertificateThumbprint": "AB" * 20,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def keyring(home: Path) -> Keyring:
    return Keyring(settings_of(home).keys)


@pytest.fixture(scope="module")
def key(home: Path, keyring: Keyring) -> Any:
    return key_of(home)


def passed(sifted: Sifted) -> list[Notification]:
    return msgspec.json.decode(sifted.line, type=tuple[str, int, int, list[Notification]])[3]


def post(items: list[dict[str, Any]], tokens: Any = ("t1", "t2")) -> bytes:
    return json.dumps({"value": items, "validationTokens": tokens}).encode()


def test_ciphertext_and_tokens_reach_the_segment_and_nothing_beside_them(
    keyring: Keyring, key: Any
) -> None:
    mixed = [
        item(key, "a="),
        item(key, "b=", encryptedContent={**SEALED, "subject": "CANARY"}),
        item(key, "c=", encryptedContent=SEALED),
    ]
    sifted = sift(post(mixed), keyring, 50, None)
    plain, first, second = passed(sifted)
    assert plain.rich is None
    assert first.rich == Rich(*SEALED.values(), tokens=["t1", "t2"])
    assert second.rich == Rich(*SEALED.values(), tokens=None)  # the same: written once
    assert b"CANARY" not in sifted.line


def test_plain_fields_as_old_descriptions_show_them_are_left_unread(
    keyring: Keyring, key: Any
) -> None:
    legacy = item(key, "a=")
    legacy["resourceData"] |= {
        "from": {"emailAddress": {"name": "CANARY", "address": "CANARY@fabrikam.example"}},
        "subject": "CANARY",
        "isRead": False,
        "categories": [],
    }
    sifted = sift(post([legacy], None), keyring, 50, None)
    assert [(one.item, one.rich) for one in passed(sifted)] == [("a=", None)]
    assert b"CANARY" not in sifted.line and b"fabrikam" not in sifted.line


@pytest.mark.parametrize(
    "content",
    [
        {**SEALED, "data": "A" * (MOST_CIPHERTEXT + 1)},
        {**SEALED, "dataKey": "A" * 1025},
        {**SEALED, "encryptionCertificateId": "x" * 129},
        {**SEALED, "data": "ä"},
        {**SEALED, "data": 7},
        {"data": "QQ=="},
        ["data"],
        "data",
        {"data": {"data": {}}},
    ],
)
def test_what_is_not_what_graph_sends_is_left_behind_and_the_hint_stays(
    keyring: Keyring, key: Any, content: Any
) -> None:
    (one,) = passed(sift(post([item(key, "a=", encryptedContent=content)]), keyring, 50, None))
    assert (one.item, one.rich) == ("a=", Rich(tokens=["t1", "t2"]))


@pytest.mark.parametrize("tokens", [None, 7, {"a": 1}, ["x", 3], [["x"]], "x"])
def test_tokens_that_are_none_leave_the_items_unharmed(
    keyring: Keyring, key: Any, tokens: Any
) -> None:
    sifted = sift(post([item(key, "a=", encryptedContent=SEALED)], tokens), keyring, 50, None)
    assert passed(sifted)[0].rich == Rich(*SEALED.values(), tokens=[])


def test_many_and_long_tokens_are_cut_off(keyring: Keyring, key: Any) -> None:
    tokens = ["x" * (LONGEST_TOKEN + 1), *(f"t{n}" for n in range(100))]
    sifted = sift(post([item(key, "a=", encryptedContent=SEALED)], tokens), keyring, 50, None)
    assert passed(sifted)[0].rich.tokens == [f"t{n}" for n in range(MOST_TOKENS)]


def test_ten_thousand_mangled_posts_raise_nothing_but_malformed(keyring: Keyring, key: Any) -> None:
    dice = random.Random(7)
    whole = post([item(key, "a=", encryptedContent=SEALED), item(key, "b=")])
    kept = 0
    for _ in range(10_000):
        mangled = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 8))):
            at = dice.randrange(len(mangled))
            mangled[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
        try:
            sifted = sift(bytes(mangled), keyring, 50, None)
        except MalformedPostError:
            continue
        kept += sifted.passed
    assert kept > 1000
