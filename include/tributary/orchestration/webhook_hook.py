"""A `tributary_webhook` connection: the sender's signing secret as password."""

from __future__ import annotations

from airflow.sdk import BaseHook


class WebhookHook(BaseHook):
    """The secret that signs a webhook; there is nothing to connect to."""

    conn_name_attr = "conn_id"
    conn_type = "tributary_webhook"
    hook_name = "Tributary webhook"

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        self.conn_id = conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Say whether there is a usable secret; only a call of the sender can prove it."""
        from tributary.platforms.hook import connection

        secret = connection(self.conn_id, self.conn_type, "being tested").password
        if not secret:
            return False, "There is no signing secret: copy the sender's into the password field."
        if secret != secret.strip():
            return False, "The signing secret begins or ends with a blank: copy it anew."
        return True, "There is a secret; the sender's first call shows whether it is the right one."
