"""The stand-alone server's own way in answers as the ASGI application does, and has limits."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from outlook_lake.receiver.serve import MOST_CONNECTIONS
from tests.support.receiver import (
    RunningReceiver,
    item,
    key_of,
    landed,
    post_of,
    running,
)

HEAD = b"POST /notifications HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[RunningReceiver]:
    with running(tmp_path) as process:
        yield process


def dial(receiver: RunningReceiver) -> socket.socket:
    return socket.create_connection(("127.0.0.1", receiver.port), timeout=15)


def whole(body: bytes, *more: bytes, head: bytes = HEAD) -> bytes:
    lines = b"".join(line + b"\r\n" for line in more)
    return head + lines + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    return HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def read_all(line: socket.socket) -> bytes:
    found = b""
    while part := line.recv(65536):
        found += part
    return found


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b'{"value":[]}', 202, id="nothing in it"),
        pytest.param(b'{"value":[5]}', 202, id="an item that is none"),
        pytest.param(b"{", 400, id="malformed"),
        pytest.param(b'{"value":[' + b"{}," * 6000 + b"{}]}", 413, id="too many items"),
    ],
)
def test_both_ways_in_answer_alike(receiver: RunningReceiver, body: bytes, status: int) -> None:
    found = []
    for request in (whole(body), chunked(body)):
        with dial(receiver) as line:
            line.sendall(request)
            answer = line.recv(65536)
            while answer.endswith(b"\r\n\r\n") and b"content-length: 0" not in answer:
                answer += line.recv(65536)
            head, _, text = answer.partition(b"\r\n\r\n")
            names = {one.split(b":")[0].lower() for one in head.split(b"\r\n")[1:]}
            found.append((statuses(answer), text, names - {b"connection"}))

    assert found[0] == found[1]
    assert found[0][0] == [status]


def test_both_ways_in_store_alike(receiver: RunningReceiver, tmp_path: Path) -> None:
    key = key_of(tmp_path)
    for request in (
        whole(post_of(item(key, "one"))),
        chunked(post_of(item(key, "two"))),
        whole(post_of(item(key, "three")), b"expect: 100-continue"),
        whole(post_of(item(key, "four")), head=HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")),
        whole(post_of(item(key, "five")), b"connection: close"),
    ):
        with dial(receiver) as line:
            line.sendall(request)
            answer = line.recv(65536)
            if b"100 Continue" in answer:
                answer = line.recv(65536)
            assert statuses(answer) == [202]

    receiver.stop()
    assert landed(tmp_path).items() == ["one", "two", "three", "four", "five"]


def test_a_body_may_come_byte_by_byte_and_a_connection_serves_many(
    receiver: RunningReceiver, tmp_path: Path
) -> None:
    key = key_of(tmp_path)
    with dial(receiver) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name in ("one", "two"):
            for byte in whole(post_of(item(key, name))):
                line.sendall(bytes([byte]))
            assert statuses(line.recv(65536)) == [202]

    receiver.stop()
    assert landed(tmp_path).items() == ["one", "two"]


def test_of_requests_sent_ahead_the_first_is_answered_and_the_connection_ends(
    receiver: RunningReceiver, tmp_path: Path
) -> None:
    key = key_of(tmp_path)
    ahead = b"".join(whole(post_of(item(key, name))) for name in ("one", "two", "three"))
    with dial(receiver) as line:
        line.sendall(ahead)
        assert statuses(read_all(line)) == [202]

    receiver.stop()
    assert landed(tmp_path).items() == ["one"]


def test_a_stop_answers_what_is_on_its_way_to_the_disk(tmp_path: Path) -> None:
    with running(tmp_path) as receiver:
        key = key_of(tmp_path)
        lines = [dial(receiver) for _ in range(20)]
        for number, line in enumerate(lines):
            line.sendall(whole(post_of(item(key, f"n{number}"))))
        receiver.stop()
        answers = []
        for line in lines:
            try:
                answers.append(statuses(read_all(line)))
            except ConnectionError:
                answers.append([])
            line.close()

    taken = [f"n{number}" for number, answer in enumerate(answers) if answer == [202]]
    assert set(taken) <= set(landed(tmp_path).items())


def test_what_is_not_http_is_refused_and_counted(receiver: RunningReceiver, tmp_path: Path) -> None:
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"HELLO\r\n\r\n", b"GET\r\n\r\n"):
        with dial(receiver) as line:
            line.sendall(nonsense)
            assert statuses(read_all(line)) == [400]

    receiver.stop()
    assert landed(tmp_path).refused() == {"malformed_http": 3}
    assert "Invalid HTTP" not in receiver.log()


def test_a_head_without_end_is_cut_off(receiver: RunningReceiver, tmp_path: Path) -> None:
    with dial(receiver) as line:
        sent = 0
        try:
            line.sendall(HEAD + b"x-long: ")
            while sent < 64 << 20:
                line.sendall(b"x" * 8192)
                sent += 8192
        except OSError:
            pass

    assert sent < 16 << 20
    assert receiver.post(post_of(item(key_of(tmp_path), "fine"))).status == 202
    receiver.stop()
    assert landed(tmp_path).refused() == {"too_large": 1}


@pytest.mark.slow
def test_one_connection_too_many_is_answered_503_and_the_others_go_on(
    receiver: RunningReceiver, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("this system does not let us open so many connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    key = key_of(tmp_path)
    lines = [dial(receiver) for _ in range(MOST_CONNECTIONS)]
    try:
        lines[-1].sendall(whole(post_of(item(key, "the-last"))))  # all are accepted by now
        assert statuses(lines[-1].recv(65536)) == [202]
        with dial(receiver) as line:
            assert statuses(read_all(line)) == [503]
        lines[0].sendall(whole(post_of(item(key, "the-first"))))
        assert statuses(lines[0].recv(65536)) == [202]
    finally:
        for line in lines:
            line.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    receiver.stop()
    assert landed(tmp_path).items() == ["the-last", "the-first"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(HEAD, id="half a head"),
        pytest.param(HEAD + b"content-length: 900\r\n\r\n{", id="a body that drips"),
        pytest.param(
            HEAD + b"transfer-encoding: chunked\r\n\r\nffff\r\n{", id="a chunk that drips"
        ),
    ],
)
def test_who_is_too_slow_is_hung_up_on_and_nobody_waits_for_him(
    receiver: RunningReceiver, tmp_path: Path, start: bytes
) -> None:
    key = key_of(tmp_path)
    slow = [dial(receiver) for _ in range(200)]
    for line in slow:
        line.sendall(start)
    began = time.monotonic()
    while time.monotonic() - began < 13:
        sent = time.monotonic()
        assert receiver.post(post_of(item(key, "fine"))).status == 202
        assert time.monotonic() - sent < 1
        time.sleep(0.5)
        for line in slow:
            with suppress(OSError):
                line.send(b"x" if start else b"")

    still_open = 0
    for line in slow:
        line.settimeout(0.05)
        try:
            read_all(line)
        except TimeoutError:
            still_open += 1
        except ConnectionError:
            pass
        line.close()
    assert still_open == 0
