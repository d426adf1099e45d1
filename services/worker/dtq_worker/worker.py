"""Puts the worker's roles together and starts and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket

import structlog
from redis.exceptions import RedisError

from dtq.config import Settings
from dtq.errors import Permanent, QueueDamaged, QueueUnavailable
from dtq.queue import Queue
from dtq.queue.claims import Claims
from dtq.registry import Registry
from dtq.retry import Backoff
from dtq_worker.executor import Executor, key_of
from dtq_worker.fetcher import Fetcher
from dtq_worker.heartbeat import Heartbeat
from dtq_worker.inbox import MAX_OFFERS
from dtq_worker.metrics import WorkerMetrics
from dtq_worker.outcome import Ending, Outcome, Policy, conclude, unrecordable
from dtq_worker.pool import HandlerProcesses
from dtq_worker.progress import Progress
from dtq_worker.recorder import Recorder, RowStore
from dtq_worker.recovery import Recovery
from dtq_worker.reporter import Reporter
from dtq_worker.slots import Running

__all__ = ["Worker", "worker_name"]

LONG_TTL_MS = 7 * 86_400_000
"""How long finished jobs stay in Redis while PostgreSQL is away: they can be read nowhere else."""

log = structlog.get_logger("dtq.worker")


def worker_name() -> str:
    """A name for this process's life. It is half of the fencing token, so it is never used again."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"


class Worker:
    """One worker process's work, from start to graceful stop."""

    def __init__(self, settings: Settings, registry: Registry, modules: list[str], queue: Queue, store: RowStore) -> None:
        """``modules`` are the handler modules, which the handler processes load too."""
        self._settings = settings
        self._queue = queue
        self.name = worker_name()
        self._loop = asyncio.get_running_loop()
        self._policy = Policy(settings.maxretries, Backoff(settings.retrybase, settings.retrycap))
        self._claims = Claims(
            queue.client, self.name, int(settings.leaseseconds * 1000), settings.resultttl * 1000, settings.deadttl * 1000
        )
        self._progress = Progress(queue.client, lambda: self._executor.ids())
        self._processes = HandlerProcesses(settings, modules, registry.handler_modules, self._progress.report)
        self._executor = Executor(settings, registry, self._processes, self._progress, self._ended, lambda: self._heartbeat.breathe())
        self.metrics = WorkerMetrics(
            lambda: (self._executor.busy, settings.workercount),
            lambda: self._heartbeat.last_beat,
            lambda: (self._fetcher.names, registry.handlers),
        )
        self._recorder = Recorder(store, queue.client, settings.resultttl * 1000, lambda: self._executor.busy > 0)
        self._keeping_long = False
        recovery = Recovery(queue.client, self._claims, self._held)
        self._reporter = Reporter(self._claims, self._recorder.add, self._count, self._spoiled, recovery.doubt, self._shun)
        self._fetcher = Fetcher(queue, self._claims, self._executor, recovery, lambda: self._reporter.backlog)
        self._heartbeat = Heartbeat(settings, self.name, queue.cluster, self._queues_to_renew, self._on_cancels, self._on_lost)

    def start(self) -> None:
        """Start claiming and running jobs."""
        self._heartbeat.start()
        self._fetcher.start()
        log.info("worker_started", worker=self.name, queues=self._settings.queues, slots=self._settings.workercount)

    async def stop(self) -> None:
        """Stop claiming, let running jobs end within SHUTDOWNSECONDS, hand the rest back, report everything."""
        log.info("worker_stopping", running=len(self._executor.active))
        await self._fetcher.stop()
        await self._executor.drain(self._settings.shutdownseconds)
        handed = len(self._executor.active)
        if handed:
            self._executor.interrupt_all("shutdown")
            await self._executor.drain(5.0)
        await self._processes.close()
        await self._leave()
        await self._recorder.flush(10.0)
        self._heartbeat.stop()
        for part in (self._executor, self._reporter, self._recorder, self._progress, self._claims):
            await part.close()
        left = [running.job.id for running in self._executor.active.values()]
        log.info("worker_stopped", handed_back=handed - len(left), left_behind=left)

    async def _leave(self) -> None:
        """Send the last endings and say good-bye; without Redis the leases simply run out."""
        try:
            await asyncio.wait_for(self._reporter.flush(), 10.0)
            await asyncio.to_thread(self._heartbeat.stop)  # a beat after the good-bye would bring the name back
            for name in self._fetcher.names:
                with contextlib.suppress(QueueDamaged):  # its lease there runs out
                    await self._claims.leave(name)
        except (TimeoutError, QueueUnavailable, RedisError) as error:
            log.warning("left_without_goodbye", error=str(error) or type(error).__name__)

    @property
    def stuck(self) -> bool:
        """After :meth:`stop`: whether a handler swallows every cancellation, so that the event loop would never end."""
        return bool(self._executor.active)

    @property
    def healthy(self) -> bool:
        """Whether the heartbeat succeeded lately."""
        return self._heartbeat.silent < max(10.0, 3 * self._settings.leaseseconds)

    def problem(self) -> str | None:
        """Why the process should be restarted, None if it should not."""
        return self._queue.problem() or self._heartbeat.problem()

    def _held(self) -> set[tuple[str, str, str]]:
        return {*self._executor.active, *map(key_of, self._reporter.jobs())}

    def _ended(self, running: Running, outcome: Outcome) -> None:
        if running.reason == "lost":
            outcome.kind = "handed_back"  # it is someone else's; should it not be, it is given back
        if self._recorder.failing is not self._keeping_long:
            self._keep_results()
        self._reporter.add(conclude(running.job, self.name, outcome, self._policy))

    def _count(self, endings: list[Ending]) -> None:
        self.metrics.count(endings)
        for ending in endings:
            if ending.finish.op == "r":
                self._fetcher.expect(ending.finish.job.queue, ending.finish.delay_ms / 1000)

    def _spoiled(self, ending: Ending, error: Exception) -> Ending:
        """The queue does not take this ending: its job fails for good, since running it again would end in the same."""
        outcome = unrecordable(ending.outcome, error)
        outcome.cause = Permanent()
        return conclude(ending.finish.job, self.name, outcome, self._policy)

    def _shun(self, queue: str) -> None:
        self._fetcher.shun(queue)

    def _keep_results(self) -> None:
        self._keeping_long = self._recorder.failing
        self._claims.keep_results(LONG_TTL_MS if self._keeping_long else self._settings.resultttl * 1000)

    def _queues_to_renew(self) -> list[str]:
        """Called in the heartbeat's thread."""
        busy = {running.job.queue for running in list(self._executor.active.values())}
        names = self._fetcher.names
        return names if len(names) <= MAX_OFFERS else sorted(busy)  # an offer without a lease is passed over

    def _on_cancels(self, ids: list[str]) -> None:
        self._loop.call_soon_threadsafe(self._executor.cancel, ids)

    def _on_lost(self, queue: str, sent_at: float) -> None:
        self._loop.call_soon_threadsafe(lambda: self._executor.interrupt_all("lost", claimed_before=sent_at, queue=queue))
