"""A `posthog` connection: project key as password; host: PostHog's EU cloud or your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tributary.errors import SettingsError
from tributary.platforms.hook import PlatformHook, base_url

if TYPE_CHECKING:
    from tributary.platforms.posthog.client import Posthog


class PosthogHook(PlatformHook):
    """Makes PostHog clients."""

    conn_type = "posthog"
    hook_name = "PostHog"

    def clients(self) -> Callable[[], Posthog]:
        """As `PlatformHook.clients`; options are those of `Posthog`."""
        from tributary.platforms.posthog.client import Posthog

        found = self.read_connection()
        if not found.password:
            raise SettingsError(
                f"The Airflow connection {self.conn_id!r} ({self.used_for}) has no project key: "
                "put the key that begins with phc_ into the password field."
            )
        return partial(Posthog, found.password, base_url(found), who=self.who, **self.options)

    def check(self) -> str:
        """Ask PostHog whether the key is of a project; PostHog records nothing."""
        self.get_conn().check()
        return "PostHog knows the project key."
