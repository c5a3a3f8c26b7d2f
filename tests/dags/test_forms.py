"""What a person fills in becomes what a step is asked for."""

from __future__ import annotations

import pytest

FILLED = {
    "first_hour": "2026-11-24T09:40:00+01:00",
    "end_hour": "2026-11-24T12:00:00+00:00",
    "tenant": " contoso.example ",
    "mailboxes": "all",
    "listed": [],
    "depth": "rounds",
    "reason": "the receiver was down",
}


def test_a_window_is_whole_utc_hours_and_its_end_is_not_included():
    from outlook_lake.airflow import reprocess_wish

    wish = reprocess_wish(FILLED)

    assert (wish["from_hour"], wish["to_hour"]) == ("2026-11-24T08", "2026-11-24T12")
    assert wish["tenant"] == "contoso.example"


def test_an_end_inside_an_hour_takes_that_hour_in():
    from outlook_lake.airflow import reprocess_wish

    assert reprocess_wish({**FILLED, "end_hour": "2026-11-24T12:00:01Z"})["to_hour"].endswith("T13")


def test_mailboxes_are_all_parked_or_those_listed():
    from outlook_lake.airflow import reprocess_wish

    assert (
        reprocess_wish({**FILLED, "mailboxes": "parked", "listed": ["a"]})["mailboxes"] == "parked"
    )
    listed = {**FILLED, "mailboxes": "list", "listed": [" a ", ""]}
    assert reprocess_wish(listed)["mailboxes"] == ["a"]


def test_a_moment_that_is_none_is_refused_in_words():
    from airflow.sdk.exceptions import AirflowFailException

    from outlook_lake.airflow import reprocess_wish

    with pytest.raises(AirflowFailException, match="expected one such as"):
        reprocess_wish({**FILLED, "first_hour": "yesterday"})
