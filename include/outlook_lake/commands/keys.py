"""`outlook-lake keys`: the keys that prove notifications or open rich ones; their rotation."""

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
from outlook_lake.tenants.encryption import load_pairs, make_pair

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
    rich: Annotated[
        bool, typer.Option("--rich", help="The key pairs of rich notifications instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List, rotate or retire the keys that sign `clientState`, the proof of a notification.

    `rotate` adds a key that signs from now on; older keys go on proving, nothing is lost.
    `retire` moves the subscriptions of a key to the newest one at the next run of
    `subscriptions`; daily maintenance takes the key away when nothing needs it any more.

    With `--rich` the same for the key pairs that rich notifications are encrypted for: the next
    run of `subscriptions` moves all of them to the newest pair, so that none has to be retired.

    Example: outlook-lake keys rotate
    """
    settings = home_that_exists()
    if rich:
        _pairs(settings, verb, as_json)
        return
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


def _pairs(settings: Settings, verb: Verb, as_json: bool) -> None:
    folder = settings.keys / "rich"
    if verb is Verb.retire:
        raise UsageError(
            "key pairs need no retiring: after `outlook-lake keys rotate --rich` the next run of "
            "`subscriptions` moves everything to the new one"
        )
    made = make_pair(folder) if verb is Verb.rotate else None
    used = _used(settings, subscription.c.cert_id)
    pairs = load_pairs(folder)
    rows = [
        {
            "cert_id": pair.cert_id,
            "created_at": pair.made_at.replace(microsecond=0),
            "state": "encrypts" if pair is pairs[-1] else "opens",
            "subscriptions": used.get(pair.cert_id, 0),
        }
        for pair in pairs
    ]
    if as_json:
        answer({"pairs": rows})
        return
    table(
        "key pairs", ("pair", "made", "state", "subscriptions"), [(*row.values(),) for row in rows]
    )
    if made is not None:
        say(f"{made.cert_id} is used from the next run of `subscriptions` on")


def _used(settings: Settings, column: Any) -> dict[str, int]:
    """How many living subscriptions use each key."""
    db = Database.open(settings)
    try:
        with db.read() as connection:
            rows = connection.execute(
                select(column.label("name"), func.count().label("count"))
                .where(subscription.c.state.in_(("active", "creating")))
                .group_by(column)
            )
            return {row[0]: row[1] for row in rows}
    finally:
        db.close()


def _rows(settings: Settings) -> list[dict[str, Any]]:
    """The keys, oldest first, with how many living subscriptions each one signed."""
    used = _used(settings, subscription.c.key_id)
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
