"""A receiver vouches only for an unbroken span in which it was there."""

from __future__ import annotations

from outlook_lake.receiver.pulse import Pulse

S = 1_000_000


def beating(*seconds: float) -> Pulse:
    pulse = Pulse()
    for second in seconds:
        pulse.beat(int(second * S))
    return pulse


def test_the_span_begins_with_the_first_of_two_beats_in_a_row() -> None:
    assert beating(10).vouched_since(10 * S) is None
    assert beating(10, 11, 12).vouched_since(12 * S) == 10 * S


def test_a_pause_of_more_than_thirty_seconds_of_graph_time_breaks_the_span() -> None:
    assert beating(10, 11, 41).vouched_since(41 * S) == 10 * S
    assert beating(10, 11, 42).vouched_since(42 * S) is None
    assert beating(10, 11, 42, 43).vouched_since(43 * S) == 42 * S


def test_at_sixty_times_speed_a_receiver_never_vouches() -> None:
    assert beating(*range(0, 600, 60)).vouched_since(540 * S) is None


def test_a_receiver_that_stopped_beating_does_not_vouch_for_now() -> None:
    assert beating(10, 11).vouched_since(45 * S) is None


def test_an_answer_of_503_ends_the_span() -> None:
    pulse = beating(10, 11, 12)
    pulse.interrupt()
    assert pulse.vouched_since(12 * S) is None

    pulse.beat(13 * S)
    pulse.beat(14 * S)
    assert pulse.vouched_since(14 * S) == 13 * S
