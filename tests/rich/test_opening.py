"""Ciphertext is opened by the recipe, HMAC before AES, and nothing raises but a counted reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from graph_simulator.delivery.rich import seal
from outlook_lake.graph.resources import MESSAGE_FIELDS
from outlook_lake.hints.rich import Sealed
from outlook_lake.looks.rich.opening import REASONS, PrivateKeys, Unusable, open_sealed
from outlook_lake.state.kinds import item_key
from outlook_lake.tenants.encryption import KeyPair, make_pair
from tests.support.rich import seal_by_openssl

ITEM = "AAMkAGI2one="
MESSAGE: dict[str, Any] = {
    "@odata.context": "$metadata#users('x')/messages/$entity",
    "id": ITEM,
    "changeKey": "CQAAABYA",
    "createdDateTime@odata.type": "#Edm.String",
    "createdDateTime": "2026-11-24T09:15:02Z",
    "lastModifiedDateTime": "2026-11-24T09:15:04Z",
    "receivedDateTime": "2026-11-24T09:15:02Z",
    "sentDateTime": "2026-11-24T09:14:58Z",
    "parentFolderId": "AAMkInbox=",
    "from": {"emailAddress": {"name": "Chris", "address": "chris@partner.example"}},
    "toRecipients": [],
    "importance@odata.type": "#microsoft.graph.importance",
    "importance": "high",
    "flag": {"flagStatus": "notFlagged"},
    "isRead": False,
    "isDraft": False,
    "subject": "CANARY-subject",
    "body": {"content": "CANARY-body"},
}


@cache
def pairs(folder: Path) -> tuple[KeyPair, KeyPair]:
    return make_pair(folder), make_pair(folder)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeyPair, KeyPair]:
    return pairs(tmp_path_factory.mktemp("keys"))


def keys_of(*some: KeyPair) -> PrivateKeys:
    return PrivateKeys(
        {pair.cert_id: pair.private for pair in some},
        {pair.thumbprint: pair.private for pair in some},
    )


def sealed(content: dict[str, str], item: str = ITEM) -> Sealed:
    """An `encryptedContent` as landing keeps it."""
    return Sealed(
        item_key(item), b"d" * 16, 0, 1, None, content["data"], content["dataSignature"],
        content["dataKey"], content["encryptionCertificateId"],
        content["encryptionCertificateThumbprint"],
    )  # fmt: skip


def simulated(pair: KeyPair, message: Any = MESSAGE) -> dict[str, str]:
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    return seal(base64.b64decode(pair.certificate), pair.cert_id, content)


def why(content: dict[str, str], keys: PrivateKeys, item: str = ITEM) -> str:
    with pytest.raises(Unusable) as unusable:
        open_sealed(sealed(content, item), keys)
    return unusable.value.reason


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_what_openssl_encrypts_by_the_recipe_is_opened(
    ours: tuple[KeyPair, KeyPair], tmp_path: Path
):
    pem = base64.b64decode(ours[0].certificate)
    armoured = base64.encodebytes(pem).decode()
    text = f"-----BEGIN CERTIFICATE-----\n{armoured}-----END CERTIFICATE-----\n"
    content = seal_by_openssl(MESSAGE, text, ours[0].cert_id, tmp_path)
    message = open_sealed(sealed(content), keys_of(*ours))
    assert (message.id, message.importance, message.is_read) == (ITEM, "high", False)


def test_only_the_fields_of_the_allow_list_come_out(ours: tuple[KeyPair, KeyPair]):
    message = open_sealed(sealed(simulated(ours[0])), keys_of(*ours))
    assert b"CANARY" not in msgspec.json.encode(message)
    assert not any("subject" in name.lower() or "body" in name.lower() for name in MESSAGE_FIELDS)


def test_old_and_new_certificates_open_side_by_side_also_by_thumbprint(
    ours: tuple[KeyPair, KeyPair],
):
    for pair in ours:
        assert open_sealed(sealed(simulated(pair)), keys_of(*ours)).id == ITEM
        renamed = {**simulated(pair), "encryptionCertificateId": "another name"}
        assert open_sealed(sealed(renamed), keys_of(*ours)).id == ITEM
    assert why(simulated(ours[0]), keys_of(ours[1])) == "unknown_certificate"


def test_a_ciphertext_for_somebody_else_under_our_name_is_refused(ours: tuple[KeyPair, KeyPair]):
    foreign = {**simulated(ours[1]), "encryptionCertificateId": ours[0].cert_id}
    assert why(foreign, keys_of(ours[0])) == "bad_key"


def test_an_altered_ciphertext_is_refused_before_it_is_decrypted(ours: tuple[KeyPair, KeyPair]):
    content = simulated(ours[0])
    data = bytearray(base64.b64decode(content["data"]))
    data[-1] ^= 1  # would break the padding: the reason shows that nobody got so far
    altered = {**content, "data": base64.b64encode(data).decode()}
    assert why(altered, keys_of(*ours)) == "bad_signature"
    resigned = {
        **altered,
        "dataSignature": base64.b64encode(hashlib.sha256(data).digest()).decode(),
    }
    assert why(resigned, keys_of(*ours)) == "bad_signature"


def with_sha256(pair: KeyPair) -> dict[str, str]:
    """The recipe but for OAEP's hash."""
    key, content = os.urandom(32), json.dumps(MESSAGE).encode()
    room = 16 - len(content) % 16
    aes = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    data = aes.update(content + bytes([room]) * room) + aes.finalize()
    sha = hashes.SHA256()
    wrapped = pair.private.public_key().encrypt(key, padding.OAEP(padding.MGF1(sha), sha, None))
    parts = (data, hmac.digest(key, data, "sha256"), wrapped)
    names = ("data", "dataSignature", "dataKey")
    return {
        **{name: base64.b64encode(part).decode() for name, part in zip(names, parts, strict=True)},
        "encryptionCertificateId": pair.cert_id,
        "encryptionCertificateThumbprint": "",
    }


def test_oaep_with_another_hash_is_refused(ours: tuple[KeyPair, KeyPair]):
    assert why(with_sha256(ours[0]), keys_of(*ours)) == "bad_key"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "not_a_message"),
        (b"[]", "not_a_message"),
        (b"[" * 40_000, "not_a_message"),
        (b'{"id": "\xff"}', "not_a_message"),
        (b'{"id": "\\ud800"}', "another_item"),
        ({**MESSAGE, "id": "another="}, "another_item"),
        ({**MESSAGE, "isRead": "no"}, "not_a_message"),
        ({"id": ITEM, "isRead": True}, "not_whole"),
    ],
)
def test_content_that_is_no_whole_message_of_this_item_is_refused(
    ours: tuple[KeyPair, KeyPair], message: Any, reason: str
):
    told = why(simulated(ours[0], message), keys_of(*ours))
    assert told == reason or (message == b'{"id": "\\ud800"}' and told == "not_a_message")


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_mangled_items_raise_nothing_but_counted_reasons(
    ours: tuple[KeyPair, KeyPair], count: int
):
    dice = random.Random(11)
    keys = keys_of(*ours)
    whole = [simulated(ours[0]), simulated(ours[1])]
    names = list(whole[0])
    seen: dict[str, int] = {}
    for _ in range(count):
        content = dict(dice.choice(whole))
        for name in dice.sample(names, dice.choice((1, 1, 2))):
            content[name] = _mangled(content[name], dice)
        try:
            open_sealed(sealed(content), keys)
        except Unusable as unusable:
            seen[unusable.reason] = seen.get(unusable.reason, 0) + 1
    assert seen.keys() <= set(REASONS)
    expected = {"bad_base64", "bad_key", "bad_signature", "bad_shape"}
    assert expected <= seen.keys(), seen


def _mangled(text: str, dice: random.Random) -> str:
    kind = dice.randrange(4)
    if kind == 0:
        return ""
    at = dice.randrange(max(1, len(text)))
    if kind == 1:
        return text[:at]
    if kind == 2:
        return text[:at] + dice.choice("Ab1+/=") + text[at + 1 :]
    return text[:at] + dice.choice(("ä", "\x00", "!", "\ud800")) + text[at:]


def test_mangled_plain_texts_that_are_rightly_encrypted_raise_counted_reasons_only(
    ours: tuple[KeyPair, KeyPair],
):
    dice = random.Random(5)
    keys = keys_of(ours[0])
    text = json.dumps(MESSAGE).encode()
    for _ in range(500):
        mangled = bytearray(text)
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(mangled))
            mangled[at : at + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
        try:
            open_sealed(sealed(simulated(ours[0], bytes(mangled))), keys)
        except Unusable as unusable:
            assert unusable.reason in REASONS
