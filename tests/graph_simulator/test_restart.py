"""Everything is in one file: a killed simulator goes on where it was."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.graph_simulator.test_delta import Follower
from tests.support.simulator import start_simulator, subscribe
from tests.support.sink import open_sink


@pytest.mark.slow
def test_a_killed_simulator_goes_on_with_mailboxes_tokens_and_pending_deliveries(
    tmp_path: Path,
) -> None:
    first = start_simulator(tmp_path, mailboxes=2, options=("--start-back", "PT2H"))
    with open_sink(statuses=[503]) as sink:
        person = first.people[0]
        made = subscribe(first, person, sink.url).body
        follower = Follower(first, person, "inbox")
        follower.round()
        before = first.act(person, "receive")
        first.act(person, "read", item=before["item"])
        first.control("POST", "faults", {"kind": "aba_loss", "rate": 0.5})
        sink.wait_for(1)  # refused: it waits for its second try
        journal = first.journal()
        first.stop(signal.SIGKILL)

        second = start_simulator(
            tmp_path, mailboxes=9, port=first.port, options=("--seed", "5")
        )  # the state outranks the command line
        try:
            second.token = first.token
            assert second.people == first.people
            assert second.journal() == journal
            assert second.control("GET", "faults")["faults"][0]["kind"] == "aba_loss"
            assert second.get(f"/subscriptions/{made['id']}").status == 200
            moved = second.get(f"/users/{person}/messages/{before['item']}?$select=isRead")
            assert moved.body["isRead"] is True
            follower._graph = second
            assert [row["id"] for row in follower.round()] == [before["item"]]
            after = second.act(person, "flag", item=before["item"])
            assert after["number"] > journal[-1]["number"] and after["at"] > journal[-1]["at"]
            second.wait_until_quiet(30)
            kinds = {n["changeType"] for n in sink.items}
            assert {"created", "updated"} <= kinds
        finally:
            second.stop()


@pytest.mark.slow
def test_the_clock_goes_on_along_its_line(tmp_path: Path) -> None:
    first = start_simulator(tmp_path, mailboxes=1, options=("--start-back", "PT9H"))
    first.control("POST", "clock", {"advance": "PT1H"})
    line = (tmp_path / "clock.json").read_text()
    behind = first.control("GET", "clock")["behind_s"]
    first.stop(signal.SIGKILL)
    second = start_simulator(tmp_path, mailboxes=1)
    try:
        assert abs(second.control("GET", "clock")["behind_s"] - behind) < 0.01
        assert (tmp_path / "clock.json").read_text() == line
    finally:
        second.stop()


@pytest.mark.slow
def test_two_simulators_do_not_share_a_state_folder(tmp_path: Path) -> None:
    first = start_simulator(tmp_path, mailboxes=1)
    try:
        with pytest.raises(AssertionError, match="in use by another simulator"):
            start_simulator(tmp_path, mailboxes=1)
    finally:
        assert first.stop() == 0
