"""A `meta` connection: access token as password; app_id, app_secret, api_version in extra."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tributary.errors import SettingsError
from tributary.platforms.hook import PlatformHook, base_url

if TYPE_CHECKING:
    from tributary.platforms.meta.client import Graph


class MetaHook(PlatformHook):
    """Makes Graph clients. The connection's host is the only switch between Meta and a sandbox."""

    conn_type = "meta"
    hook_name = "Meta Ads"

    def clients(self) -> Callable[[], Graph]:
        """As `PlatformHook.clients`; options are those of `Graph`."""
        from tributary.platforms.meta.client import Graph

        found = self.read_connection()
        if not found.password:
            raise SettingsError(
                f"The Airflow connection {self.conn_id!r} ({self.used_for}) has no access token: "
                "put it into the password field."
            )
        extra = found.extra_dejson
        return partial(
            Graph,
            found.password,
            app_id=extra.get("app_id") or None,
            app_secret=extra.get("app_secret") or None,
            api_version=extra.get("api_version") or None,
            host=base_url(found),
            who=self.who,
            **self.options,
        )

    def check(self) -> str:
        """Ask Graph who the token belongs to."""
        accounts = self.get_conn().get("me/adaccounts", fields="id")
        return f"The token is valid; it sees {len(accounts.get('data', []))} ad accounts."
