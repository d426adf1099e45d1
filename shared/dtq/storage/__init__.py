"""Finished jobs in PostgreSQL: one row a job, kept for RETENTIONDAYS, open to anyone's SQL (table ``dtq.jobs``).

The day of submission partitions the table, so that retention drops whole days. The id of a job gives its day (see
``dtq.ids``), so that a look-up touches one partition.
"""

from __future__ import annotations

from dtq.storage.filters import JobFilter
from dtq.storage.store import Store

__all__ = ["JobFilter", "Store"]
