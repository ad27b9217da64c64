"""Restated days, and what was found to work for an account."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A day that had ended and was read before, and reads differently now: sums before and after.
    op.execute(
        "create table ops.restatements ("
        "id bigint generated always as identity primary key, "
        "account_id text not null, report text not null, date date not null, "
        "before jsonb not null, after jsonb not null, changed_rows integer not null, "
        "restated_at timestamptz not null, run_id text not null)"
    )
    op.execute("create index restatements_day on ops.restatements (account_id, date)")
    # As `tributary.platforms.meta.plan.Plan` has it, and since when.
    op.execute("alter table ops.ad_accounts add column learned jsonb not null default '{}'")


def downgrade() -> None:
    op.execute("alter table ops.ad_accounts drop column learned")
    op.execute("drop table ops.restatements")
