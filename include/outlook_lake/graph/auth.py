"""One token per tenant: msal with a secret or a certificate, cached, refreshed early, once.

msal is synchronous, so it works in a thread. Its own cache is emptied before a refresh after
a 401: it would hand the refused token out again. Of two credentials the next one is tried
first; one that is refused leaves the other one to serve. While the token endpoint throttles
or fails, a token that is still good carries on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from urllib.parse import urlsplit

import msal
import requests

from outlook_lake.clock import machine_now
from outlook_lake.errors import TokenRefusedError, UnreachableError, UntrustedLinkError
from outlook_lake.graph.entra import refusal
from outlook_lake.tenants.credential import Credential
from outlook_lake.tenants.credentials import Credentials

__all__ = ["TokenSource"]

EARLY_S = 300.0
"""A token is renewed this long before its end (graph-facts: refresh 5 min early)."""
TIMEOUT_S = 20.0
AGAIN_S = 30.0
"""After an early renewal failed, the next try (machine time)."""

log = logging.getLogger(__name__)


class TokenSource:
    """The access token of one tenant. Use it from one event loop."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._apps: dict[str, Any] = {}
        self.in_use: str | None = None
        """Which credential gave the last token: `current` or `next`; None before the first."""
        self._token = ""
        self._renew_at = 0.0  # machine time, monotonic seconds
        self._ends_at = 0.0
        self._lock = asyncio.Lock()
        self.requests = 0
        """How often the token endpoint was asked."""

    async def token(self) -> str:
        """A token that is good for minutes.

        Raises TokenRefusedError when the credentials are refused, UnreachableError when the
        token endpoint does not answer and no earlier token is still good.
        """
        if time.monotonic() < self._renew_at:
            return self._token
        async with self._lock:
            now = time.monotonic()
            if now < self._renew_at:  # somebody else refreshed it while we waited
                return self._token
            try:
                token, lifetime = await asyncio.to_thread(self._acquire)
            except (UnreachableError, TokenRefusedError) as error:
                if now < self._ends_at - 5:
                    # Early renewal failed; the old one is still good, and serves for a while
                    # before anybody asks again.
                    log.warning("a token could not be renewed early: %s", error)
                    self._renew_at = time.monotonic() + AGAIN_S
                    return self._token
                raise
            self._token = token
            self._ends_at = now + lifetime
            self._renew_at = now + max(lifetime - EARLY_S, lifetime / 2)
        return self._token

    def drop(self, refused: str) -> None:
        """Forget a token Graph answered 401 to; another, newer one is kept."""
        if refused == self._token:
            self._renew_at = self._ends_at = 0.0
            for app in self._apps.values():
                app.remove_tokens_for_client()

    def _acquire(self) -> tuple[str, float]:
        """The first token that a credential gives; raises what the last one was told."""
        refused: TokenRefusedError | None = None
        for credential in self._credentials.in_order:
            ends = credential.expires
            if credential.certificate is not None and ends is not None and ends <= machine_now():
                refused = TokenRefusedError(
                    f"the {credential.name} certificate of the connection ended on "
                    f"{ends:%Y-%m-%d}: make a new one, upload its public part to the "
                    "application and put both parts into the connection",
                    code="certificate_ended",
                )
                continue
            try:
                given = self._ask(credential)
            except TokenRefusedError as error:
                refused = error
                continue
            self.in_use = credential.name
            return given
        assert refused is not None  # there is always a current credential
        raise refused

    def _ask(self, credential: Credential) -> tuple[str, float]:
        self.requests += 1
        scope = f"{self._credentials.graph_url}/.default"
        try:
            app = self._apps.get(credential.name)
            if app is None:
                app = self._apps[credential.name] = self._make_app(credential)
            answer = app.acquire_token_for_client(scopes=[scope])
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise UnreachableError("the token endpoint failed", status=status) from None
        except requests.RequestException as error:
            raise UnreachableError(
                f"the token endpoint did not answer ({type(error).__name__})"
            ) from None
        except ValueError:
            # msal could not read the tenant's openid-configuration; its text names the tenant.
            raise TokenRefusedError(
                "the login host does not know this tenant: check extra.tenant_id and "
                "extra.authority of the connection"
            ) from None
        if "access_token" not in answer:
            raise refusal(answer, credential.kind)
        return str(answer["access_token"]), float(answer.get("expires_in") or 3599)

    def _make_app(self, credential: Credential) -> Any:
        credentials = self._credentials
        app = msal.ConfidentialClientApplication(
            credentials.client_id,
            client_credential=credential.for_msal(),
            authority=f"{credentials.authority_url}/{credentials.tenant_id}",
            # Hosts were checked when the connection was read; the discovery service would be
            # one more host to reach.
            instance_discovery=False,
            http_client=_Session(credentials),
        )
        endpoint = urlsplit(str(app.authority.token_endpoint))
        wanted = urlsplit(credentials.authority_url)
        if (endpoint.scheme, endpoint.netloc) != ("https", wanted.netloc):
            raise UntrustedLinkError("the login host names a token endpoint on another host")
        return app


class _Session(requests.Session):
    """msal's way out. A private CA outranks REQUESTS_CA_BUNDLE, which requests would prefer."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._verify = None if credentials.verify is True else credentials.verify
        self.trust_env = not credentials.is_loopback  # no proxy stands before loopback
        self.max_redirects = 0
        self.mount("https://", requests.adapters.HTTPAdapter(max_retries=1))

    def request(
        self, method: str, url: str | bytes, *args: Any, **options: Any
    ) -> requests.Response:
        """Send with our verification and time-out, whatever the environment says."""
        options.setdefault("timeout", TIMEOUT_S)
        if self._verify is not None:
            options["verify"] = self._verify
        answer = super().request(method, url, *args, **options)
        if answer.status_code == 429 or answer.status_code >= 500:
            # msal takes the one for a refusal and has an error of its own for the others.
            answer.raise_for_status()
        return answer
