"""The hooks behind the connection types: what Airflow's *Test* button calls."""

from __future__ import annotations

from airflow.sdk import BaseHook


class GoogleDataManagerHook(BaseHook):
    """A `google_data_manager` connection: OAuth client and refresh token, or a service account."""

    conn_name_attr = "google_data_manager_conn_id"
    conn_type = "google_data_manager"
    hook_name = "Google Data Manager"

    def __init__(self, google_data_manager_conn_id: str = "google_data_manager_default") -> None:
        super().__init__()
        self.conn_id = google_data_manager_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Ask for the status of a request that nobody made: who may not ask is told so first."""
        from tributary.errors import TributaryError
        from tributary.orchestration.connections import data_managers
        from tributary.platforms.google.errors import GoogleStatusGone

        try:
            data_managers(self.conn_id, "being tested")().status("tributary-test")
        except GoogleStatusGone:
            return True, "The credentials are valid; Data Manager answers."
        except TributaryError as error:
            return False, str(error)
        return True, "The credentials are valid; Data Manager answers."


class GoogleAdsHook(BaseHook):
    """A `google_ads` connection: OAuth client and refresh token, or a service account."""

    conn_name_attr = "google_ads_conn_id"
    conn_type = "google_ads"
    hook_name = "Google Ads"

    def __init__(self, google_ads_conn_id: str = "google_ads_default") -> None:
        super().__init__()
        self.conn_id = google_ads_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Ask Google which accounts the credentials may open."""
        from tributary.errors import TributaryError
        from tributary.orchestration.connections import google_ads

        try:
            customers = google_ads(self.conn_id, "being tested")().customers()
        except TributaryError as error:
            return False, str(error)
        return True, f"The credentials are valid; they open {len(customers)} accounts directly."


class MetaHook(BaseHook):
    """A `meta` connection: access token as password; app_id, app_secret, api_version in extra."""

    conn_name_attr = "meta_conn_id"
    conn_type = "meta"
    hook_name = "Meta Ads"

    def __init__(self, meta_conn_id: str = "meta_default") -> None:
        super().__init__()
        self.meta_conn_id = meta_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Ask Graph who the token belongs to."""
        from tributary.errors import TributaryError
        from tributary.orchestration.connections import graph

        try:
            accounts = graph(self.meta_conn_id, "being tested").get("me/adaccounts", fields="id")
        except TributaryError as error:
            return False, str(error)
        return True, f"The token is valid; it sees {len(accounts.get('data', []))} ad accounts."


class PosthogHook(BaseHook):
    """A `posthog` connection: project key as password; host: PostHog's EU cloud or your own."""

    conn_name_attr = "posthog_conn_id"
    conn_type = "posthog"
    hook_name = "PostHog"

    def __init__(self, posthog_conn_id: str = "posthog_default") -> None:
        super().__init__()
        self.posthog_conn_id = posthog_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Ask PostHog whether the key is of a project; nothing is recorded there."""
        from tributary.errors import TributaryError
        from tributary.orchestration.connections import posthogs

        try:
            posthogs(self.posthog_conn_id, "being tested", timeout=15)().check()
        except TributaryError as error:
            return False, str(error)
        return True, "PostHog knows the project key."


class WebhookHook(BaseHook):
    """A `tributary_webhook` connection: the sender's signing secret as password."""

    conn_name_attr = "webhook_conn_id"
    conn_type = "tributary_webhook"
    hook_name = "Tributary webhook"

    def __init__(self, webhook_conn_id: str = "webhook_default") -> None:
        super().__init__()
        self.webhook_conn_id = webhook_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Only the sender can prove the secret: say whether there is one that can be used."""
        from tributary.orchestration.connections import connection

        secret = connection(self.webhook_conn_id, "tributary_webhook", "being tested").password
        if not secret:
            return False, "There is no signing secret: copy the sender's into the password field."
        if secret != secret.strip():
            return False, "The signing secret begins or ends with a blank: copy it anew."
        return True, "There is a secret; whether it is the right one shows the sender's first call."
