"""Carries finished jobs to PostgreSQL.

The outbox in Redis is what makes this safe; the rows this worker has just finished are taken from memory, which saves
reading them back. What a dead or overloaded worker leaves in the outbox, the scheduler stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog
from redis.exceptions import RedisError

from dtq.errors import QueueDamaged, QueueUnavailable, StoreUnavailable
from dtq.job import TerminalJob
from dtq.queue import keys
from dtq.queue.connection import Client, translated
from dtq.queue.kept import keep_no_longer
from dtq.roles import each
from dtq_worker.faults import Faults

__all__ = ["Recorder", "RowStore"]

MAX_ROWS = 20_000
"""Rows held in memory while PostgreSQL is slow or away; more are left to the outbox alone."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of their texts, at most."""

TRIES = 5
"""Tries of an insert that fails for no known reason, before its rows are left to the outbox."""

BATCH = 4000
"""Rows of one insert."""

AT_ONCE = 16
"""Queues from whose outboxes stored rows are taken at once."""

GATHER = (0.02, 0.08)
"""Seconds that the first row waits for others: an insert of many costs little more than one of few. The second time only while jobs run."""

MANY = 100
"""Rows that are worth an insert."""

log = structlog.get_logger("dtq.worker")


class RowStore(Protocol):
    """The part of the store that the recorder needs."""

    async def insert(self, rows: list[TerminalJob]) -> int:
        """Store rows; those that are there already are skipped."""
        ...


class Batch(NamedTuple):
    """The rows of one outbox entry, and the bytes of their texts."""

    queue: str
    entry: str
    rows: list[TerminalJob]
    size: int


class Recorder:
    """Writes rows in the order they come, one insert at a time."""

    def __init__(self, store: RowStore, client: Client, result_ms: int, more: Callable[[], bool] = lambda: False) -> None:
        """Clear outbox entries through ``client``; finished jobs that are stored are kept for ``result_ms`` (RESULTTTL).

        ``more()``: whether jobs run, whose rows will follow.
        """
        self._more = more
        self._store = store
        self._client = client
        self._result_ms = result_ms
        self._kept_long = False
        """Whether jobs have been kept for longer, since PostgreSQL was away."""
        self._batches: list[Batch] = []
        self._held = 0
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._faults = Faults("recorder")
        self.failing = False
        """Whether PostgreSQL refused the last insert."""

    def add(self, queue: str, entry: str, rows: list[TerminalJob], size: int) -> None:
        """Take the rows of outbox entry ``entry``; their texts have ``size`` bytes."""
        if self._held + len(rows) > MAX_ROWS or self._bytes + size > MAX_BYTES:
            return  # they are in the outbox, and the scheduler will find them
        self._batches.append(Batch(queue, entry, rows, size))
        self._held += len(rows)
        self._bytes += size
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="recorder")

    async def _write_all(self) -> None:
        while self._batches:
            if self._held < BATCH:
                await self._gather()
            taken = self._next()
            try:
                await self._store.insert([row for batch in taken for row in batch.rows])
                self.failing = False
                self._faults.clear()
                await self._clear(taken)
            except Exception as error:  # noqa: BLE001 - without this task nothing would be stored any more
                delay = self._faults.note(error)
                if isinstance(error, StoreUnavailable) and not self.failing:
                    log.warning("results_delayed", rows=self._held, error=str(error))
                self.failing = self._kept_long = True
                if isinstance(error, StoreUnavailable) or self._faults.count < TRIES:
                    await asyncio.sleep(delay)
                    continue
                log.error("results_left_to_outbox", rows=sum(len(batch.rows) for batch in taken), error=str(error))
                self._faults.clear()
            del self._batches[: len(taken)]
            self._held -= sum(len(batch.rows) for batch in taken)
            self._bytes -= sum(batch.size for batch in taken)

    async def _gather(self) -> None:
        for pause in GATHER:
            await asyncio.sleep(pause)
            if self._held >= MANY or not self._more():
                return

    def _next(self) -> list[Batch]:
        """As many of the oldest as one insert takes, at least one."""
        count = 0
        for index, batch in enumerate(self._batches):
            count += len(batch.rows)
            if index and count > BATCH:
                return self._batches[:index]
        return self._batches[:]

    async def _clear(self, batches: list[Batch]) -> None:
        """Take stored rows from the outbox. Entries that stay are stored again by the scheduler, which changes nothing."""
        by_queue: dict[str, list[Batch]] = {}
        for batch in batches:
            by_queue.setdefault(batch.queue, []).append(batch)
        await each(by_queue, lambda queue: self._clear_queue(queue, by_queue[queue]), AT_ONCE)

    async def _clear_queue(self, queue: str, stored: list[Batch]) -> None:
        try:
            with translated(keys.prefix(queue)):
                if self._kept_long:  # before the entries go: as long as they are there, another will do it
                    await keep_no_longer(self._client, queue, (row for batch in stored for row in batch.rows), self._result_ms)
                await self._client.xdel(keys.outbox(queue), *(batch.entry for batch in stored))
        except (QueueUnavailable, QueueDamaged):
            pass  # whoever needs the queue reports the one, and the other has been told
        except RedisError as error:  # its keys were damaged from outside: the other queues' entries go
            log.error("queue_damaged", queue=queue, error=str(error))

    async def flush(self, seconds: float) -> None:
        """Return when all is stored, after so many ``seconds``, or at the first failure: the outbox has the rest."""
        if self._task is not None and not self._task.done() and not self.failing:
            await asyncio.wait([self._task], timeout=seconds)

    async def close(self) -> None:
        """Stop writing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
