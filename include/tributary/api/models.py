"""The models of the REST API's requests and answers."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from tributary import event
from tributary.api.problems import Fault

MOST_IN_BATCH = 1000


def _storable(text: str) -> str:
    if "\x00" in text or not text.isprintable():
        raise ValueError("must be printable text")
    return text


Text = Annotated[str, Field(max_length=256), AfterValidator(_storable)]
# Intake reads what people and programs write: texts, and numbers where a text would do.
Loose = str | int | float | None
Many = Annotated[Loose | list[Loose], Field(description="One value, or a list of them.")]
Status = Literal["pending", "queued", "sent", "failed", "skipped", "dead"]


class _ConversionIn(BaseModel):
    """A conversion as it is handed in. Whom it is about is hashed before anything is stored.

    Other names are taken where they are aliases: `price` and `amount` for value, `userId` for
    external_id, `planId` and `productId` for content_ids, and the brand's own `property_aliases`.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "event_name": "Purchase",
                "event_id": "order-4711",
                "event_time": "2026-11-20T12:00:00Z",
                "email": "jane.roe@example.com",
                "value": "19.90",
                "currency": "USD",
                "transaction_id": "T-4711",
                "consent_ad_user_data": True,
            }
        },
    )


_Flag = bool | str | None
_Json = dict[str, Any] | None


def _conversion_field(field: event.Field) -> tuple[Any, Any]:
    """Type and default of a field of `event.FIELDS` in a body."""
    about = f"{field.about} Required when {field.needed}." if field.needed else field.about
    if field.needed == "always":
        return str, Field(description=field.about)
    kinds: dict[event.Kind, Any] = {"flag": _Flag, "json": _Json, "person": Many}
    return kinds.get(field.kind, Loose), Field(None, description=about)


if TYPE_CHECKING:
    ConversionIn = _ConversionIn
else:
    ConversionIn = create_model(
        "ConversionIn",
        __base__=_ConversionIn,
        __doc__=_ConversionIn.__doc__,
        **{name: _conversion_field(field) for name, field in event.FIELDS.items()},
    )

_Item = Annotated[dict[str, Any], WithJsonSchema(ConversionIn.model_json_schema())]


class Delivery(BaseModel):
    """The state of a conversion at one destination."""

    destination: str
    sync_status: Status
    outcome: str | None
    sync_attempts: int
    next_attempt_at: datetime
    deadline: datetime
    synced_at: datetime | None
    sync_error: str | None
    platform_trace_id: str | None
    updated_at: datetime


class Conversion(BaseModel):
    """A stored conversion. What identifies the person is not shown, only whether it is there.

    Neither is what may: the page that it came from, and the custom parameters.
    """

    id: UUID
    brand: str
    event_name: str
    event_id: str
    kind: Literal["conversion", "adjustment", "enhancement"]
    adjusts: UUID | None
    revision: int
    event_time: datetime
    action_source: str
    event_value: Decimal | None = Field(description="Major units, as text, exact.")
    currency: str | None
    transaction_id: str | None
    campaign_id: str | None
    ad_id: str | None
    source: str
    is_test: bool
    has_email: bool
    has_phone: bool
    has_name: bool
    has_ip: bool
    has_user_agent: bool
    has_fbp: bool
    has_fbc: bool
    has_gclid: bool
    has_contact_id: bool
    notes: list[str] = Field(description="What was left out of it at intake, and why.")
    created_at: datetime
    updated_at: datetime
    deliveries: list[Delivery]


class Conversions(BaseModel):
    """A page of conversions, the newest first."""

    data: list[Conversion]
    count: int = Field(description="How many there are on all pages; 10000: or more.")
    limit: int
    offset: int
    next: UUID | None = Field(description="What to give as `after` for the next page.")


class Batch(BaseModel):
    """Several conversions; each is judged by itself."""

    events: list[_Item] = Field(min_length=1, max_length=MOST_IN_BATCH)


class ItemResult(BaseModel):
    """The result of one conversion of a batch."""

    index: int
    status: Literal["accepted", "duplicate", "refused"]
    id: UUID | None = Field(default=None, description="Of the stored row; a duplicate's first.")
    errors: list[Fault] = []


class BatchResult(BaseModel):
    """The results of a batch, in its order."""

    accepted: int
    duplicate: int
    refused: int
    results: list[ItemResult]


class DeliveryChange(BaseModel):
    """A delivery's new state, by hand."""

    model_config = ConfigDict(extra="forbid")

    destination: Text = Field(description="Name of the destination.")
    sync_status: Literal["pending", "skipped"] = Field(
        description="failed, dead and skipped can become pending; pending can become skipped."
    )


class Run(BaseModel):
    """A run of the upload DAG."""

    dag_id: str
    dag_run_id: str
    state: str
    dag_is_paused: bool = Field(
        False, description="The run waits until the DAG is switched on; absent when it does not."
    )


class BrandResult(BaseModel):
    """What an upload did for a brand."""

    brand_id: UUID
    brand_name: str
    events_processed: int
    success_count: int
    failure_count: int
    errors: list[str]


class SyncSummary(BaseModel):
    """The sums."""

    total_processed: int
    total_success: int
    total_failure: int


class SyncResult(BaseModel):
    """What a finished upload did."""

    message: str
    summary: SyncSummary
    results: list[BrandResult]


class BrandStatus(BaseModel):
    """The latest upload of a brand, and what waits."""

    brand_id: UUID
    brand_name: str
    brand: str
    is_active: bool = Field(description="Whether any destination is active.")
    last_sync_at: datetime | None
    last_sync_status: str | None
    last_sync_count: int | None
    pending_events: int


class SyncStatus(BaseModel):
    """All brands that the caller may see."""

    status: list[BrandStatus]


class Destination(BaseModel):
    """Where conversions go. Its credentials are an Airflow connection and never shown."""

    name: str
    brand: str
    platform: str
    conn_id: str
    is_active: bool
    managed_by: Literal["file", "api"]
    settings: dict[str, Any]
    is_paused: bool
    paused_until: datetime | None = Field(description="Null when it waits for a person.")
    paused_reason: str | None
    last_sync_at: datetime | None
    last_sync_status: str | None
    last_sync_count: int | None


class Destinations(BaseModel):
    """All destinations that the caller may see."""

    data: list[Destination]


class DestinationChange(BaseModel):
    """Pause, resume, or (for brands marked `managed_by: api`) other settings."""

    model_config = ConfigDict(extra="forbid")

    paused: bool | None = Field(None, description="True: nothing leaves until it is false again.")
    reason: Text | None = Field(None, description="Why it is paused, for those who look.")
    settings: dict[str, Any] | None = Field(
        None, description="Keys of the settings file that change; the others stay."
    )


class ErasureRequest(BaseModel):
    """The person whose data is erased."""

    model_config = ConfigDict(extra="forbid")

    email: Text | None = None
    phone: Text | None = None
    country: Text | None = Field(None, description="Helps to read a phone number without +.")
    brand: Text | None = Field(None, description="Slug; all that the caller may see when absent.")


class Erasure(BaseModel):
    """What was erased at a brand."""

    brand: str
    events: int
    deliveries_skipped: int
    contacts: int
    webhook_payloads: int
    refused_files: int = Field(
        0, description="Files of refused lines that held the person, deleted; absent when none."
    )
    refused_files_left: int = Field(
        0, description="Such files on other machines, or not ours to delete; absent when none."
    )
    already_sent: dict[str, int] = Field(
        description="Per destination, what it has already: ask the platform to delete it."
    )


class Erasures(BaseModel):
    """What was erased; nothing of the person will be taken any more."""

    erased: list[Erasure]


class Posted(BaseModel):
    """The result of a webhook post."""

    status: Literal["accepted", "duplicate", "ignored"]
    reason: str | None = None


class Health(BaseModel):
    """The API and its warehouse answer."""

    status: Literal["ok"]
    degraded: list[str] | None = Field(None, description="What works in a poorer way meanwhile.")


class DestinationFigures(BaseModel):
    """A destination with its run state, and its deliveries by state."""

    brand: str
    brand_name: str
    name: str
    platform: str
    is_active: bool
    conn_id: str
    last_sync_at: datetime | None
    last_sync_status: str | None
    last_sync_count: int | None
    sync_interval_minutes: int | None
    settings: dict[str, Any] | None = Field(description="Null where the settings file owns them.")
    is_paused: bool
    paused_until: datetime | None = Field(description="Null when it waits for a person.")
    paused_reason: str | None
    pending: int
    queued: int
    sent: int
    failed: int
    skipped: int
    dead: int
    retryable: int = Field(description="Dead ones that the platform would still take.")


class HourFigures(BaseModel):
    """Deliveries of a destination by the hour in which they came into their present state."""

    destination: str
    sync_status: Status
    deliveries: int
    hour: datetime


class OutcomeFigures(BaseModel):
    """Deliveries of a destination that failed or were skipped, by outcome."""

    destination: str
    platform: str
    sync_status: Status
    outcome: str | None
    deliveries: int
    retryable: int
    latest: datetime
    sample_event_id: str
    sample_error: str | None
    means: str
    to_do: str


class LagFigures(BaseModel):
    """Seconds from the events to their acceptance."""

    destination: str
    deliveries: int
    p50_seconds: float
    p95_seconds: float


class CoverageFigures(BaseModel):
    """The share of a destination's events that carry each match key, from 0 to 1."""

    destination: str
    events: int
    email: float
    phone: float
    click_id: float
    external_id: float
    estimate: float = Field(description="Estimated match quality, from 0 to 10.")


class ExpiryFigures(BaseModel):
    """Waiting deliveries whose deadline is near; each figure includes those before it."""

    destination: str
    first_deadline: datetime
    within_6_hours: int
    within_24_hours: int
    within_72_hours: int


class Overview(BaseModel):
    """The delivery ledger of all brands in figures."""

    may_sync: bool = Field(description="Whether the caller may start an upload.")
    may_act: bool = Field(description="Whether the caller may change a destination.")
    now: datetime
    hours: int
    lag_days: int
    coverage_days: int
    destinations: list[DestinationFigures]
    per_hour: list[HourFigures]
    errors: list[OutcomeFigures]
    not_sent: list[OutcomeFigures]
    lag: list[LagFigures]
    coverage: list[CoverageFigures]
    expiring: list[ExpiryFigures]


class Account(BaseModel):
    """An ad account with its pause and the result of its latest load."""

    brand: str
    brand_name: str
    platform: str
    account_id: str
    is_active: bool
    conn_id: str
    name: str
    last_sync_at: datetime | None
    last_sync_status: str | None
    is_paused: bool
    paused_until: datetime | None = Field(description="Null when it waits for a person.")
    paused_reason: str | None


class AccountDay(BaseModel):
    """A day of an ad account; `day` is null where nothing was ever loaded."""

    brand: str
    brand_name: str
    platform: str
    account_id: str
    name: str
    is_active: bool
    currency: str | None
    day: date | None
    status: Literal["reconciled", "unreconciled", "open", "missing"]
    rows: int | None
    spend: str | None
    account_spend: str | None
    loaded_at: datetime | None
    run: str | None = Field(description="Path of the run's page in Airflow; null: forgotten.")


class LoadingRun(BaseModel):
    """A DAG run that loads ads and has not ended."""

    dag: str
    state: str
    run: str = Field(description="Path of the run's page in Airflow.")


class Loads(BaseModel):
    """The ad accounts and their days."""

    now: datetime
    days: int
    may_act: bool = Field(description="Whether the caller may resume an account.")
    accounts: list[Account]
    loads: list[AccountDay]
    under_way: list[LoadingRun]


class AirflowProblem(BaseModel):
    """Something that a person must repair."""

    says: str
    conn_id: str | None = Field(description="The connection that cannot be used.")


class Problems(BaseModel):
    """All problems, the one that stops most first."""

    problems: list[AirflowProblem]


class MatchQuality(BaseModel):
    """Meta's scores of a destination by event name, from 0 to 10."""

    destination: str
    scores: dict[str, float]
    why_not: str | None = Field(description="Why there is no score.")


class MatchQualities(BaseModel):
    """Of all active Meta destinations."""

    quality: list[MatchQuality]


class RetryRequest(BaseModel):
    """Which dead deliveries are put back."""

    model_config = ConfigDict(extra="forbid")

    outcome: Text | None = Field(None, description="Absent: all but `outcome_unknown`.")


class Retried(BaseModel):
    """How many deliveries were put back into the outbox."""

    put_back: int


class Resumed(BaseModel):
    """Whether there was a pause to end."""

    was_paused: bool
