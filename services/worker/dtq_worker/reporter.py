"""Ends attempts in the queue, in batches: what ends while a call is under way goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from dtq.errors import QueueUnavailable
from dtq.job import TerminalJob
from dtq.queue.claims import ClaimedJob, Claims
from dtq.retry import Backoff
from dtq_worker.outcome import Ending

__all__ = ["Reporter"]

BATCH = 500
"""Attempts ended by one call: it keeps the server busy for a few ms."""

log = structlog.get_logger("dtq.worker")


class Reporter:
    """Sends endings. ``recorded(queue, outbox entry, rows)`` gets what is now terminal; ``counted`` every ending sent."""

    def __init__(
        self, claims: Claims, recorded: Callable[[str, str, list[TerminalJob]], None], counted: Callable[[list[Ending]], None]
    ) -> None:
        """Send through ``claims``."""
        self._claims = claims
        self._recorded = recorded
        self._counted = counted
        self._pending: dict[str, list[Ending]] = {}
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(base=0.05, cap=2.0)

    def add(self, ending: Ending) -> None:
        """Take an ending; it is sent as soon as the previous call returns."""
        self._pending.setdefault(ending.finish.job.queue, []).append(ending)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all(), name="reporter")

    @property
    def backlog(self) -> int:
        """Endings not yet sent."""
        return sum(map(len, self._pending.values()))

    def jobs(self) -> list[ClaimedJob]:
        """The jobs whose ends are not yet confirmed."""
        return [ending.finish.job for endings in self._pending.values() for ending in endings]

    async def _send_all(self) -> None:
        failures = 0
        while self._pending:
            queue, endings = next(iter(self._pending.items()))
            batch = endings[:BATCH]
            try:
                await self._send(queue, batch)
            except (QueueUnavailable, RedisError) as error:  # RedisError: the queue's keys were damaged from outside
                failures += 1
                self._pending[queue] = self._pending.pop(queue)  # the next try is another queue's, if there is one
                log.warning("finish_delayed", queue=queue, jobs=self.backlog, error=str(error))
                await asyncio.sleep(self._backoff.delay(failures))
                continue
            failures = 0
            del endings[: len(batch)]
            self._pending.pop(queue, None)
            if endings:  # to the back: each queue gets its turn
                self._pending[queue] = endings

    async def _send(self, queue: str, batch: list[Ending]) -> None:
        done = await self._claims.finish(queue, [ending.finish for ending in batch])
        if done.stale or done.cancelled:
            for index in done.stale:
                log.warning("stale_attempt", job=batch[index].finish.job.id, queue=queue)
            batch = [ending for index, ending in enumerate(batch) if index not in done.stale and index not in done.cancelled]
        rows = [ending.row for ending in batch if ending.row is not None]
        if done.outbox is not None and rows:
            self._recorded(queue, done.outbox, rows)
        self._counted(batch)

    async def flush(self) -> None:
        """Return when everything is sent."""
        while self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Give up on what is not sent; its jobs run again elsewhere."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
