"""One seed: random people, random faults, a random crash; then the journal has the last word.

A seed has a home, a tenant and a receiver of its own; the simulator is shared by all seeds of
a run. Notifications are dropped, doubled, reordered and delayed, Graph throttles, fails and
forgets delta tokens, workers are killed inside apply. At the end the faults stop, the hours
pass, a round runs, everything is exported, and the audit must find no difference.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from outlook_lake import clock
from outlook_lake.receiver.app import create_app
from outlook_lake.settings import Settings
from tests.support.ports import free_ports
from tests.support.stage import Stage

FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"rate": 0.25},
    "double": {"rate": 0.4},
    "reorder": {"rate": 0.3, "seconds": 0.3},
    "delay": {"rate": 0.3, "seconds": 90},
    "429": {"rate": 0.08, "retry_after": 1},
    "5xx": {"rate": 0.08},
    "410": {"rate": 0.3},
    "partial_rows": {"rate": 0.5},
    "empty_pages": {"rate": 0.3},
    "404_after_notification": {"rate": 0.2, "seconds": 0.6},
    "missed": {"rate": 0.2},
    "aba_loss": {"rate": 0.5},
    "repeat_rows": {"rate": 0.3},
    "quota": {"rate": 0.3},
}

CRASH_PLACES = (
    "outlook_lake.hints.land:_land_some",
    "outlook_lake.events.diff:diff",
    "outlook_lake.events.log:write_batch",
    "outlook_lake.events.commit:check_fences",
    "outlook_lake.events.commit:inventory",
    "outlook_lake.events.commit:answers",
    "outlook_lake.events.mailboxes:mailbox",
    "outlook_lake.events.manifest:record",
    "outlook_lake.events.manifest:write_live",
)

MARKS = ("read", "unread", "flag", "unflag", "complete")


@dataclass
class Person:
    """One simulated person and the items of their mailbox."""

    number: int
    items: list[str] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    drafts: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


class SeedRun:
    """One seed, from a fresh home to the audit."""

    def __init__(self, shared: Stage, seed: int, folder: Path) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.acts = 0
        self.faults: list[str] = []
        self.crashes = 0
        self.killed: list[tuple[int, int]] = []
        self.stage = _own(shared, seed, folder)
        self.people = [Person(number) for number in range(len(self.stage.users))]

    def run(self) -> dict[str, Any]:
        """Play the seed; the audit's verdict with what was played."""
        stage = self.stage
        with _receiver(stage), _environment(stage):
            stage.run("subscriptions")
            stage.run("prime")
            self._play()
            stage.call("DELETE", "faults")
            self._prove()
            verdict = stage.audit(self.killed)
            stage.wait_delivered()  # nothing stays on its way to a receiver that is gone
        return {
            "seed": self.seed,
            "acts": self.acts,
            "faults": self.faults,
            "crashes": self.crashes,
            "verdict": verdict,
        }

    def _play(self) -> None:
        dice, stage = self.dice, self.stage
        for kind in dice.sample(sorted(FAULTS), dice.randint(1, 4)):
            self.faults.append(kind)
            stage.fault(kind, seed=self.seed, match=self._match(kind), **FAULTS[kind])
        for _ in range(dice.randint(3, 6)):
            for _ in range(dice.randint(3, 12)):
                self._act(dice.choice(self.people))
                if dice.random() < 0.5:
                    stage.advance(f"PT{dice.choice((1, 2, 7, 30, 61, 300))}S")
            event = dice.random()
            if event < 0.25:
                self._crash("stream")
            elif event < 0.75:
                self._stream()
            elif event < 0.85:
                stage.advance("PT1H5M")
                stage.run("catch_up", full=dice.random() < 0.5, **self._last_hour())
            elif event < 0.9:
                self._crash("catch_up")

    def _last_hour(self) -> dict[str, str]:
        """The hour a scheduled run would be for; none half of the time."""
        if self.dice.random() < 0.5:
            return {}
        return {"hour": clock.hour_name(clock.hour_start(clock.graph_now()) - clock.HOUR)}

    def _match(self, kind: str) -> dict[str, str]:
        # Only this seed's tenant suffers; others may run beside it.
        return {}

    def _stream(self) -> None:
        time.sleep(0.3)
        self.stage.run("stream", until_idle=True)

    def _crash(self, step: str) -> None:
        self.crashes += 1
        time.sleep(0.25)
        place = self.dice.choice(CRASH_PLACES)
        when = self.dice.choice(("before", "after"))
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_deadly, args=(when, place, step, dict(os.environ)))
        began = clock.machine_us()
        process.start()
        process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join()
        self.killed.append((began, clock.machine_us()))

    def _prove(self) -> None:
        """An hour passes, a round runs, everything is said and sealed."""
        stage = self.stage
        stage.advance("PT4M")  # what was delayed in Graph's time is due now
        stage.wait_delivered()
        time.sleep(0.3)
        for _ in range(2):
            stage.advance("PT1H5M")
            stage.run("catch_up")
            stage.run("stream", until_idle=True)
        stage.run("export")

    def _act(self, person: Person) -> None:
        dice = self.dice
        choice = dice.random()
        if choice < 0.25 or not person.items:
            self._did(person, person.items, "receive", **self._letter(person))
        elif choice < 0.33:
            self._send(person)
        elif choice < 0.4:
            self._did(person, person.drafts, "draft", to=["someone@fabrikam.example"])
        elif choice < 0.44 and person.drafts:
            draft = person.drafts.pop()
            if self._did(person, None, "send", draft=draft):
                person.items.append(draft)
                person.sent.add(draft)
        elif choice < 0.55:
            self._tidy(person)
        else:
            self._mark(person, dice.choice(person.items))

    def _tidy(self, person: Person) -> None:
        """Folders come, are filled, and go, some with all that is in them; rules likewise.

        Many of them between two polls: what nobody could see then the audit excuses by name.
        """
        dice = self.dice
        choice = dice.random()
        if choice < 0.25:
            self._rule(person)
        elif choice < 0.45 or not person.folders:
            inside = {"parent": dice.choice(person.folders)} if person.folders else {}
            more = inside if dice.random() < 0.3 else {}
            name = f"Folder {dice.random()}"
            self._did(person, person.folders, "create_folder", name=name, **more)
        elif choice < 0.65:
            folder = dice.choice(person.folders)
            self._did(person, None, "move", item=dice.choice(person.items), to=folder)
        elif choice < 0.75:
            folder = person.folders.pop(dice.randrange(len(person.folders)))
            self._did(person, None, "delete_folder", folder=folder, hard=dice.random() < 0.5)
        elif choice < 0.9:
            # Some names come again: there and back leaves nothing to see.
            name = f"New {dice.choice((dice.random(), 1, 2))}"
            folder = dice.choice(person.folders)
            self._did(person, None, "rename_folder", folder=folder, name=name)
        else:
            to = dice.choice(("archive", "inbox", "deleteditems", *person.folders))
            self._did(person, None, "move_folder", folder=dice.choice(person.folders), to=to)

    def _rule(self, person: Person) -> None:
        dice = self.dice
        choice = dice.random()
        if choice < 0.4 or not person.rules:
            self._did(person, person.rules, "create_rule", name=f"Rule {dice.random()}")
        elif choice < 0.8:
            rule = dice.choice(person.rules)
            enabled = dice.random() < 0.5
            self._did(person, None, "update_rule", rule=rule, enabled=enabled)
        else:
            rule = person.rules.pop(dice.randrange(len(person.rules)))
            self._did(person, None, "delete_rule", rule=rule)

    def _mark(self, person: Person, item: str) -> None:
        dice = self.dice
        choice = dice.random()
        if choice < 0.5:
            self._did(person, None, dice.choice(MARKS), item=item)
        elif choice < 0.6:
            names = dice.sample(["Red", "Blue", "Project"], dice.randint(0, 2))
            self._did(person, None, "categorize", item=item, categories=names)
        elif choice < 0.65:
            self._did(
                person, None, "set_importance", item=item, importance=dice.choice(("high", "low"))
            )
        elif choice < 0.78:
            # A sent mail put into the Inbox before anyone looked cannot be told from an arrival.
            places = ("archive",) if item in person.sent else ("archive", "inbox", "junk")
            self._did(person, None, "move", item=item, to=dice.choice(places))
        elif choice < 0.88:
            self._did(person, None, "delete", item=item)
        elif choice < 0.94:
            back = "archive" if item in person.sent else "inbox"
            self._did(person, None, "restore", item=item, to=back)
        else:
            self._did(person, None, "purge", item=item)

    def _letter(self, person: Person) -> dict[str, Any]:
        return {
            "from": self.dice.choice(("a@fabrikam.example", "b@partner.example")),
            "to": [self.stage.address(person.number)],
            "has_attachments": self.dice.random() < 0.3,
            "importance": self.dice.choice(("low", "normal", "high")),
        }

    def _send(self, person: Person) -> None:
        other = self.dice.choice(self.people)
        to = [self.stage.address(other.number), "c@partner.example"]
        if other is person:
            # Of mail to oneself, a copy filed before anyone looked may be either: let it lie.
            self._did(person, None, "send", to=to)
            return
        self._did(person, person.items, "send", to=to)
        person.sent.add(person.items[-1])

    def _did(self, person: Person, kept: list[str] | None, do: str, **more: Any) -> bool:
        result = self.stage.try_act(person.number, do, **more)
        if result is None:
            return False
        self.acts += 1
        if kept is not None:
            kept.append(result["item"])
        return True


def differences(verdict: dict[str, Any]) -> int:
    """How many rows of the lake and the journal disagree."""
    names = ("lost", "doubled", "wrong_action", "wrong_hour", "out_of_order")
    return sum(int(verdict[name]) for name in names)


def _own(shared: Stage, seed: int, folder: Path) -> Stage:
    """A stage of this seed: own home, tenant and receiver, the simulator shared."""
    domain = f"seed{seed}.example"
    made = shared.call(
        "POST", "tenants", {"domain": domain, "mailboxes": 3, "seed": seed, "history": 6}
    )
    home = folder / f"seed-{seed}"
    (port,) = free_ports(1)
    connection = json.loads(shared.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"])
    connection["login"], connection["password"] = made["client_id"], made["client_secret"]
    connection["extra"] |= {
        "tenant_id": made["tenant_id"],
        "domain_id": domain,
        "internal_domains": [domain],
    }
    environ = shared.environ | {
        "OUTLOOK_LAKE_HOME": str(home),
        "OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT": json.dumps(connection),
        "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL": f"http://127.0.0.1:{port}/notifications",
        # Retries and doubts are the same at any speed; a seed should not wait for them.
        "OUTLOOK_LAKE_STREAM_LEASE_S": "2",
        "OUTLOOK_LAKE_GRAPH_RETRY_WAIT_S": "1",
        "OUTLOOK_LAKE_STREAM_RENEW_S": "0.5",
        "OUTLOOK_LAKE_STREAM_LAG_S": "0.7",
    }
    return Stage(
        home,
        shared.simulator_port,
        shared.tls_port,
        port,
        environ,
        users=made["users"],
        shares_the_simulator=True,
    )


@contextmanager
def _receiver(stage: Stage) -> Iterator[None]:
    """The receiver, over real HTTP, in a thread of this process."""
    config = uvicorn.Config(
        create_app(Settings.load(stage.environ)),
        host="127.0.0.1",
        port=stage.receiver_port,
        log_config=None,
        access_log=False,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def _environment(stage: Stage) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(stage.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _deadly(when: str, place: str, step: str, environ: dict[str, str]) -> None:
    """A worker that kills itself inside a step (in a process of its own)."""
    import sys

    from tests.support import killer

    os.environ.update(environ)
    sys.argv = ["killer", when, place, step]
    killer.main()
