"""One simulator for all tests of a module; each test takes a mailbox of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graph_simulator.clock import Clock
from graph_simulator.store import Store
from graph_simulator.world import World
from tests.support.simulator import SimulatorProcess, running_simulator


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """A running simulator with 40 mailboxes, three hours behind machine time."""
    state: Path = tmp_path_factory.mktemp("simulator") / "state"
    with running_simulator(state, mailboxes=40, options=("--start-back", "PT3H")) as simulator:
        yield simulator


@pytest.fixture
def mailbox(graph: SimulatorProcess) -> Iterator[str]:
    """The object id of a mailbox that no other test of the module has had.

    Its subscriptions end with the test: nothing waits for a sink that is closed.
    """
    one = graph.people.pop()
    yield one
    end = {"kind": "remove_subscription", "tell": 0, "match": {"mailbox": one}}
    graph.control("POST", "faults", end)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world without a server: one tenant, four people, 20 messages each, a day behind."""
    store = Store(tmp_path / "world")
    one = World(store, Clock.start(86400, 1.0), seed=7)
    one.create_tenant("contoso.example", 4)
    yield one
    store.close()
