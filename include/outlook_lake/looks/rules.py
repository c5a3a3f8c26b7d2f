"""Inbox rules: a snapshot each round, compared with the one before by a keyed hash.

    rules of the inbox ─▶ canonical form ─▶ hash ┐ differs from what is stored ─▶ rule_created,
                     └─▶ redacted summary        ┘                                updated, deleted

What a rule looks for is content-like: keywords and addresses in conditions enter the hash and
nothing else, so that a change shows and its words do not. The hash is keyed: nobody can try
words against it. A rule the REST model cannot express comes without conditions and actions: it
is named opaque, not harmless. The first snapshot is the baseline and silent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import select

from outlook_lake import clock
from outlook_lake.errors import ConsentError, FolderGoneError, ItemGoneError, UnreachableError
from outlook_lake.events.observation import ObjectChange, Observed, Person, RuleRow, RulesSeen
from outlook_lake.graph.messages import Recipient
from outlook_lake.graph.resources import rules_path
from outlook_lake.looks.decode import readable
from outlook_lake.looks.walker import Walker
from outlook_lake.state.kinds import item_key
from outlook_lake.state.leases import Lease
from outlook_lake.state.tables import folder as folder_table
from outlook_lake.state.tables import mailbox as mailbox_table
from outlook_lake.state.tables import rule as rule_table
from outlook_lake.state.tables import tenant as tenant_table

__all__ = ["look_at_rules", "redacted"]

log = logging.getLogger(__name__)

# graph-facts 5.1: what may be named. Values of conditions never leave this module.
FORWARDS = ("forwardTo", "forwardAsAttachmentTo", "redirectTo")
ACTIONS = (
    *FORWARDS,
    *("moveToFolder", "copyToFolder", "delete", "permanentDelete", "markAsRead"),
    *("markImportance", "assignCategories", "stopProcessingRules"),
)
CONDITIONS = (
    *("bodyContains", "bodyOrSubjectContains", "subjectContains", "headerContains"),
    *("senderContains", "recipientContains", "fromAddresses", "sentToAddresses", "categories"),
    *("hasAttachments", "importance", "sensitivity", "messageActionFlag", "withinSizeRange"),
    *("sentToMe", "sentCcMe", "sentOnlyToMe", "sentToOrCcMe", "notSentToMe"),
    *("isApprovalRequest", "isAutomaticForward", "isAutomaticReply", "isEncrypted"),
    *("isMeetingRequest", "isMeetingResponse", "isNonDeliveryReport", "isPermissionControlled"),
    *("isReadReceipt", "isSigned", "isVoicemail"),
)
OUT_OF_SIGHT = frozenset({"deleted", "junk", "archive", "dumpster"})

PLACE_IN_LINE = frozenset({"hasError", "sequence"})
"""Not part of what a rule is: its neighbours change them."""


class _Page(msgspec.Struct, gc=False):
    value: list[dict[str, Any]]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)


_page = msgspec.json.Decoder(_Page)


@dataclass(frozen=True, slots=True)
class _Before:
    rules: dict[bytes, tuple[bytes, dict[str, Any]]]
    """Key → hash and summary of the last snapshot."""
    rules_at: int | None
    folders: dict[str, tuple[str, bool]]
    internal: Collection[str]


async def look_at_rules(walker: Walker, observed: Observed) -> None:
    """Put what changed in the inbox rules into `observed`; raises the GraphError tree.

    A tenant that does not let us read rules stays without them: the doctor says what is missing.
    """
    lease = observed.lease
    rules: list[dict[str, Any]] = []
    link: str | None = rules_path(lease.aad_id)
    asked: set[str] = set()
    seen_at = 0
    try:
        while link:
            if link in asked:
                raise UnreachableError("Graph's pages lead in a circle")
            asked.add(link)
            answer = await walker.client.get(link, mailbox=lease.aad_id)
            page = readable(_page.decode, answer.body)
            rules += [one for one in page.value if isinstance(one.get("id"), str)]
            seen_at = clock.to_us(answer.date)
            link = page.next_link
    except (ConsentError, FolderGoneError, ItemGoneError) as error:
        log.warning("inbox rules cannot be read: %s", error)
        return
    before = await asyncio.to_thread(_read, walker, lease)
    _compare(walker, observed, rules, before, seen_at)


def _compare(
    walker: Walker, observed: Observed, rules: list[dict[str, Any]], before: _Before, seen_at: int
) -> None:
    rows: list[RuleRow] = []
    changes: list[ObjectChange] = []
    shown: set[bytes] = set()
    for one in rules:
        key = item_key(one["id"])
        shown.add(key)
        digest = _hash(walker.name_key, one)
        known = before.rules.get(key)
        if known is not None and known[0] == digest:
            continue
        summary, people = redacted(walker, one, before.folders, before.internal)
        observed.people.update({person.address_key: person for person in people})
        rows.append(RuleRow(key, digest, summary, summary["opaque"], summary["enabled"]))
        action = "rule_created" if known is None else "rule_updated"
        fields = ("existence",) if known is None else _fields(known[1], summary)
        changes.append(_change(action, key, one["id"], fields, summary, before, seen_at))
    gone = [key for key in before.rules if key not in shown]
    for key in gone:
        summary = before.rules[key][1]
        changes.append(_change("rule_deleted", key, None, ("existence",), summary, before, seen_at))
    observed.rules = RulesSeen(rows, gone, seen_at)
    if before.rules_at is not None:
        observed.objects += changes


def redacted(
    walker: Walker,
    one: dict[str, Any],
    folders: dict[str, tuple[str, bool]],
    internal: Collection[str],
) -> tuple[dict[str, Any], list[Person]]:
    """What may be said of a rule, and the people it forwards to (for the directory)."""
    actions, conditions = _mapping(one.get("actions")), _mapping(one.get("conditions"))
    exceptions = _mapping(one.get("exceptions"))
    people = [
        person
        for name in FORWARDS
        for found in _recipients(actions.get(name))
        if (person := walker.decoder.person(found)) is not None
    ]
    domains = sorted({person.domain for person in people})
    target = actions.get("moveToFolder")
    kind, hidden = folders.get(target, ("other", False)) if target else (None, False)
    marks_read = bool(actions.get("markAsRead"))
    removes = bool(actions.get("delete") or actions.get("permanentDelete"))
    return {
        "enabled": one.get("isEnabled") is not False,
        # Read-only rules come without both: what they do, nobody can see (docs#13225).
        "opaque": "actions" not in one,
        "actions": [name for name in ACTIONS if actions.get(name)],
        "forward_keys": sorted({person.address_key.hex() for person in people}),
        "forward_domains": domains,
        "external_forward": any(domain not in internal for domain in domains),
        "target_folder_kind": kind,
        "condition_kinds": [name for name in CONDITIONS if conditions.get(name)]
        + [f"except_{name}" for name in CONDITIONS if exceptions.get(name)],
        "marks_read": marks_read,
        "stops": bool(actions.get("stopProcessingRules")),
        # The mail is not where its owner looks, or lies there as if it had been read.
        "hides": removes or hidden or kind in OUT_OF_SIGHT or (kind is not None and marks_read),
    }, people


def _change(
    action: str,
    key: bytes,
    platform_id: str | None,
    fields: tuple[str, ...],
    summary: dict[str, Any],
    before: _Before,
    seen_at: int,
) -> ObjectChange:
    shape = {**summary, "rule_key": key}
    shape["forward_keys"] = [bytes.fromhex(one) for one in summary["forward_keys"]]
    return ObjectChange(
        object_kind="rule",
        action=action,
        key=key,
        platform_id=platform_id,
        changed=fields,
        sighting="snapshot",
        earliest_at=before.rules_at or 0,
        seen_at=seen_at,
        rule=shape,
    )


def _fields(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """Parts of the summary that differ; `rule` when only what it does not tell differs."""
    return tuple(name for name in after if before.get(name) != after[name]) or ("rule",)


def _hash(key: bytes, one: dict[str, Any]) -> bytes:
    kept = {
        name: value
        for name, value in one.items()
        if name not in PLACE_IN_LINE and "@odata" not in name
    }
    canonical = msgspec.json.encode(kept, order="sorted")
    return hmac.digest(key, canonical, hashlib.sha256)[:16]


def _recipients(value: object) -> list[Recipient]:
    """Recipients of an action: a list, or one object as an older page shows it."""
    found = value if isinstance(value, list) else [value] if value else []
    recipients = []
    for one in found:
        try:
            recipients.append(msgspec.convert(one, Recipient))
        except msgspec.ValidationError:
            continue
    return recipients


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(walker: Walker, lease: Lease) -> _Before:
    with walker.db.read() as connection:
        rules = connection.execute(
            select(rule_table.c.rule_key, rule_table.c.canonical_hash, rule_table.c.summary).where(
                rule_table.c.mailbox_id == lease.mailbox_id
            )
        ).all()
        folders = connection.execute(
            select(folder_table.c.folder_id, folder_table.c.kind, folder_table.c.hidden).where(
                folder_table.c.mailbox_id == lease.mailbox_id
            )
        ).all()
        rules_at = connection.execute(
            select(mailbox_table.c.rules_at).where(mailbox_table.c.mailbox_id == lease.mailbox_id)
        ).scalar_one()
        internal = connection.execute(
            select(tenant_table.c.internal_domains).where(
                tenant_table.c.tenant_id == lease.tenant_id
            )
        ).scalar_one()
    return _Before(
        {row.rule_key: (row.canonical_hash, row.summary) for row in rules},
        rules_at,
        {row.folder_id: (row.kind, bool(row.hidden)) for row in folders},
        internal or [],
    )
