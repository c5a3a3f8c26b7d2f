"""Folders and rules are judged by polls: what shows is one event, what cannot show is excused."""

from __future__ import annotations

import pytest

from tests.support.audit import Story, faults


def created(at: float = 100) -> Story:
    """A folder was made and found by the poll ten seconds later."""
    story = Story().change("folder_created", at, state="a 1").poll(at + 10)
    return story.polled("folder_created", at + 10, 90)


def test_a_faithful_record_of_folders_and_rules_has_no_fault() -> None:
    story = created().change("folder_renamed", 120, state="b 1").poll(130)
    story.change("folder_moved", 140, state="b 2").poll(150).change("folder_deleted", 160)
    story.poll(170).polled("folder_renamed", 130, 110).polled("folder_moved", 150, 130)
    story.polled("folder_deleted", 170, 150)
    story.change("rule_created", 180, about="rule").poll(190, about=None)
    story.polled("rule_created", 190, 170, about="rule")
    answer = story.judged()
    assert (faults(answer), answer["clean"], answer["excused"]) == ({}, True, 0)
    assert (answer["folders"]["journal"], answer["folders"]["events"]) == (4, 4)
    assert (answer["rules"]["journal"], answer["rules"]["events"]) == (1, 1)
    assert (answer["journal"], answer["events"]) == (5, 5)


# -- each kind of fault ----------------------------------------------------------------------


def test_a_change_that_was_shown_and_not_recorded_is_lost() -> None:
    answer = created().change("folder_renamed", 120, state="b 1").poll(130).judged()
    assert faults(answer) == {"lost": 1}
    assert answer["folders"]["lost"] == 1 and answer["rules"]["lost"] == 0
    assert [row["action"] for row in answer["samples"]] == ["folder_renamed"]


def test_a_rule_that_an_answer_showed_and_nobody_recorded_is_lost() -> None:
    story = Story().change("rule_created", 100, about="rule").poll(110, about=None)
    assert faults(story.judged()) == {"lost": 1}


def test_an_event_told_twice_is_doubled() -> None:
    assert faults(created().polled("folder_created", 120, 110).judged()) == {"doubled": 1}


def test_a_move_told_as_a_rename_is_a_wrong_action() -> None:
    story = created().change("folder_moved", 120, state="a 2").poll(130)
    story.polled("folder_renamed", 130, 110)
    assert faults(story.judged()) == {"lost": 1, "wrong_action": 1}


@pytest.mark.parametrize(("at", "since"), [(110, 101), (4000, 90)])
def test_a_time_that_does_not_hold_the_act_or_another_hours_file_is_wrong(
    at: float, since: float
) -> None:
    story = Story().change("folder_created", 100, state="a 1").poll(at)
    story.polled("folder_created", at, since, **({"hour": "2026-11-23T09"} if at > 3600 else {}))
    assert faults(story.judged()) == {"wrong_hour": 1}


def test_a_deletion_before_its_creation_is_out_of_order() -> None:
    story = Story().change("folder_created", 100, state="a 1").poll(110)
    story.change("folder_deleted", 120).poll(130)
    story.polled("folder_deleted", 130, 110, seq=1).polled("folder_created", 110, 90, seq=2)
    assert faults(story.judged()) == {"out_of_order": 1}


# -- what cannot be known --------------------------------------------------------------------


def test_made_and_deleted_between_two_polls_is_gone_unseen() -> None:
    story = Story().change("folder_created", 100, state="a 1")
    story.change("folder_renamed", 105, state="b 1").change("folder_deleted", 4000).poll(4010)
    answer = story.judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"gone_unseen": 3})
    assert answer["folders"]["excused_by"] == {"gone_unseen": 3}


def test_made_and_deleted_with_a_poll_between_is_lost_twice() -> None:
    story = Story().change("folder_created", 100, state="a 1").poll(105)
    assert faults(story.change("folder_deleted", 110).poll(120).judged()) == {"lost": 2}


def test_renamed_twice_between_two_polls_is_one_event() -> None:
    story = created().change("folder_renamed", 120, state="b 1")
    story.change("folder_renamed", 130, state="c 1").poll(140)
    answer = story.polled("folder_renamed", 140, 110).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})
    story.events.pop()
    assert faults(story.judged()) == {"lost": 1}


def test_there_and_back_between_two_polls_leaves_nothing_to_see() -> None:
    story = created().change("folder_moved", 120, state="a 2")
    answer = story.change("folder_moved", 130, state="a 1").poll(140).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 2})
    assert faults(story.polled("folder_moved", 140, 110).judged()) == {"wrong_action": 1}


def test_a_change_before_the_first_poll_is_part_of_the_creation() -> None:
    story = Story().change("rule_created", 100, about="rule", state="a")
    story.change("rule_updated", 105, about="rule", state="b").poll(110, about=None)
    answer = story.polled("rule_created", 110, 90, about="rule").judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_a_change_on_another_part_of_a_folder_overtakes_nothing() -> None:
    story = created().change("folder_renamed", 120, state="b 1")
    story.change("folder_moved", 125, state="b 2").poll(130)
    assert faults(story.polled("folder_moved", 130, 110).judged()) == {"lost": 1}


def test_what_was_before_the_baseline_is_excused() -> None:
    answer = Story().change("folder_created", 30, state="a 1").poll(70).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"before_primed": 1})


def test_what_no_poll_has_shown_yet_is_not_lost_before_two_hours() -> None:
    story = Story().change("folder_created", 100, state="a 1").arrival(200)
    answer = story.judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"not_polled_yet": 1})
    assert answer["clean"]
    assert faults(story.arrival(100 + 2 * 3600 + 5, item="two").judged()) == {"lost": 1}


def test_a_gap_excuses_folders_only_when_everything_is_lost_in_it() -> None:
    story = Story().change("folder_created", 100, state="a 1").poll(110).gap("timing", 90, 200)
    assert faults(story.judged()) == {"lost": 1}
    answer = story.gap("all", 90, 200).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"gap": 1})


def test_an_answer_that_died_with_its_worker_showed_nothing() -> None:
    story = Story().change("folder_created", 100, state="a 1").poll(105)
    story.change("folder_deleted", 110).poll(120)
    assert faults(story.judged()) == {"lost": 2}
    assert faults(story.judged(killed=[(104, 106)])) == {}


def test_an_answer_that_a_later_event_reaches_back_over_showed_nothing() -> None:
    story = created().change("folder_renamed", 120, state="b 1").poll(130)
    story.change("folder_renamed", 140, state="c 1").poll(150)
    answer = story.polled("folder_renamed", 150, 110).judged()
    assert (faults(answer), answer["excused_by"]) == ({}, {"coalesced": 1})


def test_what_a_tenant_is_not_watched_for_is_not_judged() -> None:
    story = Story(streams=("messages", "rules")).arrival()
    story.change("folder_created", 100, state="a 1").poll(110)
    answer = story.judged()
    assert (faults(answer), answer["folders"]["journal"], answer["clean"]) == ({}, 0, True)


def test_hidden_folders_may_be_told_and_need_not() -> None:
    story = Story().arrival().change("folder_created", 100, state="a 1", observable=False).poll(110)
    answer = story.judged()
    assert (faults(answer), answer["folders"]["journal"]) == ({}, 0)
    assert faults(story.polled("folder_created", 110, 90).judged()) == {}


def test_acts_on_folders_of_a_mailbox_nobody_watches_are_lost() -> None:
    story = Story(known=False).change("folder_created", 100, state="a 1").poll(110)
    assert faults(story.judged()) == {"lost": 1}
