"""Run by Alembic: applies the revisions over the connection that ``dtq.storage.migrate`` hands over."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    version_table="schema_version",
    version_table_schema="dtq",
)
with context.begin_transaction():
    context.run_migrations()
