"""Message trace: one row for each message and recipient, behind a role of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulator import SimulatorProcess, in_hours, running_simulator

PATH = "/admin/exchange/tracing/messageTraces"


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """Two people without history; the first wrote to the second and to an outsider."""
    state: Path = tmp_path_factory.mktemp("traced")
    with running_simulator(state, mailboxes=2, history=0) as graph:
        wish = {"tenant": graph.tenant["tenant_id"], "roles": ["ExchangeMessageTrace.Read.All"]}
        ada, ben = (user["address"] for user in graph.tenant["users"])
        sent = graph.act(ada, "send", to=[ben, "chris@fabrikam.example"])
        graph.act(ben, "purge", item=sent["delivered"][0]["item"], hard=True)
        graph.act(ada, "draft", to=[ben])
        assert graph.get(PATH).status == 403
        graph.control("POST", "roles", wish)
        graph.fetch_token()
        yield graph


def test_each_recipient_is_a_row_and_a_deleted_copy_is_still_told(traced: SimulatorProcess) -> None:
    ada, ben = (user["address"] for user in traced.tenant["users"])
    rows = traced.get(PATH).body["value"]
    found = {(row["senderAddress"], row["recipientAddress"], row["status"]) for row in rows}
    assert len(rows) == 2 and found == {
        (ada, ben, "delivered"),
        (ada, "chris@fabrikam.example", "delivered"),
    }
    assert len({row["messageId"] for row in rows}) == 1


def test_traces_come_page_by_page(traced: SimulatorProcess) -> None:
    first = traced.get(f"{PATH}?$top=1").body
    second = traced.get(first["@odata.nextLink"]).body
    ids = {row["id"] for row in first["value"] + second["value"]}
    assert len(ids) == 2 and "@odata.nextLink" not in second


def test_a_window_is_filtered_and_limited_to_ten_days(traced: SimulatorProcess) -> None:
    def asked(low: float, high: float) -> str:
        parts = (("ge", in_hours(traced, low)), ("le", in_hours(traced, high)))
        text = " and ".join(f"receivedDateTime {word} {at[:19]}Z" for word, at in parts)
        return f"{PATH}?$filter={text.replace(' ', '%20')}"

    assert traced.get(asked(-3, -1)).body["value"] == []
    assert len(traced.get(asked(-3, 1)).body["value"]) == 2
    assert traced.get(asked(-241, 0)).status == 400
    assert traced.get(f"{PATH}?$filter=subject%20eq%20'x'").status == 400
