"""Renews the worker's leases from a thread of its own, with its own event loop and connection.

A handler that keeps the main loop busy for seconds therefore loses no job. The thread also brings the ids of running
jobs that are to be cancelled.

A handler may even hold the interpreter for seconds (in a C function), and the next one as well: then this thread gets it for
a moment between the two, and that moment must do. So a beat waits in this thread alone, sends the renewals of all queues at
once, and is due by when the last one was sent: a reply that was read late is followed by the next renewal at once. And before
a handler starts, an overdue beat is waited for (:meth:`Heartbeat.breathe`): on a busy machine the moment is too short.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from dtq.config import Settings
from dtq.errors import QueueDamaged, QueueUnavailable
from dtq.queue.claims import Claims
from dtq.queue.connection import Client, connect, translated
from dtq.roles import each
from dtq_worker.faults import Faults

__all__ = ["BEAT", "Heartbeat"]

BEAT = 0.4
"""Seconds between renewals: a cancellation reaches its worker within a second."""

AT_ONCE = {False: 64, True: 4}
"""Renewals under way at once on a single server, where they share a packet, and on a cluster, where each takes a connection."""

OVERDUE = 1.0
"""Seconds without a renewal after which the main thread lets this one have the interpreter, once in so long."""

BREATH = 0.25
"""Seconds that it lets it have it, at most."""

HUNG = 60.0
"""A thread that has not come around for so many seconds hangs: every call it makes ends within six, well or not."""

log = structlog.get_logger("dtq.worker")


class Heartbeat:
    """The thread. ``queues()`` names those to renew; ``cancelled(ids)`` and ``lost(queue, sent_at)`` are called in it."""

    def __init__(
        self,
        settings: Settings,
        worker: str,
        cluster: bool,
        queues: Callable[[], list[str]],
        cancelled: Callable[[list[str]], None],
        lost: Callable[[str, float], None],
    ) -> None:
        """Renew the leases of ``worker``."""
        self._settings = settings
        self._worker = worker
        self._cluster = cluster
        self._queues = queues
        self._cancelled = cancelled
        self._lost = lost
        self._damaged: set[str] = set()
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.last_beat = 0.0
        """Wall-clock time of the last renewal that succeeded."""
        self._beat_at: float | None = None
        self._away = False
        self._last_turn: float | None = None
        self._renewed_at = self._breathed_at = time.monotonic()
        """When the last renewal that succeeded was sent, and when the main thread waited last."""
        self._beaten = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._last_turn = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(timeout=5)

    def breathe(self) -> None:
        """Let an overdue beat happen now. Called in the main thread, before something that may hold the interpreter."""
        now = time.monotonic()
        if now - self._renewed_at < OVERDUE or now - self._breathed_at < OVERDUE or self._away:
            return
        self._breathed_at = now
        while self._renewed_at < now and (left := now + BREATH - time.monotonic()) > 0:
            self._beaten.wait(left)
            self._beaten.clear()

    @property
    def silent(self) -> float:
        """Seconds since the last renewal that succeeded, however the wall clock was set meanwhile."""
        return float("inf") if self._beat_at is None else time.monotonic() - self._beat_at

    def problem(self) -> str | None:
        """Why the process should be restarted, None if it should not. That Redis is away is no reason."""
        if self._last_turn is None or self._stop.is_set():
            return None
        if not self._thread.is_alive():
            return "the thread that renews the leases has died"
        silent = time.monotonic() - self._last_turn
        return f"the thread that renews the leases has hung for {silent:.0f} s" if silent > HUNG else None

    def _run(self) -> None:
        asyncio.run(self._beat_on())

    async def _beat_on(self) -> None:
        """Beat until stopped, whatever happens: without this thread the worker's jobs would be given to others."""
        self._loop = asyncio.get_running_loop()
        faults = Faults("heartbeat", base=BEAT, cap=2.0)
        while not self._stop.is_set():
            try:
                await self._connected(faults)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next connection may do better
                delay = faults.note(error)
                if isinstance(error, QueueUnavailable):
                    self._tell_away(error)
                await self._pause(delay)

    async def _connected(self, faults: Faults) -> None:
        """Beat through one client until stopped."""
        client = await connect(self._settings.redis_url, cluster=self._cluster, connections=AT_ONCE[True])
        claims = Claims(client, self._worker, int(self._settings.leaseseconds * 1000), 0, 0)
        try:
            while not self._stop.is_set():
                due = time.monotonic() + BEAT
                try:
                    await self._beat(client, claims)
                    faults.clear()
                except QueueUnavailable as error:
                    self._tell_away(error)
                await self._pause(max(0.0, due - time.monotonic()))
        finally:
            await claims.close()
            await client.aclose()

    async def _beat(self, client: Client, claims: Claims) -> None:
        began = time.monotonic()
        queues = self._queues()
        await each(queues, lambda queue: self._renew(claims, queue), AT_ONCE[self._cluster])
        if not queues:
            with translated():
                await client.ping()  # a beat that asks nothing would pass for a healthy one
        self.last_beat = time.time()
        self._beat_at = time.monotonic()
        self._renewed_at = began
        self._beaten.set()
        self._away = False

    def _tell_away(self, error: QueueUnavailable) -> None:
        if not self._away:
            log.warning("lease_not_renewed", error=str(error))
        self._away = True

    async def _pause(self, seconds: float) -> None:
        self._last_turn = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    async def _renew(self, claims: Claims, queue: str) -> None:
        sent_at = time.monotonic()
        try:
            renewal = await claims.renew(queue)
            self._last_turn = time.monotonic()
        except QueueDamaged:
            return
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
