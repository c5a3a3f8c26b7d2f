"""Only the allow-list passes, each item is judged alone, and nothing raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.quarantine import REASONS
from outlook_lake.receiver.segments import Notification
from outlook_lake.receiver.sifting import (
    MOST_ITEMS,
    MalformedPostError,
    Sifted,
    TooManyItemsError,
    sift,
)
from tests.support.receiver import (
    MAILBOX,
    NONCE,
    SUBSCRIPTION,
    TENANT,
    item,
    key_of,
    lifecycle,
    post_of,
    settings_of,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def keyring(home: Path) -> Keyring:
    return Keyring(settings_of(home).keys)


@pytest.fixture(scope="module")
def key(home: Path, keyring: Keyring) -> Any:
    return key_of(home)


def passed(sifted: Sifted) -> list[Notification]:
    if not sifted.line:
        return []
    return msgspec.json.decode(sifted.line, type=tuple[str, int, int, list[Notification]])[3]


def reasons(sifted: Sifted) -> list[str]:
    return [refused.reason for refused in sifted.refused]


def test_a_notification_keeps_what_the_allow_list_names_and_nothing_else(
    keyring: Keyring, key: Any
) -> None:
    sifted = sift(post_of(item(key, "AAMk/a+b=", subject="CANARY")), keyring, 50, 7)

    assert passed(sifted) == [
        Notification(NONCE, key.key_id, TENANT, SUBSCRIPTION, 50, "created", None, "AAMk/a+b=", 7)
    ]
    assert b"CANARY" not in sifted.line
    assert b"etag" not in sifted.line


def test_a_lifecycle_item_has_no_change_and_no_item(keyring: Keyring, key: Any) -> None:
    sifted = sift(post_of(lifecycle(key, "missed")), keyring, 50, None)

    [entry] = passed(sifted)
    assert (entry.lifecycle, entry.change, entry.item) == ("missed", None, None)


@pytest.mark.parametrize(
    "resource",
    [
        "Users/{m}/Messages/{i}",
        "users/{m}/messages/{i}",
        "/users/{m}/messages/{i}",
        "Users('{m}')/messages('{i}')",
        "users/{m}@11111111-2222-4333-8444-555555555555/messages/{i}",
        "Users/{M}/Messages/{i}",
    ],
)
def test_every_spelling_of_the_resource_names_its_mailbox_and_item(
    keyring: Keyring, key: Any, resource: str
) -> None:
    spelled = resource.format(m=MAILBOX, M=MAILBOX.upper(), i="AAMkCaseSensitive=")
    theirs = spelled.replace("aaaaaaaa", "bbbbbbbb").replace("AAAAAAAA", "BBBBBBBB")

    ours = sift(post_of(item(key, resource=spelled, resourceData=None)), keyring, 1, None)
    other = sift(post_of(item(key, resource=theirs, resourceData=None)), keyring, 1, None)

    assert [entry.item for entry in passed(ours)] == ["AAMkCaseSensitive="]
    assert reasons(other) == ["other_mailbox"]


BAD_ITEMS = [
    pytest.param({"clientState": None}, "no_client_state", id="no clientState"),
    pytest.param({"clientState": "secretClientValue"}, "bad_client_state", id="foreign state"),
    pytest.param({"clientState": "1.nokey.n.t.m"}, "unknown_key", id="a key we do not have"),
    pytest.param({"tenantId": None}, "bad_tenant", id="no tenant"),
    pytest.param({"tenantId": "../x"}, "bad_tenant", id="a tenant that is a path"),
    pytest.param({"tenantId": MAILBOX}, "forged", id="another tenant"),
    pytest.param({"subscriptionId": None}, "bad_subscription", id="no subscription"),
    pytest.param({"subscriptionId": "a b"}, "bad_subscription", id="a subscription with a blank"),
    pytest.param({"changeType": None}, "bad_change", id="no change"),
    pytest.param({"changeType": "exploded"}, "bad_change", id="an unknown change"),
    pytest.param({"lifecycleEvent": "exploded"}, "bad_change", id="an unknown lifecycle event"),
    pytest.param({"changeType": 5}, "bad_shape", id="a number as change"),
    pytest.param({"tenantId": "\ud83d"}, "bad_tenant", id="half a surrogate"),
    pytest.param({"resourceData": []}, "bad_shape", id="a list as resourceData"),
    pytest.param({"resource": None, "resourceData": None}, "bad_item_id", id="no item"),
    *(
        pytest.param({"resourceData": {"id": bad}}, "bad_item_id", id=f"item id {bad[:24]!r}")
        for bad in (
            "x?$select=body",
            "../../users/other",
            "a%2e%2e",
            "a#b",
            "a b",
            "",
            "a\nb",
            "é",
            "x" * 513,
        )
    ),
]


@pytest.mark.parametrize(("changed", "reason"), BAD_ITEMS)
def test_a_bad_item_is_refused_by_name_and_its_neighbours_pass(
    keyring: Keyring, key: Any, changed: dict[str, Any], reason: str
) -> None:
    bad = item(key, "bad", **changed)

    sifted = sift(post_of(item(key, "before"), bad, item(key, "after")), keyring, 1, None)

    assert [entry.item for entry in passed(sifted)] == ["before", "after"]
    assert reasons(sifted) == [reason]
    assert reason in REASONS
    assert bytes(sifted.refused[0].content) == json.dumps(bad).replace("d83d", "fffd").encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no value"),
        pytest.param(b'{"value": {}}', id="value is no list"),
        pytest.param(b'{"value": [1,]}', id="a trailing comma"),
        pytest.param(b'{"value": []} x', id="something after the end"),
        pytest.param(b"\xff\xfe", id="not utf-8"),
        pytest.param(b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", id="deep"),
        pytest.param(b'{"value":' + b"[" * 500_000, id="deep and cut off"),
    ],
)
def test_a_body_that_cannot_be_is_malformed(keyring: Keyring, body: bytes) -> None:
    with pytest.raises(MalformedPostError):
        sift(body, keyring, 1, None)


def test_more_items_than_graph_would_send_are_not_judged_one_by_one(keyring: Keyring) -> None:
    for filler in (b"{}", b"1"):  # of the right type, and not
        with pytest.raises(TooManyItemsError):
            sift(b'{"value":[' + b",".join([filler] * (MOST_ITEMS + 1)) + b"]}", keyring, 1, None)


def test_no_items_is_nothing_to_store(keyring: Keyring) -> None:
    assert sift(b'{"value": []}', keyring, 1, None) == Sifted(b"", 0, ())


TEXT = st.text(max_size=40)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
MEMBERS = [
    "subscriptionId",
    "clientState",
    "tenantId",
    "changeType",
    "lifecycleEvent",
    "resource",
    "resourceData",
    "id",
]
ITEMS = st.dictionaries(st.sampled_from(MEMBERS), JSON_VALUES, max_size=8) | JSON_VALUES
POSTS = st.fixed_dictionaries({"value": st.lists(ITEMS, max_size=5) | JSON_VALUES}) | JSON_VALUES
FUZZ = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


@FUZZ
@given(post=POSTS)
def test_arbitrary_json_is_counted_or_refused_and_never_raises(keyring: Keyring, post: Any) -> None:
    try:
        sifted = sift(json.dumps(post).encode(), keyring, 1, None)
    except (MalformedPostError, TooManyItemsError):
        return
    assert sifted.passed == 0
    assert len(sifted.refused) == len(post["value"])
    assert set(reasons(sifted)) <= set(REASONS)


@FUZZ
@given(body=st.binary(max_size=200))
def test_arbitrary_bytes_are_malformed_and_never_raise(keyring: Keyring, body: bytes) -> None:
    try:
        sifted = sift(body, keyring, 1, None)
    except MalformedPostError:
        return
    assert sifted.passed == 0


@FUZZ
@given(
    member=st.sampled_from(MEMBERS),
    value=JSON_VALUES | st.text(alphabet="0123456789abcdef-./?$%#&\\'\"\x00\n\ud83d\ude00é"),
)
def test_an_arbitrary_member_never_harms_the_neighbour_or_reaches_the_line(
    keyring: Keyring, key: Any, member: str, value: Any
) -> None:
    sifted = sift(post_of(item(key, "x", **{member: value}), item(key, "y")), keyring, 1, None)

    entries = passed(sifted)
    assert entries[-1].item == "y"
    assert len(entries) + len(sifted.refused) == 2
    for entry in entries:
        assert set(entry.item or "") <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/"
        )
