"""The Airflow connection `warehouse`. Whatever secrets backend Airflow has, works."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

from tributary import config


def warehouse_uri() -> str:
    """The `postgresql://` URI of the connection `warehouse`, with its extra's TLS settings.

    Raises:
        SettingsError: there is no such connection, or it is of another type.
    """
    from tributary.platforms.hook import connection

    found = connection("warehouse", "postgres", "where everything is stored")
    parts = urlsplit(found.get_uri())
    tls = {key: value for key, value in found.extra_dejson.items() if key in config.TLS}
    return str(urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(tls), "")))
