"""Settings of Meta's ad accounts and of its pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tributary.platforms.settings import (
    AdAccountSettings,
    DestinationSettings,
    Digits,
    EventNames,
    Text,
)

Window = Literal["1d_click", "7d_click", "28d_click", "1d_view", "1d_ev"]


class MetaAdAccount(AdAccountSettings):
    """An ad account of Meta."""

    platform: Literal["meta"]
    attribution_windows: list[Window] = Field(
        ["1d_click", "7d_click", "28d_click", "1d_view"],
        description="Windows by which actions are broken down.",
    )
    action_types: Annotated[list[Text], Field(min_length=1)] = Field(
        ["omni_purchase", "purchase"],
        description="Action types that count as the platform's purchases; the first that a row has "
        "is taken, never their sum.",
    )


class MetaDestination(DestinationSettings):
    """A pixel or dataset of Meta, through the Conversions API."""

    platform: Literal["meta"]
    pixel_id: Digits = Field(description="Id of the pixel or dataset, digits in quotes.")
    test_event_code: str | None = Field(
        None,
        description="Shows events in Meta's Test Events tab; they still count as real ones.",
    )
    limited_data_use: bool = Field(False, description="Send data_processing_options LDU.")
    events: EventNames = None
    batch_size: int = Field(1000, ge=1, le=1000, description="Events of one request, at most.")
