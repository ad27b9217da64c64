"""Webhooks: settings, and the ids by which the reports of one payment are joined."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table ops.webhooks add column settings jsonb not null default '{}'")
    # Ids of the payment and of the person that the payload is about.
    op.execute("alter table ops.webhook_payloads add column links text[] not null default '{}'")
    _allow("'taken', 'refused', 'waiting'")
    # Without `fastupdate`: every post reads the index, and would scan its pending list.
    op.execute(
        "create index webhook_payloads_links on ops.webhook_payloads using gin (links) "
        "with (fastupdate = off) where links <> '{}'"
    )


def downgrade() -> None:
    op.execute("delete from ops.webhook_payloads where status = 'waiting'")
    _allow("'taken', 'refused'")
    op.execute("drop index ops.webhook_payloads_links")
    op.execute("alter table ops.webhook_payloads drop column links")
    op.execute("alter table ops.webhooks drop column settings")


def _allow(states: str) -> None:
    op.execute("alter table ops.webhook_payloads drop constraint webhook_payloads_status")
    op.execute(
        "alter table ops.webhook_payloads add constraint webhook_payloads_status "
        f"check (status in ({states}))"
    )
