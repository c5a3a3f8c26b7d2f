"""Handlers of /simulator/… for what an administrator does: tenants, credentials, groups."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from graph_simulator.control.answers import Handler, answer, body_of, only, text_of, texts_of
from graph_simulator.errors import ControlRefused
from graph_simulator.graph.service import Service
from graph_simulator.graph.subscriptions import LONGEST_MIN, SHORTEST_MIN
from graph_simulator.world.directory import (
    add_certificate,
    add_group,
    add_others,
    add_secret,
    expire_secret,
    set_members,
    set_roles,
)
from graph_simulator.world.model import Tenant

__all__ = ["Administration"]


def _count(body: dict[str, Any], name: str, default: int, most: int = 1_000_000) -> int:
    """A number of things. Raises ControlRefused (400)."""
    value = body.get(name, default)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise ControlRefused(400, f"{name} must be a number from 0 to {most:,}.")
    return value


class Administration:
    """The control API's part on tenants."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._world = service.world

    def table(self) -> list[tuple[str, str, Handler]]:
        """(method, path, handler) of each call."""
        return [
            ("GET", "/simulator/tenants", self._tenants),
            ("POST", "/simulator/tenants", self._create_tenant),
            ("POST", "/simulator/secrets", self._secret),
            ("POST", "/simulator/secrets/expire", self._expire),
            ("POST", "/simulator/certificates", self._certificate),
            ("POST", "/simulator/roles", self._roles),
            ("POST", "/simulator/groups", self._group),
            ("POST", "/simulator/lifetime", self._lifetime),
            ("POST", "/simulator/tokens/revoke", self._revoke),
        ]

    def _row(self, tenant: Tenant, *, users: bool) -> dict[str, Any]:
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

    def _tenant(self, body: dict[str, Any]) -> Tenant:
        tenant = self._world.tenant(text_of(body, "tenant"))
        if tenant is None:
            raise ControlRefused(404, "no tenant has this id or domain.")
        return tenant

    async def _tenants(self, request: web.Request) -> web.Response:
        users = request.query.get("users", "1") != "0"
        rows = [self._row(t, users=users) for t in self._world.tenants.values()]
        return answer({"tenants": rows})

    async def _create_tenant(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        only(
            body, "tenants", "domain", "mailboxes", "seed", "history", "roles", "shared", "rooms",
            "guests", "large",
        )  # fmt: skip
        mailboxes, history = _count(body, "mailboxes", 0, 200_000), _count(body, "history", 20)
        extra = {kind: _count(body, kind, 0, 10_000) for kind in ("shared", "rooms", "guests")}
        extra["large"] = _count(body, "large", 0, 8_000_000)
        tenant = self._world.create_tenant(
            str(body.get("domain", "")), mailboxes, seed=body.get("seed"), history=history,
            roles=body.get("roles"),
        )  # fmt: skip
        add_others(self._world, tenant, **extra)
        return answer(self._row(tenant, users=True), 201)

    async def _secret(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        only(body, "secrets", "tenant")
        return answer({"secret": add_secret(self._world, self._tenant(body))}, 201)

    async def _expire(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        only(body, "secrets/expire", "secret")
        expire_secret(self._world, text_of(body, "secret"))
        return answer({"expired": True})

    async def _certificate(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        only(body, "certificates", "tenant", "certificate")
        pem = text_of(body, "certificate")
        return answer({"thumbprint": add_certificate(self._world, self._tenant(body), pem)}, 201)

    async def _roles(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        only(body, "roles", "tenant", "roles")
        tenant = self._tenant(body)
        set_roles(self._world, tenant, texts_of(body, "roles"))
        return answer({"roles": tenant.roles})

    async def _group(self, request: web.Request) -> web.Response:
        """A new group, or (`id`) other members of one."""
        body = await body_of(request)
        only(body, "groups", "tenant", "members", "id")
        tenant, members = self._tenant(body), texts_of(body, "members")
        if "id" not in body:
            return answer({"id": add_group(self._world, tenant, members).id}, 201)
        group = self._world.groups.get(text_of(body, "id"))
        if group is None or group.tenant != tenant.number:
            raise ControlRefused(404, "the tenant has no group with this id.")
        set_members(self._world, group, members)
        return answer({"id": group.id})

    async def _lifetime(self, request: web.Request) -> web.Response:
        """The longest life of a subscription in a tenant, in minutes."""
        body = await body_of(request)
        only(body, "lifetime", "tenant", "minutes")
        tenant, minutes = self._tenant(body), body.get("minutes")
        if not isinstance(minutes, int) or not SHORTEST_MIN <= minutes <= LONGEST_MIN:
            raise ControlRefused(
                400, f"minutes must be a number from {SHORTEST_MIN} to {LONGEST_MIN}."
            )
        tenant.longest_min = minutes
        self._world.save_tenant(tenant)
        return answer({"minutes": minutes})

    async def _revoke(self, request: web.Request) -> web.Response:
        self._service.access.revoke_all()
        return answer({"revoked": True})
