"""Parts are kept alive, stopped whole, and nothing else is ever touched. Real processes."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time

import psutil
import pytest

from outlook_lake.demo.supervisor import Part, Supervisor, clear_leftovers
from tests.support.demo import eventually, session_of

STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
SLEEPS = "import time; time.sleep(600)"
# As Airflow does: a worker below the leader, and below it a task in a group of its own.
WITH_A_TASK = textwrap.dedent(
    """
    import os, time
    if os.fork() == 0:
        if os.fork() == 0:
            os.setpgid(0, 0)
        time.sleep(600)
    time.sleep(600)
    """
)


def part(name: str, code: str, *, patience_s: float = 0.5, keeps_children: bool = False) -> Part:
    return Part(name, [sys.executable, "-c", code], patience_s, keeps_children)


@pytest.fixture
def lines():
    return []


@pytest.fixture
def supervisor(tmp_path, lines):
    made = Supervisor(tmp_path / "run", os.environ, lines.append)
    yield made
    made.end()
    made.stop(made.names())


def members(leader: int) -> list[int]:
    return [
        pid
        for pid in psutil.pids()
        if session_of(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


def test_a_part_that_dies_is_started_again_with_a_line_that_says_so(supervisor, lines):
    supervisor.start(part("worker", SLEEPS))
    first = supervisor.pid("worker")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisor.pid("worker") not in (None, first), 5)
    assert lines == [line for line in lines if line.startswith("worker ended (killed by SIGKILL)")]
    assert len(lines) == 1
    assert supervisor.restarts == 1


def test_a_stopped_part_is_gone_with_tasks_that_left_its_group(supervisor):
    supervisor.start(part("scheduler", WITH_A_TASK))
    leader = supervisor.pid("scheduler")
    eventually(lambda: len(members(leader)) == 3, 5)
    supervisor.stop(["scheduler"])
    eventually(lambda: members(leader) == [], 2)


def test_what_a_dead_leader_left_is_gone_before_the_part_starts_again(supervisor):
    supervisor.start(part("scheduler", WITH_A_TASK))
    leader = supervisor.pid("scheduler")
    eventually(lambda: len(members(leader)) == 3, 5)
    os.kill(leader, signal.SIGKILL)
    eventually(lambda: supervisor.pid("scheduler") not in (None, leader), 5)
    assert members(leader) == []


def test_a_part_that_does_not_listen_is_killed_after_its_patience(supervisor):
    supervisor.start(part("deaf", STUBBORN, patience_s=0.3))
    pid = supervisor.pid("deaf")
    time.sleep(0.3)
    began = time.monotonic()
    supervisor.stop(["deaf"])
    assert 0.25 <= time.monotonic() - began < 2
    assert not psutil.pid_exists(pid)


def test_a_part_that_lost_a_child_is_started_again_whole(supervisor, lines):
    supervisor.start(part("scheduler", WITH_A_TASK, keeps_children=True))
    leader = supervisor.pid("scheduler")
    eventually(lambda: len(members(leader)) == 3, 5)
    time.sleep(1.2)  # it has been seen with its child
    (worker,) = psutil.Process(leader).children()
    worker.kill()
    eventually(lambda: supervisor.pid("scheduler") not in (None, leader), 5)
    assert lines[0].startswith("scheduler lost a worker; started again")


@pytest.mark.slow
def test_a_part_that_cannot_live_is_given_up_with_the_end_of_its_log(supervisor):
    supervisor.start(part("broken", "print('the reason is here'); raise SystemExit(3)"))
    eventually(lambda: supervisor.failure is not None, 15)
    assert "broken ended (exit code 3) 5 times within a minute" in str(supervisor.failure)
    assert "the reason is here" in str(supervisor.failure)


def test_a_killed_supervisors_parts_are_cleared_away_by_the_next_and_strangers_are_not(
    tmp_path, lines
):
    killed = Supervisor(tmp_path / "run", os.environ, lines.append)
    killed.start(part("api-server", WITH_A_TASK))
    killed.end()  # from here on it does nothing, as if it were dead
    leader = killed.pid("api-server")
    eventually(lambda: len(members(leader)) == 3, 5)
    mine = os.getpid()
    (tmp_path / "run" / "stranger.pid").write_text(f"{mine} 12345.0")
    assert clear_leftovers(tmp_path / "run") == 1
    eventually(lambda: members(leader) == [], 2)
    assert not list((tmp_path / "run").glob("*.pid"))
    assert os.getpid() == mine


def test_nothing_is_restarted_once_the_end_has_begun(supervisor, lines):
    supervisor.start(part("worker", SLEEPS))
    supervisor.end()
    os.kill(supervisor.pid("worker"), signal.SIGKILL)
    time.sleep(1.2)
    assert lines == []
