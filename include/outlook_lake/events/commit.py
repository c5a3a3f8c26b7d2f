"""The statements of apply's one transaction, in the order they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from outlook_lake import clock
from outlook_lake.errors import LeaseLostError
from outlook_lake.events.observation import Observed, Person
from outlook_lake.settings import Settings
from outlook_lake.state.kinds import HintKind
from outlook_lake.state.leases import Lease
from outlook_lake.tenants import directory

__all__ = ["NEW_HINT", "answers", "check_fences", "inventory", "people", "seq"]

UPSERT_ITEM = text(
    """
    INSERT INTO item (shard, mailbox_id, item_key, folder_no, created_at, received_at,
                      modified_at, seen_at, bits, mutable_hash, from_domain_no, recipients,
                      imid_hash, origin, gone_at)
    VALUES (:shard, :mailbox_id, :item_key, :folder_no, :created_at, :received_at,
            :modified_at, :seen_at, :bits, :mutable_hash, :from_domain_no, :recipients,
            :imid_hash, :origin, :gone_at)
    ON CONFLICT (shard, mailbox_id, item_key) DO UPDATE SET
        folder_no = excluded.folder_no, created_at = excluded.created_at,
        received_at = excluded.received_at, modified_at = excluded.modified_at,
        seen_at = excluded.seen_at, bits = excluded.bits,
        mutable_hash = excluded.mutable_hash, from_domain_no = excluded.from_domain_no,
        recipients = excluded.recipients, imid_hash = excluded.imid_hash,
        origin = excluded.origin, gone_at = excluded.gone_at
    """
)

NEW_HINT = text(
    """
    INSERT INTO hint (mailbox_id, item_key, item_id, kinds, first_at, last_at, count,
                      attempts, due_at)
    VALUES (:mailbox_id, :item_key, :item_id, :kinds, :first_at, :first_at, 0, 0, :due_at)
    ON CONFLICT (mailbox_id, item_key) DO UPDATE SET
        kinds = hint.kinds | excluded.kinds,
        due_at = CASE WHEN excluded.due_at < hint.due_at
                      THEN excluded.due_at ELSE hint.due_at END
    """
)


def check_fences(connection: Connection, held: Sequence[Lease]) -> None:
    """Raise LeaseLostError when any mailbox was taken by somebody else."""
    wanted = {lease.mailbox_id: lease.fence for lease in held}
    lost = set(wanted)
    ids = sorted(wanted)
    lock = "" if connection.dialect.name == "sqlite" else " FOR UPDATE"
    for start in range(0, len(ids), 1000):
        some = ",".join(str(int(mailbox_id)) for mailbox_id in ids[start : start + 1000])
        for mailbox_id, fence in connection.execute(
            text(f"SELECT mailbox_id, fence FROM mailbox WHERE mailbox_id IN ({some}){lock}")
        ):
            if wanted[mailbox_id] == fence:
                lost.discard(mailbox_id)
    if lost:
        raise LeaseLostError(frozenset(lost))


def inventory(connection: Connection, rows: pa.Table, domains: dict[str, int]) -> None:
    """Store what is known of the items now."""
    if not rows.num_rows:
        return
    names = rows.column("from_domain").to_pylist()
    _number_domains(connection, {name for name in names if name}, domains)
    numbered = rows.drop_columns(["from_domain"]).append_column(
        "from_domain_no",
        pa.array([domains[name] if name else None for name in names], pa.int32()),
    )
    connection.execute(UPSERT_ITEM, numbered.to_pylist())


def _number_domains(connection: Connection, names: set[str], domains: dict[str, int]) -> None:
    new = sorted(names - domains.keys())
    if not new:
        return
    connection.execute(
        text("INSERT INTO domain (name) VALUES (:name) ON CONFLICT (name) DO NOTHING"),
        [{"name": name} for name in new],
    )
    for start in range(0, len(new), 400):
        some = new[start : start + 400]
        marks = ",".join(f":n{n}" for n in range(len(some)))
        domains.update(
            (name, number)
            for number, name in connection.execute(
                text(f"SELECT domain_no, name FROM domain WHERE name IN ({marks})"),
                {f"n{n}": name for n, name in enumerate(some)},
            )
        )


def answers(connection: Connection, rows: pa.Table, settings: Settings) -> None:
    """Answer the hints that were counted when the looks were sent, keep the others."""
    if not rows.num_rows:
        return
    now = clock.machine_us()
    postponed = rows.filter(rows.column("postponed"))
    answered = rows.filter(pc.invert(rows.column("postponed"))).to_pylist()
    once_more = [row for row in answered if row["once_more"]]
    done = [row for row in answered if not row["once_more"]]
    if done:
        connection.execute(
            text(
                "DELETE FROM hint WHERE mailbox_id = :mailbox_id AND item_key = :item_key "
                "AND count = :hint_count"
            ),
            done,
        )
        connection.execute(
            text(
                "UPDATE hint SET count = count - :hint_count, first_at = :seen_at, "
                "earliest_at = NULL, absent_at = NULL, attempts = 0 "
                "WHERE mailbox_id = :mailbox_id AND item_key = :item_key"
            ),
            done,
        )
    if once_more:
        later = now + int(settings.stream.lag_s * 1_000_000)
        connection.execute(
            text(
                "UPDATE hint SET attempts = attempts + 1, kinds = kinds | 32, "
                "due_at = CASE WHEN count = :hint_count THEN :later ELSE due_at END "
                "WHERE mailbox_id = :mailbox_id AND item_key = :item_key"
            ),
            [{**row, "later": later} for row in once_more],
        )
    # An absence without an id is postponed for a hint that is there already.
    unhinted = [row for row in postponed.to_pylist() if row["item_id"] is not None]
    if unhinted:
        connection.execute(
            NEW_HINT,
            [
                {
                    "mailbox_id": row["mailbox_id"],
                    "item_key": row["item_key"],
                    "item_id": row["item_id"],
                    "kinds": int(HintKind.DOUBT),
                    "first_at": row["seen_at"],
                    "due_at": now,
                }
                for row in unhinted
            ],
        )
    _outcomes(connection, [row for row in answered if row["gone_unseen"]])


def _outcomes(connection: Connection, unseen: list[dict[str, Any]]) -> None:
    if unseen:
        connection.execute(
            text(
                "INSERT INTO outcome (mailbox_id, item_key, kind, at, first_hint_at, count) "
                "VALUES (:mailbox_id, :item_key, 'gone_unseen', :seen_at, :hint_first_at, 1) "
                "ON CONFLICT (mailbox_id, item_key, kind) DO UPDATE SET count = outcome.count + 1"
            ),
            unseen,
        )


def seq(connection: Connection, events: pa.Table) -> None:
    """Advance the mailboxes' counters by the events that were numbered."""
    if not events.num_rows:
        return
    highest = events.select(["tuid", "seq"]).group_by("tuid").aggregate([("seq", "max")])
    connection.execute(
        text("UPDATE mailbox SET seq = :seq_max WHERE tuid = :tuid"), highest.to_pylist()
    )


def people(
    connection: Connection,
    observed: Sequence[Observed],
    key: directory.DirectoryKey,
    remembered: set[tuple[str, bytes]],
) -> set[tuple[str, bytes]]:
    """Remember addresses and names, in the directory and nowhere else; returns the new ones."""
    new: dict[str, dict[bytes, Person]] = {}
    for one in observed:
        rows = new.setdefault(one.lease.tenant_id, {})
        rows.update(
            (address_key, person)
            for address_key, person in one.people.items()
            if (one.lease.tenant_id, address_key) not in remembered
        )
    now = clock.graph_us()
    for tenant_id, rows in new.items():
        directory.remember(
            connection,
            key,
            tenant_id,
            [directory.Person(person.address, person.name) for person in rows.values()],
            now,
        )
    return {(tenant_id, address_key) for tenant_id, rows in new.items() for address_key in rows}
