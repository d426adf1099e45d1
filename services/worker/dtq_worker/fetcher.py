"""Claims jobs into free slots.

A queue is *hot* while it may have work. One claim for each of the next hot queues is under way at a time; meanwhile more
slots become free, so batches grow with the load by themselves. When no queue is hot, the inbox waits: it brings the next job, or word
of it, at once. All queues are looked at besides, from time to time, less often while nothing comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog
from redis.exceptions import RedisError

from dtq.errors import QueueDamaged, QueueUnavailable
from dtq.queue import Queue
from dtq.queue.claims import Claim, ClaimedJob, Claims
from dtq_worker.executor import Executor
from dtq_worker.faults import Faults
from dtq_worker.inbox import MAX_OFFERS, Inbox
from dtq_worker.recovery import Recovery

__all__ = ["Fetcher"]

AT_ONCE = 16
"""Queues claimed from at once with QUEUES=*: the claims go in one packet, and share a sync of the append-only file."""

MAX_CLAIM = 500
"""Jobs of one claim: the script keeps the server busy for a few ms."""

LOOK_AROUND = (1.0, 4.0)
"""Shortest and longest wait for the inbox, seconds. After it, all queues are tried once."""

FULL = 0.01
"""Seconds without a free slot after which the worker is idle to no queue: a job left in its box would wait there."""

FAREWELL = 5.0
"""Seconds at a stop for taking back what was left in boxes. Without Redis, the end of the lease frees it."""

MOST_UNSENT = 5_000
"""Jobs that have ended and whose end the queue has not confirmed; with more of them, as while replicas are away (WAITREPLICAS),
nothing is claimed."""

UNSENT_PAUSE = 0.1
"""Seconds until the next look at them."""

DAMAGED_PAUSE = 5.0
"""Seconds for which a queue whose keys somebody damaged is left alone, so that it holds up no other."""

NEW_QUEUES = 0.5
"""Seconds between looks for queues that did not exist before (QUEUES=*)."""

log = structlog.get_logger("dtq.worker")


class Fetcher:
    """Keeps the executor's slots filled until stopped."""

    def __init__(self, queue: Queue, claims: Claims, executor: Executor, recovery: Recovery, unsent: Callable[[], int]) -> None:
        """Claim from the queues that QUEUES names. ``unsent()``: how many ends of jobs are not confirmed."""
        self._queue = queue
        self._claims = claims
        self._executor = executor
        self._recovery = recovery
        self._unsent = unsent
        self._fixed = queue.settings.queue_names
        self._names: list[str] = list(self._fixed or [])
        self._hot: dict[str, None] = dict.fromkeys(self._names)
        self._due: dict[str, float] = {}
        self._shunned: dict[str, float] = {}
        """Damaged queues, and until when nothing is claimed from them."""
        self._work = asyncio.Event()
        self._idle_rounds = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._inbox = Inbox(queue, claims, self._arrived, self._doubt)

    def start(self) -> None:
        """Start claiming."""
        self._spawn(self._claim_forever, "fetcher")
        self._spawn(self._watch_queues, "queues")

    def _spawn(self, what: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._tasks.append(asyncio.create_task(what(), name=name))

    @property
    def names(self) -> list[str]:
        """The queues served at the moment."""
        return list(self._names)

    async def stop(self) -> None:
        """Stop claiming. A claim under way is finished; its jobs and those in boxes are started: they are this worker's."""
        self._stop.set()
        for task in self._tasks[1:]:
            task.cancel()
        self._work.set()
        self._executor.changed.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(FAREWELL):
                await self._inbox.withdraw(list(self._inbox.offers))
        except (QueueUnavailable, RedisError, TimeoutError) as error:
            log.warning("queue_away", error=str(error), failures=1)
        await self._inbox.close()

    # ------------------------------------------------------------------ claiming

    async def _claim_forever(self) -> None:
        faults = Faults("fetcher")
        while not self._stop.is_set():
            try:
                await self._round()
                faults.clear()
            except Exception as error:  # noqa: BLE001 - without this task the worker would do nothing any more
                delay = faults.note(error)
                if isinstance(error, QueueUnavailable):
                    log.warning("queue_away", error=str(error), failures=faults.count)
                await self._pause(delay)
                self._heat(self._names)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not past a stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _round(self) -> None:
        """One step: wait for a free slot, or claim from the next hot queues, or wait for work."""
        if self._inbox.offers:
            self._inbox.listen(self._names)  # whatever comes, nothing may stay unread in a box
        if self._executor.free <= 0:
            await self._wait_for_slot()
            return
        if self._unsent() > MOST_UNSENT:
            await self._pause(UNSENT_PAUSE)
            return
        self._heat_due()
        names = self._next()
        if not names:
            await self._wait_for_work()
            return
        wanted = min(self._executor.free // len(names), MAX_CLAIM)
        if len(names) == 1:
            await self._claim(names[0], wanted)
            return
        for error in await asyncio.gather(*(self._claim(name, wanted) for name in names), return_exceptions=True):
            if error is not None:
                raise error

    def _next(self) -> list[str]:
        """The hot queues whose turn it is; one at a time of those that are named, since their order is strict."""
        most = 1 if self._fixed is not None else min(AT_ONCE, self._executor.free)
        return list(itertools.islice((name for name in self._names if name in self._hot), most))

    async def _claim(self, name: str, wanted: int) -> None:
        """Start up to ``wanted`` jobs of one queue."""
        wait = len(self._names) <= MAX_OFFERS
        try:
            if self._recovery.doubts(name):
                await self._inbox.withdraw([name])
                await self._recovery.check(name)
            if wait:
                self._inbox.offer(name)
            claim = await self._claims.claim(name, wanted, wait=wait)
            if claim.jobs:
                self._idle_rounds = 0
                self._executor.start(claim.jobs)
        except Exception as error:
            self._recovery.doubt(name)
            self._hot.pop(name, None)
            if isinstance(error, QueueUnavailable) or not isinstance(error, (RedisError, QueueDamaged)):
                raise
            if isinstance(error, RedisError):
                log.error("queue_damaged", queue=name, error=str(error))
            self.shun(name)
            return
        self._note(name, claim, wanted)

    def _note(self, name: str, claim: Claim, wanted: int) -> None:
        """A queue that gave less than asked is empty for now. All queues take turns; named ones are in strict order."""
        if len(claim.jobs) < wanted:
            self._hot.pop(name, None)
        else:
            self._inbox.offer_void(name)
        if claim.next_due is not None:
            self.expect(name, (claim.next_due - claim.now) / 1000)
        if self._fixed is None and len(self._names) > 1 and claim.jobs:
            self._names.remove(name)
            self._names.append(name)

    def _heat(self, names: Iterable[str]) -> None:
        now = time.monotonic()
        for name in names:
            if self._shunned.get(name, 0.0) <= now:
                self._hot[name] = None

    def _heat_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            self._heat([name])

    def shun(self, name: str) -> None:
        """Leave a damaged queue alone for a while."""
        self._shunned[name] = self._due[name] = time.monotonic() + DAMAGED_PAUSE
        self._hot.pop(name, None)

    def expect(self, name: str, seconds: float) -> None:
        """A job of queue ``name`` becomes due in so many ``seconds``: be there, even if nothing else comes meanwhile."""
        due = max(time.monotonic() + seconds, self._shunned.get(name, 0.0))
        if name in self._names and due < self._due.get(name, float("inf")):
            self._due[name] = due
            self._work.set()

    # ------------------------------------------------------------------ waiting

    async def _wait_for_work(self) -> None:
        low, high = LOOK_AROUND
        timeout = min(high, low * 2**self._idle_rounds)
        next_due = min(self._due.values(), default=None)
        if next_due is not None:
            timeout = min(timeout, max(0.001, next_due - time.monotonic()))
        self._inbox.listen(self._names)
        self._work.clear()
        if self._hot or self._stop.is_set():
            return
        try:
            await asyncio.wait_for(self._work.wait(), timeout)
        except TimeoutError:
            if next_due is None or next_due > time.monotonic():
                self._idle_rounds = min(self._idle_rounds + 1, 8)
                self._heat(self._names)

    async def _wait_for_slot(self) -> None:
        self._executor.changed.clear()
        if self._inbox.offers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._executor.changed.wait(), FULL)
                return
            names = list(self._inbox.offers)
            await self._inbox.withdraw(names)
            self._heat(names)
        await self._executor.changed.wait()

    def _arrived(self, name: str, job: ClaimedJob | None) -> None:
        """The inbox brought a job, or word that there may be one."""
        if job is not None:
            self._executor.start([job])
        self._idle_rounds = 0
        self._heat([name])
        self._work.set()

    def _doubt(self, name: str) -> None:
        """A job may have been lost on its way into the inbox."""
        self._recovery.doubt(name)
        self._heat([name])
        self._work.set()

    # ------------------------------------------------------------------ which queues

    async def _watch_queues(self) -> None:
        """With QUEUES=*, notice queues as they come.

        It ends by the stop, too: in Python 3.11 redis-py swallows a cancellation that comes just as a command has been written.
        """
        faults = Faults("queues")
        while self._fixed is None and not self._stop.is_set():
            try:
                for name in await self._queue.queues():
                    if name not in self._names:
                        self._names.append(name)
                        self._hot[name] = None
                        self._work.set()
                faults.clear()
            except Exception as error:  # noqa: BLE001 - without this task no new queue would ever be served
                delay = faults.note(error)
                if isinstance(error, QueueUnavailable) and not self._names and faults.count == 1:
                    log.warning("queue_away", error=str(error), failures=1)  # with queues, claiming finds it and says so
                await self._pause(delay)
            await self._pause(NEW_QUEUES)
