"""Microsoft's own Python client works against the simulator as it works against Graph."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulator import SimulatorProcess, running_simulator

pytestmark = [
    pytest.mark.slow,  # the imports of the client alone take seconds
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of its own generated code
]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    state: Path = tmp_path_factory.mktemp("contract") / "state"
    with running_simulator(state, mailboxes=3, history=40) as simulator:
        yield simulator


def client_of(graph: SimulatorProcess) -> Any:
    """A GraphServiceClient whose base address is the simulator."""
    import httpx
    from kiota_abstractions.authentication import (
        AccessTokenProvider,
        AllowedHostsValidator,
        BaseBearerTokenAuthenticationProvider,
    )
    from msgraph import GraphRequestAdapter, GraphServiceClient

    class Tokens(AccessTokenProvider):
        async def get_authorization_token(
            self, uri: str, additional_authentication_context: dict[str, Any] | None = None
        ) -> str:
            return graph.token

        def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
            return AllowedHostsValidator(["127.0.0.1"])

    adapter = GraphRequestAdapter(
        BaseBearerTokenAuthenticationProvider(Tokens()),
        client=httpx.AsyncClient(base_url=f"{graph.url}/v1.0"),
    )
    adapter.base_url = f"{graph.url}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


def test_the_client_lists_users_and_their_folders(graph: SimulatorProcess) -> None:
    async def run() -> None:
        client = client_of(graph)
        users = await client.users.get()
        assert [user.id for user in users.value] == graph.people
        person = client.users.by_user_id(graph.people[0])
        first = await person.mail_folders.get()
        assert len(first.value) == 10 and first.odata_next_link
        rest = await person.mail_folders.with_url(first.odata_next_link).get()
        names = {folder.display_name for folder in [*first.value, *rest.value]}
        assert {"Inbox", "Sent Items", "Deleted Items", "Projects"} <= names
        below = await person.mail_folders.by_mail_folder_id("inbox").child_folders.get()
        assert [folder.display_name for folder in below.value] == ["Newsletters"]

    asyncio.run(run())


def test_the_client_lists_and_reads_messages(graph: SimulatorProcess) -> None:
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.users.item.messages.messages_request_builder import (
        MessagesRequestBuilder,
    )

    async def run() -> None:
        person = client_of(graph).users.by_user_id(graph.people[0])
        query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
            select=["id", "isRead", "receivedDateTime", "from", "parentFolderId"],
            top=15,
            orderby=["receivedDateTime desc"],
        )
        page = await person.messages.get(RequestConfiguration(query_parameters=query))
        seen = []
        while page is not None:
            seen += page.value
            page = (
                await person.messages.with_url(page.odata_next_link).get()
                if page.odata_next_link
                else None
            )
        dates = [message.received_date_time for message in seen]
        assert dates == sorted(dates, reverse=True) and len(seen) > 15
        assert all(message.body is None and message.subject is None for message in seen)
        one = await person.messages.by_message_id(seen[0].id).get()
        assert one.id == seen[0].id and one.from_.email_address.address
        assert one.subject and one.body is None  # ReadBasic: the subject, never the body

    asyncio.run(run())


def test_the_client_follows_delta_through_a_change(graph: SimulatorProcess) -> None:
    async def run() -> None:
        inbox = (
            client_of(graph)
            .users.by_user_id(graph.people[1])
            .mail_folders.by_mail_folder_id("inbox")
            .messages
        )
        page = await inbox.delta.get()
        known = {message.id for message in page.value}
        while page.odata_next_link:
            page = await inbox.delta.with_url(page.odata_next_link).get()
            known |= {message.id for message in page.value}
        link = page.odata_delta_link
        assert known and link
        arrived = graph.act(graph.people[1], "receive")
        page = await inbox.delta.with_url(link).get()
        assert [message.id not in known for message in page.value] == [True]
        graph.act(graph.people[1], "delete", item=arrived["item"])
        page = await inbox.delta.with_url(page.odata_delta_link).get()
        assert [message.additional_data["@removed"] for message in page.value] == [
            {"reason": "deleted"}
        ]

    asyncio.run(run())


def test_the_client_renews_and_ends_a_subscription(graph: SimulatorProcess) -> None:
    """Creating one needs a receiver and is proved with the subscriptions of the simulator."""
    from msgraph.generated.models.o_data_errors.o_data_error import ODataError
    from msgraph.generated.models.subscription import Subscription

    async def run() -> None:
        client = client_of(graph)
        assert (await client.subscriptions.get()).value == []
        wish = Subscription(
            change_type="created", notification_url="http://127.0.0.1:9/closed",
            resource=f"users/{graph.people[0]}/messages", client_state="x",
        )  # fmt: skip
        with pytest.raises(ODataError) as refused:
            await client.subscriptions.post(wish)
        assert refused.value.response_status_code == 400
        assert refused.value.error.code == "InvalidRequest"

    asyncio.run(run())


def test_the_client_finds_the_people_of_a_group_and_the_organization(
    graph: SimulatorProcess,
) -> None:
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.users.users_request_builder import UsersRequestBuilder

    tenant = graph.tenant["tenant_id"]
    roles = [*graph.tenant["roles"], "GroupMember.Read.All", "Organization.Read.All"]
    graph.control("POST", "roles", {"tenant": tenant, "roles": roles})
    wish = {"tenant": tenant, "members": graph.people[:2]}
    group = graph.control("POST", "groups", wish)["id"]
    graph.fetch_token()
    address = graph.tenant["users"][2]["address"]

    async def run() -> None:
        client = client_of(graph)
        inside = client.groups.by_group_id(group).transitive_members.graph_user
        assert [user.id for user in (await inside.get()).value] == graph.people[:2]
        [organization] = (await client.organization.get()).value
        assert graph.tenant["domain"] in {one.name for one in organization.verified_domains}
        query = UsersRequestBuilder.UsersRequestBuilderGetQueryParameters(
            filter=f"mail eq '{address}'"
        )
        found = await client.users.get(RequestConfiguration(query_parameters=query))
        assert [user.id for user in found.value] == graph.people[2:3]

    asyncio.run(run())


def test_msal_signs_in_with_a_certificate(graph: SimulatorProcess) -> None:
    import msal
    import requests
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    from tests.graph_simulator.test_credentials import certificate_of, upload

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = certificate_of(key)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    session = requests.Session()
    session.trust_env = False
    session.verify = str(graph.state / "ca.pem")

    def ask() -> dict[str, Any]:
        app = msal.ConfidentialClientApplication(
            graph.tenant["client_id"],
            client_credential={
                "private_key": private.decode(),
                "public_certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
            },
            authority=f"https://127.0.0.1:{graph.tls_port}/{graph.tenant['tenant_id']}",
            instance_discovery=False,
            http_client=session,
        )
        answer: dict[str, Any] = app.acquire_token_for_client(
            ["https://graph.microsoft.com/.default"]
        )
        return answer

    assert "AADSTS700027" in ask()["error_description"]
    upload(graph, certificate)
    assert ask()["token_type"] == "Bearer"


def test_msal_gets_a_token_over_tls_and_a_wrong_secret_is_named(graph: SimulatorProcess) -> None:
    import msal
    import requests

    session = requests.Session()
    session.trust_env = False  # a CA bundle named by the environment would outrank ours
    session.verify = str(graph.state / "ca.pem")
    authority = f"https://127.0.0.1:{graph.tls_port}/{graph.tenant['tenant_id']}"

    def ask(secret: str) -> dict[str, Any]:
        app = msal.ConfidentialClientApplication(
            graph.tenant["client_id"],
            client_credential=secret,
            authority=authority,
            instance_discovery=False,
            http_client=session,
        )
        answer: dict[str, Any] = app.acquire_token_for_client(
            ["https://graph.microsoft.com/.default"]
        )
        return answer

    given = ask(graph.tenant["client_secret"])
    assert given["token_type"] == "Bearer" and given["access_token"].count(".") == 2
    refused = ask("wrong")
    assert refused["error"] == "invalid_client"
    assert "AADSTS7000215" in refused["error_description"]
