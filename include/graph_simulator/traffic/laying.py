"""Lay the messages of a traffic file on one working day.

    file ─▶ judged (playable?) ─▶ holders (who has a record) ─▶ busiest (who gets a mailbox)
                                                     └▶ whole days ─▶ acts in time order

DuckDB does the row work, in the files of `sql/`; addresses never leave this process except
through the acts themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from graph_simulator.traffic.days import Day, days_to_play
from graph_simulator.traffic.errors import TrafficFileError
from graph_simulator.traffic.file import TrafficFile
from graph_simulator.traffic.model import PlannedAct

__all__ = ["FIRST_HOUR", "LAST_HOUR", "Laying", "last_whole_wednesday", "lay", "played_hours"]

FIRST_HOUR, LAST_HOUR = 7, 19
"""Local hours of the day that are played when the days are folded, half-open."""

ACTS_AT_ONCE = 1024
SQL = Path(__file__).parent / "sql"


def last_whole_wednesday(now: datetime, zone: str) -> date:
    """The Wednesday of the last Monday-to-Sunday week that has ended at `now` in `zone`.

    A Wednesday, because no zone changes its clocks then and few holidays fall on it.
    """
    today = now.astimezone(ZoneInfo(zone)).date()
    return today - timedelta(days=today.weekday() + 5)


def played_hours(day: date, zone: str) -> tuple[datetime, datetime]:
    """07:00 and 19:00 local of `day`, as aware UTC."""
    first, last = (
        datetime.combine(day, time(hour), ZoneInfo(zone)) for hour in (FIRST_HOUR, LAST_HOUR)
    )
    return first.astimezone(UTC), last.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Laying:
    """What will be played: acts in time order, and what was counted while laying them.

    `begins_at` and `ends_at` are aware UTC. `mailboxes` are addresses, busiest first.
    """

    begins_at: datetime
    ends_at: datetime
    mailboxes: list[str]
    mailboxes_with_mail: int
    internal_domains: list[str]
    days: list[Day]
    days_in_file: int
    records_in_file: int
    skipped: dict[str, int]
    recipients_dropped: int
    acts: pa.Table
    messages: pa.Table

    @property
    def records(self) -> int:
        """Mailbox records the acts make: Sent Items of senders and copies of recipients."""
        return int(pc.sum(self.acts["records"]).as_py() or 0)

    def planned(self) -> Iterator[PlannedAct]:
        """The acts, made a thousand at a time."""
        last_no = -1
        letter: dict[str, Any] = {}
        for batch in self.acts.to_batches(max_chunksize=ACTS_AT_ONCE):
            for row in batch.to_pylist():
                if row["message_no"] != last_no:
                    last_no = row["message_no"]
                    letter = self._letter(last_no)
                args = letter if row["do"] == "receive" else _without_sender(letter)
                at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=row["at_us"])
                yield PlannedAct(at, row["address"], row["do"], args, row["records"])

    def _letter(self, message_no: int) -> dict[str, Any]:
        row = self.messages.slice(message_no, 1).to_pylist()[0]
        letter = {
            "from": row["sender"],
            "to": row["to_list"],
            "cc": row["cc_list"],
            "has_attachments": row["has_attachments"],
            "internet_message_id": f"<{row['message_id'].strip('<>')}>",
        }
        if row["conversation_id"]:
            letter["conversation"] = row["conversation_id"]
        return letter


def _without_sender(letter: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in letter.items() if name != "from"}


def lay(
    file: TrafficFile,
    *,
    mailboxes: int,
    zone: str,
    day: date,
    folded: bool = True,
    limit: int | None = None,
) -> Laying:
    """Choose mailboxes and days, and put every act in its place.

    Raises TrafficFileError when nothing of the file can be played.
    """
    with duckdb.connect(config={"threads": 2}) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("traffic", file.table)
        hours = (FIRST_HOUR, LAST_HOUR) if folded else (0, 24)
        _run(db, "judged", zone=zone)
        _run(db, "holders", from_hour=hours[0], to_hour=hours[1])
        _run(db, "busiest", mailboxes=mailboxes)
        in_file = [Day(*row) for row in _run(db, "days")]
        chosen = days_to_play(in_file, limit)
        _refuse_empty(chosen, hours)
        played = pa.table({"day": pa.array([d.day for d in chosen], pa.date32())})
        db.register("days_played", played)
        acts = _table(db, "acts", folded=folded, midnight=datetime.combine(day, time()), zone=zone)
        begins_at, ends_at = _span(acts, day, zone, folded)
        return Laying(
            begins_at=begins_at,
            ends_at=ends_at,
            mailboxes=_column(db, "SELECT address FROM busiest ORDER BY records DESC, address"),
            mailboxes_with_mail=_number(
                db,
                "SELECT count(DISTINCT address) FROM holders"
                " WHERE address IN (SELECT address FROM busiest)"
                " AND CAST(local_at AS DATE) IN (SELECT day FROM days_played)",
            ),
            internal_domains=_column(
                db,
                "SELECT split_part(address, '@', 2) AS domain FROM holders"
                " GROUP BY domain ORDER BY count(*) DESC, domain",
            ),
            days=chosen,
            days_in_file=len(in_file),
            records_in_file=sum(d.records for d in in_file),
            skipped=dict(
                db.execute(
                    "SELECT unplayable, count(*) FROM judged"
                    " WHERE unplayable IS NOT NULL GROUP BY 1 ORDER BY 1"
                ).fetchall()
            ),
            recipients_dropped=_number(
                db, "SELECT coalesce(sum(recipients_dropped), 0) FROM judged"
            ),
            acts=acts,
            messages=_table(db, "letters"),
        )


def _run(db: duckdb.DuckDBPyConnection, name: str, **params: Any) -> list[tuple[Any, ...]]:
    return db.execute(_query(name), params or None).fetchall()


def _table(db: duckdb.DuckDBPyConnection, name: str, **params: Any) -> pa.Table:
    return db.sql(_query(name), params=params or None).to_arrow_table()


def _query(name: str) -> str:
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def _column(db: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [row[0] for row in db.execute(query).fetchall()]


def _number(db: duckdb.DuckDBPyConnection, query: str) -> int:
    # Read to the end: a half-read result blocks the connection.
    return int(db.execute(query).fetchall()[0][0])


def _refuse_empty(days: list[Day], hours: tuple[int, int]) -> None:
    if not days:
        raise TrafficFileError(
            "no message of the file can be played",
            "At least one row needs a date, an '@' in its addresses, sender_internal = true for"
            f" somebody, and a local time from {hours[0]:02d}:00 to {hours[1]:02d}:00",
        )


def _span(acts: pa.Table, day: date, zone: str, folded: bool) -> tuple[datetime, datetime]:
    if folded:
        return played_hours(day, zone)
    bounds = pc.min_max(acts["at_us"]).as_py()
    first, last = (datetime.fromtimestamp(bounds[k] // 10**6, UTC) for k in ("min", "max"))
    return first, last + timedelta(seconds=1)
