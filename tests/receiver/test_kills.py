"""kill -9 at any moment: every acknowledged notification is in a segment, exactly once."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from outlook_lake.receiver.client_state import Key
from tests.support.receiver import JSON, RunningReceiver, item, key_of, landed, running


class Senders:
    """Threads that post as fast as they are answered and remember what was acknowledged."""

    def __init__(self, receiver: RunningReceiver, key: Key, run: int, count: int = 6) -> None:
        self.acknowledged: list[str] = []
        self.first_answer = threading.Event()
        self._template = json.dumps(item(key, "@@"))
        self._run = run
        self._receiver = receiver
        self._threads = [
            threading.Thread(target=self._send, args=(number, random.Random(run * 100 + number)))
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)

    def _send(self, sender: int, chance: random.Random) -> None:
        connection = HTTPConnection("127.0.0.1", self._receiver.port, timeout=10)
        sent = 0
        try:
            while True:
                ids = [
                    f"r{self._run}s{sender}n{sent + at}" for at in range(chance.choice((1, 1, 10)))
                ]
                sent += len(ids)
                items = ",".join(self._template.replace("@@", one) for one in ids)
                connection.request("POST", "/notifications", f'{{"value":[{items}]}}', JSON)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 202:
                    self.acknowledged += ids
                    self.first_answer.set()
        except (OSError, HTTPException):
            pass  # the receiver was killed
        finally:
            connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for run in range(3):
        with running(tmp_path, segment_bytes=chance.choice((20_000, 8 << 20))) as receiver:
            senders = Senders(receiver, key_of(tmp_path), run)
            assert senders.first_answer.wait(10)
            time.sleep(chance.uniform(0, 1))
            receiver.kill()
            senders.join()
        acknowledged += senders.acknowledged

    found = Counter(landed(tmp_path).items())

    assert len(acknowledged) > 300
    assert [one for one in acknowledged if found[one] == 0] == []
    assert [one for one, times in found.items() if times > 1] == []
