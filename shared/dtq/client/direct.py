"""Clients straight on Redis: no submitter in between, for bulk submission from a program next to the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from itertools import islice
from typing import Any, Self, TypeVar, overload

import uvloop

from dtq.client.blocking import BlockingConnections, NoneFree, run_through
from dtq.client.calls import batch_body
from dtq.client.spec import Job, body_of, new_job
from dtq.config import Settings
from dtq.errors import NotFound, QueueUnavailable
from dtq.job import JobView, NewJob, State
from dtq.queue import Queue, QueueStats, Submitted
from dtq.queue.engine import Batch
from dtq.registry import Registry
from dtq.requests import Requests
from dtq.sentinel import SCHEME

__all__ = ["AsyncQueueClient", "QueueClient", "Receipts"]

CHUNK = 500
"""Jobs a call: 1,000 gain nothing, and hold the server up twice as long."""

CLOSED = "this client has been closed"

T = TypeVar("T")

_starting = threading.Lock()
"""Of who starts a client anew in a forked process."""


def _unlock() -> None:
    """A fork may come while another thread has the lock, which nobody would open in the new process."""
    global _starting
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_unlock)


class Receipts(Sequence[Submitted]):
    """What became of many jobs, in their order. Ids are made when looked at: most bulk submitters never do."""

    def __init__(self) -> None:
        self._parts: list[tuple[Batch, list[Any]]] = []
        self._made: list[Submitted] | None = None
        self._length = 0

    def _add(self, batch: Batch, answers: list[Any]) -> None:
        self._parts.append((batch, answers))
        self._length += len(answers)

    def _all(self) -> list[Submitted]:
        if self._made is None:
            self._made = [done for batch, answers in self._parts for done in batch.submitted(answers)]
            self._parts.clear()
        return self._made

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Submitted: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Submitted]: ...
    def __getitem__(self, index: int | slice) -> Submitted | Sequence[Submitted]:
        return self._all()[index]

    @property
    def ids(self) -> list[str]:
        """Ids of the jobs, in order of submission."""
        return [done.id for done in self._all()]


class AsyncQueueClient:
    """Submits to the Redis or Valkey at ``url``. Close it, or use it in an ``async with`` block.

    With a ``registry`` payloads are validated and types' defaults applied, as the submitter does; without, workers find
    out. ``settings`` replaces the limits and times that the environment sets. Every method raises
    :class:`dtq.errors.QueueUnavailable` when the server does not answer.
    """

    def __init__(self, url: str, *, registry: Registry | None = None, settings: Settings | None = None) -> None:
        self._settings = (settings or Settings()).model_copy(update={"redisaddr": url})
        self._requests = None if registry is None else Requests(registry.types)
        self._queue: Queue | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._queue is not None:
            await self._queue.close()
            self._queue = None

    async def _connected(self) -> Queue:
        if self._queue is None:
            self._queue = await Queue.connect(self._settings)
        return self._queue

    def _new_jobs(self, jobs: list[Job]) -> list[NewJob]:
        if self._requests is not None:
            return self._requests.parse_batch(batch_body([body_of(job) for job in jobs]))
        return [new_job(job) for job in jobs]

    async def submit(self, job: Job) -> Submitted:
        """Submit one job. Raises InvalidRequest, IdempotencyConflict, QueueFull."""
        queue = await self._connected()
        batch = queue.batch(self._new_jobs([job]))
        [done] = batch.submitted(await queue.send(batch))
        return done

    async def submit_many(self, jobs: Iterable[Job]) -> Receipts:
        """Submit jobs, 500 at a time. Each 500 are accepted whole or not at all; an error leaves earlier ones in.

        The next 500 are made ready while the server takes the last; jobs keep their order.
        """
        queue = await self._connected()
        source, receipts = iter(jobs), Receipts()
        under_way: tuple[Batch, asyncio.Task[list[Any]]] | None = None
        try:
            while chunk := list(islice(source, CHUNK)):
                batch = queue.batch(self._new_jobs(chunk))
                if under_way is not None:
                    receipts._add(under_way[0], await under_way[1])
                under_way = batch, asyncio.create_task(queue.send(batch), name="submit")
                await asyncio.sleep(0)  # lets the batch go out before the next is made
        finally:
            if under_way is not None:  # whatever went wrong with its successor: it is seen to its end
                await asyncio.wait([under_way[1]])
                _ = under_way[1].cancelled() or under_way[1].exception()
        if under_way is not None:
            receipts._add(under_way[0], under_way[1].result())
        return receipts

    async def get(self, job_id: str) -> JobView:
        """A job. Raises NotFound also for a finished job that Redis has handed over to PostgreSQL."""
        view = await (await self._connected()).get(job_id)
        if view is None:
            raise NotFound(f"no job {job_id} in Redis")
        return view

    async def wait(self, job_id: str, timeout: float) -> JobView:  # noqa: ASYNC109 - no cancellation: the job is returned as it is
        """The job as soon as it is terminal, or as it is after ``timeout`` seconds. Raises NotFound."""
        await (await self._connected()).wait(job_id, timeout)
        return await self.get(job_id)

    async def cancel(self, job_id: str) -> State:
        """Cancel a job; returns its state: running means that its worker was asked. Raises NotFound."""
        state = await (await self._connected()).cancel(job_id)
        if state is None:
            raise NotFound(f"no job {job_id} in Redis")
        return state

    async def retry(self, job_id: str) -> Submitted:
        """Run a failed or cancelled job again. Raises NotFound, IllegalTransition."""
        done = await (await self._connected()).replay(job_id)
        if done is None:
            raise NotFound(f"no job {job_id} in Redis")
        return done

    async def queue(self, name: str = "default") -> QueueStats:
        """Numbers of a queue."""
        return (await (await self._connected()).stats([name]))[0]


class QueueClient:
    """:class:`AsyncQueueClient` for programs without an event loop; it runs one in a thread. Safe to share between threads.

    A process that is forked off may go on using it.
    """

    def __init__(self, url: str, *, registry: Registry | None = None, settings: Settings | None = None) -> None:
        self._new_client = partial(AsyncQueueClient, url, registry=registry, settings=settings)
        self._closed = False
        self._forebears: list[asyncio.AbstractEventLoop] = []
        """Loops of processes that this one was forked from: there is nothing to end here, and uvloop wants them kept."""
        self._start()

    def _start(self) -> None:
        self._client = self._new_client()
        self._queue: Queue | None = None
        self._direct: BlockingConnections | None = None
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dtq-client", daemon=True)
        self._thread.start()
        self._pid = os.getpid()  # last: from now on no thread starts it anew

    @property
    def _own(self) -> AsyncQueueClient:
        """The client whose loop runs in this process."""
        if self._pid != os.getpid() and not self._closed:
            with _starting:
                if self._pid != os.getpid():
                    self._forebears.append(self._loop)
                    self._start()
        return self._client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread.

        Calls of other threads that are under way raise QueueUnavailable; what they asked for may have been done.
        """
        client = self._own
        if self._closed:
            return
        self._closed = True
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()
        asyncio.run_coroutine_threadsafe(_end(client), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Have ``work`` done on the loop."""
        if not self._closed:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise QueueUnavailable(CLOSED)

    def _result(self, future: Future[T]) -> T:
        """What came of it. It may never end: it can have been given to the loop just as that was stopped."""
        while True:
            try:
                return future.result(1.0)
            except CancelledError:
                raise QueueUnavailable(CLOSED) from None
            except TimeoutError:
                if future.done():  # the error is its own, or it has just ended
                    return future.result()
                if not self._thread.is_alive():
                    raise QueueUnavailable(CLOSED) from None

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._result(self._begin(work))

    def _connected(self) -> Queue:
        client = self._own
        if self._queue is None:
            queue = self._run(client._connected())
            if not queue.settings.redis_url.startswith(SCHEME):
                self._direct = BlockingConnections(queue.settings.redis_url)
            self._queue = queue
        return self._queue

    def submit(self, job: Job) -> Submitted:
        """See :meth:`AsyncQueueClient.submit`."""
        queue = self._connected()
        batch = queue.batch(self._client._new_jobs([job]))
        [done] = batch.submitted(self._send(queue, batch))
        return done

    def _send(self, queue: Queue, batch: Batch) -> list[Any]:
        direct = self._direct
        if direct is not None and queue.takes_one_call(batch):
            with contextlib.suppress(NoneFree):
                return run_through(queue.put(batch, direct.call))
        return self._run(queue.send(batch))

    def submit_many(self, jobs: Iterable[Job]) -> Receipts:
        """See :meth:`AsyncQueueClient.submit_many`."""
        queue = self._connected()
        source, receipts = iter(jobs), Receipts()
        under_way: tuple[Batch, Future[list[Any]]] | None = None
        try:
            # Here and not on the loop's thread: the source may be slow, or call this client itself.
            while chunk := list(islice(source, CHUNK)):
                batch = queue.batch(self._client._new_jobs(chunk))
                if under_way is not None:
                    receipts._add(under_way[0], self._result(under_way[1]))
                under_way = batch, self._begin(queue.send(batch))
        except BaseException:
            if under_way is not None:  # whatever went wrong with its successor: it is seen to its end
                with contextlib.suppress(Exception):
                    self._result(under_way[1])
            raise
        if under_way is not None:
            receipts._add(under_way[0], self._result(under_way[1]))
        return receipts

    def get(self, job_id: str) -> JobView:
        """See :meth:`AsyncQueueClient.get`."""
        return self._run(self._own.get(job_id))

    def wait(self, job_id: str, timeout: float) -> JobView:
        """See :meth:`AsyncQueueClient.wait`."""
        return self._run(self._own.wait(job_id, timeout))

    def cancel(self, job_id: str) -> State:
        """See :meth:`AsyncQueueClient.cancel`."""
        return self._run(self._own.cancel(job_id))

    def retry(self, job_id: str) -> Submitted:
        """See :meth:`AsyncQueueClient.retry`."""
        return self._run(self._own.retry(job_id))

    def queue(self, name: str = "default") -> QueueStats:
        """See :meth:`AsyncQueueClient.queue`."""
        return self._run(self._own.queue(name))


async def _end(client: AsyncQueueClient) -> None:
    """Cancel what else is under way on this loop, and close the client."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.close()
