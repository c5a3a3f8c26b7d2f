"""What an administrator does in Entra: secrets, certificates, roles, groups."""

from __future__ import annotations

import base64
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from graph_simulator.errors import ControlRefused
from graph_simulator.ids import named_uuid
from graph_simulator.world.model import Group, Mailbox, Tenant
from graph_simulator.world.world import World

__all__ = [
    "MAIL_ROLES",
    "PURPOSES",
    "add_certificate",
    "add_group",
    "add_guest",
    "add_others",
    "add_secret",
    "expire_secret",
    "set_members",
    "set_roles",
    "users_within",
]


MAIL_ROLES = frozenset({"Mail.ReadBasic", "Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite"})
"""Any of these lets an application read mail metadata."""
PURPOSES = ("user", "linked", "shared", "room", "equipment", "others")
"""What a mailbox is for (`userPurpose`)."""


def add_guest(world: World, tenant: Tenant, mail: str, name: str = "") -> Mailbox:
    """A user of type Guest: no mailbox here, an address of its own elsewhere."""
    principal = f"{mail.replace('@', '_')}#ext#@{tenant.domain}"
    return world.add_mailbox(tenant, principal, name or mail.split("@")[0].title(), mail=mail)


def add_others(
    world: World,
    tenant: Tenant,
    *,
    shared: int = 0,
    rooms: int = 0,
    guests: int = 0,
    large: int = 0,
) -> None:
    """Shared mailboxes and rooms (their accounts are disabled), guests, and a large mailbox.

    `large` = how many old messages it holds; they are made when they are looked at.
    """
    if large:
        world.add_mailbox(tenant, f"large@{tenant.domain}", "Large", bulk=large)
    for word, purpose, many in (("shared", "shared", shared), ("room", "room", rooms)):
        for n in range(1, many + 1):
            address = f"{word}-{n:03d}@{tenant.domain}"
            world.add_mailbox(tenant, address, f"{word.title()} {n}", purpose=purpose)
    for n in range(1, guests + 1):
        add_guest(world, tenant, f"guest-{n:03d}@fabrikam.example", f"Guest {n}")


def add_secret(world: World, tenant: Tenant) -> str:
    """One more client secret; those before stay good until they are expired."""
    text = f"{world.seed}/{tenant.domain}/secret/{len(tenant.secrets) + 1}"
    secret = f"sim~{hashlib.sha256(text.encode()).hexdigest()[:34]}"
    tenant.secrets = [*tenant.secrets, secret]
    world.save_tenant(tenant)
    return secret


def expire_secret(world: World, secret: str) -> None:
    """Let a secret's end pass. Raises ControlRefused (404) for one nobody has."""
    for tenant in world.tenants.values():
        if secret in (tenant.secret, *tenant.secrets):
            tenant.expired = sorted({*tenant.expired, secret})
            world.save_tenant(tenant)
            return
    raise ControlRefused(404, "no tenant has this client secret.")


def add_certificate(world: World, tenant: Tenant, pem: str) -> str:
    """Upload a certificate's public part; returns its `x5t#S256`."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise ControlRefused(400, "certificate must be one X.509 certificate as PEM.") from None
    digest = certificate.fingerprint(hashes.SHA256())
    thumbprint = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    tenant.certificates = {**tenant.certificates, thumbprint: pem}
    world.save_tenant(tenant)
    return thumbprint


def set_roles(world: World, tenant: Tenant, roles: list[str]) -> None:
    """Consent to exactly these application roles; tokens given before keep theirs.

    When the last mail role goes, deliveries pause until each subscription is renewed.
    """
    could = not MAIL_ROLES.isdisjoint(tenant.roles)
    tenant.roles = sorted(set(roles))
    world.save_tenant(tenant)
    if could and MAIL_ROLES.isdisjoint(tenant.roles):
        for one in world.subscriptions.values():
            if one.tenant == tenant.number:
                world.pause(one)


def add_group(world: World, tenant: Tenant, members: list[str]) -> Group:
    """Make a group. Raises ControlRefused (400) for a member that is not of the tenant."""
    number = sum(group.tenant == tenant.number for group in world.groups.values()) + 1
    group = Group(named_uuid(world.seed, tenant.id, "group", number), tenant.number, [])
    set_members(world, group, members)
    world.groups[group.id] = group
    return group


def set_members(world: World, group: Group, members: list[str]) -> None:
    """Let a group hold exactly these. Raises ControlRefused (400) as `add_group` does."""
    for member in members:
        found = world.groups.get(member) or world.find(member)
        if found is None or found.tenant != group.tenant:
            raise ControlRefused(400, "members must be object ids of the tenant's people or groups")
    group.members = list(dict.fromkeys(members))
    world.store.put("team", group.id, group)


def users_within(world: World, group: Group) -> list[Mailbox]:
    """The people in a group and in groups inside it, each once, leavers left out."""
    people: dict[str, Mailbox] = {}
    seen: set[str] = set()
    waiting = [group]
    while waiting:
        one = waiting.pop()
        if one.id in seen:
            continue
        seen.add(one.id)
        for member in one.members:
            inner = world.groups.get(member)
            if inner is not None:
                waiting.append(inner)
                continue
            mailbox = world.people[member]
            if mailbox.state != "left":
                people[mailbox.aad_id] = mailbox
    return sorted(people.values(), key=lambda m: m.number)
