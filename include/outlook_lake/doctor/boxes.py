"""May we read what we have to, and does Graph's clock agree with ours?

One sample mailbox is asked for exactly what the product asks of all: with the same paths and
the same `$select`. Contents are never asked for, here neither.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from outlook_lake import clock
from outlook_lake.doctor.findings import Report
from outlook_lake.doctor.roles import ENTRA
from outlook_lake.errors import (
    ConsentError,
    DeltaUnavailableError,
    GraphError,
    MailboxGoneError,
    ThrottledError,
    TokenRefusedError,
    UnreachableError,
)
from outlook_lake.graph.client import Answer, GraphClient
from outlook_lake.graph.messages import User, decode_users
from outlook_lake.graph.resources import (
    folders_delta_path,
    folders_path,
    mailbox_settings_path,
    message_delta_path,
    messages_path,
    paged,
    users_path,
)
from outlook_lake.tenants.asked import Scope

__all__ = ["MAILBOX_CHECKS", "check_mailbox", "check_scope", "check_users"]

MAILBOX_CHECKS = ("mailbox", "folders", "messages", "settings-of-mailbox", "delta")
SAMPLES = 5
"""So many users are tried until one has a mailbox that can be read."""
SKEW_WARN_S = 30.0
SKEW_FAIL_S = 300.0
"""Beyond five minutes logins fail: tokens seem to be from the future."""


class _Members(msgspec.Struct):
    value: list[dict[str, object]] = []


async def check_users(report: Report, client: GraphClient) -> list[User]:
    """The list of users can be read; returns those a mailbox may stand behind."""
    try:
        answer = await client.get(users_path(top=100))
    except GraphError as error:
        report.fail("users", str(error), _cure(error, "User.Read.All"))
        return []
    _check_clock(report, answer.date)
    users = [user for user in decode_users(answer.body).value if user.mail]
    inside = [user for user in users if (user.user_type or "").lower() != "guest"]
    if not inside:
        report.fail(
            "users",
            "the list of users can be read, but nobody in it has a mailbox",
            "Check that the tenant id is the one with Exchange Online and that people have a "
            "licence.",
        )
    else:
        more = "at least " if len(users) >= 100 else ""
        report.ok("users", f"{more}{len(inside)} users with a mail address")
    return inside


async def check_scope(report: Report, client: GraphClient, scope: Scope) -> None:
    """The group a connection is limited to is there and has somebody in it."""
    if not scope.group:
        told = "a filter on users" if scope.filter else "every user with a mailbox"
        report.ok("scope", told + (f", {len(scope.exclude)} excluded" if scope.exclude else ""))
        return
    path = f"/groups/{scope.group}/members?$select=id&$top=1"  # a GUID: checked when it was read
    try:
        answer = await client.get(path, accept=(404,))
    except GraphError as error:
        report.fail("scope", str(error), _cure(error, "GroupMember.Read.All"))
        return
    cure = (
        "Entra admin centre ▸ Groups ▸ your group ▸ Overview: copy its Object ID into "
        "extra.scope.group of the connection"
    )
    if answer.status == 404:
        report.fail("scope", f"no group {scope.group} in this tenant", cure + ".")
    elif not msgspec.json.decode(answer.body, type=_Members).value:
        report.fail("scope", "the group is empty: nobody is watched", cure + ", or add members.")
    else:
        report.ok("scope", f"group {scope.group}, with members")


async def check_mailbox(report: Report, client: GraphClient, users: list[User]) -> User | None:
    """One mailbox, read as all of them are; returns its user."""
    sample, told = None, ""
    for user in users[:SAMPLES]:
        try:
            await client.get(folders_path(user.id, top=1), mailbox=user.id)
        except MailboxGoneError:
            told = "none of the first users has a usable mailbox"
            continue
        except GraphError as error:
            report.fail("mailbox", str(error), _cure(error, "Mail.ReadBasic.All"))
            report.skip(MAILBOX_CHECKS[1:], "mailbox")
            return None
        sample = user
        break
    if sample is None:
        report.fail(
            "mailbox",
            told,
            "Put a user with an Exchange Online mailbox into the scope; mailboxes on-premises "
            "cannot be read through Graph.",
        )
        report.skip(MAILBOX_CHECKS[1:], "mailbox")
        return None
    report.ok("mailbox", f"a sample mailbox answers (user {sample.id})")
    one = sample.id

    async def delta_of_inbox() -> Answer:
        return await client.get(message_delta_path(one, "inbox"), mailbox=one, prefer=paged(1))

    for check, role, ask, what in (
        ("folders", "Mail.ReadBasic.All", _get(client, one, folders_delta_path(one)),
         "the folder tree and its delta"),
        ("messages", "Mail.ReadBasic.All", _get(client, one, messages_path(one, "inbox", top=1)),
         "messages, exactly our fields and no content"),
        ("settings-of-mailbox", "MailboxSettings.Read",
         _get(client, one, mailbox_settings_path(one)), "time zone, working hours and purpose"),
        ("delta", "Mail.ReadBasic.All", delta_of_inbox, "the inbox's delta"),
    ):  # fmt: skip
        await _ask(report, check, role, ask, what)
    return sample


def _get(client: GraphClient, user: str, path: str) -> Callable[[], Awaitable[Answer]]:
    return lambda: client.get(path, mailbox=user)


async def _ask(
    report: Report, check: str, role: str, ask: Callable[[], Awaitable[Answer]], what: str
) -> None:
    try:
        await ask()
    except DeltaUnavailableError as error:
        report.warn(check, str(error), "Nothing to do: full mailboxes are listed and compared.")
    except GraphError as error:
        report.fail(check, str(error), _cure(error, role))
    else:
        report.ok(check, f"can be read: {what}")


def _check_clock(report: Report, date: datetime) -> None:
    known = clock.graph_now() if os.environ.get(clock.CLOCK_ENV) else clock.machine_now()
    skew = (date - known).total_seconds()
    told = f"Graph's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours"
    cure = "Switch time synchronisation on (`timedatectl set-ntp true`, or chrony)."
    if abs(skew) >= SKEW_FAIL_S:
        report.fail("clock", told, cure)
    elif abs(skew) >= SKEW_WARN_S:
        report.warn("clock", told + "; we reckon with it", cure)
    else:
        report.ok("clock", told)


def _cure(error: GraphError, role: str) -> str:
    if isinstance(error, ConsentError):
        return (
            f"{ENTRA}: {role} (Application) must be there and *granted*: press Grant admin "
            "consent. Just done? It takes up to 15 minutes (granted in Exchange: up to 2 hours) "
            "until it is known everywhere; wait and ask the doctor again."
        )
    if isinstance(error, TokenRefusedError):
        return (
            "The token is given but Graph refuses it: check that host and authority of the "
            "connection belong to the same cloud."
        )
    if isinstance(error, ThrottledError):
        return "Graph asks for patience: ask the doctor again in a few minutes."
    if isinstance(error, UnreachableError):
        return "Let this machine reach Graph by https (firewall, proxy), then ask again."
    return "See docs/operate/README.md; the code and request id above are what Microsoft asks for."
