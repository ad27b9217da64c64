"""Settings of a destination that uses Google's Data Manager API."""

from __future__ import annotations

from typing import Literal

from tributary.platforms.google.settings import GoogleDestination


class DataManagerDestination(GoogleDestination):
    """Conversion actions of a Google Ads customer, through the Data Manager API."""

    platform: Literal["google_data_manager"]
