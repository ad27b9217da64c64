"""Keys of the REST API, webhook payloads for a replay, and when an event was erased."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS = """
-- When the person's data was deleted from the row, which stays.
alter table ops.conversion_events add column erased_at timestamptz;
-- Who may use the REST API of one brand: the SHA-256 of a random key.
create table ops.api_keys (
    id text primary key,  -- the part of the key that may be shown
    brand_id uuid not null references ops.brands (id) on delete cascade,
    name text not null,
    hash text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
-- Encrypted, for seven days: for a replay, and to recognise a repetition. Thirty where the payment
-- is still missing.
create table ops.webhook_payloads (
    brand_id uuid references ops.brands (id) on delete cascade,
    source text,
    provider_id text,  -- the provider's own event id
    received_at timestamptz not null,
    status text not null constraint webhook_payloads_status check (status in ('taken', 'refused')),
    reason text,
    payload bytea not null,
    -- An erasure of these events, or of the person with these hashes, deletes the payload.
    events uuid[] not null default '{}',
    hashes text[] not null default '{}',
    primary key (brand_id, source, provider_id)
);
create index webhook_payloads_received on ops.webhook_payloads (received_at);
-- After a downgrade and an upgrade `ops.erasures` still knows which events were erased.
update ops.conversion_events as e set erased_at = t.erased_at from ops.erasures as t
where t.brand_id = e.brand_id and t.event_name = e.event_name and t.event_id = e.event_id;
"""


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("drop table ops.webhook_payloads")
    op.execute("drop table ops.api_keys")
    op.execute("alter table ops.conversion_events drop column erased_at")
