"""What intake left out of an event that it accepted, and why: sentences for people."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table ops.conversion_events add column notes text[] not null default '{}'")


def downgrade() -> None:
    op.execute("alter table ops.conversion_events drop column notes")
