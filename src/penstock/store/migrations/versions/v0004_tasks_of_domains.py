"""Tasks that belong to a domain."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_SEEN = sa.text("desired != 'delete' AND domain != ''")


def upgrade() -> None:
    """The tasks that are there belong to none."""
    op.add_column("task", sa.Column("domain", sa.Text, nullable=False, server_default=""))
    newest_first = [sa.text("created_at DESC"), sa.text('"key" DESC')]
    columns = [*map(sa.text, ("account_id", "family", "domain")), *newest_first]
    op.create_index("task_domain", "task", columns, sqlite_where=_SEEN, postgresql_where=_SEEN)
