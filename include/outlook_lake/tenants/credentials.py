"""The credentials of one tenant, read from a connection of Airflow's type `msgraph`.

    login, password | extra.certificate_data | extra.certificate_path     the current credential
    extra.next_client_secret | next_certificate_data | next_certificate_path     the next one

With Airflow the connection lives in any of its secrets backends; without it the same JSON
stands in `OUTLOOK_LAKE_CONN_<ID>` (or `AIRFLOW_CONN_<ID>`). Only the hosts of Microsoft's
clouds are accepted, and loopback for a simulator: a mistyped host must not get a secret.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from outlook_lake.errors import UsageError
from outlook_lake.tenants.asked import (
    EVERYBODY,
    STREAMS,
    Scope,
    read_mode,
    read_scope,
    read_streams,
)
from outlook_lake.tenants.credential import Credential, read_certificate

__all__ = [
    "CLOUDS",
    "Credentials",
    "TenantConnection",
    "connection_ids",
    "from_environment",
    "parse_connection",
    "tenant_from_environment",
]

# Microsoft Graph national cloud deployments (2025-01-30): Graph host → (cloud, login host).
CLOUDS: Mapping[str, tuple[str, str]] = {
    "graph.microsoft.com": ("global", "login.microsoftonline.com"),
    "graph.microsoft.us": ("us-gov-l4", "login.microsoftonline.us"),
    "dod-graph.microsoft.us": ("us-gov-l5", "login.microsoftonline.us"),
    "microsoftgraph.chinacloudapi.cn": ("china", "login.chinacloudapi.cn"),
}
_LOGIN_HOSTS = frozenset(login for _, login in CLOUDS.values())
_PREFIXES = ("OUTLOOK_LAKE_CONN_", "AIRFLOW_CONN_")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one tenant's token is asked with, and where; the secret never shows in a repr."""

    tenant_id: str
    client_id: str
    current: Credential
    graph_url: str
    """Origin of Graph, for example `https://graph.microsoft.com`; no path."""
    authority_url: str
    """Origin of the token endpoint; always https, msal takes nothing else."""
    verify: bool | str = True
    """True, or the file of a private CA; False only on loopback."""
    next: Credential | None = None
    """The one that is to replace `current`: tried first, while `current` still serves."""

    @property
    def in_order(self) -> tuple[Credential, ...]:
        """The credentials in the order in which they are tried."""
        return (self.next, self.current) if self.next else (self.current,)

    @property
    def cloud(self) -> str:
        """`global`, `us-gov-l4`, `us-gov-l5`, `china`, or `loopback` (a simulator)."""
        known = CLOUDS.get(urlsplit(self.graph_url).hostname or "")
        return known[0] if known else "loopback"

    @property
    def is_loopback(self) -> bool:
        """Whether Graph is a simulator on this machine."""
        return self.cloud == "loopback"


@dataclass(frozen=True, slots=True)
class TenantConnection:
    """One connection: credentials, and how the tenant is named in events."""

    conn_id: str
    credentials: Credentials
    domain_id: str | None
    """Extra `domain_id`; None = the caller names it, or the tenant id is used."""
    internal_domains: tuple[str, ...]
    """Extra `internal_domains`: mail domains that count as inside, lower case."""
    streams: frozenset[str] = STREAMS
    """Extra `streams`: what is watched of a mailbox."""
    scope: Scope = EVERYBODY
    """Extra `scope`: whose mailboxes."""
    mode: str = "basic"
    """Extra `mode`: `basic` notifications, or `rich` ones, which save most looks."""


def from_environment(conn_id: str, environ: Mapping[str, str] | None = None) -> Credentials:
    """The credentials of a connection kept in the environment; UsageError says what to do."""
    return tenant_from_environment(conn_id, environ).credentials


def tenant_from_environment(
    conn_id: str, environ: Mapping[str, str] | None = None
) -> TenantConnection:
    """As `from_environment`, with the tenant's name and its domains."""
    env = os.environ if environ is None else environ
    for prefix in _PREFIXES:
        text = env.get(prefix + conn_id.upper())
        if text:
            return parse_connection(conn_id, _from_json(prefix + conn_id.upper(), text))
    raise UsageError(
        f"no connection {conn_id!r} in the environment: set OUTLOOK_LAKE_CONN_{conn_id.upper()} "
        'to {"conn_type": "msgraph", "login": CLIENT_ID, "password": CLIENT_SECRET, '
        '"extra": {"tenant_id": TENANT_ID}}'
    )


def connection_ids(environ: Mapping[str, str] | None = None) -> list[str]:
    """Lower-case ids of all connections of type `msgraph` in the environment, sorted."""
    env = os.environ if environ is None else environ
    found: set[str] = set()
    for name, text in env.items():
        for prefix in _PREFIXES:
            if name.startswith(prefix) and '"msgraph"' in text:
                found.add(name.removeprefix(prefix).lower())
    return sorted(found)


def parse_connection(conn_id: str, connection: Mapping[str, Any]) -> TenantConnection:
    """Read a connection in Airflow's JSON form; every fault is named, no value is quoted."""
    faults: list[str] = []
    kind = connection.get("conn_type")
    if kind != "msgraph":
        faults.append(f"conn_type is {kind!r}, expected 'msgraph'")
    extra = connection.get("extra") or {}
    if isinstance(extra, str):
        extra = _from_json(f"the extra of {conn_id}", extra)
    if not isinstance(extra, Mapping):
        raise UsageError(f"connection {conn_id!r} cannot be used: extra is not a JSON object")
    login = str(connection.get("login") or "")
    tenant_id = str(extra.get("tenant_id") or "")
    if not login:
        faults.append("login (client id) is missing")
    if not _TENANT.fullmatch(tenant_id):
        faults.append("extra.tenant_id is missing or not a tenant id")
    current = _credential("current", extra, str(connection.get("password") or ""), faults)
    following = _credential("next", extra, str(extra.get("next_client_secret") or ""), faults)
    if current is None and not any(fault.startswith("extra.certificate") for fault in faults):
        faults.append("password (client secret) or extra.certificate_data is missing")
    graph_url = _graph_url(connection, extra, faults)
    authority_url = _authority_url(graph_url, str(extra.get("authority") or ""), faults)
    verify = _verify(extra.get("verify", True), graph_url, faults)
    streams = read_streams(extra.get("streams"), faults)
    scope = read_scope(extra.get("scope"), faults)
    mode = read_mode(extra.get("mode"), faults)
    if faults or current is None:
        raise UsageError(f"connection {conn_id!r} cannot be used: " + "; ".join(faults))
    return TenantConnection(
        conn_id=conn_id,
        credentials=Credentials(
            tenant_id, login, current, graph_url, authority_url, verify, following
        ),
        domain_id=str(extra["domain_id"]) if extra.get("domain_id") else None,
        internal_domains=_domains(extra.get("internal_domains")),
        streams=streams,
        scope=scope,
        mode=mode,
    )


def _credential(
    name: str, extra: Mapping[str, Any], secret: str, faults: list[str]
) -> Credential | None:
    """One credential of a connection; None when there is none, or when a fault was added."""
    prefix = "" if name == "current" else "next_"
    data, path = extra.get(f"{prefix}certificate_data"), extra.get(f"{prefix}certificate_path")
    if data or path:
        field = f"extra.{prefix}certificate_{'data' if data else 'path'}"
        try:
            text = str(data) if data else Path(str(path)).read_text()
            phrase = secret if name == "current" else str(extra.get("next_passphrase") or "")
            return Credential(name, certificate=read_certificate(text, phrase))
        except (OSError, UnicodeDecodeError):
            faults.append(f"{field}: the file cannot be read (it has to be PEM)")
        except ValueError as fault:
            faults.append(f"{field}: {fault}")
        return None
    if not secret:
        return None
    end = extra.get(f"{prefix}secret_expires")
    noted = None
    if end:
        try:
            noted = datetime.fromisoformat(str(end))
        except ValueError:
            faults.append(f"extra.{prefix}secret_expires is not a date such as 2027-05-31")
        else:
            noted = noted if noted.tzinfo else noted.replace(tzinfo=UTC)
    return Credential(name, secret=secret, noted_end=noted)


def is_loopback_host(host: str | None) -> bool:
    """Whether a host name or address can only be this machine."""
    if not host:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_json(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        # The text itself may hold a secret, so it is not quoted.
        raise UsageError(f"{name} is not a JSON object; the URI form of a connection is not read")
    return value


def _graph_url(connection: Mapping[str, Any], extra: Mapping[str, Any], faults: list[str]) -> str:
    base = str(extra.get("base_url") or "").strip()
    host = str(connection.get("host") or "").strip() or "graph.microsoft.com"
    scheme = str(connection.get("schema") or "https").strip()
    origin = _origin(base or (host if "://" in host else f"{scheme}://{host}"))
    if origin is None:
        faults.append("host or extra.base_url is not a URL")
        return ""
    scheme, name, port = origin
    if not base and port is None and connection.get("port"):
        try:
            port = int(connection["port"])
        except (TypeError, ValueError):
            faults.append("port is not a number")
    allowed = is_loopback_host(name) or (scheme == "https" and name in CLOUDS)
    if not allowed:
        faults.append(
            f"{scheme}://{name} is not a Graph host; expected https and one of "
            f"{', '.join(CLOUDS)}, or a simulator on loopback"
        )
    return _render(scheme, name, port)


def _authority_url(graph_url: str, authority: str, faults: list[str]) -> str:
    graph_host = urlsplit(graph_url).hostname or ""
    if not authority:
        if graph_host in CLOUDS:
            return f"https://{CLOUDS[graph_host][1]}"
        faults.append("extra.authority is missing (needed beside a loopback Graph host)")
        return ""
    origin = _origin(authority if "://" in authority else f"https://{authority}")
    if origin is None or origin[0] != "https":
        faults.append("extra.authority must be an https host")
        return ""
    scheme, name, port = origin
    if graph_host in CLOUDS and name != CLOUDS[graph_host][1]:
        faults.append(f"extra.authority belongs to another cloud; expected {CLOUDS[graph_host][1]}")
    elif name not in _LOGIN_HOSTS and not is_loopback_host(name):
        faults.append(f"extra.authority is not one of {', '.join(sorted(_LOGIN_HOSTS))}")
    return _render(scheme, name, port)


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname.lower(), port


def _render(scheme: str, host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{name}" if port in (None, default) else f"{scheme}://{name}:{port}"


def _verify(value: object, graph_url: str, faults: list[str]) -> bool | str:
    if isinstance(value, str) and value.strip().lower() in ("true", "false", ""):
        value = value.strip().lower() != "false"
    if value is False and not is_loopback_host(urlsplit(graph_url).hostname):
        faults.append("extra.verify=false is accepted on loopback only; name a CA file instead")
    if isinstance(value, str):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
        except (OSError, ValueError):  # found now, or one tenant's file would stop all of them
            faults.append("extra.verify: no CA certificates (PEM) can be read from that file")
    return value if isinstance(value, bool | str) else True


def _domains(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        return ()
    return tuple(sorted({str(name).strip().lower() for name in value if str(name).strip()}))
