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


def current_warehouse() -> str:
    """The same URI, of a warehouse whose schema has the version that this code needs.

    Raises:
        SettingsError: as `warehouse_uri`.
        WarehouseDown: the warehouse does not answer.
        WarehouseError: it has another version; says what to run.
    """
    from tributary.warehouse import check_version

    uri = warehouse_uri()
    check_version(uri)
    return uri
