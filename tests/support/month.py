"""A month of trouble: what goes wrong when, and which interruption each trouble is.

A trouble begins at one tick and ends at another. Those that keep notifications away from a
mailbox are *interruptions*: each has to be a recorded gap, and no other gap may stand there.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.stage import Stage

__all__ = ["Interruption", "Scene", "Trouble", "troubles"]

EVERYBODY = -1


@dataclass
class Interruption:
    """Notifications about a mailbox may be lost in [begins, ends] (microseconds, Graph time)."""

    mailbox: str
    kind: str
    begins: int
    ends: int | None = None
    must_be_gap: bool = True


@dataclass
class Scene:
    """What troubles act upon, and what they leave behind for the judge."""

    stage: Stage
    dice: random.Random
    now: Callable[[], int]
    interruptions: list[Interruption] = field(default_factory=list)
    steps_stand: bool = False
    """Our own steps are not run (the scheduler is down)."""
    consent_lost: bool = False
    skewed: bool = False

    def interrupt(self, kind: str, users: list[int], *, must: bool = True) -> list[Interruption]:
        """Note that these people's notifications may be lost from now on."""
        begun = [
            Interruption(self.stage.users[n]["id"], kind, self.now(), must_be_gap=must)
            for n in users
        ]
        self.interruptions += begun
        return begun

    def command(self, *words: str) -> str:
        """Run `outlook-lake …` as an operator does; what it printed on stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "outlook_lake.cli", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"outlook-lake {' '.join(words)}: {done.stderr[-600:]}")
        return done.stdout


@dataclass
class Trouble:
    """Something that goes wrong from one tick to another."""

    kind: str
    begins: int
    lasts: int
    user: int = EVERYBODY
    begun: list[Interruption] = field(default_factory=list)

    def __str__(self) -> str:
        whom = "everybody" if self.user == EVERYBODY else f"person {self.user}"
        return f"{self.kind} for {self.lasts} ticks, {whom}"

    def begin(self, scene: Scene) -> None:
        """Let it begin."""
        _BEGIN[self.kind](self, scene)

    def end(self, scene: Scene) -> None:
        """Let it end; its interruptions end when the mailbox is watched again (the judge's job)."""
        if self.kind in _END:
            _END[self.kind](self, scene)

    def users(self, scene: Scene) -> list[int]:
        """Whom it strikes."""
        return list(range(len(scene.stage.users))) if self.user == EVERYBODY else [self.user]


def troubles(dice: random.Random, ticks: int, tick_h: int, people: int) -> list[Trouble]:
    """The month: each kind at a random time, those of one person on random people.

    Troubles of the whole tenant do not overlap, so that a gap has one explanation; the one
    that lets everything lapse (nobody runs our steps for eight days) comes last.
    """
    made: list[Trouble] = []
    hours = lambda wanted: max(1, round(wanted / tick_h))  # noqa: E731
    lapse = hours(8 * 24)
    last = ticks - lapse - hours(36)
    whole = [
        ("receiver_down", hours(6)),
        ("consent_lost", hours(2)),
        ("key_rotation", 1),
        ("secret_rotation", hours(12)),
        ("skew", hours(6)),
        ("receiver_down", hours(6)),
        ("consent_lost", hours(2)),
        ("key_retired", 1),
    ]
    slot = last // len(whole)
    for number, (kind, lasts) in enumerate(whole):
        begins = 2 + number * slot + dice.randrange(max(1, slot - lasts - 3))
        made.append(Trouble(kind, begins, lasts))
    for kind, lasts, times in (
        ("removed_told", 1, 6),
        ("removed_silent", 1, 6),
        ("missed", hours(4), 4),
        ("reauthorize", 1, 6),
        ("silence", hours(24), 4),
        ("dead_201", hours(6), 3),
    ):
        for _ in range(times):
            made.append(Trouble(kind, 2 + dice.randrange(last), lasts, dice.randrange(people)))
    made.append(Trouble("lapse", last + 4, lapse))
    return sorted(made, key=lambda one: one.begins)


def _fault(kind: str, **more: Any) -> Callable[[Trouble, Scene], None]:
    def begin(trouble: Trouble, scene: Scene) -> None:
        stage = scene.stage
        trouble.begun = scene.interrupt(trouble.kind, trouble.users(scene))
        mailbox = stage.users[trouble.user]["id"]
        stage.fault(kind, match={"mailbox": mailbox}, **more)

    return begin


def _dead_201(trouble: Trouble, scene: Scene) -> None:
    trouble.begun = scene.interrupt(trouble.kind, trouble.users(scene))
    match = {"mailbox": scene.stage.users[trouble.user]["id"]}
    scene.stage.fault("dead_201", match=match)
    scene.stage.fault("remove_subscription", match=match, tell=0)


def _kill_receiver(trouble: Trouble, scene: Scene) -> None:
    trouble.begun = scene.interrupt(trouble.kind, trouble.users(scene))
    scene.stage.kill("receiver")


def _start_receiver(_: Trouble, scene: Scene) -> None:
    scene.stage.start_receiver()


def _withdraw(trouble: Trouble, scene: Scene) -> None:
    trouble.begun = scene.interrupt(trouble.kind, trouble.users(scene), must=False)
    scene.consent_lost = True
    scene.stage.act(0, "withdraw_consent")


def _grant(_: Trouble, scene: Scene) -> None:
    scene.consent_lost = False
    scene.stage.act(0, "grant_consent")


def _lapse(trouble: Trouble, scene: Scene) -> None:
    trouble.begun = scene.interrupt(trouble.kind, trouble.users(scene))
    scene.steps_stand = True


def _resume(_: Trouble, scene: Scene) -> None:
    scene.steps_stand = False


def _rotate_key(_: Trouble, scene: Scene) -> None:
    scene.command("keys", "rotate")


def _retire_key(trouble: Trouble, scene: Scene) -> None:
    keys = json.loads(scene.command("keys", "list", "--json"))
    rows = keys["keys"] if isinstance(keys, dict) else keys
    trouble.begun = scene.interrupt(trouble.kind, trouble.users(scene), must=False)
    scene.command("keys", "retire", str(rows[0]["key_id"]))


def _skew(_: Trouble, scene: Scene) -> None:
    scene.skewed = True


def _unskew(_: Trouble, scene: Scene) -> None:
    scene.skewed = False


def _next_secret(_: Trouble, scene: Scene) -> None:
    """A second secret beside the first; the connection names it as the next one."""
    stage = scene.stage
    made = stage.call("POST", "secrets", {"tenant": _tenant(stage)})
    connection = json.loads(stage.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"])
    connection["extra"]["next_client_secret"] = made["secret"]
    _connect(stage, connection)


def _old_secret_ends(_: Trouble, scene: Scene) -> None:
    """The old one ends at Microsoft; then the operator makes the new one the only one."""
    stage = scene.stage
    connection = json.loads(stage.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"])
    stage.call("POST", "secrets/expire", {"secret": connection["password"]})
    connection["password"] = connection["extra"].pop("next_client_secret")
    _connect(stage, connection)


def _tenant(stage: Stage) -> str:
    connection = json.loads(stage.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"])
    return str(connection["extra"]["tenant_id"])


def _connect(stage: Stage, connection: dict[str, Any]) -> None:
    import os

    stage.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"] = json.dumps(connection)
    os.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"] = json.dumps(connection)


def _clear(kind: str) -> Callable[[Trouble, Scene], None]:
    def end(_: Trouble, scene: Scene) -> None:
        scene.stage.call("DELETE", f"faults?kind={kind}")

    return end


def _nothing(_: Trouble, scene: Scene) -> None:
    del scene


_BEGIN: dict[str, Callable[[Trouble, Scene], None]] = {
    "removed_told": _fault("remove_subscription", tell=1),
    "removed_silent": _fault("remove_subscription", tell=0),
    "missed": _fault("missed"),
    "reauthorize": _fault("reauthorize"),
    "silence": _fault("silence"),
    "dead_201": _dead_201,
    "receiver_down": _kill_receiver,
    "consent_lost": _withdraw,
    "lapse": _lapse,
    "key_rotation": _rotate_key,
    "key_retired": _retire_key,
    "skew": _skew,
    "secret_rotation": _next_secret,
}
_END: dict[str, Callable[[Trouble, Scene], None]] = {
    "missed": _clear("missed"),
    "silence": _clear("silence"),
    "dead_201": _clear("dead_201"),
    "receiver_down": _start_receiver,
    "consent_lost": _grant,
    "lapse": _resume,
    "skew": _unskew,
    "secret_rotation": _old_secret_ends,
}


def skewed_clock(source: Path, behind_s: float) -> Path:
    """A copy of the simulator's clock line whose Graph time is so many seconds behind."""
    line = json.loads(source.read_text())
    line["graph_at"] -= behind_s
    copy = source.with_name("clock-skewed.json")
    copy.write_text(json.dumps(line))
    return copy
