"""Paths ask for metadata only, and no id from outside enters one unchecked."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest

from outlook_lake.errors import UntrustedLinkError, UsageError
from outlook_lake.graph import resources
from tests.support.graph import USER

CONTENT = ("subject", "body", "preview", "attachments", "header", "weblink", "automaticreplies")


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NO_SELECT = {"subscription_path", "rules_path", "message_traces_path"}
"""Nothing to choose from; what comes with a rule or a trace is dropped (tests/looks, coverage)."""


def every_path() -> list[str]:
    return [
        resources.message_path(USER, "AAk="),
        resources.messages_path(USER, "inbox"),
        resources.message_delta_path(USER, "inbox"),
        resources.folder_path(USER, "sentitems"),
        resources.folders_path(USER),
        resources.folders_path(USER, "AQM="),
        resources.folders_delta_path(USER),
        resources.users_path(),
        resources.users_path(condition="department eq 'Sales'"),
        resources.users_delta_path(),
        resources.group_users_path(USER),
        resources.user_path(USER),
        resources.mailbox_settings_path(USER),
        resources.window_path(USER, "receivedDateTime", NOON, NOON),
    ]


def test_no_path_asks_for_content():
    for path in every_path():
        fields = path.partition("$select=")[2].partition("&")[0].lower().split(",")
        assert fields != [""], path
        assert not [f for f in fields if any(word in f for word in CONTENT) and "has" not in f]


def test_every_path_builder_is_checked_here():
    builders = {
        name
        for name, member in inspect.getmembers(resources, inspect.isfunction)
        if name.endswith("_path") and not name.startswith("_") and name not in NO_SELECT
    }

    assert len(builders) == 12


@pytest.mark.parametrize(
    "item",
    [
        pytest.param("x?$select=body", id="a query"),
        pytest.param("../../users/other", id="up and out"),
        pytest.param("a b", id="a space"),
        pytest.param("", id="nothing"),
        pytest.param("x" * 513, id="too long"),
        pytest.param("x%2F", id="already escaped"),
        pytest.param("ä", id="not Graph's alphabet"),
        pytest.param("x\n", id="a line end"),
    ],
)
def test_an_item_id_that_is_none_is_kept_out_of_every_url(item: str):
    with pytest.raises(UntrustedLinkError) as caught:
        resources.message_path(USER, item)

    assert not item or item not in str(caught.value)


@pytest.mark.parametrize("user", ["me", "ann@contoso.example", USER + "/", USER + "\n", ""])
def test_only_an_object_id_names_a_user(user: str):
    with pytest.raises(UntrustedLinkError):
        resources.message_path(user, "AAk=")


def test_a_slash_and_a_plus_in_an_id_stay_inside_its_segment():
    path = resources.message_path(USER, "a/b+c=")

    assert path.partition("?")[0] == f"/users/{USER}/messages/a%2Fb%2Bc="


def test_a_page_size_graph_does_not_have_is_refused():
    with pytest.raises(UsageError):
        resources.users_path(top=0)
