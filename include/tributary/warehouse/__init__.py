"""The warehouse: connections, migrations, and the SQL of `raw` and `ops`.

Knows no HTTP and no Airflow.
"""

from tributary.warehouse.connection import LOCK_ERRORS, Connection, connect, where
from tributary.warehouse.schema import check_version, migrate

__all__ = ["LOCK_ERRORS", "Connection", "check_version", "connect", "migrate", "where"]
