"""`outlook-lake keys`: the keys that prove notifications, and their rotation."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import typer
from sqlalchemy import func, select

from outlook_lake.clock import from_us
from outlook_lake.commands.output import AsJson, answer, guarded, home_that_exists, say, table
from outlook_lake.errors import UsageError
from outlook_lake.receiver import rotation
from outlook_lake.receiver.client_state import ensure_keys, newest
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import subscription

__all__ = ["keys"]


class Verb(Enum):
    """What to do with the keys."""

    list = "list"
    rotate = "rotate"
    retire = "retire"


@guarded
def keys(
    verb: Annotated[Verb, typer.Argument(help="What to do.")] = Verb.list,
    key_id: Annotated[str | None, typer.Argument(help="Which key to retire.")] = None,
    as_json: AsJson = False,
) -> None:
    """List, rotate or retire the keys that sign `clientState`, the proof of a notification.

    `rotate` adds a key that signs from now on; older keys go on proving, nothing is lost.
    `retire` moves the subscriptions of a key to the newest one at the next run of
    `subscriptions`; daily maintenance takes the key away when nothing needs it any more.

    Example: outlook-lake keys rotate
    """
    settings = home_that_exists()
    if (key_id is None) == (verb is Verb.retire):
        raise UsageError(
            "name the key: outlook-lake keys retire KEY_ID"
            if verb is Verb.retire
            else f"keys {verb.value} takes no key id"
        )
    told = ""
    if verb is Verb.rotate:
        key = rotation.rotate(settings.keys)
        told = f"{key.key_id} signs from now on; retire the older ones when you like"
    elif verb is Verb.retire and key_id is not None:
        rotation.retire(settings.keys, key_id)
        told = f"{key_id} is retired; the next run of `subscriptions` moves what it signed"
    rows = _rows(settings)
    if as_json:
        answer({"keys": rows})
        return
    table(
        "keys",
        ("key", "made", "state", "subscriptions"),
        [(row["key_id"], row["created_at"], row["state"], row["subscriptions"]) for row in rows],
    )
    if told:
        say(told)


def _rows(settings: Settings) -> list[dict[str, Any]]:
    """The keys, oldest first, with how many living subscriptions each one signed."""
    db = Database.open(settings)
    try:
        with db.read() as connection:
            used = {
                row.key_id: row.count
                for row in connection.execute(
                    select(subscription.c.key_id, func.count().label("count"))
                    .where(subscription.c.state.in_(("active", "creating")))
                    .group_by(subscription.c.key_id)
                )
            }
    finally:
        db.close()
    held = ensure_keys(settings.keys)
    signs = newest(held).key_id
    return [
        {
            "key_id": key.key_id,
            "created_at": _moment(key.created_at),
            "retired_at": _moment(key.retired_at),
            "state": "retired" if key.retired_at else "signs" if key.key_id == signs else "proves",
            "subscriptions": used.get(key.key_id, 0),
        }
        for key in held.values()
    ]


def _moment(at: int) -> datetime | None:
    return from_us(at // 1_000_000 * 1_000_000) if at else None
