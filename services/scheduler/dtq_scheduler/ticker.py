"""The Ticker: starts the jobs of ticks that are due.

It fires first and advances the entry afterwards. A crash in between, or another replica, leads to the same tick being
fired again, which the queue answers with the id of the job that runs already.
"""

from __future__ import annotations

import time

import structlog

from dtq.errors import InvalidSchedule
from dtq.queue import FireTick, Queue
from dtq.roles import each
from dtq.schedule.decide import Start, decide
from dtq.schedule.entry import Advance, Entry
from dtq.schedule.outcome import advance, unreadable
from dtq.schedule.store import ScheduleStore
from dtq_scheduler.metrics import ScheduleMetrics

__all__ = ["Ticker"]

BATCH = 200
"""Entries taken at once: few enough that replicas share a full minute."""

CLAIM_MS = 5_000
"""Within this an entry that was taken must be advanced, else another replica takes it."""

AT_ONCE = 32
"""Ticks fired at once."""

LONGEST_WAIT = 0.5
"""Seconds until the next look: an entry put meanwhile may be due before those known."""

MINUTE_MS = 60_000

log = structlog.get_logger("dtq.scheduler")


class Ticker:
    """Looks for due entries at the moment the next one is due, or twice a second."""

    def __init__(self, queue: Queue, store: ScheduleStore, metrics: ScheduleMetrics) -> None:
        self._queue = queue
        self._store = store
        self._metrics = metrics

    async def step(self) -> float:
        """Fire what is due; returns the seconds until something may be due again."""
        started = time.monotonic()
        taken = await self._store.due(BATCH, CLAIM_MS)
        self._metrics.looked(taken.now, taken.next)
        for name, problem in taken.broken.items():
            log.error("schedule_unreadable", schedule=name, error=problem)
        changes: list[Advance] = []

        async def fire(entry: Entry) -> None:
            changes.append(await self._act(entry, taken.now))

        try:
            await each(taken.entries, fire, AT_ONCE)
        finally:
            await self._apply(changes)
        if taken.next is None:
            return LONGEST_WAIT
        spent = time.monotonic() - started
        return min(LONGEST_WAIT, max(0.0, (taken.next - taken.now) / 1000 - spent))

    async def _act(self, entry: Entry, now: int) -> Advance:
        try:
            decision = decide(entry, now)
        except InvalidSchedule as error:
            return unreadable(entry, str(error), now)
        if not isinstance(decision, Start):
            return advance(entry, decision, now)
        if await self._blocked_elsewhere(entry):
            return advance(entry, decide(entry, now, live=True), now)
        minute = decision.tick - decision.tick % MINUTE_MS
        policy, job = entry.spec.concurrencyPolicy, entry.spec.jobTemplate.job()
        fired = await self._queue.fire(FireTick(entry.uid, entry.name, minute, policy, job))
        if fired.outcome == "active":
            return advance(entry, decide(entry, now, live=True), now)
        if fired.outcome == "started":
            self._metrics.started(entry, now)
            log.info("tick_started", schedule=entry.name, tick=decision.tick, job=fired.id, late_ms=now - decision.tick)
        return advance(entry, decision, now, fired.id)

    async def _blocked_elsewhere(self, entry: Entry) -> bool:
        """Apply the policy to runs in queues that the template named before: the queue's own script sees one queue."""
        others = entry.queues - {entry.spec.jobTemplate.queue}
        if not others or entry.spec.concurrencyPolicy == "Allow":
            return False
        live = [run.id for name in others for run in await self._queue.runs(name, entry.uid) if run.state == "live"]
        if entry.spec.concurrencyPolicy == "Forbid":
            return bool(live)
        for job_id in live:
            await self._queue.cancel(job_id)
        return False

    async def _apply(self, changes: list[Advance]) -> None:
        for change, applied in zip(changes, await self._store.advance(changes), strict=True):
            event = change.event
            if applied and event is not None:
                self._metrics.missed(event.reason)
                log.warning("schedule_event", schedule=change.name, reason=event.reason, message=event.message)
