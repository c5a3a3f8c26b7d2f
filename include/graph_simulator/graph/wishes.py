"""What a subscription asks for beyond ids: selected properties, encrypted for a certificate."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from graph_simulator.errors import GraphError
from graph_simulator.graph.call import query_of
from graph_simulator.graph.render import CONTENT, FIELDS

__all__ = ["RICH_LONGEST_MIN", "check_certificate", "selected_of"]

RICH_LONGEST_MIN = 1440
_FORBIDDEN = ("$top", "$skip", "$orderby", "$expand")
_NAMES = {name.lower(): name for name in FIELDS}


def _bad(message: str, code: str = "InvalidRequest") -> GraphError:
    return GraphError(400, code, message)


def selected_of(query: str | None, *, rich: bool) -> list[str]:
    """The properties of `?$select=…` in a resource; with resource data it must be there.

    Raises GraphError (400).
    """
    asked = query_of((query or "").removeprefix("?"))
    for name in asked:
        if name in _FORBIDDEN or (name == "$filter" and rich):
            raise _bad(f"The query option '{name}' is not allowed here.", "ExtensionError")
        if name != "$select":
            raise _bad(
                f"The simulator takes $select on resource, not '{name[:20]}'.", "ExtensionError"
            )
    words = [word.strip() for word in asked.get("$select", "").split(",") if word.strip()]
    if rich and not words:
        raise _bad("$select is required when resource data is included.", "ExtensionError")
    names = []
    for word in words:
        found = _NAMES.get(word.lower())
        if found is None:
            raise _bad(f"Could not find a property named '{word[:40]}'.", "ExtensionError")
        if rich and found in CONTENT:
            raise _bad(f"The property '{found}' cannot be selected.", "ExtensionError")
        if found != "id":
            names.append(found)
    return names


def check_certificate(body: dict[str, Any]) -> tuple[str, str]:
    """(certificate, its id) of a subscription with resource data. Raises GraphError (400)."""
    text, name = body.get("encryptionCertificate"), body.get("encryptionCertificateId")
    if not isinstance(text, str) or not isinstance(name, str) or not 1 <= len(name) <= 128:
        raise _bad(
            "encryptionCertificate and encryptionCertificateId (1-128 characters) are required "
            "when resource data is included."
        )
    try:
        key = x509.load_der_x509_certificate(base64.b64decode(text, validate=True)).public_key()
    except (binascii.Error, ValueError):
        raise _bad("Certificate validation error: base64 of a DER certificate is needed.") from None
    if not isinstance(key, rsa.RSAPublicKey) or not 2048 <= key.key_size <= 4096:
        raise _bad("Certificate validation error: an RSA key of 2048 to 4096 bits is needed.")
    return text, name
