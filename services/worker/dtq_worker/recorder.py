"""Carries finished jobs to PostgreSQL.

The outbox in Redis is what makes this safe; the rows this worker has just finished are taken from memory, which saves
reading them back. What a dead or overloaded worker leaves in the outbox, the scheduler stores.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from dtq.errors import QueueUnavailable, StoreUnavailable
from dtq.job import TerminalJob
from dtq.queue import keys
from dtq.queue.connection import Client, translated
from dtq.retry import Backoff

__all__ = ["Recorder", "RowStore"]

MAX_ROWS = 20_000
"""Rows held in memory while PostgreSQL is slow or away; more are left to the outbox alone."""

BATCH = 4000
"""Rows of one insert."""

GATHER = 0.02
"""Seconds that the first row waits for others: an insert of many costs little more than one of few."""

log = structlog.get_logger("dtq.worker")


class RowStore(Protocol):
    """The part of the store that the recorder needs."""

    async def insert(self, rows: list[TerminalJob]) -> int:
        """Store rows; those that are there already are skipped."""
        ...


class Recorder:
    """Writes rows in the order they come, one insert at a time."""

    def __init__(self, store: RowStore, client: Client) -> None:
        """Clear outbox entries through ``client``."""
        self._store = store
        self._client = client
        self._batches: list[tuple[str, str, list[TerminalJob]]] = []
        self._held = 0
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(base=0.1, cap=5.0)
        self.failing = False
        """Whether PostgreSQL refused the last insert."""

    def add(self, queue: str, entry: str, rows: list[TerminalJob]) -> None:
        """Take the rows of outbox entry ``entry``."""
        if self._held + len(rows) > MAX_ROWS:
            return  # they are in the outbox, and the scheduler will find them
        self._batches.append((queue, entry, rows))
        self._held += len(rows)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="recorder")

    async def _write_all(self) -> None:
        failures = 0
        while self._batches:
            if self._held < BATCH:
                await asyncio.sleep(GATHER)
            taken = 0
            rows: list[TerminalJob] = []
            for _queue, _entry, some in self._batches:
                if rows and len(rows) + len(some) > BATCH:
                    break
                rows += some
                taken += 1
            try:
                await self._store.insert(rows)
                self.failing = False
                await self._clear(self._batches[:taken])
            except StoreUnavailable as error:
                failures += 1
                if not self.failing:
                    log.warning("results_delayed", rows=self._held, error=str(error))
                self.failing = True
                await asyncio.sleep(self._backoff.delay(failures))
                continue
            except QueueUnavailable:
                pass  # the entries stay and are stored again, which changes nothing
            failures = 0
            del self._batches[:taken]
            self._held -= len(rows)

    async def _clear(self, batches: list[tuple[str, str, list[TerminalJob]]]) -> None:
        entries: dict[str, list[str]] = {}
        for queue, entry, _rows in batches:
            entries.setdefault(queue, []).append(entry)
        with translated():
            for queue, ids in entries.items():
                await self._client.xdel(keys.outbox(queue), *ids)

    async def flush(self, seconds: float) -> None:
        """Return when all is stored, after so many ``seconds``, or at the first failure: the outbox has the rest."""
        if self._task is not None and not self._task.done() and not self.failing:
            await asyncio.wait([self._task], timeout=seconds)

    async def close(self) -> None:
        """Stop writing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
