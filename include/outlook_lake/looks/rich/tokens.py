"""Validation tokens: whether Microsoft's change tracking speaks to us, about this tenant.

    signature (keys of the login host) · aud = our application · iss and tid = the tenant
    exp, nbf (machine time, 5 minutes of skew) · appid (v1) or azp (v2) = change tracking

A token that was checked is remembered by its SHA-256. The signing keys are fetched when they
are first needed and when a token names an unknown one, at most every 30 seconds.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
import requests

from outlook_lake.looks.rich.opening import Unusable
from outlook_lake.tenants.credentials import Credentials

__all__ = ["PUBLISHER", "TOKEN_REASONS", "SigningKeys", "TokenCheck", "fetch_from"]

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""Microsoft Graph Change Tracking (graph-facts 2.4)."""
SKEW_S = 300.0
AGAIN_S = 30.0
"""Machine time between two fetches of keys, so that made-up key ids cause no storm."""
LIFE_S = 24 * 3600.0
TIMEOUT_S = 5.0
LARGEST = 256 * 1024
REMEMBERED = 1024

TOKEN_REASONS = (
    "no_token", "token_malformed", "token_keys_unreachable", "token_unknown_key",
    "token_forged", "token_expired", "token_not_yet", "token_other_audience",
    "token_other_issuer", "token_other_tenant", "token_other_publisher",
)  # fmt: skip

_ISSUERS: Mapping[str, tuple[str, str]] = {
    "us-gov-l4": ("https://sts.windows.net/{}/", "https://login.microsoftonline.us/{}/v2.0"),
    "us-gov-l5": ("https://sts.windows.net/{}/", "https://login.microsoftonline.us/{}/v2.0"),
    "china": (
        "https://sts.chinacloudapi.cn/{}/",
        "https://login.partner.microsoftonline.cn/{}/v2.0",
    ),
}
_GLOBAL = ("https://sts.windows.net/{}/", "https://login.microsoftonline.com/{}/v2.0")
"""Issuers of version 1 and 2; a simulator speaks as the global cloud."""

Fetch = Callable[[], bytes]


class SigningKeys:
    """The public keys of one login host; for several threads, which wait for one fetch."""

    def __init__(self, fetch: Fetch, again_s: float = AGAIN_S) -> None:
        self._fetch = fetch
        self._again_s = again_s
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")  # monotonic seconds
        self._reached = False
        self._lock = threading.Lock()

    def key(self, kid: str) -> jwt.PyJWK:
        """The key of this id. Raises Unusable."""
        with self._lock:
            now = time.monotonic()
            known = self._keys.get(kid)
            if now - self._asked_at > (self._again_s if known is None else LIFE_S):
                self._asked_at = now
                self._refresh()
                known = self._keys.get(kid)
        if known is None:
            raise Unusable("token_unknown_key" if self._reached else "token_keys_unreachable")
        return known

    def _refresh(self) -> None:
        """Fetch the keys; those known stay when the login host does not answer."""
        try:
            found = msgspec.json.decode(self._fetch(), type=dict[str, list[dict[str, Any]]])
            keys = {}
            for row in found.get("keys", []):
                if row.get("kty") == "RSA" and isinstance(row.get("kid"), str):
                    keys[row["kid"]] = jwt.PyJWK(row, algorithm="RS256")
        except (requests.RequestException, msgspec.DecodeError, jwt.PyJWTError, ValueError):
            self._reached = bool(self._keys)
            return
        self._keys, self._reached = keys, True


def fetch_from(credentials: Credentials) -> Fetch:
    """Reads the JWKS document of the login host, found by its openid-configuration."""

    def fetch() -> bytes:
        with requests.Session() as session:
            session.trust_env = not credentials.is_loopback
            session.max_redirects = 0
            base = credentials.authority_url
            about = _get(session, credentials, f"{base}/common/.well-known/openid-configuration")
            place = str(msgspec.json.decode(about, type=dict[str, Any]).get("jwks_uri") or "")
            wanted, named = urlsplit(base), urlsplit(place)
            if (named.scheme, named.netloc) != (wanted.scheme, wanted.netloc):
                raise ValueError("the login host names keys on another host")
            return _get(session, credentials, place)

    return fetch


def _get(session: requests.Session, credentials: Credentials, url: str) -> bytes:
    with session.get(
        url, timeout=TIMEOUT_S, verify=credentials.verify, allow_redirects=False, stream=True
    ) as answer:
        answer.raise_for_status()
        body = answer.raw.read(LARGEST + 1, decode_content=True)
    if answer.status_code != 200 or len(body) > LARGEST:
        raise ValueError("not a document of the login host")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class _Outcome:
    reason: str | None
    until: float
    """Machine time (seconds) up to which it stands."""


class TokenCheck:
    """Checks the validation tokens of one tenant's application."""

    def __init__(self, keys: SigningKeys, tenant_id: str, client_id: str, cloud: str) -> None:
        self._keys = keys
        self._tenant_id = tenant_id.lower()
        self._client_id = client_id.lower()
        self._issuers = tuple(form.format(self._tenant_id) for form in _ISSUERS.get(cloud, _GLOBAL))
        self._known: dict[bytes, _Outcome] = {}

    def check(self, token: str | None) -> None:
        """Raises Unusable unless the token vouches for this tenant's notifications."""
        if not token:
            raise Unusable("no_token")
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        outcome = self._known.get(digest)
        if outcome is None or outcome.until < time.time():
            outcome = self._judge(token)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[digest] = outcome
        if outcome.reason is not None:
            raise Unusable(outcome.reason)

    def _judge(self, token: str) -> _Outcome:
        try:
            ends = self._claims(token)
        except Unusable as unusable:
            # What may be true later is asked again: the keys may be there, the clock may go on.
            return _Outcome(unusable.reason, time.time() + 10.0)
        return _Outcome(None, ends + SKEW_S)

    def _claims(self, token: str) -> float:
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            if header.get("alg") != "RS256" or not isinstance(kid, str):
                raise Unusable("token_malformed")
            claims = jwt.decode(
                token,
                self._keys.key(kid),
                algorithms=["RS256"],
                leeway=SKEW_S,
                options={"require": ["exp", "aud", "iss"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise Unusable("token_expired") from None
        except jwt.ImmatureSignatureError:
            raise Unusable("token_not_yet") from None
        except jwt.InvalidSignatureError:
            raise Unusable("token_forged") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
            raise Unusable("token_malformed") from None
        self._judge_claims(claims)
        return float(claims["exp"])

    def _judge_claims(self, claims: Mapping[str, Any]) -> None:
        if _lower(claims.get("aud")) != self._client_id:
            raise Unusable("token_other_audience")
        if _lower(claims.get("tid")) != self._tenant_id:
            raise Unusable("token_other_tenant")
        if _lower(claims.get("iss")) not in self._issuers:
            raise Unusable("token_other_issuer")
        named = [claims[name] for name in ("appid", "azp") if name in claims]
        if not named or any(_lower(name) != PUBLISHER for name in named):
            raise Unusable("token_other_publisher")


def _lower(value: object) -> str:
    return value.lower() if isinstance(value, str) else ""
