"""What belongs to one mailbox in apply's transaction: its tree, rules, links, hints and state."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, text

from outlook_lake import clock
from outlook_lake.events.commit import NEW_HINT
from outlook_lake.events.observation import Observed, RulesSeen, TreeSeen
from outlook_lake.state import leases
from outlook_lake.state.tables import gap, rule
from outlook_lake.tenants.scope import park

__all__ = ["mailbox"]

PROMOTE = text(
    """
    UPDATE mailbox SET pending_through = NULL, complete_through =
        CASE WHEN complete_through > pending_through THEN complete_through ELSE pending_through END
    WHERE mailbox_id = :mailbox_id AND pending_through IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM hint h WHERE h.mailbox_id = mailbox.mailbox_id
                      AND (h.first_at <= mailbox.pending_through OR (h.kinds & 120) <> 0))
    """
)

ROUND_ENDED = [
    # A round of all folders, dated by its start: what was wanted after that is still wanted.
    "full_at = CASE WHEN coalesce(full_at, 0) > :pending_through "
    "THEN full_at ELSE :pending_through END",
    "round_reason = CASE WHEN round_wanted_at <= :pending_through THEN NULL ELSE round_reason END",
    "round_wanted_at = CASE WHEN round_wanted_at <= :pending_through "
    "THEN NULL ELSE round_wanted_at END",
]


def mailbox(connection: Connection, one: Observed) -> None:
    """Store what belongs to one mailbox: links, hints, state; give the lease back."""
    mailbox_id = one.lease.mailbox_id
    if one.tree is not None:
        _tree(connection, mailbox_id, one.tree)
    if one.rules is not None:
        _rules(connection, mailbox_id, one.rules)
    if one.links:
        connection.execute(
            text(
                "UPDATE folder SET link = :link, link_state = :link_state, "
                "round_started_at = coalesce(:round_started_at, round_started_at) "
                "WHERE mailbox_id = :mailbox_id AND folder_no = :folder_no"
            ),
            [
                {
                    "mailbox_id": mailbox_id,
                    "folder_no": link.folder_no,
                    "link": link.link,
                    "link_state": link.link_state,
                    "round_started_at": link.round_started_at,
                }
                for link in one.links
            ],
        )
    _hints(connection, one)
    _mailbox_state(connection, one)
    if not one.keep:
        leases.release(connection, [one.lease])


def _tree(connection: Connection, mailbox_id: int, tree: TreeSeen) -> None:
    if tree.rows:
        connection.execute(
            text(
                "INSERT INTO folder (mailbox_id, folder_no, folder_id, parent_no, kind, name_key, "
                "hidden, link_state) VALUES (:mailbox_id, :folder_no, :folder_id, :parent_no, "
                ":kind, :name_key, :hidden, 'none') "
                "ON CONFLICT (mailbox_id, folder_no) DO UPDATE SET parent_no = excluded.parent_no, "
                "kind = excluded.kind, name_key = excluded.name_key, hidden = excluded.hidden, "
                "gone_at = NULL"
            ),
            [{"mailbox_id": mailbox_id, **asdict(row)} for row in tree.rows],
        )
    if tree.gone:
        # `lost` until a round has said where its items went.
        connection.execute(
            text(
                "UPDATE folder SET gone_at = :now, link = NULL, link_state = 'lost' "
                "WHERE mailbox_id = :mailbox_id AND folder_no = :folder_no AND gone_at IS NULL"
            ),
            [
                {"now": tree.seen_at, "mailbox_id": mailbox_id, "folder_no": number}
                for number in tree.gone
            ],
        )
    connection.execute(
        text(
            "UPDATE mailbox SET tree_link = :link, tree_at = :seen_at "
            "WHERE mailbox_id = :mailbox_id"
        ),
        {"link": tree.link, "seen_at": tree.seen_at, "mailbox_id": mailbox_id},
    )


def _rules(connection: Connection, mailbox_id: int, rules: RulesSeen) -> None:
    replaced = [row.rule_key for row in rules.rows] + rules.gone
    if replaced:
        connection.execute(
            rule.delete().where(rule.c.mailbox_id == mailbox_id, rule.c.rule_key.in_(replaced))
        )
    if rules.rows:
        connection.execute(
            rule.insert(),
            [
                {"mailbox_id": mailbox_id, "seen_at": rules.seen_at, **asdict(row)}
                for row in rules.rows
            ],
        )
    connection.execute(
        text("UPDATE mailbox SET rules_at = :seen_at WHERE mailbox_id = :mailbox_id"),
        {"seen_at": rules.seen_at, "mailbox_id": mailbox_id},
    )


def _hints(connection: Connection, one: Observed) -> None:
    mailbox_id = one.lease.mailbox_id
    if one.hints:
        connection.execute(
            NEW_HINT,
            [
                {
                    "mailbox_id": mailbox_id,
                    "item_key": hint.item_key,
                    "item_id": hint.item_id,
                    "kinds": int(hint.kinds),
                    "first_at": hint.first_at,
                    "due_at": hint.due_at,
                }
                for hint in one.hints
            ],
        )
    if one.later:
        connection.execute(
            text(
                "UPDATE hint SET due_at = :due_at, kinds = kinds | :kinds, reason = :reason, "
                "absent_at = coalesce(absent_at, :absent_at), attempts = attempts + :attempts "
                "WHERE mailbox_id = :mailbox_id AND item_key = :item_key"
            ),
            [
                {
                    "mailbox_id": mailbox_id,
                    "item_key": later.item_key,
                    "due_at": later.due_at,
                    "kinds": int(later.kinds),
                    "reason": later.reason,
                    "absent_at": later.absent_at,
                    "attempts": later.attempts,
                }
                for later in one.later
            ],
        )
    if one.refused:
        now = clock.graph_us()
        rows = [
            {"mailbox_id": mailbox_id, "item_key": key, "count": count, "kind": reason, "at": now}
            for key, count, reason in one.refused
        ]
        connection.execute(
            text(
                "INSERT INTO outcome (mailbox_id, item_key, kind, at, count) "
                "VALUES (:mailbox_id, :item_key, :kind, :at, 1) "
                "ON CONFLICT (mailbox_id, item_key, kind) DO UPDATE SET count = outcome.count + 1"
            ),
            rows,
        )
        connection.execute(
            text(
                "DELETE FROM hint WHERE mailbox_id = :mailbox_id AND item_key = :item_key "
                "AND count = :count"
            ),
            rows,
        )
        # What was given up may hide a change: that is a gap someone can see.
        connection.execute(
            gap.insert(),
            {
                "mailbox_id": mailbox_id,
                "from_at": one.lease.watch_from,
                "to_at": now,
                "cause": "unavailable",
                "loss": "changes",
                "state": "open",
                "opened_at": now,
                "note": f"{len(rows)} item(s) could not be read: {rows[0]['kind']}",
            },
        )


def _mailbox_state(connection: Connection, one: Observed) -> None:
    values: dict[str, object] = {"mailbox_id": one.lease.mailbox_id}
    sets = []
    if one.pause_until is not None:
        sets.append("pause_until = :pause_until")
        values["pause_until"] = one.pause_until
    if one.primed_at is not None:
        sets.append("state = 'live', primed_at = :primed_at")
        values["primed_at"] = one.primed_at
    if one.parked is not None:
        park(connection, [one.lease.mailbox_id], one.parked, clock.graph_us())
    if one.pending_through is not None:
        # Two rounds may overlap: what is proven stays proven.
        sets.append(
            "pending_through = CASE WHEN coalesce(pending_through, 0) > :pending_through "
            "THEN pending_through ELSE :pending_through END"
        )
        values["pending_through"] = one.pending_through
        sets += ROUND_ENDED
    if sets:
        connection.execute(
            text(f"UPDATE mailbox SET {', '.join(sets)} WHERE mailbox_id = :mailbox_id"), values
        )
    connection.execute(PROMOTE, {"mailbox_id": one.lease.mailbox_id})
