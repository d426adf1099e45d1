"""Puts the scheduler's roles together."""

from __future__ import annotations

import time

import structlog

from dtq.config import Settings
from dtq.queue import Queue
from dtq.retry import Backoff
from dtq.roles import Role, Roles
from dtq.schedule.store import ScheduleStore
from dtq.storage import Store
from dtq.storage.metrics import PoolCollector
from dtq_scheduler.duties import Forwarder, Janitor, Recoverer, Sweeper
from dtq_scheduler.metrics import Gauges, QueueCollector, ScheduleMetrics, make_registry
from dtq_scheduler.settings import ServerSettings
from dtq_scheduler.ticker import Ticker
from dtq_scheduler.watcher import Watcher

__all__ = ["Scheduler"]

HUNG = 120.0
"""A ticker of which no step has ended for so many seconds hangs: the process should be restarted."""

log = structlog.get_logger("dtq.scheduler")


class Scheduler:
    """All roles of one process."""

    def __init__(self, settings: Settings, queue: Queue, store: Store) -> None:
        """``store`` must be open; neither server need be there."""
        schedules = ScheduleStore(queue.client)
        collector = QueueCollector()
        self.registry = make_registry()
        self.registry.register(collector)
        self.registry.register(PoolCollector(store.pool_stats))
        self._ticking = Role("ticker", Ticker(queue, schedules, ScheduleMetrics(self.registry)).step)
        self._roles = Roles(
            [
                self._ticking,
                Role("watcher", Watcher(queue, schedules, store).step),
                Role("recoverer", Recoverer(queue).step),
                Role("forwarder", Forwarder(queue).step),
                Role("sweeper", Sweeper(queue, store).step),
                Role("janitor", Janitor(store, settings.retentiondays).step, Backoff(base=1.0, cap=60.0)),
                Role("gauges", Gauges(queue, schedules, collector).step),
                Role("settings", ServerSettings(queue).step),
            ]
        )

    def start(self) -> None:
        """Start working."""
        self._roles.start()
        log.info("scheduler_started")

    async def stop(self) -> None:
        """Stop after the steps under way, within five seconds."""
        await self._roles.stop()
        log.info("scheduler_stopped")

    def problem(self) -> str | None:
        """Why the process should be restarted, None if it should not."""
        silent = time.monotonic() - self._ticking.last_end
        return f"the ticker has hung for {silent:.0f} s" if silent > HUNG else None
