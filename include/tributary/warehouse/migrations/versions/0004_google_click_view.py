"""Google's `click_view`: which campaign, ad group and ad a gclid belongs to.

The payload is the GAQL row, with snake_case names.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "create table raw.google_click_view ("
        "account_id text, date date, gclid text, payload jsonb not null, "
        "extracted_at timestamptz not null, run_id text not null, "
        "primary key (account_id, date, gclid))"
    )


def downgrade() -> None:
    op.execute("drop table raw.google_click_view")
