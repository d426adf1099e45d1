"""Alembic's script folder: ``versions`` holds thin revisions, each of which runs one numbered SQL file."""

from __future__ import annotations

from alembic import op

from dtq.storage.sql import statement

__all__ = ["run_sql"]


def run_sql(name: str) -> None:
    """Run ``dtq/storage/sql/<name>.sql``, as it is: no parameters, any number of statements."""
    op.get_bind().connection.cursor().execute(statement(name))
