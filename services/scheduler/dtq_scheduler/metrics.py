"""The scheduler's metrics. It is the one service that exports the gauges of queues and schedules."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dtq import __version__
from dtq.errors import QueueDamaged
from dtq.queue import Queue, QueueStats
from dtq.schedule.entry import Entry
from dtq.schedule.store import ScheduleStore
from dtq_scheduler.servers import Memory, memory, outbox_age_seconds

__all__ = ["Gauges", "QueueCollector", "ScheduleMetrics", "make_registry"]

WINDOW = 60.0
"""Seconds for which a late tick shows in schedule_lag_seconds."""

STALE = 30.0
"""Seconds after which numbers that could not be renewed are no longer shown."""

MOST_SCHEDULES = 2000
"""Schedules whose last success is exported: those that succeeded last."""

REASONS = ("MissSchedule", "TooManyMissedTimes", "JobAlreadyActive", "InvalidSchedule")


class ScheduleMetrics:
    """What the ticker measures."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._late: deque[tuple[float, float]] = deque()
        self._next_due: float | None = None
        lag = Gauge("dtq_schedule_lag_seconds", "Worst lateness of a tick in the last minute, or of one still unfired.", registry=registry)
        lag.set_function(self.lag)
        self._missed = Counter(
            "dtq_schedule_missed_total", "Ticks that did not start as planned, by reason.", ["reason"], registry=registry
        )
        for reason in REASONS:
            self._missed.labels(reason)

    def looked(self, now: int, next_due: int | None) -> None:
        """Note, by the server's clock, when the next entry is due: if that passes unseen, the lag grows."""
        self._next_due = None if next_due is None else self._clock() + (next_due - now) / 1000

    def started(self, entry: Entry, now: int) -> None:
        """Note how late a tick was started. One that was unmet by intent (suspended, Forbid) was not late."""
        if entry.next is not None and entry.next <= now:
            self._late.append((self._clock(), (now - entry.next) / 1000))

    def missed(self, reason: str) -> None:
        """Count a tick that did not start as planned."""
        self._missed.labels(reason).inc()

    def lag(self) -> float:
        """Seconds."""
        now = self._clock()
        while self._late and self._late[0][0] < now - WINDOW:
            self._late.popleft()
        unfired = 0.0 if self._next_due is None else now - self._next_due
        return max(0.0, unfired, *(late for _, late in self._late))


class QueueCollector(Collector):
    """The numbers that :class:`Gauges` renewed last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stats: list[QueueStats] = []
        self._ages: Mapping[str, float] = {}
        self._memory: Sequence[Memory] = []
        self._successes: list[tuple[str, str, float]] = []
        self._renewed = clock()

    def renew(
        self,
        stats: list[QueueStats],
        successes: dict[str, tuple[int, str | None]],
        ages: Mapping[str, float],
        memory: Sequence[Memory],
    ) -> None:
        """Show these from now on. ``successes``: schedule to ms and owner. ``ages``: queue to seconds its oldest results wait."""
        newest = sorted(successes.items(), key=lambda item: item[1][0], reverse=True)[:MOST_SCHEDULES]
        self._stats, self._ages, self._memory = stats, ages, memory
        self._successes = [((owner or "").rpartition("/")[2], name, ms / 1000) for name, (ms, owner) in newest]
        self._renewed = self._clock()

    def collect(self) -> Iterable[Metric]:
        """All gauges; none while the server is away."""
        fresh = self._clock() - self._renewed <= STALE
        stats = self._stats if fresh else []
        jobs = GaugeMetricFamily("dtq_queue_jobs", "Jobs by queue and state.", labels=["queue", "state"])
        age = GaugeMetricFamily("dtq_queue_oldest_job_age_seconds", "Age of the oldest ready job.", labels=["queue"])
        demand = GaugeMetricFamily("dtq_queue_demand", "Jobs that need a worker now, running ones included.", labels=["queue"])
        paused = GaugeMetricFamily("dtq_queue_paused", "1 while the queue is paused.", labels=["queue"])
        workers = GaugeMetricFamily("dtq_queue_workers", "Workers that claim from the queue.", labels=["queue"])
        outbox = GaugeMetricFamily("dtq_outbox_entries", "Batches of finished jobs not yet in PostgreSQL.", labels=["queue"])
        outbox_age = GaugeMetricFamily(
            "dtq_outbox_oldest_age_seconds", "For how long the oldest results have waited for PostgreSQL.", labels=["queue"]
        )
        used = GaugeMetricFamily("dtq_redis_memory_used_bytes", "Memory that Redis uses.", labels=["node"])
        limit = GaugeMetricFamily("dtq_redis_memory_limit_bytes", "Redis' maxmemory; 0 is no limit.", labels=["node"])
        success = GaugeMetricFamily(
            "dtq_schedule_last_success_timestamp_seconds", "Last success of a schedule, Unix time.", labels=["namespace", "name"]
        )
        for queue in stats:
            for state in ("ready", "due", "delayed", "running", "dead"):
                jobs.add_metric([queue.name, state], getattr(queue, state))
            age.add_metric([queue.name], queue.oldest_age_seconds)
            demand.add_metric([queue.name], queue.demand)
            paused.add_metric([queue.name], queue.paused)
            workers.add_metric([queue.name], queue.workers)
            outbox.add_metric([queue.name], queue.outbox)
            outbox_age.add_metric([queue.name], self._ages.get(queue.name, 0.0))
        for server in self._memory if fresh else ():
            used.add_metric([server.node], server.used)
            limit.add_metric([server.node], server.limit)
        for namespace, name, seconds in self._successes:
            success.add_metric([namespace, name], seconds)
        return [jobs, age, demand, paused, workers, outbox, outbox_age, used, limit, success]


class Gauges:
    """Renews the numbers of queues and schedules."""

    EVERY = 5.0
    AT_ONCE = 32
    """Queues asked at once, each over a connection of its own."""

    SUCCESSES_EVERY = 6
    """Every so many steps the last successes are read too."""

    def __init__(self, queue: Queue, schedules: ScheduleStore, collector: QueueCollector) -> None:
        self._queue = queue
        self._schedules = schedules
        self._collector = collector
        self._steps = 0
        self._successes: dict[str, tuple[int, str | None]] = {}

    async def step(self) -> float:
        """Renew."""
        if self._steps % self.SUCCESSES_EVERY == 0:
            with contextlib.suppress(QueueDamaged):  # the numbers of queues are shown all the same
                self._successes = await self._schedules.successes()
        self._steps += 1
        names = await self._queue.queues()
        stats: list[QueueStats] = []
        for start in range(0, len(names), self.AT_ONCE):
            stats += await self._queue.stats(names[start : start + self.AT_ONCE], damaged=False)
        client = self._queue.client
        ages = {queue.name: await outbox_age_seconds(client, queue.name) for queue in stats if queue.outbox}
        self._collector.renew(stats, self._successes, ages, await memory(client))
        return self.EVERY


def make_registry() -> CollectorRegistry:
    """A registry with build_info."""
    registry = CollectorRegistry()
    info = Gauge("dtq_build_info", "1; the labels say what is running.", ["service", "version"], registry=registry)
    info.labels("scheduler", __version__).set(1)
    return registry
