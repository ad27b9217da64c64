"""The hooks behind the connection types: what Airflow's *Test* button calls."""

from __future__ import annotations

from airflow.sdk import BaseHook


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
