"""Can Graph reach the receiver? Asked as Graph asks: a handshake, then a real subscription.

Our own probe comes from inside and may take another way than Graph; the subscription that is
made and removed at once is the proof from outside.
"""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from outlook_lake import clock
from outlook_lake.doctor.findings import Report
from outlook_lake.errors import GraphError
from outlook_lake.graph import refusals
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.resources import subscription_path, subscription_resource
from outlook_lake.settings import Settings
from outlook_lake.tenants.credentials import is_loopback_host

__all__ = ["check_address", "check_handshake", "check_subscription"]

PATIENCE_S = 10.0
"""Graph gives a handshake so long, and expects notifications to be answered within 3 s."""
QUICK_S = 3.0
VARIABLE = (
    "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL (or receiver.notification_url in the Airflow "
    "Variable outlook_lake)"
)


class _Made(msgspec.Struct):
    id: str


def check_address(report: Report, settings: Settings, *, loopback: bool) -> bool:
    """The address is one Graph would take; `loopback`: Graph is a simulator on this machine."""
    url = settings.receiver.notification_url
    parts = urlsplit(url)
    if not url:
        report.fail(
            "address",
            "no notification address is set",
            f"Set {VARIABLE} to https://YOUR-HOST/outlook/notifications.",
        )
        return False
    on_loopback = is_loopback_host(parts.hostname)
    if parts.scheme != "https" and not (loopback and on_loopback):
        report.fail(
            "address",
            f"{_shown(url)} is not https: Graph posts to https with a public certificate only",
            f"Put a reverse proxy with TLS before the receiver and set {VARIABLE} to its https "
            "address.",
        )
        return False
    if on_loopback and not loopback:
        report.fail(
            "address",
            f"{_shown(url)} is this machine itself: Graph cannot reach it",
            f"Set {VARIABLE} to the address the internet sees.",
        )
        return False
    report.ok("address", _shown(url))
    return True


async def check_handshake(report: Report, settings: Settings) -> bool:
    """POST ?validationToken=… and expect it back, decoded, as text/plain, within 3 s."""
    url = settings.receiver.notification_url
    token = f"Validation: {secrets.token_urlsafe(9)} +/%ü"
    joint = "&" if "?" in url else "?"
    began = time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=PATIENCE_S), trust_env=True
            ) as session,
            session.post(f"{url}{joint}validationToken={quote(token, safe='')}") as answer,
        ):
            body = (await answer.content.read(1000)).decode(errors="replace")
            status, kind = answer.status, answer.content_type
    except aiohttp.ClientConnectorCertificateError:
        return _no_hand(
            report,
            "its certificate is not trusted",
            "Graph takes certificates of public authorities only, with their whole chain.",
        )
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return _no_hand(
            report,
            f"{_shown(url)} does not answer ({type(error).__name__})",
            "Start the receiver (it lives in Airflow's API server, or `outlook-lake receiver`) "
            "and let the way to it through proxy and firewall.",
        )
    took = time.monotonic() - began
    if status != 200 or body != token:
        told = f"{_shown(url)} answers {status}" + ("" if status != 200 else ", but not the token")
        return _no_hand(
            report,
            told,
            "Something else answers there: a login page, another path, or a proxy that changes "
            "the query. The path ends in /outlook/notifications in Airflow, /notifications alone.",
        )
    if kind != "text/plain":
        return _no_hand(report, f"it answers as {kind}, expected text/plain", "Check the proxy.")
    if took > QUICK_S:
        report.warn(
            "handshake",
            f"answered in {took:.1f} s: Graph gives up on notifications after 3 s",
            "See docs/operate/deploy.md: more receivers, or a nearer proxy.",
        )
    else:
        report.ok("handshake", f"answered rightly in {took * 1000:.0f} ms (asked from here)")
    return True


async def check_subscription(
    report: Report, client: GraphClient, settings: Settings, user: str
) -> None:
    """Make a subscription on the sample mailbox and remove it: Graph's own handshake.

    It watches deletions only, so that it never is the same as the one the product keeps.
    """
    url = settings.receiver.notification_url
    until = clock.graph_now() + timedelta(hours=1)
    body = {
        "changeType": "deleted",
        "notificationUrl": url,
        "lifecycleNotificationUrl": url,
        "resource": subscription_resource(user),
        "expirationDateTime": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "clientState": "doctor",
    }
    try:
        answer = await client.post("/subscriptions", body, accept=(400,))
        if answer.status == 400:
            refusal = refusals.read(answer.body)
            if "validation" in refusal.message.lower():
                report.fail(
                    "subscription",
                    f"Graph could not reach {_shown(url)}, although this machine can",
                    "Let the internet reach it: public DNS name, port 443, a public certificate, "
                    "and no allow-list that leaves Microsoft out.",
                )
                return
            raise refusals.error_for(400, refusal, "subscription")
        made = msgspec.json.decode(answer.body, type=_Made)
        await client.delete(subscription_path(made.id), accept=(404,))
    except (GraphError, msgspec.DecodeError) as error:
        told = str(error) if isinstance(error, GraphError) else "an answer that cannot be read"
        report.fail(
            "subscription",
            f"Graph refuses a subscription: {told}",
            "Mail.ReadBasic.All must be granted (see `roles`); a quota error goes away by itself.",
        )
        return
    report.ok("subscription", "made, Graph shook hands with the receiver, removed")


def _no_hand(report: Report, evidence: str, cure: str) -> bool:
    report.fail("handshake", evidence, cure)
    return False


def _shown(url: str) -> str:
    """Without query and user: they may hold a key."""
    parts = urlsplit(url)
    return (
        f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "") + parts.path
    )
