"""A mailbox's places: first come, first served, never lost, never doubled."""

from __future__ import annotations

import asyncio

from outlook_lake.graph.gates import MAILBOX_LIMIT, Gates


async def test_a_waiter_that_gives_up_does_not_hold_up_the_next():
    gates = Gates()
    order: list[str] = []

    async def ask(name: str, places: int) -> None:
        async with gates.through({"m": places}):
            order.append(name)

    async with gates.through({"m": MAILBOX_LIMIT}):
        big = asyncio.create_task(ask("big", 3))
        small = asyncio.create_task(ask("small", 1))
        await asyncio.sleep(0)
        big.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(big, small, return_exceptions=True)

    assert order == ["small"]
    assert len(gates) == 0


async def test_a_waiter_cancelled_in_its_turn_gives_its_place_back():
    gates = Gates()

    async def ask() -> None:
        async with gates.through({"m": 1}):
            pass

    async with gates.through({"m": MAILBOX_LIMIT}):
        waiting = asyncio.create_task(ask())
        await asyncio.sleep(0)
    waiting.cancel()  # its turn has come, it has not run yet
    await asyncio.gather(waiting, return_exceptions=True)

    async with asyncio.timeout(1), gates.through({"m": MAILBOX_LIMIT}):
        pass
    assert len(gates) == 0


async def test_a_big_request_is_not_starved_by_small_ones():
    gates = Gates()
    order: list[str] = []

    async def ask(name: str, places: int) -> None:
        async with gates.through({"m": places}):
            order.append(name)
            await asyncio.sleep(0)

    async with gates.through({"m": 1}):
        tasks = [asyncio.create_task(ask("big", 3))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(ask(f"small {n}", 1)) for n in range(4)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    assert order[0] == "big"


async def test_two_batches_over_the_same_mailboxes_never_wait_for_each_other():
    gates = Gates()

    async def ask(names: list[str]) -> None:
        for _ in range(50):
            async with gates.through(dict.fromkeys(names, 3)):
                await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(ask(["a", "b"]), ask(["b", "a"]))
    assert len(gates) == 0
