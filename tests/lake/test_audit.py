"""The audit finds every kind of fault and never says 0 idly."""

from __future__ import annotations

import pytest

from outlook_lake.lake.audit import Span
from tests.support.audit import Story, faults, us


def test_a_faithful_record_has_no_fault() -> None:
    answer = (
        Story()
        .arrival(100)
        .act("email_read", 110.5)
        .look(112)
        .event("email_read", 111, basis="notified", earliest=101, latest=112.9, observed=112)
        .act("email_deleted", 120.2, to="deleted")
        .look(121)
        .event("email_deleted", 120.2, observed=121)
        .act("email_restored", 130.1, to="inbox")
        .look(131)
        .event("email_restored", 130.1, observed=131)
        .act("email_purged", 140)
        .look(141)
        .event("email_purged", 141, basis="bounded", earliest=131, latest=141.9, observed=141)
        .judged()
    )
    assert faults(answer) == {}
    assert (answer["journal"], answer["events"], answer["excused"]) == (5, 5, 0)
    assert answer["clean"] is True
    assert answer["problems"] == []


# -- each kind of fault ----------------------------------------------------------------------


def test_a_missing_event_is_lost() -> None:
    answer = Story().arrival(100).arrival(200, item="two").act("email_read", 210, item="two")
    assert faults(answer.look(300, item="two").judged()) == {"lost": 1}


def test_an_empty_lake_against_a_full_journal_has_lost_everything() -> None:
    story = Story()
    for number in range(30):
        story.act("email_received", 100 + number, item=f"item-{number}")
    assert faults(story.judged()) == {"lost": 30}


@pytest.mark.parametrize("kind", ["unknown", "new"])
def test_a_home_that_watches_nobody_has_lost_everything(kind: str) -> None:
    story = Story(known=kind != "unknown", watch_from=None, state="new")
    answer = story.act("email_received", 100).judged()

    assert faults(answer) == {"lost": 1}
    assert not answer["clean"]


def test_nothing_against_nothing_is_not_clean() -> None:
    answer = Story().judged()

    assert faults(answer) == {}
    assert answer["clean"] is False
    assert "nothing to compare" in answer["problems"][0]


def test_an_event_told_twice_is_doubled() -> None:
    answer = Story().arrival(100).event("email_received", 100, observed=101).judged()
    assert faults(answer) == {"doubled": 1}


def test_a_change_told_twice_long_after_is_doubled() -> None:
    answer = (
        Story()
        .arrival(100)
        .act("email_flagged", 110)
        .look(111)
        .event("email_flagged", 110, observed=111)
        .event("email_flagged", 900, basis="bounded", earliest=111, latest=900, observed=900)
        .judged()
    )
    assert faults(answer) == {"doubled": 1}


def test_an_event_of_an_act_nobody_did_has_a_wrong_action() -> None:
    answer = Story().arrival(100).event("email_flagged", 105).judged()
    assert faults(answer) == {"wrong_action": 1}


def test_an_event_about_an_item_nobody_knows_has_a_wrong_action() -> None:
    answer = Story().arrival(100).event("email_received", 105, item="invented").judged()
    assert faults(answer) == {"wrong_action": 1}


def test_an_act_told_under_another_name_is_lost_and_wrong() -> None:
    answer = (
        Story()
        .arrival(100)
        .act("email_deleted", 110, to="deleted")
        .look(111)
        .event("email_moved", 110, observed=111)
        .judged()
    )
    assert faults(answer) == {"lost": 1, "wrong_action": 1}


def test_a_row_in_the_file_of_another_hour_is_a_wrong_hour() -> None:
    answer = Story().arrival(100)
    answer.events[0]["hour"] = "2026-11-23T10"
    assert faults(answer.judged()) == {"wrong_hour": 1}


def test_an_arrival_that_is_not_dated_as_the_mail_is_a_wrong_hour() -> None:
    answer = Story().act("email_received", 100).look(101).event("email_received", 101, observed=101)
    assert faults(answer.judged()) == {"wrong_hour": 1}


def test_a_change_dated_by_graph_at_another_second_is_a_wrong_hour() -> None:
    story = Story().arrival(100).act("email_flagged", 110).look(120)
    assert faults(story.event("email_flagged", 111, observed=120).judged()) == {"wrong_hour": 1}


@pytest.mark.parametrize(
    ("at", "earliest", "latest"),
    [
        pytest.param(115, 112, 120, id="the act came before the interval"),
        pytest.param(105, 101, 108, id="the act came after the interval"),
        pytest.param(125, 101, 120, id="the timestamp is after its own interval"),
        pytest.param(99, 101, 120, id="the timestamp is before its own interval"),
    ],
)
def test_an_interval_that_does_not_hold_is_a_wrong_hour(
    at: float, earliest: float, latest: float
) -> None:
    story = Story().arrival(100).act("email_read", 110.4).look(120)
    story.event("email_read", at, basis="notified", earliest=earliest, latest=latest, observed=120)
    assert faults(story.judged()) == {"wrong_hour": 1}


def test_the_part_of_a_second_that_graph_cuts_is_not_held_against_us() -> None:
    story = Story().arrival(100).act("email_read", 110.7).look(110.9)
    story.event("email_read", 110, basis="bounded", earliest=101, latest=110, observed=110.9)
    assert faults(story.judged()) == {}


def test_changes_told_in_another_order_than_they_happened_are_out_of_order() -> None:
    answer = (
        Story()
        .arrival(100)
        .act("email_flagged", 110)
        .look(111)
        .act("email_deleted", 120, to="deleted")
        .look(121)
        .event("email_deleted", 120, observed=121)
        .event("email_flagged", 110, observed=111)
        .judged()
    )
    assert faults(answer) == {"out_of_order": 1}


def test_a_change_told_before_the_arrival_is_out_of_order() -> None:
    answer = (
        Story()
        .act("email_received", 100)
        .act("email_moved", 101, to="other")
        .look(102)
        .event("email_moved", 102, basis="bounded", earliest=100, latest=102, observed=102)
        .event("email_received", 100, observed=102)
        .judged()
    )
    assert faults(answer) == {"out_of_order": 1}


def test_two_changes_one_look_showed_may_stand_in_either_order() -> None:
    answer = (
        Story()
        .arrival(100)
        .act("email_flagged", 110)
        .act("email_read", 111)
        .look(112)
        .event("email_read", 112, basis="bounded", earliest=101, latest=112, observed=112)
        .event("email_flagged", 112, basis="bounded", earliest=101, latest=112, observed=112)
        .judged()
    )
    assert faults(answer) == {}


def test_wide_intervals_are_counted_and_are_no_fault() -> None:
    story = Story().arrival(100).act("email_read", 110).look(2000)
    story.event("email_read", 2000, basis="bounded", earliest=101, latest=2000, observed=2000)
    answer = story.judged()
    assert (faults(answer), answer["wide_intervals"]) == ({}, 1)


# -- matching --------------------------------------------------------------------------------


def test_the_same_change_again_and_again_is_matched_one_by_one() -> None:
    story = Story().arrival(100)
    for number in range(4):
        at = 200 + 10 * number
        action = ("email_read", "email_unread")[number % 2]
        story.act(action, at).look(at + 1)
        story.event(action, at + 1, basis="notified", earliest=at - 9, latest=at + 1)
    assert faults(story.judged()) == {}


def test_several_looks_within_one_second_are_matched_in_order() -> None:
    story = Story().arrival(100)
    for number in range(4):
        at = 200.1 + 0.2 * number
        action = ("email_read", "email_unread")[number % 2]
        story.act(action, at).look(at + 0.1)
        story.event(action, at, basis="notified", earliest=101, latest=201, observed=200)
    assert faults(story.judged()) == {}


def test_an_event_of_a_look_that_came_later_than_the_first_is_still_the_acts() -> None:
    """The first look's worker was killed: the state was shown, nothing was committed."""
    story = Story().arrival(100).act("email_read", 110).look(111)
    story.event("email_read", 111, basis="notified", earliest=101, latest=140, observed=140)
    assert faults(story.judged()) == {}


def test_what_a_killed_worker_was_shown_may_be_overtaken_before_it_is_asked_again() -> None:
    story = Story().act("email_received", 100).look(101).act("email_read", 102).look(110)
    answer = story.event("email_received", 100, observed=110).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_changes_shown_to_a_killed_worker_and_to_its_heir_may_stand_in_either_order() -> None:
    story = (
        Story().arrival(100).act("email_flagged", 110).look(111).act("email_read", 120).look(121)
    )
    for action in ("email_read", "email_flagged"):
        story.event(action, 121, basis="bounded", earliest=101, latest=121, observed=121)
    assert faults(story.judged()) == {}


def test_a_row_of_delta_that_led_to_a_look_ends_what_could_be_seen() -> None:
    """The page showed the state; the look that followed showed the same and was recorded."""
    story = Story().arrival(100).act("email_read", 110).look(111)
    story.event("email_read", 111, basis="bounded", earliest=101, latest=115, observed=115)
    story.act("email_unread", 120).look(121)
    story.event("email_unread", 121, basis="notified", earliest=115, latest=121, observed=121)
    assert faults(story.judged()) == {}


def test_a_killed_worker_is_no_excuse_for_what_was_not_overtaken() -> None:
    story = Story().act("email_received", 100).look(101).act("email_read", 102).look(170)
    assert faults(story.event("email_received", 100, observed=170).judged()) == {"lost": 1}


def test_there_and_back_with_a_look_between_is_excused_only_if_its_worker_was_killed() -> None:
    story = Story().arrival(100).act("email_read", 110).look(111).act("email_unread", 115).look(116)

    assert faults(story.judged()) == {"lost": 2}
    assert faults(story.judged(killed=[(112, 113)])) == {"lost": 2}
    answer = story.judged(killed=[(110.5, 111.5)])
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 2})


def test_an_answer_that_led_to_an_event_was_not_shown_to_a_killed_worker() -> None:
    story = Story().arrival(100).act("email_flagged", 110).act("email_read", 110.5).look(111)
    story.event("email_flagged", 111, basis="bounded", earliest=101, latest=111, observed=111)
    story.act("email_unread", 115).look(116)
    assert faults(story.judged(killed=[(110, 112)])) == {"lost": 2}


def test_what_an_answer_that_lagged_did_not_show_stays_unseen() -> None:
    story = Story().arrival(100)
    old = story.rows[-1]["state"]
    story.act("email_read", 110).look(111).event(
        "email_read", 111, basis="notified", earliest=101, latest=111, observed=111
    )
    story.act("email_flagged", 120).look(121, state=old).act("email_flag_completed", 125).look(130)
    story.event("email_flag_completed", 125, observed=130)
    answer = story.judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


# -- who and when ----------------------------------------------------------------------------


def test_what_happened_before_watching_began_is_not_expected() -> None:
    story = Story(watch_from=150).act("email_received", 100).arrival(200, item="two")
    answer = story.judged()
    assert (faults(answer), answer["journal"]) == ({}, 1)


@pytest.mark.parametrize("told", [True, False])
def test_in_the_second_in_which_watching_began_an_act_may_go_either_way(told: bool) -> None:
    story = Story(watch_from=100.2).act("email_received", 100.1).look(101).arrival(300, item="two")
    if told:
        story.event("email_received", 100.1, observed=101)
    assert faults(story.judged()) == {}


def test_an_event_from_before_watching_began_is_wrong() -> None:
    story = Story(watch_from=150).act("email_received", 100).look(160)
    story.event("email_received", 100, observed=160)
    assert faults(story.judged()) == {"wrong_action": 1}


def test_a_mailbox_out_of_scope_is_named_and_never_passed_over() -> None:
    story = Story().arrival(100).act("email_received", 200, item="theirs", mailbox="aad-2")

    answer = story.judged()
    assert faults(answer) == {"lost": 1}
    assert answer["outside"] == [{"mailbox": "aad-2", "scope": "unknown", "acts": 1}]

    assert faults(story.judged(known_only=True)) == {}


def test_a_parked_mailbox_that_was_never_watched_is_named_and_not_expected() -> None:
    story = Story(watch_from=None, state="parked").act("email_received", 100)
    answer = story.judged()
    assert faults(answer) == {}
    assert answer["outside"] == [{"mailbox": "aad-1", "scope": "parked", "acts": 1}]
    assert answer["clean"] is False  # there was nothing else


def test_acts_nobody_can_observe_are_not_expected() -> None:
    story = Story().arrival(100)
    story.act("outbox_transient", 110, item="copy", to="outbox")
    story.rows[-1]["observable"] = False
    answer = story.judged()
    assert (faults(answer), answer["journal"]) == ({}, 1)


def test_only_the_time_asked_for_is_judged() -> None:
    story = Story().act("email_received", 100).arrival(5000, item="two")
    story.event("email_flagged", 9000, item="two")

    span = Span(int(us(3600) or 0), int(us(7200) or 0))
    answer = story.judged(span=span)
    assert (faults(answer), answer["journal"], answer["events"]) == ({}, 1, 1)


def test_samples_point_at_faults_without_naming_items_or_people() -> None:
    answer = Story().arrival(100).act("email_flagged", 110).look(111).event("email_read", 112)
    samples = answer.judged()["samples"]
    assert [(row["fault"], row["action"]) for row in samples] == [
        ("lost", "email_flagged"),
        ("wrong_action", "email_read"),
    ]
    assert all("item" not in name and "address" not in name for row in samples for name in row)
