"""A look into the state database for the triggerer: cheap, read only, and it makes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

    from outlook_lake.settings import Settings

__all__ = ["Window"]

Answer = TypeVar("Answer")


class Window:
    """The state database of a home, also before it is there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._engine: Engine | None = None

    def first(self, query: str, parameters: Mapping[str, Any]) -> Row[Any] | None:
        """The first row; None also while there is no database, no table, or a migration."""
        from sqlalchemy import text

        return self.ask(lambda connection: connection.execute(text(query), parameters).first())

    def ask(self, question: Callable[[Connection], Answer]) -> Answer | None:
        """What `question` finds in the database; None as for `first`."""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import OperationalError, ProgrammingError

        from outlook_lake.state.database import url_of

        file = self.settings.state_file
        if file is not None and not file.exists():
            return None
        if self._engine is None:
            self._engine = create_engine(url_of(self.settings), pool_size=1, hide_parameters=True)
        try:
            with self._engine.connect() as connection:
                return question(connection)
        except (OperationalError, ProgrammingError):
            return None

    def close(self) -> None:
        """Give the connection back."""
        if self._engine is not None:
            self._engine.dispose()
