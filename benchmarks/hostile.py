"""Everything nobody should send to a webhook, as a process of its own beside honest traffic.

    python -m benchmarks.hostile --port P --seconds S --captured FILE [--per-s N] [--slow N]

Each attack names the answers it may get; any other is a surprise. The last line of stdout is
one JSON object: attacks sent, answers by attack, surprises. `--captured` holds one honest
POST to send again and again, as somebody who listened would.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reporting import finish

PATIENCE_S = 10.0
DRIP_S = 0.5
MIB = 1 << 20
Attack = Callable[[random.Random], bytes]


def post(body: bytes, *more: bytes, path: bytes = b"/notifications") -> bytes:
    """A POST of this body; `more` are whole header lines."""
    head = [
        b"POST %b HTTP/1.1" % path,
        b"host: x",
        b"content-length: %d" % len(body),
        *(more or (b"content-type: application/json",)),
    ]
    return b"\r\n".join([*head, b"", body])


def _forged(chance: random.Random, **changed: object) -> dict[str, object]:
    mailbox = uuid.UUID(int=chance.getrandbits(128))
    tail = "".join(chance.choices("ABCDEFabcdef0123456789_-", k=22))
    return {
        "subscriptionId": str(uuid.UUID(int=chance.getrandbits(128))),
        "clientState": f"1.0123abcd.{tail}.{tail[:11]}.{tail}",
        "changeType": "updated",
        "tenantId": str(uuid.UUID(int=chance.getrandbits(128))),
        "resource": f"Users/{mailbox}/Messages/FORGED",
        "resourceData": {"id": "FORGED"},
        **changed,
    }


def _items(*items: object) -> bytes:
    return post(json.dumps({"value": items}).encode())


def forged(chance: random.Random) -> bytes:
    """Well shaped, signed by nobody."""
    return _items(*(_forged(chance) for _ in range(chance.choice((1, 10, 100)))))


def misshapen(chance: random.Random) -> bytes:
    """Items with members of wrong types, missing and absurd."""
    wrong = [
        _forged(chance, clientState=["x"]),
        _forged(chance, clientState="x" * 100_000),
        _forged(chance, resource={"a": {"b": []}}),
        _forged(chance, tenantId="\ud83d", clientState=None),
        _forged(chance, subscriptionId="../../etc/passwd"),
        _forged(chance, changeType="'; DROP TABLE mailbox; --"),
        None,
        7,
        [],
    ]
    return _items(*chance.sample(wrong, 4))


def deep(chance: random.Random) -> bytes:
    """JSON nested beyond any parser's patience."""
    opener = chance.choice((b"[", b'{"a":', b'{"value":['))
    return post(b'{"value":[' + opener * (500_000 // len(opener)))


def many(_: random.Random) -> bytes:
    """As many items as a body can hold."""
    return post(b'{"value":[' + b"{}," * (MIB // 3 - 20) + b"{}]}")


def long_number(_: random.Random) -> bytes:
    """A number that would take a naive parser minutes."""
    return post(b'{"value":[{"subscriptionId":' + b"9" * 900_000 + b"}]}")


def huge(_: random.Random) -> bytes:
    """A body over the limit, really sent."""
    return post(b'{"value":["' + b"x" * (2 * MIB) + b'"]}')


def liar(_: random.Random) -> bytes:
    """Announces more than any memory, sends nothing of it."""
    return (
        b"POST /notifications HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 99999999999999\r\n\r\n{"
    )


def bomb(_: random.Random) -> bytes:
    """64 MiB of nothing, packed into 64 KiB."""
    return post(BOMB, b"content-type: application/json", b"content-encoding: gzip")


def malformed(chance: random.Random) -> bytes:
    """No JSON at all."""
    return post(chance.randbytes(2000))


def other_type(_: random.Random) -> bytes:
    """A form, as a browser would be made to send it."""
    return post(b"value=1", b"content-type: application/x-www-form-urlencoded")


def script(_: random.Random) -> bytes:
    """A handshake to be shown in a victim's browser; the answer must be plain text."""
    path = b"/notifications?validationToken=%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    return post(b"", b"content-type: text/plain", path=path)


def long_token(_: random.Random) -> bytes:
    """A handshake of 20 KB."""
    return post(
        b"", b"content-type: text/plain", path=b"/notifications?validationToken=" + b"a" * 20_000
    )


def nonsense(chance: random.Random) -> bytes:
    """Not HTTP."""
    return chance.choice((b"\x16\x03\x01\x02\x00\x01\x00\x01", b"SSH-2.0-x\r\n\r\n", bytes(400)))


def smuggled(chance: random.Random) -> bytes:
    """Two lengths: what one server takes for a body another takes for a request."""
    return (
        b"POST /notifications HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + forged(chance)
    )


BOMB = gzip.compress(bytes(64 * MIB))
ATTACKS: dict[Attack, frozenset[int]] = {
    forged: frozenset((202,)),
    misshapen: frozenset((202,)),
    deep: frozenset((400,)),
    many: frozenset((413,)),
    long_number: frozenset((202,)),
    huge: frozenset((413,)),
    liar: frozenset((413,)),
    bomb: frozenset((415,)),
    malformed: frozenset((400,)),
    other_type: frozenset((415,)),
    script: frozenset((200,)),
    long_token: frozenset((400,)),
    nonsense: frozenset((400, 0)),
    smuggled: frozenset((400,)),
}
"""What each may be answered; 0 = the connection ends without a word."""


def overheard(captured: bytes) -> dict[Attack, frozenset[int]]:
    """What somebody could do who got hold of one honest POST."""
    head, _, body = captured.partition(b"\r\n\r\n")
    item = json.loads(body)["value"][0]
    state = item["clientState"]

    def replayed(_: random.Random) -> bytes:
        """The same again."""
        return head + b"\r\n\r\n" + body

    def altered(chance: random.Random) -> bytes:
        """Its proof for another mailbox, another tenant, or with a bit turned."""
        turned = state[:-1] + ("A" if state[-1] != "A" else "Q")
        other = f"Users/{uuid.UUID(int=chance.getrandbits(128))}/Messages/FORGED"
        away = {"resource": other, "resourceData": {"id": "FORGED"}}
        return _items(
            {**item, **away, "resource": item["resource"], "clientState": turned},
            {**item, **away},
            {**item, **away, "tenantId": str(uuid.UUID(int=chance.getrandbits(128)))},
        )

    return {replayed: frozenset((202,)), altered: frozenset((202,))}


@dataclass
class Seen:
    """Answers by attack."""

    answers: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    surprises: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, status: int, allowed: frozenset[int]) -> None:
        """One answer."""
        self.answers[name][status] += 1
        if status not in allowed:
            self.surprises[f"{name} {status}"] += 1


async def attack(port: int, request: bytes) -> int:
    """Send it on a connection of its own; the status, 0 when there is none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return -1
    try:
        writer.write(request)
        line = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        status = int(line[9:12]) if line.startswith(b"HTTP/1.1 ") else 0
        if b"<script>" in line or status == 200:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            status = 200 if b"text/plain" in head and b"nosniff" in head.lower() else -2
        return status
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()


async def drip(port: int, start: bytes, until: float) -> None:
    """Slow-loris: a request that never ends, on a connection that never rests."""
    while time.monotonic() < until:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(OSError):
                writer.write(start)
                while time.monotonic() < until and not writer.is_closing():
                    await writer.drain()
                    writer.write(b"x")
                    await asyncio.sleep(DRIP_S)
            writer.close()
        await asyncio.sleep(DRIP_S)


async def rage(port: int, seconds: float, per_s: float, slow: int, captured: bytes) -> Seen:
    """All attacks in turn, so many a second, with so many slow connections beside them."""
    chance, seen, until = random.Random(1), Seen(), time.monotonic() + seconds
    attacks = ATTACKS | (overheard(captured) if captured else {})
    running: set[asyncio.Task[None]] = set()

    async def one(what: Attack, allowed: frozenset[int]) -> None:
        seen.add(what.__name__, await attack(port, what(chance)), allowed)

    def start(task: asyncio.Task[None]) -> None:
        running.add(task)
        task.add_done_callback(running.discard)

    head = b"POST /notifications HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    for number in range(slow):
        body = b"content-length: 900\r\n\r\n{" if number % 2 else b"x-slow: "
        start(asyncio.create_task(drip(port, head + body, until)))
    while time.monotonic() < until:
        for what, allowed in attacks.items():
            start(asyncio.create_task(one(what, allowed)))
            await asyncio.sleep(1 / per_s)
    await asyncio.wait(running, timeout=PATIENCE_S + 1)
    return seen


def main() -> int:
    """Exit code 0 when every answer was one that the attack may get."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--per-s", type=float, default=30.0)
    parser.add_argument("--slow", type=int, default=100)
    parser.add_argument("--captured", type=Path)
    given = parser.parse_args()
    captured = given.captured.read_bytes() if given.captured else b""
    seen = asyncio.run(rage(given.port, given.seconds, given.per_s, given.slow, captured))
    finish(
        attacks=sum(one.total() for one in seen.answers.values()),
        surprises=dict(seen.surprises),
        answers={name: dict(one) for name, one in sorted(seen.answers.items())},
    )
    return 1 if seen.surprises else 0


if __name__ == "__main__":
    sys.exit(main())
