"""Raw Meta tables, settings, the ledger of loads, and the user's tables where there are none.

Of all tables here and later: money is numeric in major units of the account's currency, moments are
UTC, dates are the ad account's own.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_RUN_STATE = """
    last_sync_at timestamptz,
    last_sync_status text,
    last_sync_count bigint,
    paused_until timestamptz,
    paused_reason text
"""

_SETTINGS = f"""
create table ops.brands (
    id uuid primary key default gen_random_uuid(),
    slug text not null unique,
    name text not null,
    reporting_currency text not null,
    time_zone text not null,
    managed_by text not null,
    settings jsonb not null,
    updated_at timestamptz not null default now()
);
create table ops.ad_accounts (
    platform text,
    account_id text,
    brand_id uuid not null references ops.brands (id) on delete cascade,
    conn_id text not null,
    is_active boolean not null,
    settings jsonb not null,
    {_RUN_STATE},
    updated_at timestamptz not null default now(),
    primary key (platform, account_id)
);
create table ops.destinations (
    name text primary key,
    brand_id uuid not null references ops.brands (id) on delete cascade,
    platform text not null,
    conn_id text not null,
    is_active boolean not null,
    send_from timestamptz not null default now(),
    settings jsonb not null,
    {_RUN_STATE},
    updated_at timestamptz not null default now()
);
create table ops.webhooks (
    brand_id uuid references ops.brands (id) on delete cascade,
    source text,
    conn_id text not null,
    primary key (brand_id, source)
);
-- The ledger of loaded days: one row per account, report and account-local day.
create table ops.loads (
    account_id text,
    report text,
    date date,
    rows integer not null,
    spend numeric not null,
    impressions bigint not null,
    account_spend numeric not null,
    account_impressions bigint not null,
    status text not null
        constraint loads_status check (status in ('loaded', 'reconciled', 'unreconciled')),
    run_id text not null,
    -- A cleared run keeps its run_id: only this distinguishes it from a retry.
    run_clear_number integer not null,
    extracted_at timestamptz not null,
    loaded_at timestamptz not null,
    primary key (account_id, report, date)
);
"""

_INSIGHTS = """
-- One row per ad with delivery and day. An account's day is replaced in one transaction.
create table raw.meta_ad_insights (
    account_id text,
    date date,
    ad_id text,
    payload jsonb not null,
    extracted_at timestamptz not null,
    run_id text not null,
    primary key (account_id, date, ad_id)
) partition by range (date);
-- The account's own totals of a day, which the sums of its ad rows are compared with.
create table raw.meta_account_insights (
    account_id text,
    date date,
    payload jsonb not null,
    extracted_at timestamptz not null,
    run_id text not null,
    primary key (account_id, date)
);
"""

# `if not exists` is true of views as well: a deployment's own views are left alone.
_APP = """
create table if not exists app.transactions (
    transaction_id text, brand_slug text, profile_id text, status text, amount numeric,
    currency text, transacted_at timestamptz, refunded_amount numeric, refunded_at timestamptz,
    updated_at timestamptz, event_id text, action_source text, event_source_url text, ip text,
    user_agent text, fbp text, fbc text
);
create table if not exists app.profiles (
    profile_id text, brand_slug text, email text, phone text, first_name text, last_name text,
    city text, state text, zip text, country text, gender text, date_of_birth text,
    external_id text, consent_ad_user_data boolean, consent_ad_personalization boolean,
    updated_at timestamptz
);
create table if not exists app.touchpoints (
    touchpoint_id text, brand_slug text, profile_id text, touched_at timestamptz,
    utm_source text, utm_medium text, utm_campaign text, utm_content text, utm_term text,
    ad_id text, fbclid text, fbc text, fbp text, gclid text, gbraid text, wbraid text,
    landing_url text, ip text, user_agent text
);
create table if not exists app.exchange_rates (
    rate_date date, base text, quote text, rate numeric
);
"""

# Objects of an account's hierarchy as received; upserted, never deleted.
_OBJECTS = ("meta_ad_accounts", "meta_campaigns", "meta_adsets", "meta_ads")


def upgrade() -> None:
    for schema in ("raw", "ops", "app"):
        op.execute(f"create schema if not exists {schema}")
    for table in _OBJECTS:
        op.execute(
            f"create table raw.{table} (account_id text, id text, payload jsonb not null, "
            "extracted_at timestamptz not null, run_id text not null, "
            "primary key (account_id, id))"
        )
    for statements in (_INSIGHTS, _SETTINGS, _APP):
        for statement in statements.split(";\n"):
            if statement.strip():
                op.execute(statement)


def downgrade() -> None:
    """Leaves `app` alone: its tables may be the user's."""
    for table in ("loads", "webhooks", "destinations", "ad_accounts", "brands"):
        op.execute(f"drop table ops.{table}")
    for table in ("meta_account_insights", "meta_ad_insights", *reversed(_OBJECTS)):
        op.execute(f"drop table raw.{table}")
