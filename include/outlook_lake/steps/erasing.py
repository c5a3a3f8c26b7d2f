"""`erase`: forget a person. Directory, inventory and state go; the lake cannot name them then.

    address or tuid → preview → subscription ended at Graph → rows removed → directory written
        anew → receipt

Events keep the random `tuid` and keyed hashes: with the directory's rows gone nobody can read
a person out of them. Who the mailbox was is kept as a keyed hash only, so that the list of
users never brings it back.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from outlook_lake import clock
from outlook_lake.application import Application
from outlook_lake.errors import OutlookLakeError, UsageError
from outlook_lake.graph.resources import subscription_path
from outlook_lake.lake.engine import sql
from outlook_lake.lake.views import open_lake
from outlook_lake.state.tables import directory, mailbox, subscription
from outlook_lake.steps.removing import rows_of, take_rows
from outlook_lake.tenants.directory import address_key, export_directory, forget
from outlook_lake.tenants.registry import tenants
from outlook_lake.tenants.scope import erased_mark

__all__ = ["erase", "erase_preview"]


@dataclass(frozen=True, slots=True)
class _Person:
    mailbox_ids: tuple[int, ...]
    tuids: tuple[str, ...]
    keys: tuple[bytes, ...]
    tenant_ids: tuple[str, ...]


def erase_preview(app: Application, person: str) -> dict[str, Any]:
    """What is known of a person, by place, and what the lake holds; nothing is changed.

    `person`: an address or a tuid. Raises UsageError when nobody is known by it.
    """
    return _told(app, _find(app, person))


async def erase(app: Application, person: str, *, by: str = "") -> dict[str, Any]:
    """Forget a person; returns counts and where the receipt is. Running twice changes nothing.

    Graph is asked to end the subscription; when it cannot be reached, the daily comparison
    with its list ends it later.
    """
    found = _find(app, person)
    before = _told(app, found)
    with app.db.write() as connection:
        connection.execute(
            update(mailbox)
            .where(mailbox.c.mailbox_id.in_(found.mailbox_ids))
            .values(
                # Who looks at it right now must not commit what was seen.
                fence=mailbox.c.fence + 1,
                lease_until=0,
                state="erased",
                reason=None,
                recheck_at=None,
                time_zone=None,
                working_hours=None,
                purpose=None,
                peer_group=None,
                tree_link=None,
                round_wanted_at=None,
            )
        )
    troubles = await _end_subscriptions(app, found)
    with app.db.write() as connection:
        take_rows(connection, list(found.mailbox_ids))
        for row in connection.execute(
            select(mailbox).where(mailbox.c.mailbox_id.in_(found.mailbox_ids))
        ).all():
            connection.execute(
                update(mailbox)
                .where(mailbox.c.mailbox_id == row.mailbox_id)
                .values(aad_id=erased_mark(app.directory_key, row.aad_id))
            )
        forget(connection, found.keys, clock.graph_us())
    export_directory(app.db, app.settings)
    receipt = {
        "what": "erase",
        "at": clock.machine_now().isoformat(),
        "by": by,
        "tuids": list(found.tuids),
        "address_keys": [key.hex() for key in found.keys],
        "removed": before["rows"],
        "left_in_the_lake": before["lake"],
        "troubles": troubles,
    }
    return {**before, "troubles": troubles, "receipt": str(_write(app, receipt))}


async def _end_subscriptions(app: Application, found: _Person) -> list[str]:
    """Delete what these mailboxes have at Graph; returns what could not be, in words."""
    with app.db.read() as connection:
        living = connection.execute(
            select(subscription.c.subscription_id, mailbox.c.tenant_id)
            .join(mailbox, mailbox.c.mailbox_id == subscription.c.mailbox_id)
            .where(
                subscription.c.mailbox_id.in_(found.mailbox_ids),
                subscription.c.state == "active",
            )
        ).all()
    troubles = []
    for one in tenants(app.db):
        mine = [row.subscription_id for row in living if row.tenant_id == one.tenant_id]
        if not mine:
            continue
        try:
            async with app.tenants(one.domain_id) as works:
                client = works[one.tenant_id].client
                for subscription_id in mine:
                    await client.delete(subscription_path(subscription_id), accept=(404,))
        except OutlookLakeError as error:
            troubles.append(
                f"Graph could not end the subscription now ({error}); the daily comparison with "
                "its list does"
            )
    return troubles


def _find(app: Application, person: str) -> _Person:
    """Mailboxes, tuids and address keys of whoever is known by an address or tuid."""
    wanted = person.strip()
    with app.db.read() as connection:
        if "@" in wanted:
            key = address_key(app.directory_key, wanted)
            rows = connection.execute(
                select(directory).where(directory.c.address_key == key, directory.c.address != "")
            ).all()
            ids = {row.mailbox_id for row in rows if row.mailbox_id is not None}
        else:
            ids = set(
                connection.scalars(
                    select(mailbox.c.mailbox_id).where(mailbox.c.tuid == _tuid(wanted))
                )
            )
            rows = []
        boxes = connection.execute(
            select(mailbox.c.mailbox_id, mailbox.c.tuid, mailbox.c.tenant_id).where(
                mailbox.c.mailbox_id.in_(ids)
            )
        ).all()
        others = connection.execute(
            select(directory.c.address_key).where(directory.c.mailbox_id.in_(ids))
        ).all()
    if not rows and not boxes:
        raise UsageError("nobody is known by this address or tuid: there is nothing to erase")
    return _Person(
        tuple(sorted(ids)),
        tuple(sorted(row.tuid for row in boxes)),
        tuple(sorted({row.address_key for row in (*rows, *others)})),
        tuple(sorted({row.tenant_id for row in boxes})),
    )


def _tuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise UsageError("a person is named by a mail address or by a tuid") from None


def _told(app: Application, found: _Person) -> dict[str, Any]:
    with app.db.read() as connection:
        rows = rows_of(connection, list(found.mailbox_ids))
        rows["people"] = len(found.keys)
    return {
        "tuids": list(found.tuids),
        "rows": rows,
        "lake": _in_the_lake(app, found),
    }


def _in_the_lake(app: Application, found: _Person) -> dict[str, int]:
    """Events that carry the tuid or a keyed hash of theirs, and in how many hours."""
    with open_lake(app.settings) as lake:
        events, hours = lake.execute(
            sql("rows_about"),
            {"tuids": list(found.tuids), "keys": list(found.keys)},
        ).fetchall()[0]
    return {"events": events, "hours": hours}


def _write(app: Application, receipt: dict[str, Any]) -> Path:
    folder = app.settings.home / "receipts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"erase-{clock.machine_now():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}.json"
    beside = folder / f".{name}"
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(receipt, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / name)
    return folder / name
