"""What an erasure must find: whose a contact is, and who is in a file of refused lines."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of e-mails and phones that were posted but became no event: an erasure finds the row by them.
    op.execute("alter table ops.contacts add column hashes text[] not null default '{}'")
    op.execute("""
        -- Files of refused lines that imports wrote, and the hashes of the people in them.
        create table ops.refused_files (
            id bigint generated always as identity primary key,
            host text not null,
            path text not null,
            brand_id uuid references ops.brands (id) on delete cascade,
            hashes text[] not null,
            written_at timestamptz not null default now()
        )
    """)


def downgrade() -> None:
    op.execute("drop table ops.refused_files")
    op.execute("alter table ops.contacts drop column hashes")
