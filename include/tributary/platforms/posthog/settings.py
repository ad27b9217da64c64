"""Settings of a PostHog project."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tributary.platforms.settings import DestinationSettings, EventNames


class PosthogDestination(DestinationSettings):
    """A project of PostHog, which the connection names."""

    platform: Literal["posthog"]
    events: EventNames = None
    batch_size: int = Field(500, ge=1, le=1000, description="Events of one request, at most.")
