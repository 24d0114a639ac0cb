"""Accounts with their keys, tasks with their status and history."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    _accounts()
    _tasks()
    _task_indices()
    _status_and_history()


def _accounts() -> None:
    op.create_table(
        "key_check",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "sequence",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("app_id", sa.BigInteger, nullable=False),
        sa.Column("task_limit", sa.Integer, nullable=False),
        sa.UniqueConstraint("name", name="account_name"),
        sa.UniqueConstraint("app_id", name="account_app_id"),
    )
    op.create_table(
        "access_key",
        sa.Column("secret_id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("secret_key", sa.LargeBinary, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
    )
    op.create_index("access_key_account", "access_key", ["account_id"])
    op.create_table(
        "sdk_app",
        sa.Column("sdk_app_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("secret_key", sa.LargeBinary, nullable=False),
    )
    op.create_index("sdk_app_account", "sdk_app", ["account_id"])


def _tasks() -> None:
    op.create_table(
        "task",
        sa.Column("key", NUMBER, primary_key=True),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("desired", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("state_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("start_at", sa.BigInteger, nullable=False),
        sa.Column("end_at", sa.BigInteger),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )


def _task_indices() -> None:
    newest_first = [sa.text("updated_at DESC"), sa.text('"key" DESC')]
    visible = "desired != 'delete'"
    _partial("task_id", ["account_id", "family", "id"], visible, unique=True)
    _partial("task_listing", ["account_id", "family", *newest_first], visible)
    _partial("task_all", newest_first, visible)
    _partial("task_waiting", ["start_at", "key"], "state = 'waiting'")
    _partial("task_owner", ["owner"], "owner IS NOT NULL")
    _partial("task_may_end", ["end_at"], "owner IS NULL AND state IN ('waiting', 'paused')")
    _partial("task_doomed", ["key"], "desired = 'delete'")
    _partial("task_ended", ["state_at"], "state = 'ended'")


def _partial(name: str, columns: Sequence[str | sa.TextClause], where: str, *, unique: bool = False) -> None:
    op.create_index(name, "task", columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _status_and_history() -> None:
    of_task = sa.ForeignKey("task.key", ondelete="CASCADE")
    op.create_table(
        "checkpoint",
        sa.Column("task_key", NUMBER, of_task, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("observed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "event",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("task_key", NUMBER, sa.ForeignKey("task.key", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("event_task", "event", ["task_key", "id"])
    op.create_index("event_at", "event", ["at"])
