"""States of services, tasks that are suspended, callback keys, domains."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Give accounts what they lacked. Every service of the accounts that are there is active."""
    op.add_column("account", sa.Column("suspended", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "callback_key",
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), primary_key=True, autoincrement=False),
        sa.Column("secret_key", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "domain",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("area", sa.Text, nullable=False),
    )
    op.create_index("domain_account", "domain", ["account_id"])
    _suspended_tasks()


def _suspended_tasks() -> None:
    """A suspended task ends when its time comes, as a waiting or a paused one does."""
    op.drop_index("task_may_end", "task")
    _partial("task_may_end", "end_at", "owner IS NULL AND state IN ('waiting', 'paused', 'suspended')")


def _partial(name: str, column: str, where: str) -> None:
    op.create_index(name, "task", [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
