"""Settings that a destination has whichever of Google's two APIs it uses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tributary.platforms.settings import DestinationSettings, Digits, Format, Text

CustomerId = Annotated[str, Format("[0-9]{10}", "Google Ads customer id, digits only.")]


class GoogleDestination(DestinationSettings):
    """Conversion actions of a Google Ads customer."""

    customer_id: CustomerId = Field(description="Google Ads customer id, digits only.")
    events: Annotated[dict[Text, Digits], Field(min_length=1)] = Field(
        description="Event name → conversion action id. An event that is not named here is skipped."
    )
    validate_only: bool = Field(False, description="Let Google check the events and keep none.")
    batch_size: int = Field(2000, ge=1, le=2000, description="Events of one request, at most.")
