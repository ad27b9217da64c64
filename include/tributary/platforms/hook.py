"""What the project's Airflow hooks share: one connection, checked, and the client made from it.

This file and the `hook.py` of each platform are all of `platforms/` that imports Airflow.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from tributary.errors import SettingsError, TributaryError


def connection(conn_id: str, conn_type: str, used_for: str) -> Connection:
    """The Airflow connection of that id.

    Raises:
        SettingsError: there is none, or it is of another type.
    """
    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SettingsError(
            f"The Airflow connection {conn_id!r} ({used_for}) does not exist. Add it under Admin → "
            "Connections, or with `airflow connections add`."
        ) from None
    if found.conn_type != conn_type:
        raise SettingsError(
            f"The Airflow connection {conn_id!r} ({used_for}) is of type {found.conn_type!r}; "
            f"it must be {conn_type!r}."
        )
    return found


class PlatformHook(BaseHook):
    """A hook that makes a platform's clients from an Airflow connection.

    Args:
        conn_id: of the connection.
        used_for: for what, as errors say it, such as "for destination acme-meta".
        options: of the client, such as its timeout.
    """

    conn_name_attr = "conn_id"
    conn_type: str
    hook_name: str

    def __init__(self, conn_id: str, used_for: str = "being tested", **options: Any) -> None:
        super().__init__()
        self.conn_id, self.used_for, self.options = conn_id, used_for, options

    @abstractmethod
    def clients(self) -> Callable[[], Any]:
        """Makes clients, one per thread. The connection is read once, before the first.

        Raises:
            SettingsError: the connection is missing or incomplete.
        """

    @abstractmethod
    def check(self) -> str:
        """Ask the platform whether it accepts the credentials; says what it answered.

        Raises:
            TributaryError: it does not.
        """

    def get_conn(self) -> Any:
        """A client with the credentials of the connection."""
        return self.clients()()

    def test_connection(self) -> tuple[bool, str]:
        """What Airflow's *Test* button calls."""
        try:
            return True, self.check()
        except TributaryError as error:
            return False, str(error)

    @property
    def who(self) -> str:
        """How errors name the credentials."""
        return f"connection {self.conn_id!r}"

    def read_connection(self) -> Connection:
        """The connection.

        Raises:
            SettingsError: there is none, or it is of another type.
        """
        return connection(self.conn_id, self.conn_type, self.used_for)


def base_url(found: Connection) -> str | None:
    """The base URL of a connection, whether its host is a whole URL or only a name."""
    if not found.host:
        return None
    url = found.host if "://" in found.host else f"{found.schema or 'https'}://{found.host}"
    if found.port and urlsplit(url).port is None:
        url = f"{url.rstrip('/')}:{found.port}"
    return url.rstrip("/")
