"""Nine hours without receiver and subscriptions in the middle of a day's mail, then repaired.

All through Airflow's REST API, as the form does it: the outage ends, the steps come back, a
person fills in the reprocess form, looks at the preview and approves. One folder in ten loses
its delta state, and 2 % of what arrives inside the outage is purged before it ends. Afterwards
everything equals the journal, except what nobody can know, and the gaps say so.

`--traffic FILE` plays that file (docs/simulator.md); without it a made-up day is played.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import func, select

from benchmarks.reporting import finish, free_ports
from outlook_lake import clock
from outlook_lake.demo import parts
from outlook_lake.demo.clockwork import Clockwork
from outlook_lake.demo.freshness import Freshness
from outlook_lake.demo.judge import Judge
from outlook_lake.demo.options import Options, working_day_begins_at
from outlook_lake.demo.rest import RestError
from outlook_lake.demo.screen import Screen
from outlook_lake.demo.session import running
from outlook_lake.demo.stage import Stage
from outlook_lake.errors import OutlookLakeError
from outlook_lake.state.tables import gap

HOURS = 9
BEGINS_AFTER = timedelta(hours=1, minutes=30)
"""Of the working day, before the outage."""
FORGETFUL = 0.1
"""Share of folders whose delta state is lost meanwhile."""
READS_S = 5.0
"""Nobody answers at once: Airflow 3.3 takes an answer that comes while the asking task is still
on its way to wait for it for a failure, and asks again."""
DAG = "outlook_reprocess"


def main() -> int:
    """Exit code 0 when nothing was lost or doubled and no gap stays open."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage")
    parser.add_argument("--traffic", type=Path, help="a Parquet file of mail to replay")
    parser.add_argument("--minutes", type=float, default=12.0, help="for the whole day")
    parser.add_argument("--mailboxes", type=int, default=300)
    parser.add_argument("--purged", type=float, default=0.02, help="created and purged inside")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="outage-") as folder:
        file = given.traffic or made_up_day(Path(folder), given.mailboxes, given.seed)
        options = Options(
            port=free_ports(6),
            minutes=given.minutes,
            traffic=file.absolute(),
            mailboxes=given.mailboxes,
            seed=given.seed,
            standalone_receiver=True,
        )
        try:
            with running(options, screen, fresh_home="drill-outage") as stage:
                return Outage(stage, given.seed, given.purged).play()
        except OutlookLakeError as error:
            screen.say(str(error))
            return 1


class Outage:
    """One day with an outage in it."""

    def __init__(self, stage: Stage, seed: int, purged: float) -> None:
        self.stage = stage
        self.dice = random.Random(seed)
        self.purged = purged
        self.begins = working_day_begins_at(clock.machine_now()).astimezone(UTC) + BEGINS_AFTER
        self.ends = self.begins + timedelta(hours=HOURS)
        self.vanished = 0
        self.over = threading.Event()

    def play(self) -> int:
        """The day, the repair, the verdict."""
        stage = self.stage
        clockwork = Clockwork(
            stage.airflow,
            over_s=stage.settings.lake.over_s,
            slots=stage.settings.stream.lanes + 6,
            restart=lambda why: stage.supervisor.restart("scheduler", why),
        )
        began = time.monotonic()
        stage.simulator.traffic(go=True)
        clockwork.start()
        try:
            self._until(self.begins)
            self._break()
            self._until(self.ends)
            self._mend()
            stage.wait(self._day_is_over, "the day's mail to end", stage.options.minutes * 60 + 300)
        finally:
            clockwork.stop()
        told = self._reprocess()
        judge = Judge(stage, Freshness(stage.database, stage.settings.home, stage.simulator))
        verdict = judge.close()
        states = self._gap_states()
        for row in verdict.get("problems", []):
            stage.screen.say(str(row))
        finish(
            mailboxes=stage.figures().mailboxes,
            hours=HOURS,
            journal=verdict["journal"],
            events=verdict["events"],
            lost=verdict["lost"],
            doubled=verdict["doubled"],
            wrong_action=verdict["wrong_action"],
            wrong_hour=verdict["wrong_hour"],
            out_of_order=verdict["out_of_order"],
            excused=verdict["excused"],
            excused_by=verdict["excused_by"],
            created_and_purged=self.vanished,
            gaps_open=states.get("open", 0),
            gaps_filled=states.get("filled", 0),
            gaps_partial=states.get("partial", 0),
            reprocess=told,
            minutes=round((time.monotonic() - began) / 60, 1),
        )
        wrong = sum(int(verdict[name]) for name in ("lost", "doubled", "wrong_action"))
        wrong += int(verdict["wrong_hour"]) + int(verdict["out_of_order"])
        return int(bool(wrong or states.get("open")))

    def _break(self) -> None:
        """The receiver is gone, Graph forgets every subscription, nobody makes new ones."""
        stage = self.stage
        stage.screen.say(f"outage: no receiver, no subscriptions from {self.begins:%H:%M} UTC")
        self._pause("outlook_subscriptions", True)
        stage.supervisor.stop(["receiver"])
        stage.simulator.call(
            "POST", "/simulator/faults", {"kind": "remove_subscription", "tell": 0}
        )
        threading.Thread(target=self._vanish, name="vanishing", daemon=True).start()

    def _mend(self) -> None:
        """The receiver is back, subscriptions are made anew; some folders have lost their state."""
        stage = self.stage
        self.over.set()
        stage.simulator.call(
            "POST",
            "/simulator/faults",
            {"kind": "410", "rate": FORGETFUL, "until": "PT1H", "seed": 1},
        )
        stage.supervisor.start(parts.receiver_part(stage.options))
        self._pause("outlook_subscriptions", False)
        stage.airflow.start_run("outlook_subscriptions", "The outage is over")
        stage.screen.say(f"the outage is over; {self.vanished} items came and went inside it")

    def _vanish(self) -> None:
        """People to whom something arrives that is purged before anybody could see it."""
        rate = self._arrivals_per_s() * self.purged
        people = [
            user["id"]
            for tenant in self.stage.simulator.call("GET", "/simulator/tenants")["tenants"]
            for user in tenant["users"]
        ]
        while not self.over.wait(self.dice.expovariate(max(rate, 0.05))):
            someone = self.dice.choice(people)
            with contextlib.suppress(RestError):
                mail = self._act(someone, "receive", **{"from": "gone@fabrikam.example"})
                self.over.wait(self.dice.uniform(0.2, 2.0))
                self._act(someone, "purge", item=mail["item"], hard=True)
                self.vanished += 1

    def _arrivals_per_s(self) -> float:
        progress = self.stage.simulator.traffic_state()
        planned = float(progress.get("planned") or progress.get("acts") or 20_000)
        return planned / (self.stage.options.minutes * 60)

    def _act(self, mailbox: str, do: str, **more: Any) -> dict[str, Any]:
        body = {"mailbox": mailbox, "do": do, **more}
        answer: dict[str, Any] = self.stage.simulator.call("POST", "/simulator/act", body)
        return answer

    def _reprocess(self) -> dict[str, Any]:
        """As a person does it: form, preview, approval; returns what the work said."""
        stage = self.stage
        wish = {
            "first_hour": self.begins.isoformat(),
            "end_hour": self.ends.isoformat(),
            "mailboxes": "unproven",
            "reason": "receiver and subscriptions were down",
        }
        with stage.screen.stage("what waits is worked off"):
            stage.wait(lambda: stage.figures().is_quiet, "the stream to be idle", 600)
        with stage.screen.stage("reprocess: form, preview, approval, work"):
            made = stage.airflow.call(
                "POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None, "conf": wish}
            )["dag_run_id"]
            run = f"/api/v2/dags/{DAG}/dagRuns/{quote(made, safe='')}"
            stage.wait(lambda: bool(self._asked(run)), "the preview", 300)
            stage.screen.say(self._asked(run)[0]["body"])
            time.sleep(READS_S)
            stage.airflow.call(
                "PATCH",
                f"{run}/taskInstances/approve/-1/hitlDetails",
                {"chosen_options": ["Approve"], "params_input": {}},
            )
            stage.wait(
                lambda: stage.airflow.run_state(DAG, made) in ("success", "failed"), DAG, 1800
            )
        path = f"{run}/taskInstances/work/xcomEntries/return_value?deserialize=true"
        told: dict[str, Any] = stage.airflow.call("GET", path)["value"]
        return {name: value for name, value in told.items() if isinstance(value, int)}

    def _asked(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stage.airflow.call("GET", f"{run}/hitlDetails")[
            "hitl_details"
        ]
        return found

    def _pause(self, dag_id: str, paused: bool) -> None:
        self.stage.airflow.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": paused})

    def _until(self, moment: datetime) -> None:
        self.stage.wait(
            lambda: clock.graph_now() >= moment,
            f"{moment:%H:%M} of Graph time",
            self.stage.options.minutes * 60 + 120,
        )

    def _day_is_over(self) -> bool:
        return not self.stage.simulator.traffic_state().get("playing")

    def _gap_states(self) -> dict[str, int]:
        with self.stage.database.read() as connection:
            rows = connection.execute(select(gap.c.state, func.count()).group_by(gap.c.state))
            return {row[0]: int(row[1]) for row in rows}


def made_up_day(folder: Path, people: int, seed: int, messages: int = 5000) -> Path:
    """A Parquet file of one day's mail between so many people and some outsiders."""
    dice = random.Random(seed)
    inside = [f"person{n}@contoso.example" for n in range(people)]
    outside = [f"someone{n}@fabrikam.example" for n in range(60)]
    rows = []
    for number in range(messages):
        sender = dice.choice(inside if dice.random() < 0.7 else outside)
        to = dice.sample(inside, dice.choice((1, 1, 2, 3, 8)))
        at = datetime(2026, 3, 4, 13, 0, tzinfo=UTC) + timedelta(seconds=dice.uniform(0, 43_000))
        rows.append(
            {
                "message_id": f"made-up-{number}",
                "sent_at": at,
                "sender": sender,
                "sender_internal": sender in inside,
                "to": to,
                "cc": dice.sample(outside, dice.choice((0, 0, 0, 1))),
            }
        )
    path = folder / "day.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


if __name__ == "__main__":
    sys.exit(main())
