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
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

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
    # How reports were asked for when they succeeded: page size, days, asynchronous; and when.
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
    schema="ops",
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("brand_id", Uuid, ForeignKey("ops.brands.id", ondelete="CASCADE")),
    Column("source", Text),
    Column("conn_id", Text, nullable=False),
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
