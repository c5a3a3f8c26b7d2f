"""Which faults are on, and whether one strikes here and now.

A fault has a kind, a rate (0-1, the chance at each opportunity), what it matches, and a span of
Graph time. Its own seeded dice decide, so a run can be repeated.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from graph_simulator.clock import iso_micros, parse_duration, parse_instant
from graph_simulator.errors import ControlRefused, GraphError
from graph_simulator.graph.call import Answer
from graph_simulator.graph.tokens import sync_state_lost
from graph_simulator.stats import Stats
from graph_simulator.world.box import Box
from graph_simulator.world.model import Item
from graph_simulator.world.world import World

__all__ = ["KINDS", "Fault", "Faults"]

#: kind -> (what it does, parameters with their defaults)
KINDS: dict[str, tuple[str, dict[str, float]]] = {
    "drop": ("a notification is lost", {}),
    "double": ("a notification is sent twice", {}),
    "reorder": ("a notification is held back so that later ones overtake it", {"seconds": 2.0}),
    "delay": ("a notification comes late, by up to `seconds` of Graph time", {"seconds": 120.0}),
    "silence": ("no notification is sent at all", {}),
    "missed": ("notifications are lost and the lifecycle URL is told `missed`", {}),
    "remove_subscription": ("subscriptions vanish; `tell` 1: the lifecycle URL hears", {"tell": 1}),
    "reauthorize": ("the lifecycle URL is told reauthorizationRequired; deliveries stop", {}),
    "dead_201": ("a new subscription is answered 201 and never delivers", {}),
    "validation_timeout": ("the handshake ends as timed out, after `seconds`", {"seconds": 0.1}),
    "extension_error": ("creating is refused by ExtensionError, `status` inside", {"status": 403}),
    "propagation": ("403 for a mailbox, until it has propagated (`until`)", {}),
    "early_notification": ("a notification precedes the 201 by `seconds`", {"seconds": 0.5}),
    "429": ("a request is throttled", {"retry_after": 2}),
    "5xx": ("a request fails with 500, 502, 503 or 504, some with an empty body", {}),
    "token_429": ("the token endpoint is throttled", {"retry_after": 2}),
    "token_5xx": ("the token endpoint fails with 500, 502, 503 or 504", {}),
    "410": ("a delta token is no longer known", {}),
    "partial_rows": ("a read toggle comes as a row of three fields", {}),
    "empty_pages": ("a delta page is empty and still has a next link", {}),
    "repeat_rows": ("a delta row comes twice", {}),
    "aba_loss": ("what left a folder and came back is shown as removed only", {}),
    "lag": ("what changed in the last `seconds` (machine) is not shown yet", {"seconds": 5.0}),
    "404_after_notification": ("a new item is not found for `seconds` (machine)", {"seconds": 5.0}),
    "quota": ("delta is refused: the mailbox is full", {}),
    "wrong_counts": ("a folder's totalItemCount is off by `off`", {"off": -1}),
    "foreign_next_link": ("a next link points at another host", {}),
    "clock_skew": ("`Date` is off by `seconds`", {"seconds": 90.0}),
    "tampered": ("the ciphertext of a rich item is altered after it was signed", {}),
    "bad_token": ("validation tokens are meant for another application", {}),
    "bad_item_id": ("a notification names an item id that is no id", {}),
}  # fmt: skip
_MATCHES = ("mailbox", "path", "method", "url", "change")
_MAX_DELAY_S = 180.0


class Fault(msgspec.Struct):
    """One fault that is on; times are Graph time in microseconds."""

    number: int
    kind: str
    rate: float
    match: dict[str, str]
    start: int
    until: int | None
    seed: int
    params: dict[str, float]
    hits: int = 0

    def row(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "number": self.number,
            "kind": self.kind,
            "rate": self.rate,
            "match": self.match,
            "at": iso_micros(self.start),
            "until": None if self.until is None else iso_micros(self.until),
            "seed": self.seed,
            **self.params,
            "hits": self.hits,
        }


def _check(kind: str, rate: float, params: Mapping[str, float]) -> None:
    """Raises ControlRefused (400) for numbers that mean nothing."""
    if not 0 <= rate <= 1:
        raise ControlRefused(400, "rate must lie between 0 and 1.")
    if kind == "delay" and not 0 < params["seconds"] < _MAX_DELAY_S:
        raise ControlRefused(400, "delay: Graph's maximum is 3 minutes; seconds must be below.")
    if kind == "extension_error" and int(params["status"]) not in set(HTTPStatus):
        raise ControlRefused(400, "extension_error: status must be an HTTP status.")


class Faults:
    """The faults that are on. Every question is cheap while its kind is off."""

    def __init__(self, world: World, stats: Stats) -> None:
        self._world = world
        self._stats = stats
        self._on: dict[str, list[tuple[Fault, random.Random]]] = {}
        self._changed_at: dict[int, float] = {}
        self._number = 0
        self._generations: dict[int, list[tuple[float, int]]] = {}
        self._copies: dict[int, Item] = {}
        for body in world.store.bodies("fault"):
            self._enter(msgspec.msgpack.decode(body, type=Fault))
        world.notices.append(self._noticed)

    def _enter(self, fault: Fault) -> None:
        self._number = max(self._number, fault.number)
        dice = random.Random(f"{fault.seed}/{fault.kind}/{fault.number}")
        self._on.setdefault(fault.kind, []).append((fault, dice))

    def add(self, given: Mapping[str, Any]) -> Fault:
        """Switch a fault on. Raises ControlRefused (400) in words for anything unknown."""
        given = dict(given)
        kind = given.pop("kind", None)
        if kind not in KINDS:
            raise ControlRefused(
                400, f"unknown fault kind {kind!r}; known: {', '.join(sorted(KINDS))}."
            )
        params = dict(KINDS[kind][1])
        try:
            rate = float(given.pop("rate", 1.0))
            seed = int(given.pop("seed", self._world.seed))
            for name in params:
                if name in given:
                    params[name] = float(given.pop(name))
            start = self._instant(given.pop("at", None)) or self._world.clock.instant()
            until = self._instant(given.pop("until", None))
        except (TypeError, ValueError) as found:
            raise ControlRefused(
                400,
                "a fault's rate, seed and parameters are numbers; at and until are instants or "
                f"durations from now ({found}).",
            ) from None
        match = given.pop("match", None) or {}
        if not isinstance(match, dict) or any(
            name not in _MATCHES or not isinstance(value, str) for name, value in match.items()
        ):
            raise ControlRefused(400, f"match may hold texts under: {', '.join(_MATCHES)}.")
        if "mailbox" in match:
            match = {**match, "mailbox": self._world.mailbox(match["mailbox"]).aad_id}
        if given:
            raise ControlRefused(
                400,
                f"the fault {kind} does not know {', '.join(sorted(given))}; it knows rate, "
                f"match, at, until, seed{''.join(', ' + name for name in params)}.",
            )
        _check(kind, rate, params)
        fault = Fault(self._number + 1, kind, rate, match, start, until, seed, params)
        self._enter(fault)
        self._world.store.put("fault", fault.number, fault)
        return fault

    def _instant(self, text: Any) -> int | None:
        if text is None:
            return None
        if isinstance(text, str) and text.startswith("P"):
            return self._world.clock.instant() + int(parse_duration(text) * 1_000_000)
        return parse_instant(str(text))

    def clear(self, kind: str | None = None) -> int:
        """Switch faults off, all or those of a kind; returns how many."""
        gone = [f for k, rows in self._on.items() if kind in (None, k) for f, _ in rows]
        for fault in gone:
            self._world.store.delete("fault", fault.number)
        self._copies.clear()
        if kind is None:
            self._on.clear()
        else:
            self._on.pop(kind, None)
        return len(gone)

    def rows(self) -> list[dict[str, Any]]:
        """All faults that are on."""
        return [fault.row() for rows in self._on.values() for fault, _ in rows]

    def strike(self, kind: str, **facts: str) -> Fault | None:
        """The fault of this kind that strikes at this opportunity, if one does."""
        rows = self._on.get(kind)
        if not rows:
            return None
        now = self._world.clock.instant()
        for fault, dice in rows:
            if now < fault.start or (fault.until is not None and now > fault.until):
                continue
            if any(
                value.lower() not in facts.get(name, "").lower()
                for name, value in fault.match.items()
            ):
                continue
            if dice.random() < fault.rate:
                fault.hits += 1
                self._stats.faults[kind] += 1
                return fault
        return None

    @property
    def is_any_on(self) -> bool:
        """Whether any fault is on."""
        return bool(self._on)

    def is_on(self, kind: str) -> bool:
        """Whether a fault of this kind was switched on."""
        return bool(self._on.get(kind))

    # -- questions of the Graph handlers ------------------------------------------------------

    def on_request(self, method: str, path: str, mailbox: str) -> GraphError | None:
        """The refusal of a request by `429` or `5xx`; an empty code means an empty body."""
        if not self._on:
            return None
        facts = {"method": method, "path": path, "mailbox": mailbox}
        throttle = self.strike("429", **facts)
        if throttle:
            self._stats.throttled["fault"] += 1
            return GraphError(
                429,
                "TooManyRequests",
                "Too many requests.",
                {"Retry-After": f"{throttle.params['retry_after']:g}"},
            )
        if mailbox and self.strike("propagation", **facts):
            return GraphError(
                403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."
            )
        broken = self.strike("5xx", **facts)
        if broken:
            status, code = ((500, "ErrorInternalServerError"), (502, "BadGateway"), (503, ""),
                            (503, "ServiceUnavailable"), (504, "GatewayTimeout"))[
                broken.hits % 5]  # fmt: skip
            return GraphError(status, code, "The service failed." if code else "")
        return None

    def inner_status(self, mailbox: str) -> tuple[str, str] | None:
        """What Exchange says when a subscription is made: (status word, reason), or nothing."""
        if self.strike("propagation", mailbox=mailbox):
            return "Forbidden", "Access is denied. Check credentials and try again."
        found = self.strike("extension_error", mailbox=mailbox)
        if found is None:
            return None
        status = HTTPStatus(int(found.params["status"]))
        return status.phrase.replace(" ", ""), status.phrase

    def on_token(self) -> Answer | None:
        """The refusal of a request for a token by `token_429` or `token_5xx`."""
        if not self._on:
            return None
        throttle = self.strike("token_429")
        if throttle:
            return Answer(
                429,
                {"error": "temporarily_unavailable", "error_description":
                 "AADSTS90055: Too many requests."},
                {"Retry-After": f"{throttle.params['retry_after']:g}"},
            )  # fmt: skip
        broken = self.strike("token_5xx")
        if broken:
            status = (500, 502, 503, 504)[broken.hits % 4]
            return Answer(
                status,
                {"error": "temporarily_unavailable", "error_description":
                 "AADSTS90033: A transient error has occurred. Please try again."},
            )  # fmt: skip
        return None

    def refuse_delta(self, box: Box, continued: bool) -> None:
        """Raises GraphError where `quota` or, for a continuation, `410` strikes."""
        if not self._on:
            return
        mailbox = box.mailbox.aad_id
        if self.strike("quota", mailbox=mailbox):
            raise GraphError(
                403, "ErrorQuotaExceeded", "Mailbox has exceeded maximum mailbox size."
            )
        if continued and self.strike("410", mailbox=mailbox):
            raise sync_state_lost()

    def partial_row(self, box: Box) -> bool:
        """Whether a read toggle comes as a row of three fields."""
        return self.strike("partial_rows", mailbox=box.mailbox.aad_id) is not None

    def repeats_row(self, box: Box) -> bool:
        """Whether a delta row comes twice."""
        return self.strike("repeat_rows", mailbox=box.mailbox.aad_id) is not None

    def loses_return(self, box: Box) -> bool:
        """Whether an item that left and came back is shown as removed only."""
        return self.strike("aba_loss", mailbox=box.mailbox.aad_id) is not None

    def empties_page(self, box: Box) -> bool:
        """Whether a delta page comes empty."""
        return self.strike("empty_pages", mailbox=box.mailbox.aad_id) is not None

    def miscounts(self, box: Box) -> int:
        """By how much a folder's count of items is off."""
        fault = self.strike("wrong_counts", mailbox=box.mailbox.aad_id) if self._on else None
        return int(fault.params["off"]) if fault else 0

    def foreign_link(self, parts: list[str]) -> bool:
        """Whether a next link points elsewhere."""
        return self.strike("foreign_next_link", path="/".join(parts)) is not None

    def skew_s(self) -> float:
        """Seconds by which `Date` is off."""
        fault = self.strike("clock_skew") if self._on else None
        return fault.params["seconds"] if fault else 0.0

    # -- replication: what is not shown yet ---------------------------------------------------

    def _noticed(self, box: Box, item: Item, change: str, folder: int, version: int) -> None:
        if not (self.is_on("lag") or self.is_on("404_after_notification")):
            return
        now = time.monotonic()
        self._changed_at[item.number] = now
        self._generations.setdefault(box.mailbox.number, []).append((now, item.change - 1))

    def _age(self, item: Item) -> float:
        return time.monotonic() - self._changed_at.get(item.number, -1e9)

    def hides(self, item: Item, box: Box) -> bool:
        """Whether an item is not found although it is there."""
        if not self._on or item.number not in self._changed_at or item.shown:
            return False
        for kind in ("404_after_notification", "lag"):
            for fault, _ in self._on.get(kind, ()):
                if self._age(item) < fault.params["seconds"]:
                    return self.strike(kind, mailbox=box.mailbox.aad_id) is not None
        return False

    def lagging(self, item: Item, box: Box) -> Item | None:
        """The state last shown of an item that changed a moment ago; None = show it as it is."""
        if not self.is_on("lag"):
            return None
        before = self._copies.get(item.number)
        fault = self._on["lag"][0][0]
        if (
            before is not None
            and self._age(item) < fault.params["seconds"]
            and self.strike("lag", mailbox=box.mailbox.aad_id)
        ):
            return before
        return None

    def remember(self, item: Item) -> None:
        """Keep the state just shown: a later answer may lag behind, never behind this."""
        if self.is_on("lag"):
            self._copies[item.number] = msgspec.structs.replace(item)

    def replicated(self, box: Box, upto: int) -> int:
        """The mailbox generation that delta may show, at most `upto`."""
        if not self.is_on("lag"):
            return upto
        rows = self._generations.get(box.mailbox.number, [])
        seconds = self._on["lag"][0][0].params["seconds"]
        edge = time.monotonic() - seconds
        while rows and rows[0][0] < edge:
            rows.pop(0)
        if rows and self.strike("lag", mailbox=box.mailbox.aad_id):
            return max(0, min(upto, rows[0][1]))
        return upto
