"""A gap is opened once, widened where it touches, and ended when watching begins again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from outlook_lake.state import Database
from outlook_lake.state.gaps import end_gaps, open_gap, open_gaps
from outlook_lake.state.tables import gap, mailbox


def opened(db: Database, from_at: int, to_at: int | None, **more: Any) -> int:
    given = {"cause": "lapsed", "loss": "created_and_purged", "note": "removed", **more}
    with db.write() as connection:
        return open_gap(
            connection, given.pop("mailbox_id", 1), from_at=from_at, to_at=to_at, **given
        )


def spans(db: Database) -> list[tuple[int, int, int | None, str]]:
    with db.read() as connection:
        rows = connection.execute(select(gap).order_by(gap.c.gap_id)).all()
    return [(row.mailbox_id, row.from_at, row.to_at, row.loss) for row in rows]


def test_gaps_that_touch_are_one_with_the_heaviest_loss(db: Database):
    first = opened(db, 10, 20)
    assert opened(db, 20, 30, loss="changes") == first
    assert opened(db, 5, 12, loss="timing") == first

    assert spans(db) == [(1, 5, 30, "changes")]


def test_a_gap_that_joins_two_others_leaves_one(db: Database):
    opened(db, 10, 20)
    opened(db, 30, 40)
    opened(db, 15, 35)

    assert spans(db) == [(1, 10, 40, "created_and_purged")]


def test_gaps_apart_of_another_cause_or_mailbox_or_closed_stay_what_they_are(db: Database):
    opened(db, 10, 20)
    opened(db, 21, None)
    opened(db, 10, 20, cause="missed")
    opened(db, 10, 20, mailbox_id=2)
    with db.write() as connection:
        connection.execute(gap.update().where(gap.c.mailbox_id == 2).values(state="filled"))
    opened(db, 12, 13, mailbox_id=2)

    assert [row[:3] for row in spans(db)] == [
        (1, 10, 20), (1, 21, None), (1, 10, 20), (2, 10, 20), (2, 12, 13),
    ]  # fmt: skip


def test_what_has_no_end_keeps_having_none_until_it_is_ended(db: Database):
    opened(db, 10, None)
    opened(db, 15, 20)
    assert [row[1:3] for row in spans(db)] == [(10, None)]

    with db.write() as connection:
        assert end_gaps(connection, 1, ("missed",), 30) == 0
        assert end_gaps(connection, 1, ("lapsed", "parked"), 30) == 1
        assert end_gaps(connection, 1, ("lapsed",), 40) == 0

    assert [row[1:3] for row in spans(db)] == [(10, 30)]


def test_a_gap_never_ends_before_it_began(db: Database):
    opened(db, 10, None)
    with db.write() as connection:
        end_gaps(connection, 1, ("lapsed",), 9)

    assert [row[1:3] for row in spans(db)] == [(10, 10)]


def watch(db: Database, since: dict[int, int | None]) -> None:
    """Mailboxes of these numbers, watched since then."""
    with db.write() as connection:
        connection.execute(
            mailbox.insert(),
            [
                {
                    "mailbox_id": number,
                    "tenant_id": "t",
                    "aad_id": str(number),
                    "tuid": str(number),
                    "shard": 0,
                    "state": "live",
                    "watch_from": at,
                }
                for number, at in since.items()
            ],
        )


def test_many_mailboxes_get_the_part_of_a_gap_in_which_they_were_watched(db: Database):
    watch(db, {1: 0, 2: 15, 3: 20, 4: 99, 5: None})
    with db.write() as connection:
        given = open_gaps(
            connection,
            [1, 2, 3, 4, 5],
            from_at=10,
            to_at=20,
            cause="receiver_down",
            loss="changes",
            note="away",
        )

    assert given == 2
    assert [row[:3] for row in spans(db)] == [(1, 10, 20), (2, 15, 20)]


def test_many_gaps_widen_those_they_touch_and_stay_when_opened_twice(db: Database):
    watch(db, dict.fromkeys(range(1, 2501), 0))
    opened(db, 5, 12, mailbox_id=7, cause="receiver_down", loss="timing")
    for _ in range(2):
        with db.write() as connection:
            given = open_gaps(
                connection,
                list(range(1, 2501)),
                from_at=10,
                to_at=20,
                cause="receiver_down",
                loss="changes",
                note="away",
            )
        assert given == 2500

    rows = spans(db)
    assert len(rows) == 2500
    assert {row[1:] for row in rows if row[0] != 7} == {(10, 20, "changes")}
    assert [row for row in rows if row[0] == 7] == [(7, 5, 20, "changes")]
