"""The receiver as Graph meets it: a real process and real HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outlook_lake.receiver.client_state import Key, make
from outlook_lake.receiver.segments import ready_segments
from tests.support.receiver import (
    JSON,
    MAILBOX,
    NONCE,
    TENANT,
    RunningReceiver,
    everything_written,
    item,
    key_of,
    landed,
    lifecycle,
    post_of,
    running,
    settings_of,
)

CANARY = "canary-7f3a-subject-body"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def receiver(home: Path) -> Iterator[RunningReceiver]:
    with running(home) as process:
        yield process


@pytest.fixture
def key(receiver: RunningReceiver, home: Path) -> Key:
    return key_of(home)


def test_it_starts_from_an_empty_folder_and_stores_what_it_acknowledged(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    answer = receiver.post(post_of(item(key, "one"), item(key, "two"), lifecycle(key, "missed")))

    assert (answer.status, answer.body) == (202, b"")
    receiver.stop()
    found = landed(home)
    assert found.items() == ["one", "two", None]
    assert found.notifications[2].lifecycle == "missed"


def test_received_at_is_graph_time_of_the_arrival(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    before = time.time_ns() // 1000
    receiver.post(post_of(item(key)))
    after = time.time_ns() // 1000

    receiver.stop()
    [entry] = landed(home).notifications
    assert before <= entry.received_at <= after


def test_the_clocks_offset_is_taken_from_staging(home: Path) -> None:
    settings_of(home).staging.mkdir(parents=True)
    (settings_of(home).staging / "clock.json").write_text('{"offset_s": -3600.0}')
    with running(home) as receiver:
        receiver.post(post_of(item(key_of(home))))
        machine = time.time_ns() // 1000

    [entry] = landed(home).notifications
    assert abs(machine - 3_600_000_000 - entry.received_at) < 5_000_000


def test_without_a_readable_clock_nothing_is_taken_and_the_log_says_so(home: Path) -> None:
    clock = home / "simulator-clock.json"
    with running(home, wait=False, clock=clock) as receiver:
        assert b"clock" in receiver.wait_ready(503).body
        refused = receiver.post(post_of(item(key_of(home), "refused")))
        beside = clock.with_suffix(".tmp")
        beside.write_text('{"machine_at": 1000, "graph_at": 400, "speed": 1}')
        beside.replace(clock)
        receiver.wait_ready(200)
        taken = receiver.post(post_of(item(key_of(home), "taken")))
        machine = time.time_ns() // 1000

    assert (refused.status, taken.status) == (503, 202)
    assert "answering 503 until the clock can be read" in receiver.log()
    [entry] = landed(home).notifications
    assert entry.item == "taken"
    assert entry.vouched_since is None or entry.received_at - entry.vouched_since < 5_000_000
    assert abs(machine - 600_000_000 - entry.received_at) < 5_000_000


def test_a_segment_is_ready_for_landing_within_a_second(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    receiver.post(post_of(item(key)))

    deadline = time.monotonic() + 2
    while not ready_segments(settings_of(home).staging):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_after_a_few_seconds_of_beating_it_vouches(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    time.sleep(1.6)
    receiver.post(post_of(item(key)))

    receiver.stop()
    [entry] = landed(home).notifications
    assert entry.vouched_since is not None
    assert 0 < entry.received_at - entry.vouched_since < 5_000_000


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        pytest.param("plain-token", "plain-token", id="plain"),
        pytest.param("a%2Bb", "a+b", id="an encoded plus"),
        pytest.param("a+b%20c", "a b c", id="both spellings of a blank"),
        pytest.param("100%25+of+it", "100% of it", id="a percent sign"),
        pytest.param("Validation%3a+Testing+client", "Validation: Testing client", id="Graph's"),
        pytest.param("%3Cscript%3E", "<script>", id="markup, as text"),
        pytest.param("%C3%A9", "é", id="utf-8"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/outlook", "/any/mount"])
def test_the_handshake_echoes_the_decoded_token_as_text(
    shared: RunningReceiver, prefix: str, sent: str, echoed: str
) -> None:
    answer = shared.post(
        b"",
        path=f"{prefix}/notifications?kept=1&validationToken={sent}",
        headers={"content-type": "text/plain; charset=utf-8"},
    )

    assert (answer.status, answer.body.decode()) == (200, echoed)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 5000, id="too long"),
        pytest.param("%ff%fe", id="not text"),
    ],
)
def test_a_handshake_that_graph_would_not_send_is_refused(
    shared: RunningReceiver, token: str
) -> None:
    assert shared.post(b"", path=f"/notifications?validationToken={token}").status == 400


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReceiver]:
    """One receiver for the tests that look at answers only."""
    with running(tmp_path_factory.mktemp("shared")) as process:
        yield process


@pytest.mark.parametrize("path", ["/live", "/ready", "/outlook/live", "/outlook/ready"])
def test_live_and_ready_answer_200(shared: RunningReceiver, path: str) -> None:
    assert shared.get(path).status == 200


def test_what_is_not_there_is_404_and_a_get_is_405(shared: RunningReceiver) -> None:
    assert shared.get("/").status == 404
    assert shared.get("/docs").status == 404
    assert shared.get("/notifications").status == 405


CANNOT_BE = [
    pytest.param(b"{", JSON, 400, id="malformed json"),
    pytest.param(b"", JSON, 400, id="an empty body"),
    pytest.param(b"{}", {"content-type": "text/xml"}, 415, id="xml"),
    pytest.param(b"{}", {"content-type": ""}, 415, id="no type"),
    pytest.param(b"\x1f\x8b", {**JSON, "content-encoding": "gzip"}, 415, id="gzip"),
    pytest.param(b"x" * (5 << 20), JSON, 413, id="five megabytes"),
    pytest.param(b'{"value":[' + b"1," * 6000 + b"1]}", JSON, 413, id="6,001 items"),
]


@pytest.mark.parametrize(("body", "headers", "status"), CANNOT_BE)
def test_a_post_that_cannot_be_is_refused_in_words(
    shared: RunningReceiver, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = shared.post(body, headers=headers)

    assert answer.status == status
    assert answer.body


def test_every_refused_post_is_counted_by_its_reason(receiver: RunningReceiver, home: Path) -> None:
    for body, headers, _ in (case.values for case in CANNOT_BE):
        receiver.post(body, headers=headers)  # type: ignore[arg-type]
    receiver.post(b"", path="/notifications?validationToken=")

    receiver.stop()
    assert landed(home).refused() == {
        "malformed_json": 2,
        "content_type": 3,
        "too_large": 1,
        "too_many_items": 1,
        "bad_handshake": 1,
    }


def test_a_body_announced_too_large_is_refused_before_it_is_sent(shared: RunningReceiver) -> None:
    connection = HTTPConnection("127.0.0.1", shared.port, timeout=5)
    connection.putrequest("POST", "/notifications")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(5 << 20))
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_without_a_length_is_cut_off_at_the_limit(
    receiver: RunningReceiver, home: Path
) -> None:
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    connection.putrequest("POST", "/notifications")
    connection.putheader("content-type", "application/json")
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()
    sent = 0
    try:
        while sent < 50 << 20:
            connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            sent += 0x10000
    except OSError:
        pass  # the receiver has closed the connection

    assert sent < 20 << 20
    receiver.stop()
    assert landed(home).refused() == {"too_large": 1}


def test_forged_unknown_and_bad_ids_get_202_and_a_counted_row_and_neighbours_pass(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    forged = make(Key(key.key_id, b"x" * 32), TENANT, MAILBOX, NONCE)
    unknown = make(Key("ffffffff", b"x" * 32), TENANT, MAILBOX, NONCE)
    body = post_of(
        item(key, "good"),
        item(key, clientState=forged),
        item(key, clientState=unknown),
        item(key, resourceData={"id": "x?$select=body"}),
        item(key, resourceData={"id": "../../users/other"}),
        item(key, "fine"),
    )

    assert receiver.post(body).status == 202

    receiver.stop()
    found = landed(home)
    assert found.items() == ["good", "fine"]
    assert found.refused() == {"forged": 1, "unknown_key": 1, "bad_item_id": 2}
    assert "forged" in receiver.log()


def test_a_flood_of_forgeries_cannot_fill_the_disk(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    forged = [item(key, clientState=f"1.{key.key_id}.{n}.t.m") for n in range(1_000)]
    body = post_of(*forged)
    for _ in range(10):
        assert receiver.post(body).status == 202

    receiver.stop()
    found = landed(home)
    assert found.refused() == {"forged": 10_000}
    assert sum(len(entry.samples) for entry in found.quarantine) <= 40  # two minutes at most
    written = sum(path.stat().st_size for path in ready_segments(settings_of(home).staging))
    assert written < 10_000
    assert len(receiver.log()) < 4_000


def test_nothing_of_subject_or_body_reaches_the_disk_a_log_or_an_answer(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    canary: dict[str, Any] = {
        "subject": CANARY,
        "bodyPreview": CANARY,
        "resourceData": {"id": "one", "subject": CANARY, "body": {"content": CANARY}},
    }
    answers = [
        receiver.post(post_of(item(key, **canary), item(key, **{**canary, "changeType": 1}))),
        receiver.post(post_of(item(key, **{**canary, "clientState": CANARY}))),
        receiver.post(post_of(item(key, **{**canary, "changeType": CANARY}))),
        receiver.post(post_of({**item(key), "tenantId": CANARY})),
        receiver.post(post_of(item(key))[:-2] + CANARY.encode()),
        receiver.post(CANARY.encode(), headers={"content-type": CANARY}),
        receiver.post(b"", path=f"/{CANARY}"),
    ]
    receiver.stop()

    assert landed(home).items() == ["one"]
    assert CANARY.encode() not in everything_written(home)
    assert CANARY not in receiver.log()
    assert not any(CANARY.encode() in answer.body for answer in answers)


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["value", "clientState", "tenantId", "x"]), inner)
        ),
        max_leaves=8,
    )
)
def test_whatever_json_comes_it_is_never_answered_5xx(shared: RunningReceiver, value: Any) -> None:
    assert shared.post(json.dumps(value).encode()).status in (202, 400)
    assert shared.post(json.dumps({"value": value}).encode()).status in (202, 400)


def test_a_second_receiver_on_a_taken_port_says_so_and_ends(receiver: RunningReceiver) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "outlook_lake.receiver", "--port", str(receiver.port)],
        env={
            **os.environ,
            "OUTLOOK_LAKE_HOME": str(receiver.home),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        capture_output=True,
        timeout=20,
        check=False,
    )

    assert ended.returncode != 0
    assert b"address already in use" in ended.stderr


def test_a_graceful_stop_closes_its_segment(
    receiver: RunningReceiver, key: Key, home: Path
) -> None:
    receiver.post(post_of(item(key)))
    receiver.stop()

    staging = settings_of(home).staging
    assert not list((staging / "open").iterdir())
    assert len(ready_segments(staging)) == 1
    assert receiver.process.returncode in (0, -signal.SIGTERM)


def test_many_receivers_share_a_home_and_a_key(home: Path) -> None:
    with running(home) as first, running(home) as second:
        key = key_of(home)
        for number, process in enumerate([first, second] * 3):
            assert process.post(post_of(item(key, f"m{number}"))).status == 202
        first.stop()
        second.stop()

    assert sorted(landed(home).items()) == [f"m{number}" for number in range(6)]
