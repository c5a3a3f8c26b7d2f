"""Alembic's entry: always on the connection the caller brings, inside its transaction."""

from alembic import context

from outlook_lake.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
