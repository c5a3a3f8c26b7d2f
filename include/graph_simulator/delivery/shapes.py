"""What is waiting to be sent, and how Graph spells it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from graph_simulator.clock import iso_seconds
from graph_simulator.world.model import Mailbox, Subscription, Tenant

__all__ = ["Notification", "payload"]


class Notification(msgspec.Struct, array_like=True):
    """One notification on its way; times are Graph time in microseconds."""

    number: int
    subscription: str
    change: str
    """created, updated, deleted; "" for a lifecycle notification."""
    lifecycle: str
    item_id: str
    etag: str
    made: int
    not_before: int = 0
    attempts: int = 0
    item_number: int = 0
    content: bytes = b""
    """JSON of the message, where its subscription wants it and it has been taken."""


def payload(
    one: Notification, subscription: Subscription, mailbox: Mailbox, tenant: Tenant
) -> dict[str, Any]:
    """The member of `value` that is posted."""
    body: dict[str, Any] = {
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": iso_seconds(subscription.expires // 1_000_000),
        "clientState": subscription.client_state,
        "tenantId": tenant.id,
    }
    if one.lifecycle:
        body["lifecycleEvent"] = one.lifecycle
        return body
    body["changeType"] = one.change
    kept = quote(one.item_id, safe="=-_")
    spelling = one.number % 3  # all three spellings are seen in the field
    if spelling == 0:
        resource = f"Users/{mailbox.aad_id}/Messages/{kept}"
    elif spelling == 1:
        resource = f"Users('{mailbox.aad_id}')/messages('{kept}')"
    else:
        resource = f"users/{mailbox.aad_id}@{tenant.id}/messages/{kept}"
    body["resource"] = resource
    body["resourceData"] = {
        "@odata.type": "#Microsoft.Graph.Message",
        "@odata.id": resource,
        "@odata.etag": one.etag,
        "id": one.item_id,
    }
    if one.number % 2:
        body["id"] = f"{subscription.id[:24]}{one.number:012x}"
    return body
