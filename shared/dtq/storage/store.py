"""The one way to finished jobs in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from dtq.errors import InvalidRequest
from dtq.ids import parse_id
from dtq.job import TerminalJob
from dtq.storage.filters import JobFilter, conditions
from dtq.storage.insert import Inserter
from dtq.storage.pool import Pool, PoolStats
from dtq.storage.retention import maintain
from dtq.storage.rows import to_job
from dtq.storage.sql import statement_for
from dtq.storage.times import instant

__all__ = ["Store"]

_Jobs = list[TerminalJob]  # within Store, "list" is a method

READ_SECONDS = 15.0
"""How long a read may take. Nobody waits for longer; and on connections that have gone silent (what stands between keeps them up, but
the server's answers do not arrive) all reads hang until it is over."""


class Store:
    """Finished jobs, one row each. Belongs to the event loop that opened it.

    Every method raises :class:`dtq.errors.StoreUnavailable`, within about three seconds, while PostgreSQL is away.
    """

    def __init__(self, dsn: str, *, trust_seconds: float = 0.0) -> None:
        """Use the database at ``dsn``; ``trust_seconds`` as for :class:`dtq.storage.pool.Pool`."""
        self._pool = Pool(dsn, trust_seconds)
        self._inserter = Inserter(self._pool)

    async def open(self) -> None:
        """Make the store usable. Does not wait for the server, which need not be up."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    def pool_stats(self) -> PoolStats:
        """How its connections stand."""
        return self._pool.stats()

    async def ping(self) -> None:
        """Ask the server for a sign of life, and whether its schema is there."""
        async with self._pool.connection(5.0) as connection:
            await connection.execute("SELECT FROM dtq.jobs LIMIT 0")

    async def insert(self, rows: Sequence[TerminalJob]) -> int:
        """Store finished jobs; returns how many rows are new or replaced one with fewer ``replays``.

        Rows that are there already are left alone, so a batch may be inserted again after a fault. A row that
        PostgreSQL refuses is stored with what it takes of it (and logged), rather than fail the batch.
        """
        return await self._inserter.insert(rows)

    async def get(self, job_id: str) -> TerminalJob | None:
        """The finished job of this id, None if there is none.

        Raises:
            InvalidJobId: the string is not a job id.
        """
        submitted = instant(parse_id(job_id).ms)
        found = await self._select("submitted_at = %(submitted)s AND id = %(id)s", {"submitted": submitted, "id": job_id}, 1)
        return found[0] if found else None

    async def list(self, wanted: JobFilter, after: tuple[int, str] | None = None, limit: int = 100) -> _Jobs:
        """Up to ``limit`` finished jobs, newest first.

        ``after`` is ``(submitted, id)`` of the last row of the page before, None for the first page.

        Raises:
            InvalidRequest: a value is none that a row can have, such as a NUL in ``type``.
        """
        where = conditions(wanted, after)
        return [] if where is None else await self._select(*where, limit)

    async def maintain(self, retention_days: int) -> None:
        """Make partitions for the days to come and remove jobs that finished ``retention_days`` ago or earlier.

        Whole days go at once, so a job may stay up to a day longer. Safe to call from several processes.
        """
        await maintain(self._pool, retention_days)

    async def _select(self, where: str, params: dict[str, object], limit: int) -> _Jobs:
        # Never prepared: a plan for any value would not use the partial index, nor leave out partitions when planned.
        query = statement_for("select", conditions=where)
        try:
            async with self._pool.connection(READ_SECONDS) as connection:
                cursor = await connection.execute(query, {**params, "limit": limit}, prepare=False)
                return [to_job(row) for row in await cursor.fetchall()]
        except psycopg.DataError as error:
            raise InvalidRequest(f"PostgreSQL has no such value: {error}") from error
