"""What people can do. `ACTS` maps the words of `POST /simulator/act` to functions."""

from __future__ import annotations

from graph_simulator.world.acts import folders, mailboxes, marks, moves, post, rules
from graph_simulator.world.world import Act

__all__ = ["ACTS"]

ACTS: dict[str, Act] = {
    **post.ACTS,
    **marks.ACTS,
    **moves.ACTS,
    **folders.ACTS,
    **rules.ACTS,
    **mailboxes.ACTS,
}
