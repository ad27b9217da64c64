"""A `google_ads` connection: OAuth client and refresh token, or a service account."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tributary.platforms.google.credentials import ADS, Access, login_customer_id
from tributary.platforms.hook import PlatformHook, base_url

if TYPE_CHECKING:
    from tributary.platforms.google_ads.client import GoogleAds


class GoogleAdsHook(PlatformHook):
    """Makes Google Ads clients. The host is the only switch between Google and a sandbox."""

    conn_type = "google_ads"
    hook_name = "Google Ads"

    def clients(self) -> Callable[[], GoogleAds]:
        """As `PlatformHook.clients`; options are those of `GoogleAds`."""
        from tributary.platforms.google_ads.client import GoogleAds

        found = self.read_connection()
        host, extra = base_url(found), found.extra_dejson
        return partial(
            GoogleAds,
            Access(extra, host=host, scope=ADS, who=self.who),
            host=host,
            developer_token=extra.get("developer_token") or None,
            login_customer_id=login_customer_id(extra),
            **self.options,
        )

    def check(self) -> str:
        """Ask Google which accounts the credentials may open."""
        customers = self.get_conn().customers()
        return f"The credentials are valid; they open {len(customers)} accounts directly."
