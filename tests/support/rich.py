"""The recipe of rich notifications done by hand: an opener, a sealer by OpenSSL, made-up tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"


def der_of(pem: str) -> str:
    """Base64 of the DER form: what a subscription is given."""
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


def thumbprint_of(pem: str) -> str:
    """SHA-1 of the DER form in hexadecimal digits."""
    return hashlib.sha1(base64.b64decode(der_of(pem))).hexdigest().upper()


def open_by_hand(content: dict[str, str], key_pem: str) -> dict[str, Any]:
    """The message in an `encryptedContent`; an AssertionError where it is not as it must be."""
    private = serialization.load_pem_private_key(key_pem.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    raw = {name: base64.b64decode(content[name]) for name in ("data", "dataKey", "dataSignature")}
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    key = private.decrypt(raw["dataKey"], oaep)
    assert len(key) == 32
    assert hmac.digest(key, raw["data"], "sha256") == raw["dataSignature"]
    aes = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    text = aes.update(raw["data"]) + aes.finalize()
    return dict(json.loads(text[: -text[-1]]))


def seal_by_openssl(
    message: dict[str, Any] | bytes, certificate_pem: str, certificate_id: str, folder: Path
) -> dict[str, str]:
    """An `encryptedContent` made by the openssl command: an implementation that is not ours."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "certificate.pem").write_text(certificate_pem)
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    key = _openssl(b"", "rand", "32")
    hexed = key.hex()
    data = _openssl(text, "enc", "-aes-256-cbc", "-K", hexed, "-iv", hexed[:32])
    signature = _openssl(
        data, "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{hexed}", "-binary"
    )
    wrapped = _openssl(
        key, "pkeyutl", "-encrypt", "-certin", "-inkey", str(folder / "certificate.pem"),
        *("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1"),
        *("-pkeyopt", "rsa_mgf1_md:sha1"),
    )  # fmt: skip
    return {
        "data": base64.b64encode(data).decode(),
        "dataSignature": base64.b64encode(signature).decode(),
        "dataKey": base64.b64encode(wrapped).decode(),
        "encryptionCertificateId": certificate_id,
        "encryptionCertificateThumbprint": thumbprint_of(certificate_pem),
    }


def _openssl(given: bytes, *words: str) -> bytes:
    return subprocess.run(["openssl", *words], input=given, capture_output=True, check=True).stdout


class Issuer:
    """A login host made up for a test: its keys, its JWKS document, its tokens."""

    def __init__(self, tenant_id: str, client_id: str) -> None:
        self.tenant_id = tenant_id
        self.client_id = client_id
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate("first")

    def rotate(self, kid: str) -> None:
        """Sign with another key from now on."""
        self.keys[kid] = rsa.generate_private_key(65537, 2048)

    def document(self) -> bytes:
        """JWKS."""
        rows = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid}
            for kid, key in self.keys.items()
        ]
        return json.dumps({"keys": rows}).encode()

    def token(
        self,
        version: int = 1,
        *,
        drop: tuple[str, ...] = (),
        kid: str | None = None,
        key: rsa.RSAPrivateKey | None = None,
        algorithm: str = "RS256",
        **changed: Any,
    ) -> str:
        """A validation token, right but for what is `changed` or left out (`drop`)."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "aud": self.client_id, "iat": now, "nbf": now, "exp": now + 3600,
            "tid": self.tenant_id, "ver": f"{version}.0",
        }  # fmt: skip
        if version == 1:
            claims |= {"iss": f"https://sts.windows.net/{self.tenant_id}/", "appid": PUBLISHER}
        else:
            issuer = f"https://login.microsoftonline.com/{self.tenant_id}/v2.0"
            claims |= {"iss": issuer, "azp": PUBLISHER}
        claims |= changed
        for name in drop:
            del claims[name]
        kid = kid or list(self.keys)[-1]
        signer: Any = key or self.keys[kid]
        if algorithm == "HS256":
            signer = "x" * 64
        return jwt.encode(claims, signer, algorithm, headers={"kid": kid})


def certificate_of(der: str) -> x509.Certificate:
    """The certificate in a subscription."""
    return x509.load_der_x509_certificate(base64.b64decode(der))
