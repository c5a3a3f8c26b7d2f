"""Rich subscriptions are planned like others: another mode makes anew, another key renews."""

from __future__ import annotations

from typing import Any

import pytest

from outlook_lake.errors import UsageError
from outlook_lake.subscriptions.model import MailboxRow, SubscriptionRow, Wanted
from outlook_lake.subscriptions.plan import plan
from outlook_lake.tenants.credentials import parse_connection

NOW = 1_000_000_000_000_000
URL = "https://hooks.contoso.example/notifications"
RICH = Wanted(url=URL, keys=frozenset({"k"}), mode="rich", cert_id="new")
BASIC = Wanted(url=URL, keys=frozenset({"k"}))


def active(**changes: Any) -> SubscriptionRow:
    known = {
        "subscription_id": "id-n", "state": "active", "expires_at": NOW + 9 * 3600 * 1_000_000,
        "renew_at": NOW + 1, "created_at": NOW - 10, "renewed_at": NOW - 10, "key_id": "k",
        "notification_url": URL, "lifecycle_url": URL, "mode": "rich", "cert_id": "new",
    }  # fmt: skip
    return SubscriptionRow(nonce="n", mailbox_id=1, **(known | changes))


@pytest.mark.parametrize(
    ("row", "wanted", "expected"),
    [
        pytest.param({}, RICH, [], id="as it should be"),
        pytest.param({"cert_id": "old"}, RICH, [("renew", "certificate")], id="an older key"),
        pytest.param(
            {"mode": "basic", "cert_id": None}, RICH, [("recreate", "mode")], id="to rich"
        ),
        pytest.param({}, BASIC, [("recreate", "mode")], id="back to basic"),
        pytest.param({"renew_at": NOW - 1}, RICH, [("renew", "half_life")], id="half its life"),
    ],
)
def test_what_a_living_subscription_needs(
    row: dict[str, Any], wanted: Wanted, expected: list[tuple[str, str]]
):
    made = plan([MailboxRow(1, "live")], [active(**row)], NOW, wanted)
    assert [(one.kind, one.reason) for one in made.actions] == expected


def connection(**extra: Any) -> dict[str, Any]:
    tenant = "11111111-2222-4333-8444-555555555555"
    return {
        "conn_type": "msgraph", "login": "client", "password": "secret",
        "extra": {"tenant_id": tenant, **extra},
    }  # fmt: skip


def test_a_connection_chooses_its_mode_and_basic_is_usual():
    assert parse_connection("c", connection()).mode == "basic"
    assert parse_connection("c", connection(mode="Rich")).mode == "rich"
    with pytest.raises(UsageError, match=r"extra\.mode knows basic and rich; not 'richer'"):
        parse_connection("c", connection(mode="richer"))
