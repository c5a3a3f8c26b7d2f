"""Which handler answers which path. One answer is made without a pause: one instant."""

from __future__ import annotations

from collections.abc import Callable

from graph_simulator.errors import GraphError
from graph_simulator.graph import directory, folders, messages, tracing, users
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.delta import message_delta
from graph_simulator.graph.service import Service
from graph_simulator.graph.subscriptions import Subscriptions
from graph_simulator.world.model import Mailbox

__all__ = ["Router"]

Handler = Callable[[Service, Call], Answer]

_USER = "microsoft.graph.user"
#: (length, words that must stand at even or odd places) -> (kind for the statistics, handler)
_TREE: dict[tuple[str, ...], tuple[str, Handler]] = {
    ("users",): ("users", users.list_users),
    ("users", "delta"): ("users_delta", users.users_delta),
    ("users", "*"): ("user", users.get_user),
    ("users", "*", "mailboxsettings"): ("settings", users.get_settings),
    ("admin", "exchange", "tracing", "messagetraces"): ("traces", tracing.message_traces),
    ("organization",): ("organization", directory.get_organization),
    ("groups", "*"): ("group", directory.get_group),
    ("groups", "*", "members"): ("members", directory.list_members),
    ("groups", "*", "members", _USER): ("members", directory.list_users_within),
    ("groups", "*", "transitivemembers", _USER): ("members", directory.list_users_within),
    ("users", "*", "messages"): ("messages", messages.list_messages),
    ("users", "*", "messages", "*"): ("message", messages.get_message),
    ("users", "*", "messages", "*", "attachments"): ("attachments", messages.attachments),
    ("users", "*", "mailfolders"): ("folders", folders.list_folders),
    ("users", "*", "mailfolders", "delta"): ("folders_delta", folders.folders_delta),
    ("users", "*", "mailfolders", "*"): ("folder", folders.get_folder),
    ("users", "*", "mailfolders", "*", "childfolders"): ("folders", folders.list_folders),
    ("users", "*", "mailfolders", "*", "messages"): ("messages", messages.list_messages),
    ("users", "*", "mailfolders", "*", "messages", "delta"): ("delta", message_delta),
    ("users", "*", "mailfolders", "*", "messages", "*"): ("message", messages.get_message),
    ("users", "*", "mailfolders", "*", "messagerules"): ("rules", folders.list_rules),
    ("users", "*", "mailfolders", "*", "messagerules", "*"): ("rules", folders.list_rules),
}
_LAST_WORDS = frozenset({"delta", _USER})


class Router:
    """Answers calls below /v1.0 except $batch."""

    def __init__(self, service: Service, subscriptions: Subscriptions) -> None:
        self._service = service
        self._subscriptions = subscriptions

    def mailbox_of(self, parts: list[str]) -> Mailbox | None:
        """The mailbox whose limits a call counts against (plain directory reads count nowhere)."""
        if len(parts) < 3 or parts[0].lower() != "users":
            return None
        return self._service.world.find(parts[1])

    @staticmethod
    def kind(parts: list[str]) -> str:
        """The word under which a call is counted."""
        if parts and parts[0].lower() == "subscriptions":
            return "subscriptions"
        found = _lookup(parts)
        return found[0] if found else "other"

    @staticmethod
    def waits(call: Call) -> bool:
        """Whether a call waits for the client's handshake."""
        return call.parts[0].lower() == "subscriptions" and call.method in ("POST", "PATCH")

    def answer(self, call: Call) -> Answer:
        """Answer a call that reads, at once. Raises GraphError."""
        call.at = self._service.world.clock.instant() if not call.at else call.at
        if call.parts[0].lower() == "subscriptions":
            return self._subscription(call)
        found = _lookup(call.parts)
        if found is None:
            self._explain(call)
        assert found is not None
        if call.method != "GET":
            raise GraphError(
                405, "Request_BadRequest", "The simulator's mailboxes are changed by acts only."
            )
        return found[1](self._service, call)

    def _subscription(self, call: Call) -> Answer:
        listing = call.method == "GET" and len(call.parts) == 1
        number = call.caller.tenant.number
        self._service.limits.count_subscription_call(number, call.method, listing)
        if listing:
            return self._subscriptions.listing(call)
        if len(call.parts) == 2 and call.method == "GET":
            return self._subscriptions.one(call)
        if len(call.parts) == 2 and call.method == "DELETE":
            return self._subscriptions.delete(call)
        raise GraphError(405, "Request_BadRequest", "This method is not supported here.")

    async def answer_waiting(self, call: Call) -> Answer:
        """Answer a call that may wait for the client. Raises GraphError."""
        call.at = self._service.world.clock.instant()
        number = call.caller.tenant.number
        self._service.limits.count_subscription_call(number, call.method, False)
        if len(call.parts) == 1 and call.method == "POST":
            return await self._subscriptions.create(call)
        if len(call.parts) == 2 and call.method == "PATCH":
            return await self._subscriptions.update(call)
        if (
            len(call.parts) == 3
            and call.method == "POST"
            and call.parts[2].lower() == "reauthorize"
        ):
            return self._subscriptions.reauthorize(call)
        raise GraphError(405, "Request_BadRequest", "This method is not supported here.")

    @staticmethod
    def _explain(call: Call) -> None:
        words = [part.lower() for part in call.parts]
        if len(words) == 4 and words[0] == "users" and words[2:] == ["messages", "delta"]:
            raise GraphError(
                400,
                "ErrorInvalidRequest",
                "Change tracking is not supported against 'microsoft.graph.message'.",
            )
        raise GraphError(
            400, "BadRequest", f"Resource not found for the segment '{words[-1][:40]}'."
        )


def _lookup(parts: list[str]) -> tuple[str, Handler] | None:
    words = [part.lower() for part in parts]
    if words and words[-1] == "graph.user":  # the short name of the same type
        words[-1] = _USER
    if words[2:] == ["messages", "delta"]:
        return None
    found = _TREE.get(tuple(words))
    if found is not None:
        return found
    pattern = tuple(
        word if place % 2 == 0 or (place == len(words) - 1 and word in _LAST_WORDS) else "*"
        for place, word in enumerate(words)
    )
    return _TREE.get(pattern)
