"""Who asked for a change through the REST API, written before it is made.

Airflow has the same of its own users. Rows outlive keys and brands.
"""

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
            event text not null,  -- such as tributary_erasure_erase
            owner text not null,  -- id of the API key
            brand text not null,  -- slug
            extra jsonb not null  -- the method, and the parameters of the path
        )
    """)


def downgrade() -> None:
    op.execute("drop table ops.audit_log")
