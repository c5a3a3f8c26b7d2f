"""Rich notifications: the message itself, encrypted for its subscriber, and who vouches for it.

    state at the change, or at the POST ─▶ JSON of the $select'ed properties
        ─▶ a fresh key: AES-256-CBC (IV = the key's first 16 bytes), HMAC-SHA256 of the ciphertext
        ─▶ the key itself by RSA-OAEP (SHA-1) for the subscription's certificate
    one JWT for each tenant in the POST, of version 1 and 2 in turn (`validationTokens`)

The state is as of an unknown moment between change and delivery, as with Graph; the journal
notes it when it is taken (kind `pushed`). A deletion carries nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
import uuid
from collections.abc import Sequence
from typing import Any

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from graph_simulator.delivery.shapes import Notification
from graph_simulator.faults import Faults
from graph_simulator.graph.render import Renderer
from graph_simulator.world.box import Box, state_of
from graph_simulator.world.model import Item, Subscription, Tenant
from graph_simulator.world.world import World

__all__ = ["LEGACY_FIELDS", "Enclosures", "Signer", "seal"]

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""Microsoft Graph Change Tracking."""
TOKEN_LIFE_S = 3600
"""Machine time, as of all tokens."""
KEPT_KEYS = 3
LEGACY_FIELDS = (
    "createdDateTime", "receivedDateTime", "sentDateTime", "hasAttachments", "importance",
    "isRead", "isDraft", "internetMessageId", "conversationId", "from", "toRecipients",
    "ccRecipients", "flag", "categories",
)  # fmt: skip
"""What some descriptions show in `resourceData`, and Graph never sends there."""
_ANNOTATED = ("importance", "receivedDateTime", "sentDateTime", "createdDateTime")
_encode = msgspec.json.Encoder().encode


def seal(certificate: bytes, certificate_id: str, content: bytes) -> dict[str, str]:
    """`encryptedContent` of some JSON for a certificate (DER)."""
    holder = x509.load_der_x509_certificate(certificate)
    public = holder.public_key()
    assert isinstance(public, rsa.RSAPublicKey)  # checked when it was subscribed
    key = os.urandom(32)
    room = 16 - len(content) % 16
    aes = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    data = aes.update(content + bytes([room]) * room) + aes.finalize()
    sha1 = hashes.SHA1()
    wrapped = public.encrypt(key, padding.OAEP(padding.MGF1(sha1), sha1, None))
    return {
        "data": base64.b64encode(data).decode(),
        "dataSignature": base64.b64encode(hmac.digest(key, data, hashlib.sha256)).decode(),
        "dataKey": base64.b64encode(wrapped).decode(),
        "encryptionCertificateId": certificate_id,
        "encryptionCertificateThumbprint": holder.fingerprint(sha1).hex().upper(),
    }


class Signer:
    """Signs validation tokens; its keys are in the state folder and can be rotated."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: list[tuple[str, rsa.RSAPrivateKey]] = []
        self._made: dict[tuple[str, int, str], tuple[float, str]] = {}
        kept = world.store.get("meta", "signing")
        for pem in msgspec.msgpack.decode(kept, type=list[str]) if kept else []:
            self._add(serialization.load_pem_private_key(pem.encode(), None))

    def _add(self, key: object) -> None:
        assert isinstance(key, rsa.RSAPrivateKey)
        public = key.public_key().public_numbers().n.to_bytes(256, "big")
        kid = base64.urlsafe_b64encode(hashlib.sha256(public).digest()[:20]).decode().rstrip("=")
        self._keys.append((kid, key))

    def rotate(self) -> str:
        """Sign with a new key from now on; returns its `kid`. Older ones stay published a while."""
        self._add(rsa.generate_private_key(65537, 2048))
        del self._keys[:-KEPT_KEYS]
        pems = [
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
            for _, key in self._keys
        ]
        self._world.store.put("meta", "signing", pems)
        return self._keys[-1][0]

    def published(self) -> dict[str, Any]:
        """The JWKS document."""
        if not self._keys:
            self.rotate()
        return {"keys": [{**_public(key), "kid": kid, "x5t": kid} for kid, key in self._keys]}

    def token(self, tenant: Tenant, version: int, audience: str | None = None) -> str:
        """A validation token for the tenant's application; one lives for half of its life."""
        if not self._keys:
            self.rotate()
        kid, key = self._keys[-1]
        place = (f"{tenant.id}/{audience}", version, kid)
        made_at, text = self._made.get(place, (0.0, ""))
        now = time.time()
        if now - made_at > TOKEN_LIFE_S / 2:
            claims = _claims(tenant, version, audience or tenant.client_id, int(now))
            text = jwt.encode(claims, key, "RS256", headers={"kid": kid, "x5t": kid})
            self._made[place] = (now, text)
        return text


def _public(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    raw = {"n": numbers.n, "e": numbers.e}
    return {
        "kty": "RSA",
        "use": "sig",
        **{
            name: base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))
            .rstrip(b"=")
            .decode()
            for name, value in raw.items()
        },
    }


def _claims(tenant: Tenant, version: int, audience: str, now: int) -> dict[str, Any]:
    shared = {
        "aud": audience, "iat": now, "nbf": now, "exp": now + TOKEN_LIFE_S, "tid": tenant.id,
        "oid": tenant.principal_id, "sub": tenant.principal_id, "uti": uuid.uuid4().hex[:22],
    }  # fmt: skip
    if version == 1:
        issuer = f"https://sts.windows.net/{tenant.id}/"
        return {**shared, "iss": issuer, "appid": PUBLISHER, "appidacr": "2", "ver": "1.0"}
    issuer = f"https://login.microsoftonline.com/{tenant.id}/v2.0"
    return {**shared, "iss": issuer, "azp": PUBLISHER, "azpacr": "2", "ver": "2.0"}


class Enclosures:
    """What goes into a POST beside the ids."""

    def __init__(self, world: World, faults: Faults, signer: Signer, *, legacy: bool) -> None:
        self._world = world
        self._faults = faults
        self._signer = signer
        self._legacy = legacy
        self._posts = 0

    def at_notice(self, one: Subscription, box: Box, item: Item, change: str, number: int) -> bytes:
        """The content of a notification when its state is taken at the change: every other one."""
        if one.certificate is None or change == "deleted" or item.gone or number % 2:
            return b""
        return self._state(one, box, item)

    def enclose(
        self, ready: Sequence[tuple[Notification, Subscription]], value: list[dict[str, Any]]
    ) -> list[str]:
        """Complete the members of `value`; returns the validation tokens of the POST."""
        tenants: dict[str, Tenant] = {}
        for (one, owner), body in zip(ready, value, strict=True):
            if one.lifecycle:
                continue
            if self._legacy:
                body["resourceData"] |= self._plain(one, owner)
            if owner.certificate is None:
                continue
            tenant = self._world.tenants[owner.tenant]
            tenants[tenant.id] = tenant
            content = one.content or self._at_post(one, owner)
            if content:
                body["encryptedContent"] = self._sealed(owner, content)
        self._posts += bool(tenants)
        wrong = bool(tenants) and self._faults.strike("bad_token") is not None
        version = 1 + self._posts % 2
        audience = str(uuid.UUID(int=1)) if wrong else None
        return [self._signer.token(tenant, version, audience) for tenant in tenants.values()]

    def _sealed(self, owner: Subscription, content: bytes) -> dict[str, str]:
        certificate = base64.b64decode(owner.certificate or "")
        sealed = seal(certificate, owner.certificate_id or "", content)
        if self._faults.strike("tampered"):
            data = bytearray(base64.b64decode(sealed["data"]))
            data[0] ^= 1
            sealed["data"] = base64.b64encode(data).decode()
        return sealed

    def _at_post(self, one: Notification, owner: Subscription) -> bytes:
        box, item = self._find(one, owner)
        if one.change == "deleted" or item is None or item.gone:
            return b""
        one.content = self._state(owner, box, item)  # a retry sends the same
        return one.content

    def _find(self, one: Notification, owner: Subscription) -> tuple[Box, Item | None]:
        box = self._world.box(self._world.mailboxes[owner.mailbox])
        return box, box.items.get(one.item_number)

    def _plain(self, one: Notification, owner: Subscription) -> dict[str, Any]:
        box, item = self._find(one, owner)
        if item is None or item.gone:
            return {}
        row = Renderer(self._world, box, owner.immutable).row(item, LEGACY_FIELDS)
        del row["@odata.etag"]
        return row

    def _state(self, one: Subscription, box: Box, item: Item) -> bytes:
        row = Renderer(self._world, box, one.immutable).row(item, tuple(one.select))
        content: dict[str, Any] = {"@odata.context": "$metadata#users('x')/messages/$entity"}
        for name, shown in row.items():
            if name in _ANNOTATED:
                content[f"{name}@odata.type"] = "#Edm.String"
            content[name] = shown
        folder = box.folders[item.folder].kind
        at = self._world.clock.instant()
        self._world.journal.pushed(at, box.mailbox.aad_id, item, state_of(item), folder)
        return _encode(content)
