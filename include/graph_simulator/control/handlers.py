"""Handlers of /simulator/…: acts, clock, journal, faults, traffic, statistics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from graph_simulator.clock import iso_micros, machine_us, parse_duration, parse_instant
from graph_simulator.control.agenda import Agenda
from graph_simulator.delivery.office import PostOffice
from graph_simulator.errors import ControlRefused
from graph_simulator.faults import KINDS
from graph_simulator.graph.service import Service
from graph_simulator.world.model import ActResult, Tenant

__all__ = ["Control"]

CHUNK = 5000
LOOPBACK = frozenset({"127.0.0.1", "::1"})
_encode = msgspec.json.Encoder().encode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encode(body), status=status, content_type="application/json")


def _flat(result: ActResult) -> dict[str, Any]:
    return {
        "item": result.item_id,
        "number": result.number,
        "at": result.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "mailbox": result.mailbox,
        "delivered": [_flat(one) for one in result.delivered],
    }


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError as found:
        raise ControlRefused(400, f"the body is not JSON: {found}.") from None
    if not isinstance(body, dict):
        raise ControlRefused(400, "the body must be a JSON object.")
    return body


def _whole(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdigit():
        raise ControlRefused(400, f"{name} must be a whole number.")
    return int(text)


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
            ("GET", "/simulator/tenants", self._tenants),
            ("POST", "/simulator/tenants", self._create_tenant),
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
            ("POST", "/simulator/tokens/revoke", self._revoke),
            ("GET", "/simulator/folders", self._folders),
        ]
        return [web.route(method, path, self._guarded(call)) for method, path, call in table]

    def _guarded(self, call: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if request.remote not in LOOPBACK:
                return _answer({"error": "the control API answers loopback only."}, 403)
            try:
                answer = await call(request)
            except ControlRefused as refusal:
                answer = _answer({"error": refusal.message}, refusal.status)
            self._world.store.commit()
            return answer

        return guarded

    # -- tenants and acts --------------------------------------------------------------------

    def _tenant_row(self, tenant: Tenant, *, users: bool) -> dict[str, Any]:
        staff = self._world.staff[tenant.number]
        row: dict[str, Any] = {
            "tenant_id": tenant.id,
            "domain": tenant.domain,
            "client_id": tenant.client_id,
            "client_secret": tenant.secret,
            "roles": tenant.roles,
            "mailboxes": len(staff),
        }
        if users:
            row["users"] = [{"id": m.aad_id, "address": m.address, "state": m.state} for m in staff]
        return row

    async def _tenants(self, request: web.Request) -> web.Response:
        users = request.query.get("users", "1") != "0"
        rows = [self._tenant_row(t, users=users) for t in self._world.tenants.values()]
        return _answer({"tenants": rows})

    async def _create_tenant(self, request: web.Request) -> web.Response:
        body = await _body(request)
        unknown = sorted(set(body) - {"domain", "mailboxes", "seed", "history", "roles"})
        if unknown:
            raise ControlRefused(400, f"tenants does not know: {', '.join(unknown)}.")
        mailboxes, history = body.get("mailboxes", 0), body.get("history", 20)
        if not isinstance(mailboxes, int) or not 0 <= mailboxes <= 200_000:
            raise ControlRefused(400, "mailboxes must be a number from 0 to 200,000.")
        if not isinstance(history, int) or not 0 <= history <= 1_000_000:
            raise ControlRefused(400, "history must be a number from 0 to 1,000,000.")
        tenant = self._world.create_tenant(
            str(body.get("domain", "")), mailboxes, seed=body.get("seed"), history=history,
            roles=body.get("roles"),
        )  # fmt: skip
        return _answer(self._tenant_row(tenant, users=True), 201)

    async def _act(self, request: web.Request) -> web.Response:
        body = await _body(request)
        mailbox, do = body.pop("mailbox", None), body.pop("do", None)
        if not isinstance(mailbox, str) or not isinstance(do, str):
            raise ControlRefused(400, "an act needs mailbox (object id or address) and do.")
        result = self._world.act(mailbox, do, **body)
        self._service.stats.acts[do] += 1
        return _answer(_flat(result))

    async def _folders(self, request: web.Request) -> web.Response:
        """Folders of a mailbox with ids and kinds, hidden ones and the dumpster included."""
        from graph_simulator.ids import folder_id

        mailbox = self._world.mailbox(request.query.get("mailbox", ""))
        box = self._world.box(mailbox)
        return _answer(
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
        return _answer(self._clock_row())

    async def _move_clock(self, request: web.Request) -> web.Response:
        body = await _body(request)
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
        return _answer(self._clock_row())

    # -- what happened -----------------------------------------------------------------------

    async def _journal(self, request: web.Request) -> web.StreamResponse:
        after, limit = _whole(request, "after", 0), _whole(request, "limit", 1 << 40)
        self._world.store.commit()
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        upto = self._world.journal.number
        while limit > 0 and after < upto:
            rows = self._world.journal.lines(after, min(CHUNK, limit, upto - after))
            if not rows:
                break
            await answer.write(b"\n".join(line for _, line in rows) + b"\n")
            after, limit = rows[-1][0], limit - len(rows)
        await answer.write_eof()
        return answer

    async def _stats(self, request: web.Request) -> web.Response:
        service, world = self._service, self._world
        highest = service.limits.highest
        return _answer(
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
        after, last = _whole(request, "after", 0), _whole(request, "last", 1000)
        log = self._service.log
        return _answer({"number": log.number, "requests": log.tail(after, last)})

    async def _subscriptions(self, request: web.Request) -> web.Response:
        world = self._world
        rows = [
            {
                "id": s.id, "mailbox": world.mailboxes[s.mailbox].aad_id, "resource": s.resource,
                "change_type": s.change_type, "url": s.notification_url,
                "lifecycle_url": s.lifecycle_url, "expires": iso_micros(s.expires),
                "immutable": s.immutable, "dead": s.dead, "paused": s.paused,
                "client_state": s.client_state,
            }
            for s in world.subscriptions.values()
        ]  # fmt: skip
        return _answer({"subscriptions": rows})

    async def _revoke(self, request: web.Request) -> web.Response:
        self._service.access.revoke_all()
        return _answer({"revoked": True})

    # -- faults and traffic ------------------------------------------------------------------

    async def _faults(self, request: web.Request) -> web.Response:
        known = {kind: {"what": what, "parameters": p} for kind, (what, p) in KINDS.items()}
        return _answer({"faults": self._service.faults.rows(), "kinds": known})

    async def _add_fault(self, request: web.Request) -> web.Response:
        fault = self._service.faults.add(await _body(request))
        row = fault.row()
        if fault.kind in ("remove_subscription", "reauthorize"):
            row["struck"] = self._strike_subscriptions(fault.kind)
        return _answer(row, 201)

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
                one.paused = True
                world.store.put("subscription", one.id, one)
                self._office.lifecycle(one, "reauthorizationRequired")
                continue
            if fault.params["tell"]:
                self._office.lifecycle(one, "subscriptionRemoved")
            world.unsubscribe(one)
        self._service.faults.clear(kind)
        return struck

    async def _clear_faults(self, request: web.Request) -> web.Response:
        return _answer({"cleared": self._service.faults.clear(request.query.get("kind"))})

    async def _traffic(self, request: web.Request) -> web.Response:
        return _answer(self._agenda.progress())

    async def _play(self, request: web.Request) -> web.Response:
        return _answer(self._agenda.play(await _body(request)), 201)

    async def _stop_playing(self, request: web.Request) -> web.Response:
        return _answer(self._agenda.stop_playing())
