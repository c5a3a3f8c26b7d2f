"""Past hours selected again: proven, told by hour, and never doubled."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from outlook_lake import clock
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow


def digests(on: Stage) -> dict[str, str]:
    """What stands in every sealed hour."""
    with on.app() as app, app.db.read() as connection:
        rows = connection.execute(text("SELECT hour, digest FROM hour ORDER BY hour")).all()
    return {row.hour: row.digest for row in rows}


def test_hours_selected_again_are_proven_told_and_never_doubled(tmp_path: Path):
    with stage(tmp_path, back="PT8H") as on:
        on.run("subscriptions")
        on.run("prime")
        begun = clock.hour_start(clock.graph_now())
        on.advance("PT1H")
        on.act(0, "send", to=[on.address(1)])
        on.settle()
        # What nobody tells of: only a round can find it.
        on.fault("drop")
        on.advance("PT1H")
        on.act(1, "send", to=[on.address(2)])
        on.advance("PT2H")
        hours = [clock.hour_name(begun + n * clock.HOUR) for n in range(3)]

        first = on.run("catch_up", hour=hours[0], full=True)
        notes = [on.run("catch_up", hour=hour, full=True)["note"] for hour in hours[1:]]
        once = digests(on)

        assert first["note"].startswith(f"{hours[0]}: 3 of 3 mailboxes proven; 3 rounds (3 full)")
        assert f"added 2 events: {hours[2]} +2" in first["note"]
        assert notes == [
            f"{hour}: 3 of 3 mailboxes proven; no round was needed" for hour in hours[1:]
        ]
        assert set(hours) <= set(once)

        for _ in range(2):  # as a backfill does, and clearing all of its tasks
            for hour in hours:
                on.run("catch_up", hour=hour, full=True)
                told = on.run("export", hour=hour, only=True)
                assert told["sealed"] == [f"contoso.example/{hour}"]
                assert told["note"].endswith("as before")
        assert digests(on) == once

        early = clock.hour_name(begun - timedelta(days=1))
        assert on.run("catch_up", hour=early)["note"].startswith(f"{early}: nobody was watched")
        assert "nobody was watched then" in on.run("export", hour=early, only=True)["note"]
        running = clock.hour_name(clock.graph_now())
        assert on.run("export", hour=running, only=True)["not_over"] == [running]
        assert on.run("catch_up", hour=running)["not_over"]
