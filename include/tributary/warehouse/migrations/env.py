"""Alembic's entry: runs on the connection that `tributary.warehouse.migrate` hands over."""

from alembic import context
from tributary.warehouse.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="schema_version",
    version_table_schema="ops",
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
