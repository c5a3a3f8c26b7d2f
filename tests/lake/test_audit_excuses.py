"""What cannot be known is excused by name, within its limits; everything else is a fault."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.audit import Story, faults


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
