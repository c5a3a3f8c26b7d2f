"""What is it? The action table: each kind of difference has one name, and silence has reasons."""

from __future__ import annotations

import uuid

import pytest

from tests.support.observations import (
    CREATED,
    DELETED,
    SECOND,
    UPDATED,
    WATCHED,
    Mailbox,
    absent,
    shown,
)


def actions(events: list[dict]) -> list[str]:
    return [event["action"] for event in events]


def received(**fields) -> Mailbox:
    box = Mailbox()
    assert actions(box.look(shown(at=20, hint=CREATED, **fields))) == ["email_received"]
    return box


@pytest.mark.parametrize(
    ("folder", "fields", "expected"),
    [
        pytest.param("inbox", {}, ["email_received"], id="lands in the inbox"),
        pytest.param("junk", {}, ["email_received"], id="lands in junk"),
        pytest.param("sent", {}, ["email_sent"], id="appears in Sent Items"),
        pytest.param("drafts", {"is_draft": True}, ["email_drafted"], id="a draft"),
        pytest.param(
            "inbox",
            {"received_at": WATCHED - 8 * 86_400 * SECOND},
            ["email_added"],
            id="received over a week before it was created",
        ),
        pytest.param("other", {}, ["email_received", "email_moved"], id="already filed away"),
        pytest.param("deleted", {}, ["email_received", "email_deleted"], id="already deleted"),
        pytest.param(
            "deleted",
            {"is_draft": True},
            ["email_drafted", "email_deleted"],
            id="a draft already deleted",
        ),
        pytest.param("outbox", {}, [], id="the transient copy of a send"),
    ],
)
def test_an_item_first_seen_is_one_event_and_where_it_went(folder, fields, expected):
    assert actions(Mailbox().look(shown(at=20, folder=folder, hint=CREATED, **fields))) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {"is_read": True}, "email_read", id="read"),
        pytest.param({"is_read": True}, {}, "email_unread", id="unread"),
        pytest.param({}, {"flag_status": "flagged"}, "email_flagged", id="flagged"),
        pytest.param({"flag_status": "flagged"}, {}, "email_unflagged", id="unflagged"),
        pytest.param(
            {"flag_status": "flagged"},
            {"flag_status": "complete"},
            "email_flag_completed",
            id="flag completed",
        ),
        pytest.param({}, {"categories": ["x"]}, "email_categorized", id="categorized"),
        pytest.param({"categories": ["x"]}, {}, "email_categorized", id="category taken away"),
        pytest.param({}, {"folder": "other"}, "email_moved", id="moved"),
        pytest.param({}, {"folder": "deleted"}, "email_deleted", id="into Deleted Items"),
        pytest.param({}, {"folder": "dumpster"}, "email_purged", id="into the dumpster"),
        pytest.param({}, {"importance": "high"}, "email_changed", id="importance"),
        pytest.param({}, {"inference": "other"}, "email_changed", id="focused to other"),
        pytest.param({}, {"has_attachments": True}, "email_changed", id="attachments"),
    ],
)
def test_one_difference_is_one_event_of_its_name(before, after, expected):
    box = received(**before)
    assert actions(box.look(shown(at=60, hint=UPDATED, **after))) == [expected]


def test_out_of_deleted_items_is_restored_and_out_of_the_dumpster_too():
    box = received()
    box.look(shown(at=60, folder="deleted", hint=CREATED))
    assert actions(box.look(shown(at=70, folder="inbox", hint=CREATED))) == ["email_restored"]
    box.look(shown(at=80, folder="dumpster", hint=CREATED))
    assert actions(box.look(shown(at=90, folder="other", hint=CREATED))) == ["email_restored"]


def test_an_item_that_is_gone_is_purged_once_and_comes_back_as_restored():
    box = received()
    assert actions(box.look(absent(at=60))) == ["email_purged"]
    assert box.look(absent(at=70)) == []
    assert actions(box.look(shown(at=80, hint=CREATED))) == ["email_restored"]


def test_what_leaves_the_dumpster_for_good_was_purged_before():
    box = received()
    assert actions(box.look(shown(at=60, folder="dumpster", hint=CREATED))) == ["email_purged"]
    assert box.look(absent(at=70)) == []


def test_a_mail_to_oneself_first_seen_where_it_was_filed_arrived_there():
    owner = b"o" * 16
    to_self = [{"key": owner, "domain": "contoso.example", "kind": "to"}]
    filed = Mailbox(owner_key=owner).look(
        shown(at=20, folder="other", from_key=owner, recipients=to_self, hint=CREATED)
    )
    sent = Mailbox(owner_key=owner).look(shown(at=20, folder="other", from_key=owner, hint=CREATED))
    assert actions(filed) == ["email_received", "email_moved"]
    assert actions(sent)[0] == "email_sent"


def test_a_draft_that_leaves_drafts_is_sent_and_nothing_else():
    box = Mailbox()
    box.look(shown(at=20, folder="drafts", is_draft=True, is_read=True, hint=CREATED))
    sent = box.look(
        shown(at=60, folder="sent", is_draft=False, is_read=True, hint=CREATED | DELETED)
    )
    assert actions(sent) == ["email_sent"]
    assert sent[0]["timestamp"] == sent[0]["sent_at"]


def test_a_draft_sent_and_filed_between_two_looks_is_sent_and_then_moved():
    box = Mailbox()
    box.look(shown(at=20, folder="drafts", is_draft=True, is_read=True, hint=CREATED))
    filed = box.look(shown(at=60, folder="other", is_draft=False, is_read=True, hint=CREATED))
    assert actions(filed) == ["email_sent", "email_moved"]


def test_several_differences_of_one_look_are_one_event_each_in_a_fixed_order():
    box = received()
    events = box.look(
        shown(at=60, folder="other", is_read=True, flag_status="flagged", hint=UPDATED)
    )
    assert actions(events) == ["email_moved", "email_read", "email_flagged"]
    assert [event["seq"] for event in events] == [2, 3, 4]
    assert {event["time_basis"] for event in events} == {"bounded"}


def test_the_same_state_again_is_no_event_and_writes_nothing():
    box = received()
    found = box.compare([shown(at=60, hint=CREATED)])
    assert found.events.num_rows == 0
    assert found.inventory.num_rows == 0


def test_an_older_answer_than_what_is_known_says_nothing():
    box = received()
    box.look(shown(at=60, is_read=True, hint=UPDATED))
    assert box.look(shown(at=59, is_read=False, hint=UPDATED)) == []


def test_what_is_older_than_the_watch_is_silent_unless_a_notification_said_otherwise():
    old = {"created_at": WATCHED - 100 * SECOND, "received_at": WATCHED - 100 * SECOND}
    assert Mailbox().look(shown(at=20, **old)) == []
    assert actions(Mailbox().look(shown(at=20, hint=UPDATED, **old))) == ["email_changed"]
    assert actions(Mailbox().look(shown(at=20, hint=CREATED, **old))) == ["email_moved"]
    baseline = Mailbox()
    baseline.look(shown(at=20, **old))
    assert actions(baseline.look(shown(at=400, is_read=True, **old))) == ["email_read"]


def test_an_unknown_item_that_is_not_there_is_an_outcome_and_never_an_event():
    found = Mailbox().compare([absent(at=20)])
    assert found.events.num_rows == 0
    assert found.answers.to_pylist()[0]["gone_unseen"]


def test_an_update_that_shows_no_difference_is_asked_once_more():
    box = received()
    first = box.compare([shown(at=60, hint=UPDATED)]).answers.to_pylist()[0]
    again = box.compare([shown(at=90, hint=UPDATED, hint_attempts=1)]).answers.to_pylist()[0]
    assert first["once_more"]
    assert not again["once_more"]


def test_a_row_of_delta_about_a_fresh_item_becomes_a_hint_and_not_an_event():
    box = received()
    found = box.compare([shown(at=60, is_read=True)])
    assert found.events.num_rows == 0
    assert found.answers.to_pylist()[0]["postponed"]
    assert actions(box.look(shown(at=400, is_read=True))) == ["email_read"]


def test_a_row_of_delta_about_an_item_with_a_hint_waits_for_that_hint():
    box = Mailbox()
    box.waiting.add(b"k" * 16)
    found = box.compare([shown(at=20)])
    assert found.events.num_rows == 0
    assert found.inventory.num_rows == 0


def test_an_arrival_keeps_its_event_id_however_often_and_by_whom_it_is_seen():
    by_notification = Mailbox().look(shown(at=20, hint=CREATED))[0]["event_id"]
    by_delta = Mailbox().look(shown(at=900))[0]["event_id"]
    name = f"tuid-1/{(b'k' * 16).hex()}/email_received"
    assert by_notification == by_delta == str(uuid.uuid5(uuid.UUID(bytes=b"n" * 16), name))


def test_events_of_a_purged_item_still_say_what_it_was():
    box = received(has_attachments=True, importance="high")
    gone = box.look(absent(at=60))[0]
    assert gone["from_domain"] == "partner.example"
    assert gone["is_external_sender"] is True
    assert (gone["recipient_count"], gone["has_attachments"], gone["importance"]) == (
        1,
        True,
        "high",
    )
    assert gone["from_folder_kind"] == "inbox"
    assert gone["folder_kind"] is None


def test_a_look_dated_before_what_is_known_leaves_its_hint_to_be_asked_again():
    box = received()
    (answer,) = box.compare(
        [shown(at=19, hint=UPDATED, is_read=True, hint_attempts=3)]
    ).answers.to_pylist()
    assert answer["once_more"]


def test_a_delta_row_dated_before_what_is_known_becomes_a_hint():
    box = received()
    found = box.compare([shown(at=19, is_read=True)])
    assert found.events.num_rows == 0
    assert [row["postponed"] for row in found.answers.to_pylist()] == [True]
