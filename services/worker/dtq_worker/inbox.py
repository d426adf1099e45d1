"""Where an idle worker waits: a blocking read on its boxes and on the wake lists of its queues.

While a queue knows this worker as idle (it has *offered* itself), the next job is claimed for it by the script that makes
it ready, and left in its box: it starts after one turn of the server, not two. A word in the box, or a token in the wake
list, only asks to look.

A job can be on its way from the box to here at any time while an offer stands, and after it until the blocking read has
ended. Who looks for claims that nobody knows of must therefore call :meth:`Inbox.withdraw` before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog
from redis.exceptions import RedisError, ResponseError

from dtq.errors import QueueUnavailable
from dtq.queue import Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, read_box
from dtq.queue.connection import ANSWER_TIMEOUT, Client, ask_each, call, connect, translated
from dtq_worker.faults import Faults, trace

__all__ = ["MAX_BLOCKING_QUEUES", "MAX_OFFERS", "Inbox"]

MAX_BLOCKING_QUEUES = 64
"""Blocking reads on a cluster need a connection each; further queues are looked at from time to time only."""

MAX_OFFERS = 50
"""With more queues than this a worker offers itself to none: the heartbeat does not renew the leases of idle ones then."""

READ_TIMEOUT = 4.0
"""Seconds of one blocking read. A job that was sent into a dead connection is missed so much later, and ANSWER_TIMEOUT."""

END_TIMEOUT = 2.0
"""Seconds that a blocking read gets to end after a word in its box."""

log = structlog.get_logger("dtq.worker")


class Inbox:
    """``arrived(queue, job)`` is called for each job, or with None for a word to look; ``doubt(queue)`` if one may be lost."""

    def __init__(
        self, queue: Queue, claims: Claims, arrived: Callable[[str, ClaimedJob | None], None], doubt: Callable[[str], None]
    ) -> None:
        """Connects at the first :meth:`listen`."""
        self._queue = queue
        self._claims = claims
        self._arrived = arrived
        self._doubt = doubt
        self._offers: set[str] = set()
        self._reads: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    @property
    def offers(self) -> set[str]:
        """Queues that may know this worker as idle."""
        return self._offers

    def offer(self, name: str) -> None:
        """Note that the worker may be down as idle in ``name``: it is about to claim there, and to wait."""
        self._offers.add(name)

    def offer_void(self, name: str) -> None:
        """Note that it is not: the claim was filled."""
        self._offers.discard(name)

    # ------------------------------------------------------------------ waiting

    def listen(self, names: Iterable[str]) -> None:
        """Have a blocking read under way on these queues: one for all; on a cluster one a queue, as each has its own slot."""
        every = sorted(names)
        groups = [(name,) for name in every[:MAX_BLOCKING_QUEUES]] if self._queue.cluster else [tuple(every)] if every else []
        for group in [known for known in self._reads if known not in groups]:
            self._end(group)
        for group in groups:
            task = self._reads.get(group)
            if task is None or task.done():
                self._reads[group] = asyncio.create_task(self._read(group), name="inbox")

    async def _read(self, names: tuple[str, ...]) -> None:
        """Block until there is something, however often the read times out or breaks."""
        boxes = {keys.box(name, self._claims.worker).encode(): name for name in names}
        tokens = {keys.wake(name).encode(): name for name in names}
        faults = Faults("wake", base=0.2)
        found = None
        while found is None and self._reads.get(names) is asyncio.current_task():
            try:
                client = await self._blocking()
                try:
                    async with asyncio.timeout(READ_TIMEOUT + ANSWER_TIMEOUT):
                        with translated():
                            found = await call(client, "BLPOP", *boxes, *tokens, READ_TIMEOUT)
                except ResponseError:
                    if not await self._mend(boxes | tokens):
                        raise
            except (QueueUnavailable, TimeoutError):
                self._doubt_all(names)
                await asyncio.sleep(0.2)  # the next claim meets the fault and reports it
            except Exception as error:  # noqa: BLE001 - the queues are looked at all the same, from time to time
                self._doubt_all(names)
                await asyncio.sleep(faults.note(error))
        if found is None:
            return
        key, content = found
        if key in boxes:
            self._deliver(boxes[key], content)
        else:
            self._arrived(tokens[key], None)

    async def _mend(self, lists: dict[bytes, str]) -> bool:
        """Remove what somebody put in place of lists, as a read of all breaks on it: boxes and tokens are soon made anew."""
        places = [key.decode() for key in lists]
        kinds = await ask_each(self._queue.client, places, [("TYPE", place) for place in places])
        odd = {place: kind.decode() for place, kind in zip(places, kinds, strict=True) if kind not in (b"list", b"none")}
        for place, kind in odd.items():
            log.error("queue_damaged", queue=lists[place.encode()], error=f"{place} was a {kind}, not a list; it is removed")
            with translated():
                await self._queue.client.delete(place)
        return bool(odd)

    def _deliver(self, name: str, content: bytes) -> None:
        self._offers.discard(name)
        try:
            self._arrived(name, read_box(name, content))
        except Exception as error:  # noqa: BLE001 - whatever it is: the job is found and given back, and comes by a claim
            log.error("duty_failed", duty="inbox", queue=name, error=str(error), exception=trace(error))
            self._doubt(name)

    def _doubt_all(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._offers:
                self._doubt(name)

    async def _blocking(self) -> Client:
        """One client for all blocking reads, made by the first of them."""
        if self._client is not None:
            return self._client
        async with self._connecting:
            if self._client is None:
                self._client = await connect(
                    self._queue.settings.redis_url, cluster=self._queue.cluster, blocking=True, connections=2 * MAX_BLOCKING_QUEUES
                )
            return self._client

    # ------------------------------------------------------------------ waiting no more

    async def withdraw(self, names: Iterable[str]) -> None:
        """Take back the offers to these queues. Afterwards no job is on its way here; what was has arrived.

        Raises:
            QueueUnavailable: it is not known whether one is.
        """
        for name in names:
            group = next((known for known in self._reads if name in known), None)
            task = self._reads.get(group) if group else None
            reading = task is not None and not task.done()
            for content in await self._claims.retract(name, word=reading):
                self._deliver(name, content)
            if group is not None and task is not None and reading:
                await self._ended(group, task)
            self._offers.discard(name)

    async def _ended(self, group: tuple[str, ...], task: asyncio.Task[None]) -> None:
        """Wait for a blocking read that has been sent a word."""
        await asyncio.wait({task}, timeout=END_TIMEOUT)
        if not task.done():
            task.cancel()
            self._doubt_all(group)
            raise QueueUnavailable("a blocking read did not end")

    def _end(self, group: tuple[str, ...]) -> None:
        """Let a read go: another takes its place. What it has yet to bring still arrives."""
        task = self._reads.pop(group)
        if not task.done():
            self._hold(task)
            self._hold(asyncio.create_task(self._send_word(group[0]), name="word"))

    def _hold(self, task: asyncio.Task[None]) -> None:
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _send_word(self, name: str) -> None:
        with contextlib.suppress(QueueUnavailable, RedisError):  # then the read ends by its own time-out
            for content in await self._claims.retract(name, word=True):
                self._deliver(name, content)

    async def close(self) -> None:
        """Wait no more, whether or not the server answers."""
        for task in [*self._reads.values(), *self._ending]:
            task.cancel()
        await asyncio.gather(*self._reads.values(), *self._ending, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
