"""Ends attempts in the queue, in batches: what ends while a call is under way goes into the next one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable

import structlog
from redis.exceptions import DataError, RedisError

from dtq.errors import QueueDamaged, QueueUnavailable
from dtq.job import TerminalJob
from dtq.queue.claims import ClaimedJob, Claims, Finished
from dtq_worker.faults import Faults, trace
from dtq_worker.outcome import Ending

__all__ = ["Reporter"]

AT_ONCE = 16
"""Queues whose attempts are ended at once: the calls go in one packet, and share a sync of the append-only file."""

BATCH = 500
"""Attempts ended by one call: it keeps the server busy for a few ms."""

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of texts sent by one call, unless a single one is larger."""

TRIES = 3
"""Refusals after which a batch is split, and an ending refused by itself is taken for the one at fault."""

SETTLING = 0.05
"""Seconds between two looks, at a stop, whether only damaged queues hold up the rest."""

log = structlog.get_logger("dtq.worker")


class _Line:
    """One queue's endings that wait to be sent."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.limit = BATCH
        self.refusals = 0
        """Refused batches in a row."""
        self.accepted = 0
        """Endings taken. If some were since an ending was first refused, it is not the queue that is at fault."""
        self.faults = Faults("reporter", base=0.05, cap=2.0)
        self.retry_at = 0.0
        """When a batch that was refused is sent again: other queues' go before it."""
        self.damaged = False

    def head(self) -> list[Ending]:
        """The next batch."""
        size = 0
        for index, ending in enumerate(self.endings[: self.limit]):
            size += len(ending.finish.text)
            if index and size > MAX_BYTES:
                return self.endings[:index]
        return self.endings[: self.limit]

    def took(self, count: int) -> None:
        """The first ``count`` were accepted."""
        del self.endings[:count]
        self.accepted += count
        self.refusals = 0
        self.damaged = False
        self.faults.clear()
        self.limit = min(BATCH, self.limit * 2)

    def refused(self, count: int, error: Exception) -> Ending | None:
        """The first ``count`` were refused together. Returns the ending at fault, taken out, once it is known."""
        self.refusals += 1
        for ending in self.endings[:count]:
            if ending.refused_at is None:
                ending.refused_at = self.accepted
        if count > 1:
            if self.refusals >= TRIES:
                self.limit = max(1, count // 2)
            return None
        ending = self.endings.pop(0)
        ending.tries += 1
        unsent = isinstance(error, DataError) or not isinstance(error, RedisError)  # the server has not even seen it
        if ending.tries >= TRIES and (unsent or self.accepted != ending.refused_at):
            return ending
        self.endings.append(ending)  # the others first: whether they are accepted shows what is at fault
        return None


class Reporter:
    """Sends endings.

    ``recorded(queue, outbox entry, rows, bytes)`` gets what is now terminal; ``counted`` every ending sent. An ending
    that the server refuses while it takes others is replaced by ``spoiled(ending, error)``; if that is refused too, it is
    given up: ``doubted(queue)`` has its claim given back. So it has claims that this worker does not know of, which a server
    may have that has taken over from another. What a damaged queue does not take is kept for it: ``damaged(queue)`` is told.
    """

    def __init__(
        self,
        claims: Claims,
        recorded: Callable[[str, str, list[TerminalJob], int], None],
        counted: Callable[[list[Ending]], None],
        spoiled: Callable[[Ending, Exception], Ending],
        doubted: Callable[[str], None],
        damaged: Callable[[str], None],
    ) -> None:
        """Send through ``claims``."""
        self._spoiled = spoiled
        self._doubted = doubted
        self._damaged = damaged
        self._claims = claims
        self._recorded = recorded
        self._counted = counted
        self._pending: dict[str, _Line] = {}
        self._task: asyncio.Task[None] | None = None
        self._faults = Faults("reporter", base=0.05, cap=2.0)
        self._added = asyncio.Event()

    def add(self, ending: Ending) -> None:
        """Take an ending; it is sent as soon as the previous call returns."""
        queue = ending.finish.job.queue
        if queue not in self._pending:
            self._pending[queue] = _Line()
        self._pending[queue].endings.append(ending)
        self._added.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all(), name="reporter")

    @property
    def backlog(self) -> int:
        """Endings not yet sent."""
        return sum(len(line.endings) for line in self._pending.values())

    def jobs(self) -> list[ClaimedJob]:
        """The jobs whose ends are not yet confirmed."""
        return [ending.finish.job for line in self._pending.values() for ending in line.endings]

    async def _send_all(self) -> None:
        while self._pending:
            self._added.clear()
            now = time.monotonic()
            ready = list(itertools.islice((name for name, line in self._pending.items() if line.retry_at <= now), AT_ONCE))
            if not ready:
                await self._wait(min(line.retry_at for line in self._pending.values()) - now)
                continue
            errors = [await self._send(ready[0])] if len(ready) == 1 else await asyncio.gather(*map(self._send, ready))
            away = next((error for error in errors if error is not None), None)
            if away is not None:
                await asyncio.sleep(self._faults.note(away))

    async def _send(self, queue: str) -> QueueUnavailable | None:
        """Send a batch of one queue. Returns the error if the server is away; what else goes wrong is dealt with."""
        line = self._pending[queue]
        batch = line.head()
        try:
            done = await self._claims.finish(queue, [ending.finish for ending in batch])
        except Exception as error:  # noqa: BLE001 - without this task no attempt would ever end
            self._pending[queue] = self._pending.pop(queue)  # the next try is other queues', if there are more
            log.warning("finish_delayed", queue=queue, jobs=self.backlog, error=str(error))
            if isinstance(error, QueueUnavailable):
                self._doubted(queue)
                return error
            line.retry_at = time.monotonic() + line.faults.note(error)
            if isinstance(error, QueueDamaged):
                line.damaged = True
                self._damaged(queue)
            else:
                self._refused(queue, line, len(batch), error)
            return None
        self._faults.clear()
        line.took(len(batch))
        self._pending.pop(queue)
        if line.endings:  # to the back: each queue gets its turn
            self._pending[queue] = line
        try:
            self._confirmed(queue, batch, done)
        except Exception as error:  # noqa: BLE001 - they have ended; what follows from it can be found again
            log.error("duty_failed", duty="reporter", error=str(error), exception=trace(error))
        return None

    async def _wait(self, seconds: float) -> None:
        """Wait until a refused batch is to be sent again, or there is something else to send."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._added.wait()

    def _refused(self, queue: str, line: _Line, count: int, error: Exception) -> None:
        """Split a batch that is refused again and again, until what is at fault stands alone; the others go on."""
        ending = line.refused(count, error)
        if ending is None:
            return
        if not ending.replaced:
            log.error("outcome_refused", job=ending.finish.job.id, queue=queue, error=str(error))
            ending = self._spoiled(ending, error)
            ending.replaced = True
            line.endings.append(ending)
            return
        log.error("claim_dropped", job=ending.finish.job.id, queue=queue, error=str(error))
        self._doubted(queue)
        if not line.endings:
            self._pending.pop(queue, None)

    def _confirmed(self, queue: str, batch: list[Ending], done: Finished) -> None:
        repeated: list[Ending] = []
        if done.stale or done.cancelled or done.repeated:
            for index in done.stale:
                log.warning("stale_attempt", job=batch[index].finish.job.id, queue=queue)
            repeated = [batch[index] for index in done.repeated]  # the outbox has their rows, in an entry that only it knows
            odd = done.stale | done.cancelled | done.repeated
            batch = [ending for index, ending in enumerate(batch) if index not in odd]
        rows = [ending.row for ending in batch if ending.row is not None]
        if done.outbox is not None and rows:
            self._recorded(queue, done.outbox, rows, sum(len(ending.finish.text) for ending in batch if ending.row is not None))
        self._counted(batch + repeated)

    async def flush(self) -> None:
        """Return when everything is sent, but for what damaged queues do not take."""
        while self._task is not None and not self._task.done() and not all(line.damaged for line in self._pending.values()):
            await asyncio.wait({self._task}, timeout=SETTLING)

    async def close(self) -> None:
        """Give up on what is not sent; its jobs run again elsewhere."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
