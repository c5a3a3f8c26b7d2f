"""The audit finds every kind of fault, excuses only what cannot be known, and never says 0 idly."""

from __future__ import annotations

from typing import Any

import pytest

from outlook_lake.lake.audit import FAULTS, Span
from tests.support.audit import Story, us

CLEAN = dict.fromkeys(FAULTS, 0)


def faults(answer: dict[str, Any]) -> dict[str, int]:
    return {name: answer[name] for name in FAULTS if answer[name]}


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


# -- excuses and their limits ----------------------------------------------------------------


def overtaken(seconds: float) -> dict[str, Any]:
    """Flagged, and completed so many machine seconds later, before anybody looked."""
    story = (
        Story().arrival(100).act("email_flagged", 110).act("email_flag_completed", 110 + seconds)
    )
    story.look(112 + seconds)
    return story.event("email_flag_completed", 110 + seconds, observed=112 + seconds).judged()


def test_a_change_overtaken_within_a_minute_is_coalesced() -> None:
    answer = overtaken(60)
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_sixty_one_machine_seconds_are_too_long() -> None:
    assert faults(overtaken(61)) == {"lost": 1}


def test_the_minute_is_one_of_machine_time() -> None:
    story = Story().arrival(100).act("email_flagged", 110, wall=0)
    story.act("email_flag_completed", 3000, wall=50).look(3001)
    answer = story.event("email_flag_completed", 3000, observed=3001).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_what_was_shown_is_not_coalesced() -> None:
    story = Story().arrival(100).act("email_flagged", 110).look(111)
    story.act("email_flag_completed", 112).look(113)
    story.event("email_flag_completed", 112, observed=113)
    assert faults(story.judged()) == {"lost": 1}


def test_a_change_on_another_field_overtakes_nothing() -> None:
    story = Story().arrival(100).act("email_flagged", 110).act("email_read", 112).look(113)
    story.event("email_read", 113, basis="bounded", earliest=101, latest=113, observed=113)
    assert faults(story.judged()) == {"lost": 1}


def test_there_and_back_within_a_minute_leaves_nothing_to_see() -> None:
    story = Story().arrival(100).act("email_read", 110).act("email_unread", 115).look(116)
    answer = story.judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 2})


def test_there_and_back_in_more_than_a_minute_is_lost_twice() -> None:
    story = Story().arrival(100).act("email_read", 110).act("email_unread", 175).look(176)
    assert faults(story.judged()) == {"lost": 2}


def test_what_follows_a_there_and_back_is_matched_although_no_look_lay_between() -> None:
    story = Story().arrival(100).act("email_read", 110).act("email_unread", 115)
    story.act("email_read", 900).look(901)
    story.event("email_read", 901, basis="notified", earliest=101, latest=901, observed=901)
    answer = story.judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 2})


def test_moves_nobody_saw_between_have_the_name_their_ends_give_them() -> None:
    story = Story().arrival(100).act("email_deleted", 110, to="deleted")
    story.act("email_restored", 115, to="archive").look(116)
    answer = story.event("email_moved", 115, observed=116).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_a_round_trip_through_folders_leaves_nothing_to_see() -> None:
    story = Story().arrival(100).act("email_deleted", 110, to="deleted")
    answer = story.act("email_restored", 115, to="inbox").look(116).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 2})


def test_a_flag_set_anew_may_show_in_its_dates_only() -> None:
    story = Story().arrival(100).act("email_flagged", 110).look(111)
    story.event("email_flagged", 110, observed=111)
    story.act("email_unflagged", 120).act("email_flagged", 125).look(126)
    story.event("email_changed", 126, basis="bounded", earliest=111, latest=126, observed=126)
    answer = story.judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 2})

    without = Story().arrival(100)
    without.event("email_changed", 126, basis="bounded", earliest=111, latest=126, observed=126)
    assert faults(without.judged()) == {"wrong_action": 1}


def test_categories_put_back_are_told_by_the_items_state() -> None:
    story = Story().arrival(100).act("email_categorized", 110, value="x")
    story.items["one"].pop("categories")
    answer = story.act("email_categorized", 115, value=None).look(116).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 2})

    story.event("email_categorized", 115, observed=116)
    assert faults(story.judged()) == {"wrong_action": 1}


def test_a_change_before_the_first_look_is_coalesced_into_the_arrival() -> None:
    story = Story().act("email_received", 100).act("email_read", 101).look(103)
    answer = story.event("email_received", 100, observed=103).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_a_first_look_that_comes_too_late_absorbs_nothing() -> None:
    story = Story().act("email_received", 100).act("email_read", 101).look(162)
    story.event("email_received", 100, observed=162)
    assert faults(story.judged()) == {"lost": 1}


def test_a_move_before_the_first_look_is_not_absorbed() -> None:
    story = Story().act("email_received", 100).act("email_moved", 101, to="other").look(103)
    story.event("email_received", 100, observed=103)
    assert faults(story.judged()) == {"lost": 1}


def test_a_move_to_where_arrivals_land_before_the_first_look_is_absorbed() -> None:
    story = Story().act("email_received", 100, to="junk").act("email_moved", 101, to="inbox")
    answer = story.look(103).event("email_received", 100, observed=103).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_a_draft_sent_before_anybody_looked_is_one_event() -> None:
    story = Story().act("email_drafted", 100).act("email_sent", 110).look(111)
    for row in story.rows[1:2]:
        row["dates"]["sent"] = "2026-11-23T09:01:50Z"
    answer = story.event("email_sent", 110, observed=111).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_what_came_and_went_within_a_minute_is_gone_unseen() -> None:
    story = Story().act("email_received", 100).act("email_read", 105).act("email_purged", 110)
    answer = story.look(112).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"gone_unseen": 3})


def test_what_stayed_for_more_than_a_minute_is_not_gone_unseen() -> None:
    answer = Story().act("email_received", 100).act("email_purged", 161).look(162).judged()
    assert faults(answer) == {"lost": 2}


def test_what_was_shown_before_it_went_is_not_gone_unseen() -> None:
    answer = Story().act("email_received", 100).look(101).act("email_purged", 102).look(103)
    assert faults(answer.judged()) == {"lost": 2}


def test_what_was_seen_in_the_dumpster_is_not_gone_unseen() -> None:
    story = Story().act("email_received", 100).act("email_purged", 105, to="dumpster").look(110)
    assert faults(story.judged()) == {"lost": 2}


def test_a_change_just_before_the_end_is_coalesced_but_the_end_is_not() -> None:
    story = Story().arrival(100).act("email_read", 110).act("email_purged", 112).look(113)
    answer = story.judged()
    assert (faults(answer), answer["excused_by"]) == ({"lost": 1}, {"coalesced": 1})


def test_changes_before_priming_ended_are_excused_and_arrivals_are_not() -> None:
    story = Story(primed_at=500).act("email_read", 200, item="old")
    answer = story.act("email_received", 300, item="new").judged()
    assert (faults(answer), answer["excused_by"]) == ({"lost": 1}, {"before_primed": 1})


def test_a_change_after_priming_is_expected() -> None:
    assert faults(Story(primed_at=100).act("email_read", 101, item="old").judged()) == {"lost": 1}


def test_before_priming_something_may_be_known_to_have_changed_and_not_what() -> None:
    story = Story(primed_at=500).act("email_read", 200, item="old").look(201, item="old")
    story.event("email_changed", 201, item="old", observed=201, from_folder_kind=None)
    assert faults(story.judged()) == {}
    story.event("email_changed", 202, item="old", observed=202, from_folder_kind=None)
    assert faults(story.judged()) == {"wrong_action": 1}


@pytest.mark.parametrize(
    ("loss", "left"),
    [
        ("all", {}),
        ("changes", {"lost": 1}),
        ("created_and_purged", {"lost": 2}),
        ("timing", {"lost": 2}),
    ],
)
def test_a_recorded_gap_excuses_its_own_loss_and_no_more(loss: str, left: dict[str, int]) -> None:
    story = Story().gap(loss, 150, 400).act("email_received", 200).act("email_flagged", 270)
    story.look(500)
    assert faults(story.judged()) == left


def test_a_gap_excuses_what_came_and_went_inside_it() -> None:
    story = Story().gap("created_and_purged", 150, 400)
    answer = story.act("email_received", 200).act("email_purged", 390).look(500).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"gap": 2})


def test_a_gap_excuses_nothing_outside_its_time_or_its_mailbox() -> None:
    story = Story().gap("all", 150, 400).act("email_received", 401)
    story.gaps.append({**story.gaps[0], "tuid": "tuid-2", "to_us": None})
    assert faults(story.judged()) == {"lost": 1}


def test_a_change_may_bear_the_date_of_a_later_one_that_nobody_could_see() -> None:
    story = Story().arrival(100).act("email_flagged", 110)
    story.act("email_moved", 115, to="archive").act("email_moved", 120, to="inbox").look(121)
    answer = story.event("email_flagged", 120, observed=121).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 3})


def test_a_change_may_not_bear_the_date_of_one_that_was_shown_by_itself() -> None:
    story = Story().arrival(100).act("email_flagged", 110).look(111)
    story.event("email_flagged", 115, observed=111)
    story.act("email_moved", 115, to="archive").look(116)
    story.event("email_moved", 115, observed=116)
    assert faults(story.judged()) == {"wrong_hour": 1}


def test_a_change_may_not_bear_the_date_of_a_much_later_one() -> None:
    story = Story().arrival(100).act("email_flagged", 110)
    story.act("email_moved", 115, to="archive").act("email_moved", 172, to="inbox").look(173)
    answer = story.event("email_flagged", 172, observed=173).judged()
    assert faults(answer)["wrong_hour"] == 1


def test_more_than_two_in_a_hundred_excused_is_not_clean() -> None:
    story = Story()
    for number in range(97):
        story.arrival(100 + number, item=f"item-{number}")
    story.act("email_read", 500, item="item-1").act("email_unread", 501, item="item-1")
    answer = story.look(502, item="item-1").judged()
    assert (answer["excused"], answer["clean"]) == (2, False)

    for number in range(97, 100):
        story.arrival(600 + number, item=f"item-{number}")
    assert story.judged()["clean"] is True


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
