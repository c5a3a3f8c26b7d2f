"""Acts on people, licences and consent. `mailbox` names whom, or anybody of the tenant meant."""

from __future__ import annotations

from graph_simulator.errors import ActRefused
from graph_simulator.world.args import Args
from graph_simulator.world.directory import PURPOSES, add_guest, set_roles
from graph_simulator.world.model import ActResult, Mailbox
from graph_simulator.world.world import DEFAULT_ROLES, Act, World

__all__ = ["ACTS"]


def _result(world: World, mailbox: Mailbox, at: int, action: str, by: str) -> ActResult:
    number = world.journal.act(at, mailbox.aad_id, action, field="mailbox", by=by)
    return ActResult(None, number, world.when(at), mailbox=mailbox.aad_id)


def _join(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    """Somebody new joins the tenant that `mailbox` belongs to."""
    tenant = world.tenants[mailbox.tenant]
    address, name, purpose = args.needed("address"), args.text("name"), args.text("purpose", "user")
    args.done()
    if purpose not in PURPOSES:
        raise ActRefused(400, f"join: purpose must be one of {', '.join(PURPOSES)}.")
    new = world.add_mailbox(tenant, address, name, purpose=purpose)
    return _result(world, new, at, "joined", args.by)


def _invite(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    """Somebody from outside becomes a guest: a user without a mailbox here."""
    tenant = world.tenants[mailbox.tenant]
    mail, name = args.needed("address").strip().lower(), args.text("name")
    args.done()
    if mail.count("@") != 1:
        raise ActRefused(400, "invite: address must be the guest's own address.")
    new = add_guest(world, tenant, mail, name)
    return _result(world, new, at, "invited", args.by)


def _become(state: str, action: str, before: tuple[str, ...], fields: tuple[str, ...] = ()) -> Act:
    def act(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
        args.done()
        if mailbox.state not in before or (mailbox.mail is not None and state != "left"):
            raise ActRefused(409, f"{args.do}: this mailbox is {mailbox.state}.")
        mailbox.state = state
        world.user_changed(mailbox, *fields)
        if state == "left":
            # the subscriptions stay in the list until they expire, and nobody can reach them
            for subscription in world.watchers.pop(mailbox.number, ()):
                for call in world.ended:
                    call(subscription)
        return _result(world, mailbox, at, action, args.by)

    return act


def _rename(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    address, name = args.text("address").lower(), args.text("name")
    args.done()
    fields: list[str] = []
    if address and address != mailbox.address:
        if address.count("@") != 1 or address in world.people:
            raise ActRefused(409, "rename_user: the address is taken or is none.")
        world.people[address] = mailbox
        mailbox.aliases = [*mailbox.aliases, mailbox.address]  # it keeps reaching the mailbox
        mailbox.address = address
        fields += ["mail", "userPrincipalName", "proxyAddresses"]
    elif not name or name == mailbox.name:
        raise ActRefused(409, "rename_user: give a new address or a new name.")
    if name and name != mailbox.name:
        mailbox.name = name
        fields += ["displayName", "givenName", "surname"]
    world.user_changed(mailbox, *fields)
    return _result(world, mailbox, at, "renamed", args.by)


def _set_purpose(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    """A mailbox becomes a shared one, a room, … (its userPurpose)."""
    purpose = args.needed("purpose")
    args.done()
    if purpose not in PURPOSES:
        raise ActRefused(400, f"set_purpose: purpose must be one of {', '.join(PURPOSES)}.")
    if purpose == mailbox.purpose:
        raise ActRefused(409, "set_purpose: nothing would change.")
    mailbox.purpose = purpose
    world.user_changed(mailbox, "accountEnabled")
    return _result(world, mailbox, at, "purpose_set", args.by)


def _transfer(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    """A person gets another department, office or title."""
    given = {
        "department": args.text("department") or mailbox.department,
        "office": args.text("office") or mailbox.office,
        "title": args.text("title") or mailbox.title,
    }
    args.done()
    shown = {"department": "department", "office": "officeLocation", "title": "jobTitle"}
    changed = [name for name, value in given.items() if value != getattr(mailbox, name)]
    if not changed:
        raise ActRefused(409, "transfer: nothing would change.")
    for name in changed:
        setattr(mailbox, name, given[name])
    world.user_changed(mailbox, *(shown[name] for name in changed))
    return _result(world, mailbox, at, "transferred", args.by)


def _consent(roles: tuple[str, ...], action: str) -> Act:
    def act(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
        tenant = world.tenants[mailbox.tenant]
        args.done()
        if set(tenant.roles) == set(roles):
            raise ActRefused(409, f"{args.do}: nothing would change.")
        set_roles(world, tenant, list(roles))
        return _result(world, mailbox, at, action, args.by)

    return act


_LICENCE = ("assignedPlans", "assignedLicenses")
ACTS: dict[str, Act] = {
    "join": _join,
    "invite": _invite,
    "set_purpose": _set_purpose,
    "transfer": _transfer,
    "leave": _become("left", "left", ("live", "unlicensed")),
    "remove_licence": _become("unlicensed", "licence_removed", ("live",), _LICENCE),
    "restore_licence": _become("live", "licence_restored", ("unlicensed",), _LICENCE),
    "rename_user": _rename,
    "withdraw_consent": _consent((), "consent_withdrawn"),
    "grant_consent": _consent(DEFAULT_ROLES, "consent_granted"),
}
