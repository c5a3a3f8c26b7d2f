"""Acts on people, licences and consent. `mailbox` names whom, or anybody of the tenant meant."""

from __future__ import annotations

from graph_simulator.errors import ActRefused
from graph_simulator.world.args import Args
from graph_simulator.world.model import ActResult, Mailbox
from graph_simulator.world.world import DEFAULT_ROLES, Act, World

__all__ = ["ACTS"]


def _result(world: World, mailbox: Mailbox, at: int, action: str, by: str) -> ActResult:
    number = world.journal.act(at, mailbox.aad_id, action, field="mailbox", by=by)
    return ActResult(None, number, world.when(at), mailbox=mailbox.aad_id)


def _join(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    """Somebody new joins the tenant that `mailbox` belongs to."""
    tenant = world.tenants[mailbox.tenant]
    address, name = args.needed("address"), args.text("name")
    args.done()
    new = world.add_mailbox(tenant, address, name)
    return _result(world, new, at, "joined", args.by)


def _become(state: str, action: str, before: tuple[str, ...]) -> Act:
    def act(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
        args.done()
        if mailbox.state not in before:
            raise ActRefused(409, f"{args.do}: this mailbox is {mailbox.state}.")
        mailbox.state = state
        world.user_changed(mailbox)
        if state == "left":
            for subscription in list(world.watchers.get(mailbox.number, ())):
                world.unsubscribe(subscription)
        return _result(world, mailbox, at, action, args.by)

    return act


def _rename(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    address, name = args.text("address").lower(), args.text("name")
    args.done()
    if address and address != mailbox.address:
        if address.count("@") != 1 or address in world.people:
            raise ActRefused(409, "rename_user: the address is taken or is none.")
        world.people[address] = mailbox  # the old address keeps reaching the mailbox
        mailbox.address = address
    elif not name or name == mailbox.name:
        raise ActRefused(409, "rename_user: give a new address or a new name.")
    mailbox.name = name or mailbox.name
    world.user_changed(mailbox)
    return _result(world, mailbox, at, "renamed", args.by)


def _consent(roles: tuple[str, ...], action: str) -> Act:
    def act(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
        tenant = world.tenants[mailbox.tenant]
        args.done()
        if tenant.roles == list(roles):
            raise ActRefused(409, f"{args.do}: nothing would change.")
        tenant.roles = list(roles)
        world.save_tenant(tenant)
        return _result(world, mailbox, at, action, args.by)

    return act


ACTS: dict[str, Act] = {
    "join": _join,
    "leave": _become("left", "left", ("live", "unlicensed")),
    "remove_licence": _become("unlicensed", "licence_removed", ("live",)),
    "restore_licence": _become("live", "licence_restored", ("unlicensed",)),
    "rename_user": _rename,
    "withdraw_consent": _consent((), "consent_withdrawn"),
    "grant_consent": _consent(DEFAULT_ROLES, "consent_granted"),
}
