"""The tables that we own: `raw` (what a platform said) and `ops` (what we did and must remember).

Migrations create them; a test holds the two equal. Money is numeric in major units of the
account's currency, times are UTC, dates are the ad account's own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={"pk": "%(table_name)s_pkey", "fk": "%(table_name)s_%(column_0_name)s_fkey"}
)


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> Column[object]:
    default = text("now()") if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def _raw_object(name: str) -> Table:
    """An object of the account's hierarchy as received; upserted, never deleted."""
    return Table(
        name,
        metadata,
        Column("account_id", Text),
        Column("id", Text),
        Column("payload", JSONB, nullable=False),
        _moment("extracted_at"),
        Column("run_id", Text, nullable=False),
        PrimaryKeyConstraint("account_id", "id"),
        schema="raw",
    )


meta_ad_accounts = _raw_object("meta_ad_accounts")
meta_campaigns = _raw_object("meta_campaigns")
meta_adsets = _raw_object("meta_adsets")
meta_ads = _raw_object("meta_ads")

# One row per ad with delivery and day; an account's day is replaced whole.
meta_ad_insights = Table(
    "meta_ad_insights",
    metadata,
    Column("account_id", Text),
    Column("date", Date),
    Column("ad_id", Text),
    Column("payload", JSONB, nullable=False),
    _moment("extracted_at"),
    Column("run_id", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "date", "ad_id"),
    schema="raw",
    postgresql_partition_by="RANGE (date)",
)

# The account's own totals of a day: the oracle that the ad rows are held against.
meta_account_insights = Table(
    "meta_account_insights",
    metadata,
    Column("account_id", Text),
    Column("date", Date),
    Column("payload", JSONB, nullable=False),
    _moment("extracted_at"),
    Column("run_id", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "date"),
    schema="raw",
)

# What Google's `click_view` says of each click of a day: the GAQL row, with snake_case names.
google_click_view = Table(
    "google_click_view",
    metadata,
    Column("account_id", Text),
    Column("date", Date),
    Column("gclid", Text),
    Column("payload", JSONB, nullable=False),
    _moment("extracted_at"),
    Column("run_id", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "date", "gclid"),
    schema="raw",
)

brands = Table(
    "brands",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("reporting_currency", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("managed_by", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    _moment("updated_at", now=True),
    schema="ops",
)


def _run_state() -> list[Column[object]]:
    return [
        _moment("last_sync_at", nullable=True),
        Column("last_sync_status", Text),
        Column("last_sync_count", BigInteger),
        _moment("paused_until", nullable=True),
        Column("paused_reason", Text),
    ]


ad_accounts = Table(
    "ad_accounts",
    metadata,
    Column("platform", Text),
    Column("account_id", Text),
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE"), nullable=False),
    Column("conn_id", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("settings", JSONB, nullable=False),
    *_run_state(),
    _moment("updated_at", now=True),
    # What was found to work, as `tributary.platforms.meta.plan.Plan` has it, and since when.
    Column("learned", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("platform", "account_id"),
    schema="ops",
)

destinations = Table(
    "destinations",
    metadata,
    Column("name", Text, primary_key=True),
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE"), nullable=False),
    Column("platform", Text, nullable=False),
    Column("conn_id", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    _moment("send_from", now=True),
    Column("settings", JSONB, nullable=False),
    *_run_state(),
    _moment("updated_at", now=True),
    # Troubles in a row of the platform or the credentials: how long the next pause lasts.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    schema="ops",
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE")),
    Column("source", Text),
    Column("conn_id", Text, nullable=False),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("brand_id", "source"),
    schema="ops",
)

# The ledger of loaded days: one row per account, report and account-local day.
loads = Table(
    "loads",
    metadata,
    Column("account_id", Text),
    Column("report", Text),
    Column("date", Date),
    Column("rows", Integer, nullable=False),
    Column("spend", Numeric, nullable=False),
    Column("impressions", BigInteger, nullable=False),
    Column("account_spend", Numeric, nullable=False),
    Column("account_impressions", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    # A cleared run keeps its run_id; only the number of clearings tells a retry from a new wish.
    Column("run_clear_number", Integer, nullable=False),
    _moment("extracted_at"),
    _moment("loaded_at"),
    # Since when the platform answers with nothing for a day that had spend; its rows stay.
    _moment("empty_since", nullable=True),
    PrimaryKeyConstraint("account_id", "report", "date"),
    CheckConstraint("status in ('loaded', 'reconciled', 'unreconciled')", name="loads_status"),
    schema="ops",
)

# A day that had ended and was read before, and reads differently now: sums before and after.
restatements = Table(
    "restatements",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("date", Date, nullable=False),
    Column("before", JSONB, nullable=False),
    Column("after", JSONB, nullable=False),
    Column("changed_rows", Integer, nullable=False),
    _moment("restated_at"),
    Column("run_id", Text, nullable=False),
    Index("restatements_day", "account_id", "date"),
    schema="ops",
)


def _first_hash(name: str, key: str) -> Column[object]:
    return Column(
        f"user_{name}_hash",
        Text,
        Computed(f"user_hashes #>> '{{meta,{key},0}}'", persisted=True),
    )


# What happened, once: hashes only; IP and user agent until all deliveries have ended.
conversion_events = Table(
    "conversion_events",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("brand_id", Uuid, ForeignKey("ops.brands.id"), nullable=False),
    Column("event_name", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'conversion'")),
    Column("adjusts", Uuid, ForeignKey("ops.conversion_events.id")),
    Column("revision", Integer, nullable=False, server_default=text("0")),
    _moment("event_time"),
    Column("action_source", Text, nullable=False),
    Column("event_source_url", Text),
    Column("event_value", Numeric),
    Column("currency", Text),
    Column("transaction_id", Text),
    Column("campaign_id", Text),
    Column("contact_id", Text),
    Column("source", Text, nullable=False),
    Column("user_ip", Text),
    Column("user_agent", Text),
    *(Column(name, Text) for name in ("fbp", "fbc", "gclid", "gbraid", "wbraid", "ad_id")),
    Column("user_hashes", JSONB, nullable=False, server_default=text("'{}'")),
    Column("google_address", JSONB, nullable=False, server_default=text("'{}'")),
    _first_hash("email", "em"),
    _first_hash("phone", "ph"),
    _first_hash("first_name", "fn"),
    _first_hash("last_name", "ln"),
    Column("consent", JSONB, nullable=False, server_default=text("'{}'")),
    Column("custom_params", JSONB, nullable=False, server_default=text("'{}'")),
    Column("is_test", Boolean, nullable=False, server_default=text("false")),
    # What intake left out of it, and why; sentences for people.
    Column("notes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Those that were active at intake: each has exactly one delivery.
    Column("destinations", ARRAY(Text), nullable=False),
    _moment("erased_at", nullable=True),  # when the person's data was taken out; the row stays
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
    UniqueConstraint("brand_id", "event_name", "event_id", "kind", "revision"),
    CheckConstraint(
        "kind in ('conversion', 'adjustment', 'enhancement')", name="conversion_events_kind"
    ),
    # One conversion of a kind per transaction, whatever event id each door gave it.
    Index(
        "conversion_events_transaction",
        "brand_id",
        "transaction_id",
        "event_name",
        unique=True,
        postgresql_where=text("kind = 'conversion' and transaction_id is not null"),
    ),
    Index("conversion_events_created", "created_at"),
    Index("conversion_events_contact", "brand_id", "contact_id"),
    Index("conversion_events_adjusts", "adjusts", postgresql_where=text("adjusts is not null")),
    schema="ops",
)

# One row per request, committed before it leaves.
upload_batches = Table(
    "upload_batches",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("parent", Uuid),  # the refused batch that this one is a part of
    Column("event_count", Integer, nullable=False),
    Column("run_id", Text),
    _moment("started_at"),
    _moment("ended_at", nullable=True),
    Column("http_status", Integer),
    Column("error_code", Text),
    Column("request_id", Text),
    # Where the platform tells later what became of a request: what it says, and when to ask again.
    Column("state", Text),
    _moment("poll_at", nullable=True),
    Column("polls", Integer, nullable=False, server_default=text("0")),
    Column("answer", JSONB),
    Index("upload_batches_started", "destination", "started_at"),
    Index(
        "upload_batches_polled",
        "destination",
        "poll_at",
        postgresql_where=text("poll_at is not null"),
    ),
    schema="ops",
)

# Requests by second of a project whose quota several destinations share; kept for a day.
platform_calls = Table(
    "platform_calls",
    metadata,
    Column("project", Text),
    _moment("at"),
    Column("calls", Integer, nullable=False),
    PrimaryKeyConstraint("project", "at"),
    schema="ops",
)

conversion_deliveries = Table(
    "conversion_deliveries",
    metadata,
    Column("event", Uuid, ForeignKey("ops.conversion_events.id", ondelete="CASCADE")),
    Column("destination", Text, ForeignKey("ops.destinations.name")),
    Column("sync_status", Text, nullable=False),
    Column("outcome", Text),
    Column("sync_attempts", Integer, nullable=False, server_default=text("0")),
    _moment("next_attempt_at"),
    _moment("deadline"),  # until when the platform takes the event
    # When the first request left whose fate is not known: the platform's dedup clock runs from it.
    _moment("unknown_since", nullable=True),
    _moment("lease_until", nullable=True),
    Column("batch_id", Uuid, ForeignKey("ops.upload_batches.id")),
    _moment("synced_at", nullable=True),
    Column("sync_error", Text),
    Column("platform_trace_id", Text),
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
    # Only deliveries of one key leave in one request.
    Column("batch_key", Text, nullable=False, server_default=text("''")),
    PrimaryKeyConstraint("event", "destination"),
    CheckConstraint(
        "sync_status in ('pending', 'queued', 'sent', 'failed', 'skipped', 'dead')",
        name="conversion_deliveries_status",
    ),
    Index(
        "conversion_deliveries_due",
        "destination",
        "deadline",
        postgresql_where=text("sync_status in ('pending', 'failed')"),
    ),
    Index(
        "conversion_deliveries_leased",
        "destination",
        "lease_until",
        postgresql_where=text("sync_status = 'queued'"),
    ),
    Index("conversion_deliveries_batch", "batch_id"),
    Index(
        "conversion_deliveries_dead",
        "destination",
        "outcome",
        postgresql_where=text("sync_status in ('dead', 'skipped')"),
    ),
    schema="ops",
)

# What webhooks and the API learn of a contact, for attribution.
contacts = Table(
    "contacts",
    metadata,
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE")),
    Column("contact_id", Text),
    *(Column(name, Text) for name in ("fbclid", "fbp", "fbc", "ad_id", "gclid")),
    _moment("first_seen_at"),
    _moment("last_seen_at"),
    # Of e-mails and phones that posts named which became no event: an erasure finds it by them.
    Column("hashes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("brand_id", "contact_id"),
    schema="ops",
)

# Tombstones of events and hashes of people that must not come back: one of both per row.
erasures = Table(
    "erasures",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE"), nullable=False),
    Column("event_name", Text),
    Column("event_id", Text),
    Column("hash", Text),
    _moment("erased_at", now=True),
    CheckConstraint("(event_id is null) <> (hash is null)", name="erasures_what"),
    Index(
        "erasures_event",
        "brand_id",
        "event_name",
        "event_id",
        unique=True,
        postgresql_where=text("event_id is not null"),
    ),
    Index(
        "erasures_hash",
        "brand_id",
        "hash",
        unique=True,
        postgresql_where=text("hash is not null"),
    ),
    schema="ops",
)

# Files of refused lines that imports wrote, and the hashes of who is in them.
refused_files = Table(
    "refused_files",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("host", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE")),
    Column("hashes", ARRAY(Text), nullable=False),
    _moment("written_at", now=True),
    schema="ops",
)

# Who may use the public API: a random key's SHA-256, for one brand.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),  # the part of the key that may be shown
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    _moment("created_at", now=True),
    _moment("expires_at", nullable=True),
    _moment("revoked_at", nullable=True),
    schema="ops",
)

# Who asked for a change at the edge, before it was made; Airflow has the same of its own users. It
# outlives keys and brands.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _moment("at", now=True),
    Column("event", Text, nullable=False),  # such as tributary_erasure_erase
    Column("owner", Text, nullable=False),  # id of the API key
    Column("brand", Text, nullable=False),  # slug
    Column("extra", JSONB, nullable=False),  # the method, and what the path names
    schema="ops",
)

# What providers posted, encrypted, for seven days: for a replay, and to know a repetition. What
# waits for its payment stays for thirty.
webhook_payloads = Table(
    "webhook_payloads",
    metadata,
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE")),
    Column("source", Text),
    Column("provider_id", Text),  # the provider's own event id
    _moment("received_at"),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("payload", LargeBinary, nullable=False),
    # Whose it is, so that it goes with the event, and with the person.
    Column("events", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("hashes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("brand_id", "source", "provider_id"),
    # Ids of the payment and the person that it is about, by which its other reports find it.
    Column("links", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    CheckConstraint("status in ('taken', 'refused', 'waiting')", name="webhook_payloads_status"),
    Index("webhook_payloads_received", "received_at"),
    # Without the list of what is not yet sorted in: every post looks into the index.
    Index(
        "webhook_payloads_links",
        "links",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=text("links <> '{}'"),
    ),
    schema="ops",
)
