"""Since when the platform returns no rows for a day that had spend; its stored rows stay."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table ops.loads add column empty_since timestamptz")


def downgrade() -> None:
    op.execute("alter table ops.loads drop column empty_since")
