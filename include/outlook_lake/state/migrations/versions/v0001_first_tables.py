"""The first tables.

While no release is out the first version makes the tables of `tables.py` as they stand;
from the first release on each change gets a version of its own.
"""

from alembic import op

from outlook_lake.state.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop every table."""
    metadata.drop_all(op.get_bind())
