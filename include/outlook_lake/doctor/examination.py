"""All checks in their order; one fault, one cure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from outlook_lake.doctor import boxes, flow, here, login, roles, webhook
from outlook_lake.doctor.findings import Finding, Report
from outlook_lake.errors import OutlookLakeError, SettingsError, UsageError
from outlook_lake.graph.auth import TokenSource
from outlook_lake.graph.client import GraphClient
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.tenants.credentials import TenantConnection

__all__ = ["examine"]

ConnectionOf = Callable[[str], TenantConnection]

ORDER = (
    "connection", "login", "token", "expiry", "roles", "users", "clock", "scope",
    *boxes.MAILBOX_CHECKS, "address", "handshake", "subscription", "tenant", "subscriptions",
)  # fmt: skip
"""Of one tenant's checks, as people read them: from the connection to what flows through it."""

AFTER_HOME = ("permissions", "database", "staging")
AFTER_LOGIN = ("token", "expiry", "roles")
AFTER_TOKEN = ("roles", "users", "scope", *boxes.MAILBOX_CHECKS)


async def examine(
    load: Callable[[], Settings], connection_of: ConnectionOf, tenant: str | None = None
) -> list[Finding]:
    """Every check, in the order a newcomer needs; never raises for what it is there to find.

    `load` reads the settings, `connection_of` a connection. `tenant` limits the work to the
    tenant of that domain_id; UsageError when no connection names it.
    """
    report = Report()
    try:
        settings = await asyncio.to_thread(load)
    except SettingsError as error:
        report.fail(
            "settings",
            "; ".join(error.faults),
            "Correct every value named here (environment, Airflow Variable outlook_lake, or "
            "settings.toml); `outlook-lake settings` shows where each comes from.",
        )
        report.skip(("home", *AFTER_HOME), "settings")
        return report.findings
    report.ok("settings", f"all can be used; home {settings.home}")
    db: Database | None = None
    if here.check_home(report, settings):
        here.check_permissions(report, settings)
        db = await asyncio.to_thread(here.check_database, report, settings)
        flow.check_staging(report, settings)
    else:
        report.skip(AFTER_HOME, "home")
    found = list(report.findings)
    try:
        found += await _tenants(settings, db, connection_of, tenant)
    finally:
        if db is not None:
            db.close()
    return found


async def _tenants(
    settings: Settings, db: Database | None, connection_of: ConnectionOf, tenant: str | None
) -> list[Finding]:
    names = [name.strip() for name in settings.tenants.connections.split(",") if name.strip()]
    found: list[Finding] = []
    seen: list[str] = []
    for conn_id in names:
        report = Report(conn_id)
        try:
            connection = await asyncio.to_thread(connection_of, conn_id)
        except Exception as error:
            # Secrets backends raise what they like; only our own words are known to be clean.
            told = str(error) if isinstance(error, OutlookLakeError) else type(error).__name__
            report.fail(
                "connection",
                f"{conn_id}: {told}",
                f"Admin ▸ Connections: a connection of type msgraph with the id {conn_id}; "
                "docs/connect.md, Enter it, says what belongs into each field.",
            )
            found += report.findings
            continue
        report.tenant = connection.domain_id or connection.credentials.tenant_id
        seen.append(report.tenant)
        if tenant is None or tenant == report.tenant:
            await _examine_tenant(report, settings, db, connection)
            report.findings.sort(key=lambda finding: ORDER.index(finding.check))
            found += report.findings
    if not names:
        report = Report()
        report.fail(
            "connection",
            "no connection is named",
            "Set OUTLOOK_LAKE_TENANTS_CONNECTIONS to the ids of your connections.",
        )
        found += report.findings
    elif tenant is not None and tenant not in seen and not found:
        raise UsageError(f"no connection of tenant {tenant!r}; known: {', '.join(seen) or 'none'}")
    return found


async def _examine_tenant(
    report: Report, settings: Settings, db: Database | None, connection: TenantConnection
) -> None:
    credentials = connection.credentials
    report.ok("connection", f"{connection.conn_id}: complete, for {credentials.cloud}")
    sample = None
    reachable = webhook.check_address(report, settings, loopback=credentials.is_loopback)
    if reachable:
        reachable = await webhook.check_handshake(report, settings)
    else:
        report.skip(("handshake",), "address")
    if not await login.check_login(report, credentials):
        report.skip((*AFTER_LOGIN, *AFTER_TOKEN[1:], "subscription"), "login")
    else:
        tokens = TokenSource(credentials)
        token = await login.check_token(report, connection, tokens)
        login.check_expiry(report, connection)
        if token is None:
            report.skip((*AFTER_TOKEN, "subscription"), "token")
        else:
            roles.check_roles(report, roles.roles_of(token))
            async with GraphClient(credentials, tokens, settings) as client:
                users = await boxes.check_users(report, client)
                await boxes.check_scope(report, client, connection.scope)
                if users:
                    sample = await boxes.check_mailbox(report, client, users)
                else:
                    report.skip(boxes.MAILBOX_CHECKS, "users")
                if not reachable:
                    report.skip(("subscription",), "handshake")
                elif sample is None:
                    report.skip(("subscription",), "mailbox")
                else:
                    await webhook.check_subscription(report, client, settings, sample.id)
    if db is not None:
        flow.check_tenant_state(report, db, credentials.tenant_id)
        flow.check_subscriptions(report, db, credentials.tenant_id)
