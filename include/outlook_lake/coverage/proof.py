"""What closes a gap: proof, never time. All in the caller's transaction.

    lapsed · missed · silent · receiver_down · parked     a full round that started after its end
    token_lost                                            the same, once no folder's state is lost
    witness · unavailable                                 the same, and then Graph's counts agree
    any, of a mailbox that left                           nothing can be read any more

A round finds every arrival and every lasting change. What came and went inside, and what was
undone inside, it cannot find: such a gap ends `partial`, and its loss and note say so.
Times: microseconds, Graph time.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

__all__ = ["close"]

_LOST = {
    "created_and_purged": "what came and was purged inside, or was changed and changed back, "
    "cannot be known",
    "changes": "changes undone or overtaken inside, and what came and was purged inside, "
    "cannot be known",
    "all": "what was not there any more when it could be read again cannot be known",
}

_PROVEN = """
    EXISTS (SELECT 1 FROM mailbox m WHERE m.mailbox_id = gap.mailbox_id
            AND m.complete_through >= {since})
"""
_BY_ROUND = (
    "state = 'open' AND to_at IS NOT NULL AND cause NOT IN ('witness', 'unavailable') AND "
    + _PROVEN.format(since="gap.to_at")
)
_BY_WITNESS = "state = 'open' AND cause IN ('witness', 'unavailable') AND " + _PROVEN.format(
    since="gap.opened_at AND m.witnessed_at >= gap.opened_at"
)

_SILENT = text(
    # Nobody told of anything: that is more than a question of time.
    "UPDATE gap SET loss = 'changes' "
    f"WHERE {_BY_ROUND} AND cause = 'silent' AND loss = 'timing'"
)
_FILL = (
    "UPDATE gap SET state = 'filled', closed_at = :now, closed_by = :by WHERE {which} AND {loss}"
)
_END = (
    "UPDATE gap SET state = 'partial', closed_at = :now, closed_by = :by, "
    "to_at = coalesce(to_at, opened_at), "
    "note = coalesce(note || '; ', '') || CASE loss {words} END WHERE {which} AND loss <> 'timing'"
)
_LEFT = text(
    "UPDATE gap SET state = 'partial', closed_at = :now, closed_by = 'left', "
    "to_at = coalesce(to_at, CASE WHEN from_at > :now THEN from_at ELSE :now END), "
    "note = coalesce(note || '; ', '') || 'the mailbox left before this could be read' "
    "WHERE state = 'open' AND EXISTS (SELECT 1 FROM mailbox m "
    "WHERE m.mailbox_id = gap.mailbox_id AND m.state IN ('leaving', 'erased'))"
)


def close(connection: Connection, now: int) -> dict[str, int]:
    """Close every gap that is proven by now; returns how many were `filled` and `partial`."""
    connection.execute(_SILENT)
    filled = partial = 0
    for which, by in ((_BY_ROUND, "round"), (_BY_WITNESS, "witness")):
        values = {"now": now, "by": by}
        filled += connection.execute(
            text(_FILL.format(which=which, loss="loss = 'timing'")), values
        ).rowcount
        words = {
            f"lost{number}": f"everything since was read: {lost}"
            for number, lost in enumerate(_LOST.values())
        }
        cases = " ".join(
            f"WHEN '{loss}' THEN CAST(:lost{number} AS TEXT)" for number, loss in enumerate(_LOST)
        )
        partial += connection.execute(
            text(_END.format(which=which, words=cases)), values | words
        ).rowcount
    partial += connection.execute(_LEFT, {"now": now}).rowcount
    return {"filled": filled, "partial": partial}
