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
        from include.airflow.connections import data_managers
        from include.errors import TributaryError
        from include.google.errors import GoogleStatusGone

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
        from include.airflow.connections import google_ads
        from include.errors import TributaryError

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
        from include.airflow.connections import graph
        from include.errors import TributaryError

        try:
            accounts = graph(self.meta_conn_id, "being tested").get("me/adaccounts", fields="id")
        except TributaryError as error:
            return False, str(error)
        return True, f"The token is valid; it sees {len(accounts.get('data', []))} ad accounts."
