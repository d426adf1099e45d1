"""The duties on queues: Recoverer, Forwarder, Sweeper; and the Janitor's on PostgreSQL."""

from __future__ import annotations

import contextlib

import structlog

from dtq.errors import QueueDamaged
from dtq.queue import Queue
from dtq.roles import each
from dtq.storage import Store

__all__ = ["Forwarder", "Janitor", "Recoverer", "Sweeper", "interval"]

AT_ONCE = 16
"""Queues attended to at once."""

log = structlog.get_logger("dtq.scheduler")


def interval(seconds: float, queues: int) -> float:
    """``seconds``, more with hundreds of queues: at most 200 looks a second, but one every 2.5 s."""
    return min(max(seconds, queues / 200), max(seconds, 2.5))


class Recoverer:
    """Gives the jobs of dead workers to others."""

    EVERY = 0.5
    AUDIT = 60
    """Every so many steps, damage from outside is looked for too."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._steps = 0

    async def step(self) -> float:
        """Reclaim from every queue, but not right after a standstill: live workers renew first."""
        names = await self._queue.queues()
        every = interval(self.EVERY, len(names))
        gap_s = max(0.75 * self._queue.settings.leaseseconds, 1.5 * every)
        audit = self._steps % self.AUDIT == 0
        self._steps += 1

        async def reclaim(name: str) -> None:
            done = await self._queue.reclaim(name, audit=audit, gap_s=gap_s)
            if done.requeued or done.failed or done.cancelled:
                log.warning("jobs_reclaimed", queue=name, requeued=done.requeued, failed=done.failed, cancelled=done.cancelled)

        await each(names, reclaim, AT_ONCE)
        return every


class Forwarder:
    """Makes delayed jobs ready in queues from which nobody claims at the moment."""

    EVERY = 0.5
    MOST = 1000

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def step(self) -> float:
        """Promote what is due in every queue."""
        names = await self._queue.queues()
        full = False

        async def promote(name: str) -> None:
            nonlocal full
            promoted, _due = await self._queue.promote(name, self.MOST)
            full = full or promoted == self.MOST

        await each(names, promote, AT_ONCE)
        return 0.0 if full else interval(self.EVERY, len(names))


class Sweeper:
    """Carries results to PostgreSQL that their worker has not: it died, or has too many."""

    EVERY = 1.0
    OLDER_MS = 5_000
    """A worker has so long for its own results."""
    MOST = 20
    """Outbox entries of one queue stored at once; each holds up to some hundred rows, or some megabytes."""

    def __init__(self, queue: Queue, store: Store) -> None:
        self._queue = queue
        self._store = store

    async def step(self) -> float:
        """Store what is old in every outbox."""
        names = await self._queue.queues()
        if not names or not await self._queue.outbox_length(names):
            return self.EVERY
        full = False
        for name in names:
            with contextlib.suppress(QueueDamaged):  # the others' results are stored
                full = await self._sweep(name) or full
        return 0.0 if full else self.EVERY

    async def _sweep(self, name: str) -> bool:
        """Store a batch of one queue; whether there may be more."""
        entries = await self._queue.read_outbox(name, self.OLDER_MS, self.MOST)
        if not entries:
            return False
        rows = [row for _, some in entries for row in some]
        odd = [entry for entry, some in entries if not some]
        if odd:
            log.error("outbox_entries_unreadable", queue=name, entries=odd)
            await self._queue.set_outbox_aside(name, odd)
        await self._store.insert(rows)
        await self._queue.clear_outbox(name, [entry for entry, _ in entries], rows)
        log.info("results_swept", queue=name, rows=len(rows))
        return len(entries) == self.MOST


class Janitor:
    """Keeps PostgreSQL's partitions: makes those to come, drops those past retention."""

    EVERY = 3600.0

    def __init__(self, store: Store, retention_days: int) -> None:
        self._store = store
        self._days = retention_days

    async def step(self) -> float:
        """Maintain the table."""
        await self._store.maintain(self._days)
        return self.EVERY
