"""What people do: the journal says it in the product's words, dates move as Exchange moves them."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from graph_simulator.errors import ActRefused, ControlRefused
from graph_simulator.world import World
from graph_simulator.world.model import ActResult

ADA, BEN = "person-001@contoso.example", "person-002@contoso.example"


def rows(world: World) -> list[dict[str, Any]]:
    """All journal rows."""
    world.store.commit()
    return [msgspec.json.decode(line) for _, line in world.journal.lines(0, 100_000)]


def row(world: World, result: ActResult) -> dict[str, Any]:
    """The journal row of an act."""
    return next(r for r in rows(world) if r["number"] == result.number)


def received(world: World, **args: Any) -> str:
    """The id of a mail that has just arrived for Ada."""
    item = world.act(ADA, "receive", **args).item_id
    assert item is not None
    return item


@pytest.mark.parametrize(
    ("acts", "action", "field", "bumped"),
    [
        ([("read", {})], "email_read", "read", False),
        ([("read", {}), ("unread", {})], "email_unread", "read", False),
        ([("flag", {})], "email_flagged", "flag", True),
        ([("flag", {}), ("unflag", {})], "email_unflagged", "flag", True),
        ([("complete", {})], "email_flag_completed", "flag", True),
        ([("categorize", {"categories": ["Blue"]})], "email_categorized", "categories", True),
        ([("set_importance", {"importance": "high"})], "email_changed", "importance", True),
        ([("move", {"to": "archive"})], "email_moved", "folder", True),
        ([("move", {"to": "deleteditems"})], "email_deleted", "folder", True),
        ([("delete", {})], "email_deleted", "folder", True),
        ([("delete", {}), ("restore", {})], "email_restored", "folder", True),
        ([("delete", {}), ("purge", {})], "email_purged", "folder", False),
        ([("purge", {}), ("restore", {"to": "archive"})], "email_restored", "folder", True),
        ([("purge", {"hard": True})], "email_purged", "existence", False),
    ],
    ids=lambda value: "-".join(a for a, _ in value) if isinstance(value, list) else None,
)
def test_an_act_on_an_item_is_written_in_the_products_words(
    world: World, acts: list[tuple[str, dict[str, Any]]], action: str, field: str, bumped: bool
) -> None:
    item = received(world)
    for do, args in acts:
        result = world.act(ADA, do, item=item, **args)
    last = row(world, result)
    assert (last["action"], last["field"], last["bumped"]) == (action, field, bumped)
    assert last["item"] == item and last["observable"] and last["kind"] == "act"


def test_reading_leaves_the_modified_date_and_flagging_moves_it(world: World) -> None:
    item = received(world)
    world.clock.advance(5)  # dates are whole seconds: let one pass
    unmoved = row(world, world.act(ADA, "read", item=item))["dates"]
    assert unmoved["modified"] == unmoved["received"]
    moved = row(world, world.act(ADA, "flag", item=item))
    assert moved["dates"]["modified"] == moved["at"][:19] + "Z" > unmoved["modified"]
    assert moved["dates"]["received"] == unmoved["received"]


@pytest.mark.parametrize(
    ("do", "args"),
    [
        ("unread", {}),
        ("unflag", {}),
        ("categorize", {"categories": []}),
        ("set_importance", {"importance": "normal"}),
        ("move", {"to": "inbox"}),
        ("restore", {}),
    ],
)
def test_an_act_that_would_change_nothing_is_refused_and_leaves_no_row(
    world: World, do: str, args: dict[str, Any]
) -> None:
    item, count = received(world), world.journal.number
    with pytest.raises(ActRefused) as refused:
        world.act(ADA, do, item=item, **args)
    assert refused.value.status == 409 and world.journal.number == count


@pytest.mark.parametrize(
    ("do", "args", "status"),
    [
        ("dance", {}, 400),
        ("read", {"item": "nonsense"}, 400),
        ("read", {}, 400),
        ("receive", {"form": "x@y.example"}, 400),
        ("receive", {"importance": "huge"}, 400),
        ("receive", {"to": ["no address"]}, 400),
        ("send", {}, 400),
        ("receive", {"folder": "Nowhere"}, 404),
    ],
)
def test_a_malformed_act_is_refused_in_words(
    world: World, do: str, args: dict[str, Any], status: int
) -> None:
    with pytest.raises(ControlRefused) as refused:
        world.act(ADA, do, **args)
    assert refused.value.status == status and len(refused.value.message) > 15


def test_sending_leaves_a_transient_a_sent_copy_and_one_arrival_for_each_colleague(
    world: World,
) -> None:
    sent = world.act(ADA, "send", to=[BEN, "x@fabrikam.example"], cc=[ADA], bcc=[BEN])
    found = rows(world)[-4:]
    assert [(r["action"], r["observable"]) for r in found] == [
        ("outbox_transient", False),
        ("email_sent", True),
        ("email_received", True),
        ("email_received", True),
    ]
    assert len({r["item"] for r in found}) == 4 and found[1]["item"] == sent.item_id
    assert [d.mailbox for d in sent.delivered] == [world.mailbox(a).aad_id for a in (BEN, ADA)]
    box = world.box(world.mailbox(ADA))
    mine = box.items[max(n for n in box.members[box.known["sentitems"].number])]
    assert mine.read and not mine.draft and mine.bcc == [BEN]


def test_a_draft_that_is_sent_keeps_its_immutable_id(world: World) -> None:
    draft = world.act(ADA, "draft", to=[BEN])
    sent = world.act(ADA, "send", draft=draft.item_id)
    written = row(world, sent)
    assert sent.item_id == draft.item_id
    assert (written["action"], written["from_folder"], written["to_folder"]) == (
        "email_sent",
        "drafts",
        "sent",
    )
    with pytest.raises(ActRefused, match="no draft"):
        world.act(ADA, "send", draft=draft.item_id)


def test_mail_that_a_rule_files_arrives_first_and_moves_then(world: World) -> None:
    world.act(ADA, "receive", folder="Newsletters")
    arrived, filed = rows(world)[-2:]
    assert (arrived["action"], arrived["to_folder"]) == ("email_received", "inbox")
    assert (filed["action"], filed["to_folder"], filed["by"]) == ("email_moved", "other", "rule")


def test_old_mail_that_is_imported_was_added_not_received(world: World) -> None:
    old = world.act(ADA, "import", received_at="2024-05-01T10:00:00Z")
    assert row(world, old)["action"] == "email_added"
    young = world.act(ADA, "copy", item=received(world), to="inbox")
    assert row(world, young)["action"] == "email_received"


def test_the_journal_is_strictly_ordered_and_without_holes(world: World) -> None:
    for _ in range(20):
        world.act(ADA, "send", to=[BEN, ADA])
    found = rows(world)
    assert [r["number"] for r in found] == list(range(1, len(found) + 1))
    instants = [r["at"] for r in found]
    assert all(a < b for a, b in pairwise(instants))
    assert all(r["at"] <= r["wall_at"] for r in found)


def test_a_leaver_and_an_unlicensed_mailbox_cannot_act(world: World) -> None:
    for do, action in (("remove_licence", "licence_removed"), ("leave", "left")):
        assert row(world, world.act(BEN, do))["action"] == action
        assert row(world, world.act(ADA, "receive"))["item"] is not None
        with pytest.raises(ActRefused, match="nobody can act"):
            world.act(BEN, "receive")


def test_deleting_a_folder_takes_its_messages_along(world: World) -> None:
    item = received(world)
    world.act(ADA, "create_folder", name="Doomed")
    world.act(ADA, "move", item=item, to="Doomed")
    world.act(ADA, "delete_folder", folder="Doomed")
    deleted, gone = rows(world)[-2:]
    assert (deleted["action"], deleted["item"]) == ("email_deleted", item)
    assert gone["action"] == "folder_deleted" and gone["observable"] and gone["object"]
    with pytest.raises(ActRefused, match="names no folder"):
        world.act(ADA, "move", item=item, to="Doomed")


def test_acts_are_fast_enough_for_a_hundred_a_second_at_a_tenth_of_a_core(world: World) -> None:
    items = [received(world) for _ in range(50)]
    began = time.process_time()
    for item in items:
        world.act(ADA, "read", item=item)
        world.store.commit()
    assert (time.process_time() - began) / 50 < 0.005
