"""Requests that arrive together share one call of the queue: that is what makes a durable submit as fast as none."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import structlog

from dtq.errors import IdempotencyConflict, QueueDamaged, QueueFull, QueueUnavailable
from dtq.job import NewJob
from dtq.queue import Submitted

__all__ = ["Coalescer", "SubmitQueue"]

MAX_JOBS = 500
"""Jobs of one call."""
MAX_BYTES = 4 * 1024 * 1024
"""Payload bytes of one call, unless a single job has more."""
MAX_WAITING = 20_000
"""Jobs that may wait for their call; beyond it requests are refused at once."""
CALL_SECONDS = 2.0
"""An answer later than this is none: the callers get a 503."""

_log = structlog.get_logger("dtq.submitter")
_Waiting = tuple[NewJob, "asyncio.Future[Submitted]"]


class SubmitQueue(Protocol):
    """What a coalescer needs of :class:`dtq.queue.Queue`."""

    cluster: bool

    async def submit(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        """Put jobs into their queues, all or none."""
        ...


class Coalescer:
    """Gathers jobs while a call is under way, and sends what has gathered in the next. One call at a time."""

    def __init__(self, queue: SubmitQueue) -> None:
        self._queue = queue
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, job: NewJob) -> Submitted:
        """Return when the job is durable.

        Raises:
            QueueFull, QueueDamaged, IdempotencyConflict: this job was refused; others of its call are not touched.
            QueueUnavailable: the queue does not answer, or too much is waiting for it.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise QueueUnavailable("too many requests wait for the queue")
        future: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if self._task is None:
            # The task starts after the requests that are ready in this turn of the loop have added theirs.
            self._task = asyncio.create_task(self._flush(), name="submit-flush")
        return await future

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                try:
                    await self._send(batch)
                except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                    _fail(batch, error)
        finally:
            self._task = None

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < MAX_JOBS:
            size += len(self._waiting[0][0].payload)
            if batch and size > MAX_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send(self, batch: list[_Waiting]) -> None:
        if not self._queue.cluster:
            await self._settle(batch)
            return
        groups = _by_queue(batch)  # on a cluster one call reaches one queue
        await asyncio.gather(*(self._settle(group) for group in groups.values()))

    async def _settle(self, batch: list[_Waiting]) -> None:
        """Submit a batch; those that cannot go in are refused, and the rest goes on without them."""
        while batch:
            try:
                done = await self._call(batch)
            except IdempotencyConflict as error:
                _fail([batch.pop(error.index)], error)
            except QueueFull as error:
                await self._fill(batch, error)
                return
            except QueueDamaged as error:
                await self._part(batch, error)
                return
            except Exception as error:  # noqa: BLE001 - passed on to those who wait
                _fail(batch, error)
                return
            else:
                for (_, future), answer in zip(batch, done, strict=True):
                    if not future.done():
                        future.set_result(answer)
                return

    async def _call(self, batch: list[_Waiting]) -> list[Submitted]:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self._queue.submit([job for job, _ in batch])
        except TimeoutError:
            raise QueueUnavailable(f"Redis did not answer within {CALL_SECONDS:g} s") from None

    async def _part(self, batch: list[_Waiting], error: QueueDamaged) -> None:
        """Some queue can take none: settle each queue alone."""
        groups = _by_queue(batch)
        if len(groups) == 1:
            _fail(batch, error)
            return
        for group in groups.values():
            await self._settle(group)

    async def _fill(self, batch: list[_Waiting], error: QueueFull) -> None:
        """Some queue cannot take its share: settle each queue alone, and of the full one as many as it takes, in order."""
        groups = _by_queue(batch)
        if len(groups) > 1:
            for group in groups.values():
                await self._settle(group)
        elif len(batch) == 1:
            _fail(batch, error)
        else:
            middle = len(batch) // 2
            first, second = batch[:middle], batch[middle:]
            await self._settle(first)
            if any(isinstance(_outcome(future), QueueFull) for _, future in first):
                _fail(second, error)
            else:
                await self._settle(second)


def _by_queue(batch: list[_Waiting]) -> dict[str, list[_Waiting]]:
    groups: dict[str, list[_Waiting]] = {}
    for item in batch:
        groups.setdefault(item[0].queue, []).append(item)
    return groups


def _outcome(future: asyncio.Future[Submitted]) -> BaseException | None:
    return None if future.cancelled() or not future.done() else future.exception()


def _fail(batch: list[_Waiting], error: Exception) -> None:
    if isinstance(error, QueueUnavailable):
        _log.warning("submit_unavailable", jobs=len(batch), error=str(error))
    for _, future in batch:
        if not future.done():
            future.set_exception(_copy(error))


def _copy(error: Exception) -> Exception:
    """An error of its own for each request: a raised one gathers the tracebacks of all who raise it."""
    if isinstance(error, QueueUnavailable):
        return type(error)(*error.args)
    if isinstance(error, QueueFull):
        return QueueFull(error.queue, error.retry_after)
    if isinstance(error, QueueDamaged):
        return QueueDamaged(error.queue, error.reason)
    return error
