"""The process: one event loop, Graph and control on a plain port, the same on a TLS port."""

from __future__ import annotations

import asyncio
import uuid
from email.utils import formatdate
from typing import Any

import msgspec
from aiohttp import web

from graph_simulator.clock import Clock
from graph_simulator.config import Config
from graph_simulator.control.agenda import Agenda
from graph_simulator.control.handlers import Control
from graph_simulator.delivery.handshake import Handshake
from graph_simulator.delivery.office import PostOffice
from graph_simulator.errors import ControlRefused, GraphError
from graph_simulator.faults import Faults
from graph_simulator.graph.access import Access, openid_configuration
from graph_simulator.graph.batch import Batch, error_body
from graph_simulator.graph.call import Answer, Call, parts_of, query_of
from graph_simulator.graph.limits import Limits
from graph_simulator.graph.router import Router
from graph_simulator.graph.service import Service
from graph_simulator.graph.subscriptions import Subscriptions
from graph_simulator.requests import RequestLog
from graph_simulator.stats import Stats
from graph_simulator.store import Store
from graph_simulator.tls import server_context
from graph_simulator.world.world import World

__all__ = ["Simulator"]

LARGEST_BODY = 4 * 1024 * 1024
_encode = msgspec.json.Encoder().encode


class Simulator:
    """A running simulator. `start` opens the ports, `stop` closes everything."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store = Store(config.state)
        kept = self.store.get("meta", "clock")
        file = config.clock_file
        if kept is None:
            clock = Clock.start(config.start_back_s, config.speed, file)
            self.store.put("meta", "seed", config.seed)
            seed = config.seed
        else:  # the state goes on where it is: its clock and seed outrank the command line's
            line = msgspec.msgpack.decode(kept)
            clock = Clock(line["machine_at"], line["graph_at"], line["speed"], file)
            seed = msgspec.msgpack.decode(self.store.get("meta", "seed") or b"\x00")
        self.world = World(self.store, clock, seed)
        clock.changed.append(self._keep_clock)
        self._keep_clock()
        self.stats = Stats()
        faults = Faults(self.world, self.stats)
        limits = Limits(self.stats)
        self.service = Service(
            self.world, Access(self.world), limits, faults, self.stats, RequestLog(),
            latency_s=config.request_latency_s, delta_life_s=config.delta_days * 86400,
        )  # fmt: skip
        self.office = PostOffice(
            self.world, faults, self.stats, config.delivery_latency_s, config.batch,
            judged=config.endpoint_states, legacy=config.legacy,
        )  # fmt: skip
        self.agenda: Agenda | None = None
        self.runner: web.AppRunner | None = None
        self._router: Router | None = None
        self._batch: Batch | None = None

    def _keep_clock(self) -> None:
        self.store.put("meta", "clock", self.world.clock.line())
        self.store.commit()

    async def start(self) -> None:
        """Open the ports and begin to act and deliver."""
        await self.office.start()
        handshake = Handshake(self.office.session, self.stats, self.office.early)
        self._router = Router(self.service, Subscriptions(self.service, handshake))
        self._batch = Batch(self.service, self._router)
        self.agenda = Agenda(self.world, self.stats)
        if self.config.mailboxes and not self.world.tenants:
            self.world.create_tenant(
                self.config.domain, self.config.mailboxes, history=self.config.history
            )
        self.store.commit()
        self.agenda.start()
        if self.config.traffic is not None:
            self.agenda.prepare(self.config.traffic, history=self.config.history)
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_routes(Control(self.service, self.office, self.agenda).routes())
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._openid)
        app.router.add_get("/{tenant}/.well-known/openid-configuration", self._openid)
        for place in ("/{tenant}/discovery/v2.0/keys", "/{tenant}/discovery/keys"):
            app.router.add_get(place, self._keys)
        app.router.add_post("/simulator/tokens/rotate", self._rotate)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        app.router.add_route("*", "/v1.0/{tail:.*}", self._graph)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        if self.config.tls_port is not None:
            context = server_context(self.config.state)
            await web.TCPSite(
                self.runner, "127.0.0.1", self.config.tls_port, ssl_context=context
            ).start()
        # Last: whoever sees this port answer may use the other one too.
        await web.TCPSite(self.runner, "127.0.0.1", self.config.port, backlog=1024).start()

    async def stop(self) -> None:
        """Stop acting, delivering and answering; the state file is complete."""
        if self.agenda is not None:
            await self.agenda.stop()
        if self.runner is not None:
            await self.runner.cleanup()
        await self.office.stop()
        self.store.close()

    # -- sign-in -----------------------------------------------------------------------------

    async def _openid(self, request: web.Request) -> web.Response:
        base = f"{request.scheme}://{request.host}"
        body = openid_configuration(base, request.match_info["tenant"])
        return web.Response(body=_encode(body), content_type="application/json")

    async def _keys(self, request: web.Request) -> web.Response:
        self.stats.requests["keys"] += 1
        body = _encode(self.office.signer.published())
        self.store.commit()
        return web.Response(body=body, content_type="application/json")

    async def _rotate(self, request: web.Request) -> web.Response:
        kid = self.office.signer.rotate()
        self.store.commit()
        return web.Response(body=_encode({"kid": kid}), content_type="application/json")

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        name = request.match_info["tenant"]
        answer = self.service.faults.on_token()
        if answer is None:
            endpoint = f"{request.scheme}://{request.host}{request.path}"
            answer = self.service.access.token(name, form, endpoint)
        self.stats.requests["token"] += 1
        return self._response(answer, self.world.clock.instant(), str(uuid.uuid4()))

    # -- Graph -------------------------------------------------------------------------------

    async def _graph(self, request: web.Request) -> web.Response:
        request_id = str(uuid.uuid4())
        raw = request.rel_url.raw_path[len("/v1.0") :]
        query = query_of(request.rel_url.raw_query_string)
        prefer = request.headers.get("Prefer", "")
        call: Call | None = None
        try:
            caller = self.service.access.check(request.headers.get("Authorization"))
            body: Any = None
            if request.body_exists:
                body = self._json(await request.read())
            call = Call(
                request.method, parts_of(raw), query, request.headers, body,
                f"{request.scheme}://{request.host}/v1.0", caller,
            )  # fmt: skip
            answer = await self._answer(call, raw, request.raw_path)
            at = call.at
        except GraphError as error:
            # an absence is shown at the instant it was looked at, like a state
            at = (call.at if call is not None else 0) or self.world.clock.instant()
            if "Retry-After" in error.headers and error.status == 429:
                what = f"{request.method} {request.raw_path}"
                self.service.limits.note_refusal(
                    self._caller_id(request), what, error.headers["Retry-After"]
                )
            stamp = self.world.when(at).strftime("%Y-%m-%dT%H:%M:%S")
            answer = Answer(error.status, error_body(error, stamp, request_id), dict(error.headers))
        response = self._response(answer, at, request_id)
        self.stats.answers[str(answer.status)] += 1
        self.service.log.add(request.method, raw, query, prefer, answer.status)
        self.store.commit()
        return response

    def _caller_id(self, request: web.Request) -> str:
        try:
            return self.service.access.check(request.headers.get("Authorization")).tenant.id
        except GraphError:
            return ""

    @staticmethod
    def _json(raw: bytes) -> Any:
        try:
            return msgspec.json.decode(raw)
        except msgspec.DecodeError:
            raise GraphError(400, "BadRequest", "Unable to read JSON request payload.") from None

    async def _answer(self, call: Call, raw: str, raw_path: str) -> Answer:
        assert self._router is not None and self._batch is not None
        service = self.service
        if call.parts == ["$batch"]:
            service.stats.requests["batch"] += 1
            if call.method != "POST":
                raise GraphError(405, "BadRequest", "$batch takes POST.")
            return await self._batch.run(call)
        service.stats.requests[self._router.kind(call.parts)] += 1
        service.limits.note_retry(call.caller.tenant.id, f"{call.method} {raw_path}")
        mailbox = self._router.mailbox_of(call.parts)
        fault = service.faults.on_request(call.method, raw, mailbox.aad_id if mailbox else "")
        if fault is not None:
            raise fault
        if self._router.waits(call):
            await asyncio.sleep(service.latency_s)
            return await self._router.answer_waiting(call)
        if mailbox is None:
            await asyncio.sleep(service.latency_s)
            return self._router.answer(call)
        over = service.limits.count_request(mailbox.number)
        if over is not None:
            raise over
        if not service.limits.take_places(mailbox.number, 1):
            raise service.limits.concurrency_refusal()
        try:
            await asyncio.sleep(service.latency_s)
            return self._router.answer(call)  # no pause from here to the Date: one instant
        finally:
            service.limits.leave(mailbox.number, 1)

    def _response(self, answer: Answer, at: int, request_id: str) -> web.Response:
        shown = at // 1_000_000 + self.service.faults.skew_s()
        headers = {
            "Date": formatdate(int(shown), usegmt=True),
            "request-id": request_id,
            "client-request-id": request_id,
            **answer.headers,
        }
        if answer.body is None:
            return web.Response(status=answer.status, headers=headers)
        headers["Content-Type"] = (
            "application/json;odata.metadata=minimal;odata.streaming=true;"
            "IEEE754Compatible=false;charset=utf-8"
        )
        return web.Response(body=_encode(answer.body), status=answer.status, headers=headers)


def refusal_text(found: Exception) -> str:
    """One line for the terminal."""
    return found.message if isinstance(found, ControlRefused) else str(found)
