"""A conversion event: a row of `ops.conversion_events`, on its way from intake to a platform."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID


class Consent(TypedDict, total=False):
    """What a person answered (true, false, null), and whether an unknown answer means no."""

    ad_user_data: bool | None
    ad_personalization: bool | None
    required: bool


class Event(TypedDict, total=False):
    """A row of `ops.conversion_events`; times in UTC, `event_value` in major units.

    The last block is what a claim adds for the platform: consent decided, and of an adjustment
    when its original happened.
    """

    id: UUID
    brand_id: UUID
    event_name: str
    event_id: str
    kind: str
    adjusts: UUID | None
    revision: int
    event_time: datetime
    action_source: str
    event_source_url: str | None
    event_value: Decimal | None
    currency: str | None
    transaction_id: str | None
    campaign_id: str | None
    contact_id: str | None
    source: str
    user_ip: str | None
    user_agent: str | None
    fbp: str | None
    fbc: str | None
    gclid: str | None
    gbraid: str | None
    wbraid: str | None
    ad_id: str | None
    user_hashes: dict[str, Any]
    google_address: dict[str, str]
    consent: Consent
    custom_params: dict[str, Any]
    is_test: bool
    notes: list[str]
    destinations: list[str]
    erased_at: datetime | None
    opt_out: bool
    is_void: bool
    adjusts_time: datetime | None
