"""Tokens: given for the right secret, checked on every call, and their roles enforced."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer
from graph_simulator.graph.credentials import CredentialRefused, check_credential
from graph_simulator.world.directory import MAIL_ROLES
from graph_simulator.world.model import Tenant
from graph_simulator.world.world import World

__all__ = ["Access", "Caller"]

LIFETIME_S = 3600
"""Life of an access token in seconds of machine time."""
CONTENT_ROLES = ("Mail.Read", "Mail.ReadWrite")
SETTINGS_ROLES = ("MailboxSettings.Read", "MailboxSettings.ReadWrite")
USER_ROLES = ("User.Read.All", "Directory.Read.All")
GROUP_ROLES = ("GroupMember.Read.All", "Group.Read.All", "Directory.Read.All")
TRACE_ROLES = ("ExchangeMessageTrace.Read.All",)
ORGANIZATION_ROLES = ("Organization.Read.All", "Directory.Read.All")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the tenant and the roles its token carries."""

    tenant: Tenant
    roles: frozenset[str]
    expires_at: float

    def may(self, roles: Iterable[str]) -> bool:
        """Whether the token carries one of `roles` and consent still stands."""
        return any(r in self.roles and r in self.tenant.roles for r in roles)

    @property
    def sees_content(self) -> bool:
        """Whether bodies, previews and attachments may leave."""
        return self.may(CONTENT_ROLES)

    def need_mail(self) -> None:
        """Raises GraphError (403) without a mail role."""
        if not self.may(MAIL_ROLES):
            raise GraphError(
                403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."
            )

    def need_settings(self) -> None:
        """Raises GraphError (403) without MailboxSettings.Read."""
        if not self.may(SETTINGS_ROLES):
            raise GraphError(
                403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."
            )

    def need_users(self) -> None:
        """Raises GraphError (403) without User.Read.All."""
        self._need_directory(USER_ROLES)

    def need_groups(self) -> None:
        """Raises GraphError (403) without GroupMember.Read.All."""
        self._need_directory(GROUP_ROLES)

    def need_organization(self) -> None:
        """Raises GraphError (403) without Organization.Read.All."""
        self._need_directory(ORGANIZATION_ROLES)

    def need_traces(self) -> None:
        """Raises GraphError (403) without ExchangeMessageTrace.Read.All."""
        if not self.may(TRACE_ROLES):
            raise GraphError(403, "Forbidden", "Insufficient privileges to complete the operation.")

    def _need_directory(self, roles: tuple[str, ...]) -> None:
        if not self.may(roles):
            raise GraphError(
                403,
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            )


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Access:
    """Gives and checks tokens. The signing key comes from the seed: tokens outlive a restart."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._key = hashlib.sha256(f"token/{world.seed}".encode()).digest()
        self._seen: dict[str, Caller] = {}

    def _sign(self, text: str) -> str:
        mac = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def token(self, tenant_name: str, form: dict[str, str], endpoint: str) -> Answer:
        """Answer `POST /{tenant}/oauth2/v2.0/token` for the client-credentials flow.

        `endpoint` = the URL that was asked: an assertion must name it as its audience.
        """
        tenant = self._world.tenant(tenant_name)
        if tenant is None:
            return self._refuse(
                "invalid_request",
                90002,
                f"Tenant '{tenant_name[:80]}' not found. Check the id.",
                400,
            )
        if form.get("grant_type") != "client_credentials":
            return self._refuse(
                "unsupported_grant_type", 70003, "The app requested an unsupported grant type.", 400
            )
        if form.get("client_id") != tenant.client_id:
            return self._refuse(
                "unauthorized_client", 700016, "Application was not found in the directory.", 400
            )
        if not form.get("scope", "").endswith("/.default"):
            return self._refuse("invalid_scope", 70011, "The provided scope is not valid.", 400)
        try:
            check_credential(tenant, form, endpoint)
        except CredentialRefused as refused:
            return self._refuse("invalid_client", refused.number, refused.text, 401)
        return Answer(
            200,
            {
                "token_type": "Bearer",
                "expires_in": LIFETIME_S - 1,
                "ext_expires_in": LIFETIME_S - 1,
                "access_token": self._make(tenant),
            },
        )

    def _make(self, tenant: Tenant) -> str:
        now = int(time.time())
        claims = {
            "aud": "https://graph.microsoft.com",
            "iss": f"https://sts.windows.net/{tenant.id}/",
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_S,
            "appid": tenant.client_id,
            "idtyp": "app",
            "oid": tenant.principal_id,
            "roles": tenant.roles,
            "tid": tenant.id,
            "uti": uuid.uuid4().hex,
            "ver": "1.0",
        }
        text = f"{_part({'typ': 'JWT', 'alg': 'HS256'})}.{_part(claims)}"
        return f"{text}.{self._sign(text)}"

    @staticmethod
    def _refuse(error: str, number: int, text: str, status: int) -> Answer:
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        return Answer(
            status,
            {
                "error": error,
                "error_description": (
                    f"AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {correlation} "
                    f"Timestamp: {stamp}"
                ),
                "error_codes": [number],
                "timestamp": stamp,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"https://login.microsoftonline.com/error?code={number}",
            },
        )

    def check(self, header: str | None) -> Caller:
        """The caller of an Authorization header. Raises GraphError (401)."""
        if not header or not header.startswith("Bearer "):
            raise GraphError(401, "InvalidAuthenticationToken", "Access token is empty.")
        token = header[7:]
        caller = self._seen.get(token)
        if caller is None:
            caller = self._read(token)
            if len(self._seen) > 1000:
                self._seen.clear()
            self._seen[token] = caller
        if caller.expires_at <= time.time():
            raise GraphError(
                401,
                "InvalidAuthenticationToken",
                "Lifetime validation failed, the token is expired.",
            )
        return caller

    def _read(self, token: str) -> Caller:
        text, _, mac = token.rpartition(".")
        if text.count(".") != 1 or not hmac.compare_digest(mac, self._sign(text)):
            raise GraphError(401, "InvalidAuthenticationToken", "Access token validation failure.")
        body = text.split(".")[1]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        tenant = self._world.tenant(str(claims["tid"]))
        if tenant is None:
            raise GraphError(401, "InvalidAuthenticationToken", "Access token validation failure.")
        return Caller(tenant, frozenset(claims["roles"]), float(claims["exp"]))

    def revoke_all(self) -> None:
        """Make every token given so far worthless, as a lost signing key would."""
        self._key = hashlib.sha256(self._key + b"next").digest()
        self._seen.clear()


def openid_configuration(base: str, tenant: str) -> dict[str, Any]:
    """What msal asks for below the authority before it asks for a token."""
    return {
        "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "jwks_uri": f"{base}/{tenant}/discovery/v2.0/keys",
        "response_types_supported": ["code", "token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": f"{base}/{tenant}/v2.0",
        "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/devicecode",
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "msgraph_host": "graph.microsoft.com",
    }
