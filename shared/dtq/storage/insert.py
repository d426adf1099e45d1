"""Write finished jobs: whole batches at once, and around the odd row that PostgreSQL refuses."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import structlog

from dtq.errors import StoreUnavailable
from dtq.job import TerminalJob
from dtq.storage.odd import cleaned, reduced
from dtq.storage.pool import DATA_FAULTS, Pool
from dtq.storage.rows import OddRow, Utf8, chunks, columns, distinct, too_large
from dtq.storage.sql import statement
from dtq.storage.times import DAY_MS, day_of

__all__ = ["Inserter"]

_log = structlog.get_logger(__name__)
_FAULTS = (*DATA_FAULTS, OddRow)


class Inserter:
    """Inserts batches; knows which partitions exist."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known_days: set[int] = set()

    async def insert(self, rows: Sequence[TerminalJob]) -> int:
        """Store ``rows``; returns how many were inserted or replaced a row with fewer replays.

        Raises:
            StoreUnavailable: some or all of the rows may not be stored; insert them all again.
        """
        return sum([await self._insert(chunk) for chunk in chunks(distinct(rows))])

    async def _insert(self, rows: Sequence[TerminalJob]) -> int:
        try:
            params = columns(rows)
            if len(rows) == 1 or not too_large(params):
                return await self._write(rows, params)
        except _FAULTS as error:
            if len(rows) == 1:
                return await self._insert_odd(rows[0], error)
        middle = len(rows) // 2
        return await self._insert(rows[:middle]) + await self._insert(rows[middle:])

    async def _insert_odd(self, row: TerminalJob, error: Exception) -> int:
        """Store a refused row: with valid texts, else without what it carried. It must not hold up the outbox."""
        reason = _reason(error)
        for how, version in (("cleaned", cleaned(row)), ("reduced", reduced(row, reason))):
            try:
                count = await self._write([version], columns([version]))
            except _FAULTS as again:
                reason = _reason(again)
            else:
                _log.warning("store_row_changed", job_id=row.id, how=how, error=reason)
                return count
        _log.error("store_row_refused", job_id=row.id[:100], type=row.type, state=row.state, error=reason)
        return 0

    async def _write(self, rows: Sequence[TerminalJob], params: Sequence[Utf8]) -> int:
        days = days_of(rows)
        try:
            return await self._execute(params, days)
        except psycopg.errors.CheckViolation as error:
            if not _no_partition(error):
                raise
        # A partition we knew of has been dropped by retention since.
        self._known_days -= days
        try:
            return await self._execute(params, days)
        except psycopg.errors.CheckViolation as error:
            if not _no_partition(error) or len(rows) > 1:
                raise
            # A table of the day's name is there, and no part of dtq.jobs: somebody has detached it. The row is sound.
            self._known_days -= days
            raise StoreUnavailable(f"PostgreSQL refuses: {_reason(error)}; its day is detached") from error

    async def _execute(self, params: Sequence[object], days: set[int]) -> int:
        async with self._pool.connection() as connection:
            if not days <= self._known_days:
                await connection.execute(statement("ensure_days"), {"days": [day_of(day) for day in days]})
                self._known_days |= days
            cursor = await connection.execute(statement("insert"), params, prepare=True)
            return cursor.rowcount


def days_of(rows: Sequence[TerminalJob]) -> set[int]:
    """The partitions the rows belong to, as days since the epoch."""
    ids = [row.id for row in rows]
    first, last = (int(job_id[:11], 16) // DAY_MS for job_id in (min(ids), max(ids)))
    if first == last:
        return {first}
    return {int(job_id[:11], 16) // DAY_MS for job_id in ids}


def _no_partition(error: psycopg.errors.CheckViolation) -> bool:
    return error.diag.constraint_name is None


def _reason(error: Exception) -> str:
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return str(error)
