"""Conversions: events, their deliveries, one row per request, contacts, and what was erased."""

from alembic import op
from tributary.warehouse.schema import MigrationBlocked

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_HASHES = ("email", "em"), ("phone", "ph"), ("first_name", "fn"), ("last_name", "ln")
_GENERATED = ",\n".join(
    f"    user_{name}_hash text generated always as (user_hashes #>> '{{meta,{key},0}}') stored"
    for name, key in _HASHES
)

_STATEMENTS = f"""
-- One row per event. People as hashes only; IP and user agent until all deliveries have ended.
create table ops.conversion_events (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references ops.brands (id),
    event_name text not null,
    event_id text not null,
    kind text not null default 'conversion' constraint conversion_events_kind
        check (kind in ('conversion', 'adjustment', 'enhancement')),
    adjusts uuid references ops.conversion_events (id),
    revision integer not null default 0,
    event_time timestamptz not null,
    action_source text not null,
    event_source_url text,
    event_value numeric,
    currency text,
    transaction_id text,
    campaign_id text,
    contact_id text,
    source text not null,
    user_ip text,
    user_agent text,
    fbp text,
    fbc text,
    gclid text,
    gbraid text,
    wbraid text,
    ad_id text,
    user_hashes jsonb not null default '{{}}',
    google_address jsonb not null default '{{}}',
{_GENERATED},
    consent jsonb not null default '{{}}',
    custom_params jsonb not null default '{{}}',
    is_test boolean not null default false,
    -- The destinations that were active at intake: the event has exactly one delivery for each.
    destinations text[] not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (brand_id, event_name, event_id, kind, revision)
);
-- One conversion of a kind per transaction, also when its sources give it different event ids.
create unique index conversion_events_transaction
    on ops.conversion_events (brand_id, transaction_id, event_name)
    where kind = 'conversion' and transaction_id is not null;
create index conversion_events_created on ops.conversion_events (created_at);
create index conversion_events_contact on ops.conversion_events (brand_id, contact_id);
create index conversion_events_adjusts on ops.conversion_events (adjusts)
    where adjusts is not null;
-- One row per request, committed before it is sent.
create table ops.upload_batches (
    id uuid primary key,
    destination text not null,
    parent uuid,  -- the refused batch that this one is a part of
    event_count integer not null,
    run_id text,
    started_at timestamptz not null,
    ended_at timestamptz,
    http_status integer,
    error_code text,
    request_id text
);
create index upload_batches_started on ops.upload_batches (destination, started_at);
create table ops.conversion_deliveries (
    event uuid references ops.conversion_events (id) on delete cascade,
    destination text references ops.destinations (name),
    sync_status text not null constraint conversion_deliveries_status
        check (sync_status in ('pending', 'queued', 'sent', 'failed', 'skipped', 'dead')),
    outcome text,
    sync_attempts integer not null default 0,
    next_attempt_at timestamptz not null,
    deadline timestamptz not null,  -- until when the platform accepts the event
    -- When the first request with an unknown result left: the dedup window runs from it.
    unknown_since timestamptz,
    lease_until timestamptz,
    batch_id uuid references ops.upload_batches (id),
    synced_at timestamptz,
    sync_error text,
    platform_trace_id text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (event, destination)
) with (fillfactor = 70);
create index conversion_deliveries_due on ops.conversion_deliveries (destination, deadline)
    where sync_status in ('pending', 'failed');
create index conversion_deliveries_leased on ops.conversion_deliveries (destination, lease_until)
    where sync_status = 'queued';
create index conversion_deliveries_batch on ops.conversion_deliveries (batch_id);
create index conversion_deliveries_dead on ops.conversion_deliveries (destination, outcome)
    where sync_status in ('dead', 'skipped');
-- What webhooks and the REST API report of a contact, for attribution.
create table ops.contacts (
    brand_id uuid references ops.brands (id) on delete cascade,
    contact_id text,
    fbclid text,
    fbp text,
    fbc text,
    ad_id text,
    gclid text,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    primary key (brand_id, contact_id)
);
-- Events and hashes of people that must not come back: one of both per row.
create table ops.erasures (
    id bigint generated always as identity primary key,
    brand_id uuid not null references ops.brands (id) on delete cascade,
    event_name text,
    event_id text,
    hash text,
    erased_at timestamptz not null default now(),
    constraint erasures_what check ((event_id is null) <> (hash is null))
);
create unique index erasures_event on ops.erasures (brand_id, event_name, event_id)
    where event_id is not null;
create unique index erasures_hash on ops.erasures (brand_id, hash) where hash is not null;
-- Failures in a row of the platform or the credentials: they decide how long the next pause lasts.
alter table ops.destinations add column failures integer not null default 0;
"""

_TABLES = ("erasures", "contacts", "conversion_deliveries", "upload_batches", "conversion_events")


def upgrade() -> None:
    for statement in _STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    erased = op.get_bind().exec_driver_sql("select count(*) from ops.erasures").scalar()
    if erased:  # an earlier version would store these people's data again
        raise MigrationBlocked(
            f"ops.erasures has {erased:,} rows of people who asked to be forgotten, and that "
            "version has no table for them. Keep this version, or copy them elsewhere and delete "
            "them."
        )
    op.execute("alter table ops.destinations drop column failures")
    for table in _TABLES:
        op.execute(f"drop table ops.{table}")
