"""Push keys: what accounts sign publishing to the hub with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """No account has one yet."""
    op.create_table(
        "push_key",
        sa.Column("account_id", sa.Integer, sa.ForeignKey("account.id"), primary_key=True, autoincrement=False),
        sa.Column("secret_key", sa.LargeBinary, nullable=False),
    )
