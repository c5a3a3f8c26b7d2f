"""Acts on inbox rules. They are kept and listed as Graph lists them, and do not run."""

from __future__ import annotations

import base64
from typing import Any

from graph_simulator.errors import ActRefused
from graph_simulator.world.acts.found import open_box
from graph_simulator.world.args import Args
from graph_simulator.world.box import Box, rule_state
from graph_simulator.world.model import ActResult, Mailbox
from graph_simulator.world.world import Act, World

__all__ = ["ACTS"]


def _result(
    world: World, box: Box, rule: dict[str, Any], at: int, action: str, field: str, by: str
) -> ActResult:
    box.touch_folder(box.known["inbox"])
    number = world.journal.act(
        at, box.mailbox.aad_id, action, field=field, by=by, observable=True, about=rule["id"],
        state="absent" if action == "rule_deleted" else rule_state(rule),
    )  # fmt: skip
    return ActResult(rule["id"], number, world.when(at), mailbox=box.mailbox.aad_id)


def _the_rule(box: Box, args: Args) -> dict[str, Any]:
    wanted = args.needed("rule")
    for rule in box.known["inbox"].rules:
        if rule["id"] == wanted:
            return rule
    raise ActRefused(404, f"{args.do}: rule names no rule of this mailbox.")


def _create(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    inbox = box.known["inbox"]
    inbox.rule_count += 1
    opaque = args.truth("opaque")
    raw = f"{inbox.number:012x}{inbox.rule_count:04x}".encode()
    rule: dict[str, Any] = {
        "id": base64.urlsafe_b64encode(raw).decode(),
        "displayName": args.text("name", f"Rule {inbox.rule_count}"),
        "sequence": len(inbox.rules) + 1,
        "isEnabled": args.truth("enabled", True),
        "hasError": False,
        "isReadOnly": opaque,
    }
    conditions, actions = args.mapping("conditions"), args.mapping("actions")
    if not opaque:  # a rule the REST model cannot express comes without both
        rule["conditions"] = conditions
        rule["actions"] = actions or {"stopProcessingRules": True}
    args.done()
    inbox.rules.append(rule)
    return _result(world, box, rule, at, "rule_created", "existence", args.by)


def _update(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    rule = _the_rule(box, args)
    before = dict(rule)
    if args.has("enabled"):
        rule["isEnabled"] = args.truth("enabled")
    if args.has("conditions"):
        rule["conditions"] = args.mapping("conditions")
    if args.has("actions"):
        rule["actions"] = args.mapping("actions")
    if args.has("name"):
        rule["displayName"] = args.text("name")
    args.done()
    if rule == before:
        raise ActRefused(409, "update_rule: nothing would change.")
    return _result(world, box, rule, at, "rule_updated", "rule", args.by)


def _delete(world: World, mailbox: Mailbox, args: Args, at: int) -> ActResult:
    box = open_box(world, mailbox)
    rule = _the_rule(box, args)
    args.done()
    box.known["inbox"].rules.remove(rule)
    return _result(world, box, rule, at, "rule_deleted", "existence", args.by)


ACTS: dict[str, Act] = {"create_rule": _create, "update_rule": _update, "delete_rule": _delete}
