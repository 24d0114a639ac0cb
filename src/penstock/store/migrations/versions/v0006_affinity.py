"""Tasks that must run on one worker."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_HELD = sa.text("owner IS NOT NULL AND affinity != ''")


def upgrade() -> None:
    """The tasks that are there run anywhere."""
    op.add_column("task", sa.Column("affinity", sa.Text, nullable=False, server_default=""))
    op.create_index("task_affinity", "task", ["affinity"], sqlite_where=_HELD, postgresql_where=_HELD)
