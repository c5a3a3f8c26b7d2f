"""Who was erased stays forgotten, whatever the directory of the tenant says later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import mailbox
from outlook_lake.tenants.asked import Scope
from outlook_lake.tenants.directory import Person, address_key, forget, remember
from outlook_lake.tenants.registry import tenants
from outlook_lake.tenants.scope import erased_mark
from tests.tenants.test_scope import KEY, Directory, mailboxes, named, scoped, user, user_id


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(replace(Settings(), home=tmp_path))
    yield database
    database.close()


@pytest.mark.parametrize("way", ["delta", "whole list", "group", "included", "renamed"])
async def test_an_erased_person_comes_back_by_no_way(db: Database, tmp_path: Path, way: str):
    office = Directory(user(0), user(1))
    await scoped(db, tmp_path, office, Scope())
    with db.write() as connection:
        connection.execute(
            update(mailbox)
            .where(mailbox.c.aad_id == user_id(0))
            .values(state="erased", aad_id=erased_mark(KEY, user_id(0)))
        )
        theirs = [person["mail"] for person in [user(0)]] + ["p0@alias.example"]
        forget(connection, [address_key(KEY, one) for one in theirs], 2)
    scope = Scope()
    if way == "delta":
        office.changed = [{"id": user_id(0)}]
    elif way == "whole list":
        office.token_lost = True
    elif way == "group":
        office.members, scope = office.users, Scope(group=user_id(9))
    elif way == "included":
        scope = Scope(include=(user_id(0),))
    else:
        new = {"mail": "new.name@contoso.example", "displayName": "New Name"}
        office.users = [user(0, **new), user(1)]
        office.changed = [{"id": user_id(0), **new}]
        with db.write() as connection:  # a colleague's mail was quicker than the list of users
            remember(connection, KEY, office_id(db), [Person(new["mail"], "New Name")], 3)

    counts = await scoped(db, tmp_path, office, scope)
    with db.write() as connection:
        seen = [Person(one, "Person 0") for one in theirs]
        remember(connection, KEY, office_id(db), seen, 7_200_000_000)

    assert (counts["added"], counts["back"]) == (0, 0)
    assert sorted(row.state for row in mailboxes(db)) == ["erased", "new"]
    assert named(db) == {"Person 1", "person1@contoso.example", "p1@alias.example"}


def office_id(db: Database) -> str:
    return tenants(db)[0].tenant_id
