"""$batch: up to 20 calls in one; each is throttled and answered on its own, at one instant."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call, parts_of, query_of
from graph_simulator.graph.router import Router
from graph_simulator.graph.service import Service

__all__ = ["Batch", "error_body"]

MOST = 20


@dataclass(slots=True)
class Part:
    """One item of a batch on its way."""

    id: str
    call: Call
    path: str
    raw: str
    after: list[str]
    mailbox: int = 0
    answer: Answer | None = None
    refused: GraphError | None = field(default=None)


def error_body(error: GraphError, date: str, request_id: str) -> dict[str, Any] | None:
    """Graph's error shape; None for the empty body that some 503s have."""
    if not error.code:
        return None
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "innerError": {
                "date": date,
                "request-id": request_id,
                "client-request-id": request_id,
            },
        }
    }


class Batch:
    """Runs batches."""

    def __init__(self, service: Service, router: Router) -> None:
        self._service = service
        self._router = router

    def _read(self, call: Call) -> list[Part]:
        body = call.body
        rows = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not rows:
            raise GraphError(400, "BadRequest", "Invalid batch payload format.")
        if len(rows) > MOST:
            raise GraphError(
                400, "BadRequest", f"Number of batch request steps exceeds the limit of {MOST}."
            )
        parts: list[Part] = []
        for row in rows:
            if not isinstance(row, dict) or not all(
                isinstance(row.get(name), str) for name in ("id", "method", "url")
            ):
                raise GraphError(400, "BadRequest", "Each request needs id, method and url.")
            raw_path, _, raw_query = row["url"].partition("?")
            one = Call(
                method=row["method"].upper(),
                parts=parts_of(raw_path),
                query=query_of(raw_query),
                headers=row.get("headers") or {},
                body=row.get("body"),
                base=call.base,
                caller=call.caller,
                batched=True,
            )
            after = row.get("dependsOn") or []
            parts.append(Part(row["id"], one, raw_path, row["url"], list(after)))
        ids = [part.id for part in parts]
        if len(set(ids)) != len(ids):
            raise GraphError(400, "BadRequest", "Request ids must be unique within a batch.")
        if any(name not in ids for part in parts for name in part.after):
            raise GraphError(400, "BadRequest", "dependsOn names an unknown request.")
        return parts

    async def run(self, call: Call) -> Answer:
        """Answer a $batch. Raises GraphError (400) for a malformed one."""
        parts = self._read(call)
        held = self._throttle(parts)
        try:
            # Graph forwards four at a time, whatever the mailboxes
            await asyncio.sleep(self._service.latency_s * math.ceil(len(parts) / 4))
            waiting = [p for p in parts if p.refused is None and self._router.waits(p.call)]
            for four in range(0, len(waiting), 4):
                await asyncio.gather(*(self._wait(p) for p in waiting[four : four + 4]))
            at = self._service.world.clock.instant()
            call.at = at
            for part in parts:  # no pause from here to the end: all show the same instant
                if part.answer is None and part.refused is None:
                    part.call.at = at
                    self._answer(part, parts)
        finally:
            for mailbox, places in held.items():
                self._service.limits.leave(mailbox, places)
        return Answer(200, {"responses": [self._response(part, at) for part in parts]})

    def _throttle(self, parts: list[Part]) -> dict[int, int]:
        """Take places; Graph forwards at most four of a batch to a mailbox at a time."""
        service = self._service
        tenant = parts[0].call.caller.tenant.id
        by_mailbox: dict[int, list[Part]] = {}
        for part in parts:
            kind = self._router.kind(part.call.parts)
            service.stats.requests[f"batch:{kind}"] += 1
            service.limits.note_retry(tenant, f"{part.call.method} {part.raw}")
            found = self._router.mailbox_of(part.call.parts)
            aad_id = found.aad_id if found else ""
            part.refused = service.faults.on_request(part.call.method, part.path, aad_id)
            if found is not None:
                part.mailbox = found.number
                part.refused = part.refused or service.limits.count_request(found.number)
                by_mailbox.setdefault(found.number, []).append(part)
        held: dict[int, int] = {}
        for number, mine in by_mailbox.items():
            wanted = min(4, len(mine))
            given = service.limits.take_places(number, wanted)
            held[number] = given
            for part in mine[: len(mine) if not given else wanted - given]:
                part.refused = part.refused or service.limits.concurrency_refusal()
        return held

    async def _wait(self, part: Part) -> None:
        try:
            part.answer = await self._router.answer_waiting(part.call)
        except GraphError as error:
            part.refused = error

    def _answer(self, part: Part, parts: list[Part]) -> None:
        failed = [
            p for p in parts if p.id in part.after and (p.answer is None or p.answer.status >= 400)
        ]
        if failed:
            part.refused = GraphError(424, "FailedDependency", "A dependency failed.")
            return
        try:
            part.answer = self._router.answer(part.call)
        except GraphError as error:
            part.refused = error

    def _response(self, part: Part, at: int) -> dict[str, Any]:
        service = self._service
        if part.refused is not None:
            error = part.refused
            headers = {"Content-Type": "application/json", **error.headers}
            if "Retry-After" in error.headers:
                service.limits.note_refusal(
                    part.call.caller.tenant.id,
                    f"{part.call.method} {part.raw}",
                    error.headers["Retry-After"],
                )
            status = error.status
            body = error_body(error, service.world.when(at).strftime("%Y-%m-%dT%H:%M:%S"), part.id)
        else:
            assert part.answer is not None
            status, body = part.answer.status, part.answer.body
            headers = {"Content-Type": "application/json", **part.answer.headers}
        service.stats.answers[str(status)] += 1
        service.log.add(
            part.call.method, "/" + part.path.strip("/"), part.call.query,
            str(part.call.headers.get("Prefer", "")), status, batched=True,
        )  # fmt: skip
        row: dict[str, Any] = {"id": part.id, "status": status, "headers": headers}
        if body is not None:
            row["body"] = body
        return row
