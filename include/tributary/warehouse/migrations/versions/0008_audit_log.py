"""Who asked for a change at the public edge."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table ops.audit_log (
            id bigint generated always as identity primary key,
            at timestamptz not null default now(),
            event text not null,
            owner text not null,
            brand text not null,
            extra jsonb not null
        )
    """)


def downgrade() -> None:
    op.execute("drop table ops.audit_log")
