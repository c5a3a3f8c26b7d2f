"""Hostile traffic gets the answers it may get, and honest traffic beside it goes on."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from benchmarks.hostile import ATTACKS, attack, overheard
from benchmarks.posting import request_of
from tests.support.receiver import item, key_of, landed, post_of, running


@pytest.mark.slow
def test_every_attack_is_answered_as_it_may_be_and_stores_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as receiver:
        captured = request_of(post_of(item(key_of(tmp_path), "captured")))
        attacks = ATTACKS | overheard(captured)

        async def rage() -> dict[str, tuple[int, frozenset[int]]]:
            return {
                what.__name__: (await attack(receiver.port, what(random.Random(7))), allowed)
                for what, allowed in attacks.items()
            }

        answers = asyncio.run(rage())
        assert receiver.post(post_of(item(key_of(tmp_path), "honest"))).status == 202

    assert {name: one for name, one in answers.items() if one[0] not in one[1]} == {}
    found = landed(tmp_path)
    assert found.items() == ["captured", "honest"]
    assert {"forged", "other_mailbox", "too_large", "malformed_json"} <= found.refused().keys()
