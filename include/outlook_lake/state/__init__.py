"""What the product remembers: one SQL database, tables and migrations, and nothing else."""

from outlook_lake.state.database import Database

__all__ = ["Database"]
