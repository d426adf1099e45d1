"""Renews the worker's leases from a thread of its own, with its own event loop and connection.

A handler that keeps the main loop busy for seconds therefore loses no job. The thread also brings the ids of running
jobs that are to be cancelled.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from dtq.config import Settings
from dtq.errors import QueueUnavailable
from dtq.queue.claims import Claims
from dtq.queue.connection import connect

__all__ = ["BEAT", "Heartbeat"]

BEAT = 0.4
"""Seconds between renewals: a cancellation reaches its worker within a second."""

log = structlog.get_logger("dtq.worker")


class Heartbeat:
    """The thread. ``queues()`` names those to renew; ``cancelled(ids)`` and ``lost(queue, sent_at)`` are called in it."""

    def __init__(
        self,
        settings: Settings,
        worker: str,
        queues: Callable[[], list[str]],
        cancelled: Callable[[list[str]], None],
        lost: Callable[[str, float], None],
    ) -> None:
        """Renew the leases of ``worker``."""
        self._settings = settings
        self._worker = worker
        self._queues = queues
        self._cancelled = cancelled
        self._lost = lost
        self._damaged: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.last_beat = 0.0
        """Wall-clock time of the last renewal that succeeded."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.run(self._beat())

    async def _beat(self) -> None:
        client = await connect(self._settings.redis_url, connections=4)
        claims = Claims(client, self._worker, int(self._settings.leaseseconds * 1000), 0, 0)
        away = False
        try:
            while not self._stop.is_set():
                try:
                    for queue in self._queues():
                        await self._renew(claims, queue)
                    self.last_beat = time.time()
                    away = False
                except QueueUnavailable as error:
                    if not away:
                        log.warning("lease_not_renewed", error=str(error))
                    away = True
                await asyncio.to_thread(self._stop.wait, BEAT)
        finally:
            await claims.close()
            await client.aclose()

    async def _renew(self, claims: Claims, queue: str) -> None:
        sent_at = time.monotonic()
        try:
            renewal = await claims.renew(queue)
        except RedisError as error:  # its keys were damaged from outside: the other queues' leases matter all the more
            if queue not in self._damaged:
                log.error("queue_damaged", queue=queue, error=str(error))
            self._damaged.add(queue)
            return
        self._damaged.discard(queue)
        if not renewal.held:
            self._lost(queue, sent_at)
        if renewal.cancels:
            self._cancelled(renewal.cancels)
