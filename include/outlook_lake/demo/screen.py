"""What the demo says, on stderr: stages with a spinner, lines, and the live table.

Where stderr is no terminal everything becomes plain lines, a table line every 10 seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

__all__ = ["Screen"]

PLAIN_EVERY_S = 10.0


class Screen:
    """One terminal. `began` is when the demo began, s of the machine's monotonic clock."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.began = time.monotonic()
        self._live: Live | None = None
        self._plain_at = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.began

    def say(self, line: str) -> None:
        """A line for people, with the time since the beginning."""
        self.console.print(f"[dim]{self.elapsed_s:6.1f} s[/dim]  {escape(line)}", soft_wrap=True)

    @contextmanager
    def stage(self, doing: str) -> Iterator[None]:
        """Something that takes a while: a spinner meanwhile, a line with its duration after."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(escape(doing)):
                yield
        else:
            yield
        self.say(f"{doing}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def table(self) -> Iterator[None]:
        """While inside, `show` keeps one table up to date below the lines."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=4, transient=False) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def show(self, rows: Sequence[tuple[str, str]], below: Sequence[str] = ()) -> None:
        """Show the table anew."""
        if self._live is not None:
            self._live.update(_rendered(rows, below))
        elif time.monotonic() - self._plain_at >= PLAIN_EVERY_S and not self.console.is_terminal:
            self._plain_at = time.monotonic()
            self.say(" · ".join(f"{name} {value}" for name, value in rows))

    def panel(self, title: str, lines: Sequence[str]) -> None:
        """A text between two rules; its lines can be copied whole."""
        self.console.rule(escape(title))
        for line in lines:
            self.console.print(escape(line), soft_wrap=True)
        self.console.rule()


def _rendered(rows: Sequence[tuple[str, str]], below: Sequence[str]) -> Group:
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(style="bold")
    for name, value in rows:
        table.add_row(name, escape(value))
    return Group(table, *(escape(line) for line in below))
