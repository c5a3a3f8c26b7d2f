"""Change-notification subscriptions: made with the real handshake, renewed, ended."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any
from urllib.parse import unquote, urlsplit

from graph_simulator.clock import iso_micros, parse_instant
from graph_simulator.delivery.handshake import Handshake
from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.service import Service
from graph_simulator.graph.wishes import RICH_LONGEST_MIN, check_certificate, selected_of
from graph_simulator.ids import folder_id
from graph_simulator.world.model import Mailbox, Subscription

__all__ = ["LONGEST_MIN", "SHORTEST_MIN", "Subscriptions"]

LONGEST_MIN = 10_080
SHORTEST_MIN = 45
PER_MAILBOX = 1000
PAGE = 100
_MINUTE = 60_000_000
_RESOURCE = re.compile(
    r"^/?users(?:/|\('?)([^/')]+)(?:'?\))?"
    r"(?:/mailfolders(?:/|\('?)([^/')]+)(?:'?\))?)?/messages/?(\?.*)?$",
    re.IGNORECASE,
)
_KNOWN = frozenset(
    {
        "changeType", "notificationUrl", "lifecycleNotificationUrl", "resource",
        "expirationDateTime", "clientState", "latestSupportedTlsVersion", "includeResourceData",
        "encryptionCertificate", "encryptionCertificateId", "notificationUrlAppId",
        "notificationQueryOptions", "id", "applicationId", "creatorId", "@odata.type",
    }
)  # fmt: skip

_CHANGEABLE = frozenset(
    {
        "expirationDateTime", "notificationUrl", "encryptionCertificate",
        "encryptionCertificateId", "@odata.type",
    }
)  # fmt: skip


def _bad(message: str, code: str = "InvalidRequest") -> GraphError:
    return GraphError(400, code, message)


def _inner(status: str, reason: str) -> GraphError:
    """400 ExtensionError, whose text tells what Exchange answered."""
    return _bad(
        f"Operation: Create; Exception: [Status Code: {status}; Reason: {reason}]",
        "ExtensionError",
    )


def _check_url(text: Any, name: str) -> str:
    """A notification URL; plain http is taken for loopback only (Graph takes https alone)."""
    if not isinstance(text, str) or len(text) > 2000:
        raise _bad(f"{name} must be a URL.", "ValidationError")
    url = urlsplit(text)
    loopback = url.hostname in ("127.0.0.1", "localhost", "::1")
    if not url.hostname or not (url.scheme == "https" or (url.scheme == "http" and loopback)):
        raise _bad(
            f"The {name} must be an https URL; the simulator takes http for loopback.",
            "ValidationError",
        )
    return text


class Subscriptions:
    """Handlers of /subscriptions. Creating awaits the client's answer to the handshake."""

    def __init__(self, service: Service, handshake: Handshake) -> None:
        self._service = service
        self._world = service.world
        self._handshake = handshake

    # -- reading -----------------------------------------------------------------------------

    def _row(self, one: Subscription, *, with_secret: bool = False) -> dict[str, Any]:
        tenant = self._world.tenants[one.tenant]
        return {
            "id": one.id,
            "resource": one.resource,
            "applicationId": tenant.client_id,
            "changeType": one.change_type,
            "clientState": one.client_state if with_secret else None,
            "notificationUrl": one.notification_url,
            "notificationQueryOptions": None,
            "lifecycleNotificationUrl": one.lifecycle_url,
            "expirationDateTime": iso_micros(one.expires),
            "creatorId": tenant.principal_id,
            "includeResourceData": one.certificate is not None or None,
            "latestSupportedTlsVersion": one.tls or "v1_2",
            "encryptionCertificate": one.certificate if with_secret else None,
            "encryptionCertificateId": one.certificate_id,
            "notificationUrlAppId": None,
        }

    def sweep(self, at: int) -> None:
        """End what has expired."""
        for one in [s for s in self._world.subscriptions.values() if s.expires <= at]:
            self._world.unsubscribe(one)

    def listing(self, call: Call) -> Answer:
        """GET subscriptions: all of this app in the tenant, clientState withheld."""
        call.caller.need_mail()
        self.sweep(call.at)
        number = call.caller.tenant.number
        mine = [s for s in self._world.subscriptions.values() if s.tenant == number]
        skip = call.number("$skiptoken", 0, 10**9) or 0
        body: dict[str, Any] = {
            "@odata.context": f"{call.base}/$metadata#subscriptions",
            "value": [self._row(s) for s in mine[skip : skip + PAGE]],
        }
        if skip + PAGE < len(mine):
            link = f"{call.base}/subscriptions?$skiptoken={skip + PAGE}"
            body["@odata.nextLink"] = self._service.link(link, call)
        return Answer(200, body)

    def _find(self, call: Call) -> Subscription:
        found = self._world.subscriptions.get(call.parts[1].lower())
        if found is not None and found.expires <= call.at:
            self._world.unsubscribe(found)
            found = None
        # a deleted user's subscriptions are listed until they end, but nobody can reach them
        if (
            found is None
            or found.tenant != call.caller.tenant.number
            or self._world.mailboxes[found.mailbox].state == "left"
        ):
            raise GraphError(404, "ResourceNotFound", "The object was not found.")
        return found

    def one(self, call: Call) -> Answer:
        """GET subscriptions/{id}."""
        call.caller.need_mail()
        return Answer(200, self._row(self._find(call)))

    # -- changing ----------------------------------------------------------------------------

    def _expiry(self, text: Any, call: Call, *, rich: bool) -> int:
        """The expiry granted: at least 45 minutes; over the longest is refused, not clamped."""
        if not isinstance(text, str):
            raise _bad("expirationDateTime is required.", "InvalidRequest")
        try:
            wanted = parse_instant(text)
        except ValueError:
            raise _bad("expirationDateTime is no date.", "InvalidRequest") from None
        at, longest = call.at, call.caller.tenant.longest_min or LONGEST_MIN
        if rich:
            longest = min(longest, RICH_LONGEST_MIN)
        if wanted > at + longest * _MINUTE:
            raise _bad(
                f"Subscription expiration can only be {longest} minutes in the future.",
                "ExtensionError",
            )
        return max(wanted, at + SHORTEST_MIN * _MINUTE)

    def _place(self, text: Any, call: Call) -> tuple[Mailbox, int, str]:
        """(mailbox, folder number or 0, canonical resource) of a resource path."""
        found = _RESOURCE.match(text) if isinstance(text, str) else None
        if found is None:
            raise _bad(
                "Operation: Create; Exception: [Status Code: BadRequest; Reason: The value "
                f"'https://outlook.office365.com/api/v2.0/{str(text)[:120]}' of parameter "
                "'Resource' is invalid.]",
                "ExtensionError",
            )
        mailbox = self._world.find(unquote(found.group(1)))
        if (
            mailbox is None
            or mailbox.tenant != call.caller.tenant.number
            or mailbox.state == "left"
        ):
            raise _inner("NotFound", "Not Found")
        inner = self._service.faults.inner_status(mailbox.aad_id)
        if inner is not None:
            raise _inner(*inner)
        if mailbox.state != "live":
            raise GraphError(
                404,
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            )
        if not found.group(2):
            return mailbox, 0, f"{mailbox.aad_id}/messages"
        folder = self._world.folder(self._world.box(mailbox), unquote(found.group(2)))
        if folder is None:
            raise _bad(
                "Operation: Create; Exception: [Status Code: BadRequest; Reason: The value "
                "of parameter 'Resource' is invalid.]",
                "ExtensionError",
            )
        return mailbox, folder.number, f"{mailbox.aad_id}/{folder_id(folder.number)}"

    def _refuse_duplicate(self, mailbox: Mailbox, folder: int, changes: str, at: int) -> None:
        watching = self._world.watchers.get(mailbox.number, [])
        for one in [w for w in watching if w.expires <= at]:
            self._world.unsubscribe(one)
        if len(watching) >= PER_MAILBOX:
            raise GraphError(
                403, "ExtensionError", "The mailbox has its 1,000 subscriptions already."
            )
        for one in watching:
            if one.folder == folder and one.change_type == changes:
                raise GraphError(
                    409,
                    "InvalidRequest",
                    "A subscription for the same changeType and resource exists already. "
                    f"Existing subscription id: {one.id}",
                )

    async def _validate(self, url: str) -> None:
        """Shake hands with a URL. Raises GraphError (400)."""
        late = self._service.faults.strike("validation_timeout", url=url)
        if late:
            await asyncio.sleep(late.params["seconds"])
            raise _bad("Subscription validation request timed out.")
        await self._handshake.validate(url)

    async def create(self, call: Call) -> Answer:
        """POST subscriptions: check, handshake with both URLs, 201."""
        call.caller.need_mail()
        body = call.body
        if not isinstance(body, dict):
            raise _bad("The request body must be a subscription.", "BadRequest")
        unknown = sorted(set(body) - _KNOWN)
        if unknown:
            raise _bad(f"The property '{unknown[0][:40]}' does not exist.", "BadRequest")
        rich = body.get("includeResourceData") is True
        certificate, certificate_id = check_certificate(body) if rich else (None, None)
        changes = self._changes(body.get("changeType"))
        url = _check_url(body.get("notificationUrl"), "notificationUrl")
        lifecycle = body.get("lifecycleNotificationUrl")
        if lifecycle is not None:
            _check_url(lifecycle, "lifecycleNotificationUrl")
        state = body.get("clientState")
        if state is not None and (not isinstance(state, str) or len(state) > 128):
            raise _bad("clientState is limited to 128 characters.", "ValidationError")
        mailbox, folder, _ = self._place(body.get("resource"), call)
        select = selected_of("?".join(body["resource"].split("?")[1:]), rich=rich)
        self._expiry(body.get("expirationDateTime"), call, rich=rich)
        self._refuse_duplicate(mailbox, folder, changes, call.at)
        await self._validate(url)
        if lifecycle is not None:
            await self._validate(lifecycle)
        call.at = self._world.clock.instant()
        self._refuse_duplicate(mailbox, folder, changes, call.at)
        one = Subscription(
            id=str(uuid.uuid4()),
            tenant=call.caller.tenant.number,
            mailbox=mailbox.number,
            folder=folder,
            resource=body["resource"],
            change_type=changes,
            notification_url=url,
            expires=self._expiry(body["expirationDateTime"], call, rich=rich),
            created=call.at,
            lifecycle_url=lifecycle,
            client_state=state,
            immutable=call.immutable,
            dead=self._service.faults.strike("dead_201", mailbox=mailbox.aad_id, url=url)
            is not None,
            tls=body.get("latestSupportedTlsVersion"),
            select=select,
            certificate=certificate,
            certificate_id=certificate_id,
        )
        self._world.box(mailbox)
        self._world.subscribe(one)
        self._world.store.put("subscription", one.id, one)
        early = self._service.faults.strike("early_notification", mailbox=mailbox.aad_id, url=url)
        if early:
            await self._handshake.notify_early(one, early.params["seconds"])
            call.at = self._world.clock.instant()
        link = f"{call.base}/$metadata#subscriptions/$entity"
        return Answer(201, {"@odata.context": link, **self._row(one, with_secret=True)})

    @staticmethod
    def _changes(text: Any) -> str:
        words = [w.strip().lower() for w in text.split(",")] if isinstance(text, str) else []
        if not words or not set(words) <= {"created", "updated", "deleted"}:
            raise _bad("changeType must hold created, updated or deleted.", "ValidationError")
        return ",".join(w for w in ("created", "updated", "deleted") if w in words)

    async def update(self, call: Call) -> Answer:
        """PATCH subscriptions/{id}: a new expiry (which also reauthorizes), a new URL."""
        call.caller.need_mail()
        one = self._find(call)
        body = call.body
        if not isinstance(body, dict) or not body:
            raise _bad("The request body must hold what changes.", "BadRequest")
        wrong = sorted(set(body) - _CHANGEABLE)
        if wrong:
            raise _bad(f"The property '{wrong[0][:40]}' cannot be updated.", "BadRequest")
        rich = one.certificate is not None
        renewed = {"encryptionCertificate", "encryptionCertificateId"} & set(body)
        certificate = check_certificate(body) if renewed else None
        if certificate and not rich:
            raise _bad("The subscription has no resource data.")
        if "expirationDateTime" in body:
            self._expiry(body["expirationDateTime"], call, rich=rich)
        if "notificationUrl" in body:
            url = _check_url(body["notificationUrl"], "notificationUrl")
            await self._validate(url)
            call.at = self._world.clock.instant()
            one = self._find(call)
            one.notification_url = url
        if "expirationDateTime" in body:
            one.expires = self._expiry(body["expirationDateTime"], call, rich=rich)
        if certificate:
            one.certificate, one.certificate_id = certificate
        one.paused = False
        self._world.store.put("subscription", one.id, one)
        link = f"{call.base}/$metadata#subscriptions/$entity"
        return Answer(200, {"@odata.context": link, **self._row(one)})

    def reauthorize(self, call: Call) -> Answer:
        """POST subscriptions/{id}/reauthorize: needs Mail.Read, as its permission table says."""
        one = self._find(call)
        if not call.caller.sees_content:
            raise GraphError(
                403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."
            )
        one.paused = False
        self._world.store.put("subscription", one.id, one)
        return Answer(204)

    def delete(self, call: Call) -> Answer:
        """DELETE subscriptions/{id}."""
        call.caller.need_mail()
        self._world.unsubscribe(self._find(call))
        return Answer(204)
