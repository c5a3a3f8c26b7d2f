"""The steady stream: so many changes a second, whatever people do."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from graph_simulator.traffic import Player, go, start
from tests.support.traffic import journal, open_world, play_until


def test_every_stretch_has_the_rate_asked_for(tmp_path: Path) -> None:
    with open_world(tmp_path, back=timedelta(days=1)) as world:
        traffic = start(world, {"generator": True, "mailboxes": 20, "rate": 20, "seed": 5})
        go(world, traffic)

        play_until(world, Player(traffic), traffic.begins_at + timedelta(minutes=4))

        minutes = Counter(
            (datetime.fromisoformat(str(row["at"])) - traffic.begins_at) // timedelta(minutes=1)
            for row in journal(world)
            if row["observable"]
        )
        assert all(1150 <= minutes[minute] <= 1250 for minute in range(4))


def test_readers_take_about_their_share_of_the_stream(tmp_path: Path) -> None:
    with open_world(tmp_path, back=timedelta(days=1)) as world:
        traffic = start(world, {"generator": True, "mailboxes": 20, "rate": 20, "readers": 0.5})
        player = Player(traffic)
        go(world, traffic)

        play_until(world, player, traffic.begins_at + timedelta(minutes=5))

        played = player.progress()["played"]
        mail = played["send"] + played["receive"] + played["draft"]
        assert 0.7 < mail / (sum(played.values()) - mail) < 1.4


def test_one_seed_gives_one_stream(tmp_path: Path) -> None:
    streams = []
    for name in ("first", "second"):
        with open_world(tmp_path / name, back=timedelta(days=1)) as world:
            traffic = start(world, {"generator": True, "mailboxes": 8, "rate": 10, "seed": 2})
            go(world, traffic)
            play_until(world, Player(traffic), traffic.begins_at + timedelta(minutes=2))
            streams.append([(row["mailbox"], row["item"], row["action"]) for row in journal(world)])

    assert streams[0] == streams[1]
