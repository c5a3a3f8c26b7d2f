"""Handlers of /simulator/…: acts, clock, journal, faults, traffic, statistics."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from graph_simulator.clock import iso_micros, machine_us, parse_duration, parse_instant
from graph_simulator.control.administration import Administration
from graph_simulator.control.agenda import Agenda
from graph_simulator.control.answers import Handler, answer, body_of, whole
from graph_simulator.delivery.office import PostOffice
from graph_simulator.errors import ControlRefused
from graph_simulator.faults import KINDS
from graph_simulator.graph.service import Service
from graph_simulator.world.model import ActResult

__all__ = ["Control"]

CHUNK = 5000
LOOPBACK = frozenset({"127.0.0.1", "::1"})


def _flat(result: ActResult) -> dict[str, Any]:
    return {
        "item": result.item_id,
        "number": result.number,
        "at": result.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "mailbox": result.mailbox,
        "delivered": [_flat(one) for one in result.delivered],
    }


class Control:
    """The control API."""

    def __init__(self, service: Service, office: PostOffice, agenda: Agenda) -> None:
        self._service = service
        self._world = service.world
        self._office = office
        self._agenda = agenda

    def routes(self) -> list[web.RouteDef]:
        """aiohttp routes."""
        table: list[tuple[str, str, Handler]] = [
            *Administration(self._service).table(),
            ("POST", "/simulator/act", self._act),
            ("GET", "/simulator/clock", self._clock),
            ("POST", "/simulator/clock", self._move_clock),
            ("GET", "/simulator/journal", self._journal),
            ("GET", "/simulator/stats", self._stats),
            ("GET", "/simulator/requests", self._requests),
            ("GET", "/simulator/faults", self._faults),
            ("POST", "/simulator/faults", self._add_fault),
            ("DELETE", "/simulator/faults", self._clear_faults),
            ("GET", "/simulator/traffic", self._traffic),
            ("POST", "/simulator/traffic", self._play),
            ("DELETE", "/simulator/traffic", self._stop_playing),
            ("GET", "/simulator/subscriptions", self._subscriptions),
            ("GET", "/simulator/folders", self._folders),
        ]
        return [web.route(method, path, self._guarded(call)) for method, path, call in table]

    def _guarded(self, call: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if request.remote not in LOOPBACK:
                return answer({"error": "the control API answers loopback only."}, 403)
            try:
                told = await call(request)
            except ControlRefused as refusal:
                told = answer({"error": refusal.message}, refusal.status)
            self._world.store.commit()
            return told

        return guarded

    # -- acts -------------------------------------------------------------------------------------

    async def _act(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        mailbox, do = body.pop("mailbox", None), body.pop("do", None)
        if not isinstance(mailbox, str) or not isinstance(do, str):
            raise ControlRefused(400, "an act needs mailbox (object id or address) and do.")
        result = self._world.act(mailbox, do, **body)
        self._service.stats.acts[do] += 1
        return answer(_flat(result))

    async def _folders(self, request: web.Request) -> web.Response:
        """Folders of a mailbox with ids and kinds, hidden ones and the dumpster included."""
        from graph_simulator.ids import folder_id

        mailbox = self._world.mailbox(request.query.get("mailbox", ""))
        box = self._world.box(mailbox)
        return answer(
            {
                "folders": [
                    {"id": folder_id(f.number), "name": f.name, "kind": f.kind,
                     "well_known": f.well_known, "parent": folder_id(f.parent),
                     "items": len(box.members[f.number])}
                    for f in box.folders.values() if not f.gone
                ]
            }
        )  # fmt: skip

    # -- clock -------------------------------------------------------------------------------

    def _clock_row(self) -> dict[str, Any]:
        clock = self._world.clock
        now = clock.instant()
        return {
            "graph_now": iso_micros(now),
            "machine_now": iso_micros(machine_us()),
            "behind_s": round(max(0.0, machine_us() - now) / 1_000_000, 3),
            "speed": clock.speed,
            **{f"line_{name}": value for name, value in clock.line().items() if name != "speed"},
        }

    async def _clock(self, request: web.Request) -> web.Response:
        return answer(self._clock_row())

    async def _move_clock(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        if not body or set(body) - {"advance", "to", "speed"}:
            raise ControlRefused(
                400, 'clock takes {"advance": "PT9H"}, {"to": "<instant>"} or {"speed": 60}.'
            )
        clock = self._world.clock
        try:
            if "advance" in body:
                clock.advance(parse_duration(str(body["advance"])))
            if "to" in body:
                clock.advance((parse_instant(str(body["to"])) - clock.raw_us()) / 1_000_000)
            if "speed" in body:
                clock.set_speed(float(body["speed"]))
        except (TypeError, ValueError) as found:
            raise ControlRefused(400, f"clock: {found}.") from None
        return answer(self._clock_row())

    # -- what happened -----------------------------------------------------------------------

    async def _journal(self, request: web.Request) -> web.StreamResponse:
        after, limit = whole(request, "after", 0), whole(request, "limit", 1 << 40)
        self._world.store.commit()
        lines = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await lines.prepare(request)
        upto = self._world.journal.number
        while limit > 0 and after < upto:
            rows = self._world.journal.lines(after, min(CHUNK, limit, upto - after))
            if not rows:
                break
            await lines.write(b"\n".join(line for _, line in rows) + b"\n")
            after, limit = rows[-1][0], limit - len(rows)
        await lines.write_eof()
        return lines

    async def _stats(self, request: web.Request) -> web.Response:
        service, world = self._service, self._world
        highest = service.limits.highest
        return answer(
            {
                **service.stats.row(),
                "highest_concurrency": max(highest.values(), default=0),
                "highest_concurrency_by_mailbox": {
                    world.mailboxes[number].aad_id: most for number, most in highest.items()
                },
                "pending_deliveries": self._office.pending,
                "endpoint_states": self._office.states(),
                "subscriptions": len(world.subscriptions),
                "mailboxes": len(world.mailboxes),
                "journal": world.journal.number,
                "journal_acts": world.journal.acts,
                "journal_served": world.journal.served_rows,
                "foreign_links": service.foreign_links,
                "traffic_playing": self._agenda.playing,
                "quiet": self._office.pending == 0 and not self._agenda.playing,
            }
        )

    async def _requests(self, request: web.Request) -> web.Response:
        after, last = whole(request, "after", 0), whole(request, "last", 1000)
        log = self._service.log
        return answer({"number": log.number, "requests": log.tail(after, last)})

    async def _subscriptions(self, request: web.Request) -> web.Response:
        world = self._world
        rows = [
            {
                "id": s.id, "mailbox": world.mailboxes[s.mailbox].aad_id, "resource": s.resource,
                "change_type": s.change_type, "url": s.notification_url,
                "lifecycle_url": s.lifecycle_url, "expires": iso_micros(s.expires),
                "immutable": s.immutable, "dead": s.dead, "paused": s.paused,
                "client_state": s.client_state, "certificate_id": s.certificate_id,
            }
            for s in world.subscriptions.values()
        ]  # fmt: skip
        return answer({"subscriptions": rows})

    # -- faults and traffic ------------------------------------------------------------------

    async def _faults(self, request: web.Request) -> web.Response:
        known = {kind: {"what": what, "parameters": p} for kind, (what, p) in KINDS.items()}
        return answer({"faults": self._service.faults.rows(), "kinds": known})

    async def _add_fault(self, request: web.Request) -> web.Response:
        fault = self._service.faults.add(await body_of(request))
        row = fault.row()
        if fault.kind in ("remove_subscription", "reauthorize"):
            row["struck"] = self._strike_subscriptions(fault.kind)
        return answer(row, 201)

    def _strike_subscriptions(self, kind: str) -> int:
        """These faults strike at once, at each subscription that matches."""
        world, struck = self._world, 0
        for one in list(world.subscriptions.values()):
            fault = self._service.faults.strike(
                kind, mailbox=world.mailboxes[one.mailbox].aad_id, url=one.notification_url
            )
            if fault is None:
                continue
            struck += 1
            if kind == "reauthorize":
                world.pause(one)
                continue
            if fault.params["tell"]:
                world.tell(one, "subscriptionRemoved")
            world.unsubscribe(one)
        self._service.faults.clear(kind)
        return struck

    async def _clear_faults(self, request: web.Request) -> web.Response:
        return answer({"cleared": self._service.faults.clear(request.query.get("kind"))})

    async def _traffic(self, request: web.Request) -> web.Response:
        return answer(self._agenda.progress())

    async def _play(self, request: web.Request) -> web.Response:
        return answer(self._agenda.play(await body_of(request)), 201)

    async def _stop_playing(self, request: web.Request) -> web.Response:
        return answer(self._agenda.stop_playing())
