"""Settings of Google Ads: customers whose clicks are loaded, and conversions by its own API."""

from __future__ import annotations

from typing import Literal

from tributary.platforms.google.settings import GoogleDestination
from tributary.platforms.settings import AdAccountSettings


class GoogleAdsAccount(AdAccountSettings):
    """A customer of Google Ads."""

    platform: Literal["google_ads"]


class GoogleAdsDestination(GoogleDestination):
    """Conversion actions of a Google Ads customer, through the Google Ads API."""

    platform: Literal["google_ads"]
