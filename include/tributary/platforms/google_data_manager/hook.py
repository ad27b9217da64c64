"""A `google_data_manager` connection: OAuth client and refresh token, or a service account."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tributary.platforms.google.credentials import DATA_MANAGER, Access, login_customer_id
from tributary.platforms.google.errors import GoogleStatusGone
from tributary.platforms.hook import PlatformHook, base_url

if TYPE_CHECKING:
    from tributary.platforms.google_data_manager.client import DataManager


class GoogleDataManagerHook(PlatformHook):
    """Makes Data Manager clients. The host is the only switch between Google and a sandbox."""

    conn_type = "google_data_manager"
    hook_name = "Google Data Manager"

    def clients(self) -> Callable[[], DataManager]:
        """As `PlatformHook.clients`; options are those of `DataManager`."""
        from tributary.platforms.google_data_manager.client import DataManager

        found = self.read_connection()
        host, extra = base_url(found), found.extra_dejson
        access = Access(extra, host=host, scope=DATA_MANAGER, who=self.who)
        return partial(
            DataManager,
            access,
            host=host,
            login_customer_id=login_customer_id(extra),
            **self.options,
        )

    def check(self) -> str:
        """Ask for the status of a request that does not exist: refused credentials come first."""
        with suppress(GoogleStatusGone):
            self.get_conn().status("tributary-test")
        return "The credentials are valid; Data Manager answers."
