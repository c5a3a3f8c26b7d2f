"""When did it happen? Each row of the time table, and the hour that follows from it."""

from __future__ import annotations

from datetime import datetime

from outlook_lake.clock import from_us
from tests.support.observations import (
    CREATED,
    SECOND,
    UPDATED,
    WATCHED,
    Mailbox,
    absent,
    shown,
)


def moment(seconds: float) -> datetime:
    return from_us(WATCHED + int(seconds * SECOND))


def received() -> Mailbox:
    box = Mailbox()
    box.look(shown(at=20, hint=CREATED))
    return box


def when(event: dict) -> tuple[str, datetime, datetime, datetime]:
    return event["time_basis"], event["timestamp"], event["earliest_at"], event["latest_at"]


def test_an_arrival_happened_when_graph_says_it_was_received():
    event = Mailbox().look(shown(at=20, hint=CREATED, hint_at=12))[0]
    assert when(event) == ("graph", moment(10), moment(10), moment(10))


def test_a_sent_mail_happened_when_graph_says_it_was_sent():
    event = Mailbox().look(shown(at=20, folder="sent", hint=CREATED))[0]
    assert when(event) == ("graph", moment(8), moment(8), moment(8))


def test_a_move_alone_happened_when_the_item_was_last_modified():
    event = received().look(
        shown(at=60, folder="other", modified_at=WATCHED + 50 * SECOND, hint=CREATED)
    )[0]
    assert when(event) == ("graph", moment(50), moment(50), moment(50))


def test_a_modification_that_did_not_grow_dates_nothing():
    event = received().look(shown(at=60, folder="other", hint=CREATED, hint_at=55))[0]
    assert when(event) == ("notified", moment(55), moment(20), moment(60.999999))


def test_a_read_happened_when_it_was_first_notified():
    event = received().look(shown(at=60, is_read=True, hint=UPDATED, hint_at=52))[0]
    assert when(event) == ("notified", moment(52), moment(20), moment(60.999999))


def test_a_receiver_that_vouches_narrows_the_interval_to_five_minutes():
    event = received().look(
        shown(
            at=2000,
            is_read=True,
            hint=UPDATED,
            hint_at=1990,
            hint_earliest_at=WATCHED + 1690 * SECOND,
        )
    )[0]
    assert event["earliest_at"] == moment(1690)


def test_a_purge_happened_when_it_was_first_notified():
    event = received().look(absent(at=60))[0]
    assert when(event) == ("notified", moment(60), moment(20), moment(60.999999))


def test_without_a_hint_a_change_is_bounded_by_the_last_complete_round_and_the_answer():
    box = Mailbox(complete_through=WATCHED + 300 * SECOND)
    box.look(shown(at=20, hint=CREATED))
    event = box.look(shown(at=900, is_read=True))[0]
    assert when(event) == ("bounded", moment(900), moment(300), moment(900.999999))


def test_several_changes_of_one_look_share_the_answers_time():
    events = received().look(
        shown(
            at=60,
            folder="other",
            is_read=True,
            modified_at=WATCHED + 50 * SECOND,
            hint=UPDATED,
            hint_at=45,
        )
    )
    assert {when(event) for event in events} == {
        ("bounded", moment(60), moment(20), moment(60.999999))
    }


def test_a_hint_older_than_the_last_look_does_not_date_a_change_before_it():
    event = received().look(shown(at=60, is_read=True, hint=UPDATED, hint_at=5))[0]
    assert when(event) == ("notified", moment(20), moment(20), moment(60.999999))


def test_a_date_of_graph_in_the_future_is_not_believed():
    event = Mailbox().look(shown(at=20, received_at=WATCHED + 9000 * SECOND, hint=CREATED))[0]
    assert event["time_basis"] == "bounded"
    assert event["timestamp"] == moment(20)


def test_the_hour_is_the_hour_of_the_timestamp():
    found = Mailbox().compare([shown(at=20, hint=CREATED)])
    assert found.events.to_pylist()[0]["hour"] == moment(10).strftime("%Y-%m-%dT%H")
