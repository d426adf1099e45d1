"""The table of finished jobs."""

from __future__ import annotations

from dtq.storage.migrations import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create ``dtq.jobs``."""
    run_sql("0001_jobs")
