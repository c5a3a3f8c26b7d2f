"""The Graph client against the simulator: real shapes, real limits, real faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from outlook_lake.errors import (
    DeltaExpiredError,
    DeltaUnavailableError,
    ItemGoneError,
    ThrottledError,
    UntrustedLinkError,
)
from outlook_lake.graph.auth import TokenSource
from outlook_lake.graph.client import BatchRequest, GraphClient
from outlook_lake.graph.messages import (
    Message,
    decode_folder,
    decode_folders,
    decode_message,
    decode_page,
)
from outlook_lake.graph.resources import (
    WELL_KNOWN_FOLDERS,
    folder_path,
    folders_delta_path,
    folders_path,
    message_delta_path,
    message_path,
    paged,
)
from outlook_lake.settings import Settings
from outlook_lake.tenants.credential import Credential
from outlook_lake.tenants.credentials import Credentials
from tests.support.simulator import SimulatorProcess, running_simulator

pytestmark = pytest.mark.slow


@dataclass
class Scene:
    simulator: SimulatorProcess

    @property
    def user(self) -> str:
        return self.simulator.people[0]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[GraphClient]:
        credentials = Credentials(
            self.simulator.tenant["tenant_id"],
            self.simulator.tenant["client_id"],
            Credential("current", secret=self.simulator.tenant["client_secret"]),
            self.simulator.url,
            f"https://127.0.0.1:{self.simulator.tls_port}",
            str(self.simulator.state / "ca.pem"),
        )
        async with GraphClient(credentials, TokenSource(credentials), Settings()) as client:
            yield client

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self.simulator.control, method, path, body)

    async def act(self, do: str, **more: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self.simulator.act, self.user, do, **more)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with running_simulator(tmp_path_factory.mktemp("simulator"), mailboxes=2, history=60) as one:
        yield one


@pytest.fixture
def scene(simulator: SimulatorProcess) -> Iterator[Scene]:
    simulator.control("DELETE", "faults")
    yield Scene(simulator)
    simulator.control("DELETE", "faults")


async def walk(client: GraphClient, user: str, link: str) -> tuple[list[Message], str]:
    """A delta round to its end: its rows and its delta link."""
    rows: list[Message] = []
    while True:
        answer = await client.get(link, mailbox=user, prefer=paged(7))
        page = decode_page(answer.body)
        assert page.refused == 0
        rows += page.value
        if page.delta_link:
            return rows, page.delta_link
        assert page.next_link
        link = page.next_link


async def test_a_round_ends_with_a_link_that_shows_the_next_change(scene: Scene):
    path = message_delta_path(scene.user, "inbox")
    async with scene.client() as client:
        first, link = await walk(client, scene.user, path)
        arrived = await scene.act("receive")
        second, _ = await walk(client, scene.user, link)

    assert first
    assert [row.id for row in second] == [arrived["item"]]
    assert second[0].received_at is not None


async def test_every_well_known_folder_is_found_in_the_tree(scene: Scene):
    async with scene.client() as client:
        requests = [
            BatchRequest(kind, folder_path(scene.user, name))
            for kind, name in WELL_KNOWN_FOLDERS.items()
        ]
        answer = await client.batch(requests)
        tree = await client.get(
            folders_delta_path(scene.user), mailbox=scene.user, prefer=paged(200)
        )
        listed = await client.get(folders_path(scene.user), mailbox=scene.user)

    known = {decode_folder(item.body).id for item in answer.items if item.status == 200}
    assert {item.id for item in answer.items if item.status == 200} >= {"inbox", "sent", "deleted"}
    flat = {folder.id for folder in decode_folders(tree.body).value}
    children = decode_folders(listed.body).value
    assert {folder.id for folder in children if not folder.hidden} <= flat
    assert len(known & flat) >= 5


async def test_what_is_purged_is_gone_and_nothing_else(scene: Scene):
    kept = await scene.act("receive")
    gone = await scene.act("receive")
    await scene.act("delete", item=gone["item"])
    await scene.act("purge", item=gone["item"])
    await scene.act("purge", item=gone["item"])
    paths = [message_path(scene.user, item["item"]) for item in (kept, gone)]
    async with scene.client() as client:
        answer = await client.batch([BatchRequest(str(n), path) for n, path in enumerate(paths)])

    assert decode_message(answer.items[0].body).id == kept["item"]
    assert isinstance(answer.items[1].error(paths[1]), ItemGoneError)


async def test_a_revoked_token_costs_one_refresh(scene: Scene):
    async with scene.client() as client:
        await client.get(message_delta_path(scene.user, "inbox"), mailbox=scene.user)
        await scene.control("POST", "tokens/revoke")
        answer = await client.get(message_delta_path(scene.user, "inbox"), mailbox=scene.user)

    assert answer.status == 200


async def test_a_foreign_next_link_is_refused_and_no_token_leaves(scene: Scene):
    await scene.control("POST", "faults", {"kind": "foreign_next_link"})
    async with scene.client() as client:
        with pytest.raises(UntrustedLinkError):
            await walk(client, scene.user, message_delta_path(scene.user, "inbox"))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param({"kind": "429", "retry_after": 30}, ThrottledError, id="throttled"),
        pytest.param({"kind": "410"}, DeltaExpiredError, id="delta token lost"),
        pytest.param({"kind": "quota"}, DeltaUnavailableError, id="mailbox full"),
    ],
)
async def test_a_fault_of_graph_becomes_its_class(scene: Scene, fault: dict[str, Any], kind):
    async with scene.client() as client:
        _, link = await walk(client, scene.user, message_delta_path(scene.user, "inbox"))
        await scene.control("POST", "faults", fault)
        with pytest.raises(kind) as caught:
            await client.get(link, mailbox=scene.user)

    assert type(caught.value) is kind


async def test_a_throttled_client_never_asks_again_too_early(scene: Scene):
    await scene.control("POST", "faults", {"kind": "429", "rate": 0.3, "retry_after": 1})
    before = (await scene.control("GET", "stats"))["early_retries"]
    async with scene.client() as client:
        for _ in range(6):
            try:
                await client.get(message_delta_path(scene.user, "inbox"), mailbox=scene.user)
            except ThrottledError as error:
                await asyncio.sleep(error.retry_after)

    assert (await scene.control("GET", "stats"))["early_retries"] == before


async def test_many_requests_never_break_the_limit_of_a_mailbox(scene: Scene):
    async with scene.client() as client:
        client.widen(16)
        path = message_delta_path(scene.user, "inbox")
        await asyncio.gather(*(client.get(path, mailbox=scene.user) for _ in range(40)))
        requests = [BatchRequest(str(n), path) for n in range(20)]
        answers = await asyncio.gather(*(client.batch(requests) for _ in range(4)))

    assert {item.status for answer in answers for item in answer.items} == {200}
    stats = await scene.control("GET", "stats")
    assert stats["highest_concurrency"] <= 4
