"""From Airflow connections to clients. Whatever secrets backend Airflow has, works."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from tributary import config
from tributary.errors import SettingsError

if TYPE_CHECKING:
    from tributary.platforms.google_ads.client import GoogleAds
    from tributary.platforms.google_data_manager.client import DataManager
    from tributary.platforms.meta.client import Graph
    from tributary.platforms.posthog.events import Posthog

_ADD = "Add it under Admin → Connections, or with `airflow connections add`."


def connection(conn_id: str, conn_type: str, what_for: str) -> Any:
    """The Airflow connection of that id.

    Raises:
        SettingsError: there is none, or it is of another type.
    """
    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SettingsError(
            f"The Airflow connection {conn_id!r} ({what_for}) does not exist. {_ADD}"
        ) from None
    if found.conn_type != conn_type:
        raise SettingsError(
            f"The Airflow connection {conn_id!r} ({what_for}) is of type {found.conn_type!r}; "
            f"it must be {conn_type!r}."
        )
    return found


def warehouse_uri() -> str:
    """The `postgresql://` URI of the connection `warehouse`, with what its extra says of TLS."""
    found = connection("warehouse", "postgres", "where everything is stored")
    parts = urlsplit(found.get_uri())
    tls = {key: value for key, value in found.extra_dejson.items() if key in config.TLS}
    return str(urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(tls), "")))


def graph(conn_id: str, what_for: str) -> Graph:
    """A Graph client with the credentials of a `meta` connection.

    The connection's host is the only switch between Meta, a proxy and the sandbox.
    """
    return graphs(conn_id, what_for)()


def graphs(conn_id: str, what_for: str, **options: Any) -> Callable[[], Graph]:
    """Makes clients as `graph` does, one per thread; `options` are those of `Graph`."""
    from tributary.platforms.meta.client import Graph

    found = connection(conn_id, "meta", what_for)
    if not found.password:
        raise SettingsError(
            f"The Airflow connection {conn_id!r} ({what_for}) has no access token: put it into "
            "the password field."
        )
    extra = found.extra_dejson
    return partial(
        Graph,
        found.password,
        app_id=extra.get("app_id") or None,
        app_secret=extra.get("app_secret") or None,
        api_version=extra.get("api_version") or None,
        host=_base_url(found),
        who=f"connection {conn_id!r}",
        **options,
    )


def data_managers(conn_id: str, what_for: str, **options: Any) -> Callable[[], DataManager]:
    """Makes Data Manager clients with the credentials of a `google_data_manager` connection.

    Its host is the only switch between Google and the sandbox; `options` are those of
    `DataManager`.

    Raises:
        SettingsError: the connection is missing or incomplete.
    """
    from tributary.platforms.google.credentials import DATA_MANAGER, Access
    from tributary.platforms.google_data_manager.client import DataManager

    found = connection(conn_id, "google_data_manager", what_for)
    host = _base_url(found)
    access = Access(
        found.extra_dejson, host=host, scope=DATA_MANAGER, who=f"connection {conn_id!r}"
    )
    return partial(DataManager, access, host=host, **options)


def google_ads(conn_id: str, what_for: str, **options: Any) -> Callable[[], GoogleAds]:
    """Makes Google Ads clients with the credentials of a `google_ads` connection, as above."""
    from tributary.platforms.google.credentials import ADS, Access
    from tributary.platforms.google_ads.client import GoogleAds

    found = connection(conn_id, "google_ads", what_for)
    host, extra = _base_url(found), found.extra_dejson
    access = Access(extra, host=host, scope=ADS, who=f"connection {conn_id!r}")
    return partial(
        GoogleAds,
        access,
        host=host,
        developer_token=extra.get("developer_token") or None,
        login_customer_id=login_customer(extra),
        **options,
    )


def login_customer(extra: dict[str, Any]) -> str | None:
    """The manager account of a Google connection, digits only."""
    digits = "".join(filter(str.isdecimal, str(extra.get("login_customer_id") or "")))
    return digits or None


def posthogs(conn_id: str, what_for: str, **options: Any) -> Callable[[], Posthog]:
    """Makes PostHog clients with the key of a `posthog` connection, one per thread."""
    from tributary.platforms.posthog.events import Posthog

    found = connection(conn_id, "posthog", what_for)
    if not found.password:
        raise SettingsError(
            f"The Airflow connection {conn_id!r} ({what_for}) has no project key: put the key that "
            "begins with phc_ into the password field."
        )
    return partial(
        Posthog, found.password, _base_url(found), who=f"connection {conn_id!r}", **options
    )


def _base_url(found: Any) -> str | None:
    """The base URL of a connection, whether host holds a whole URL or only a name."""
    if not found.host:
        return None
    url = found.host if "://" in found.host else f"{found.schema or 'https'}://{found.host}"
    if found.port and urlsplit(url).port is None:
        url = f"{url.rstrip('/')}:{found.port}"
    return str(url).rstrip("/")
