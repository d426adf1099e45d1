"""The Watcher: follows the runs of schedules, for their status and for ticks that wait under Forbid."""

from __future__ import annotations

import structlog

from dtq.errors import InvalidJobId, StoreUnavailable
from dtq.job import State
from dtq.queue import Queue, Run
from dtq.roles import each
from dtq.schedule.entry import Entry
from dtq.schedule.store import Observed, ScheduleStore
from dtq.storage import Store

__all__ = ["Watcher", "pause_ms"]

BATCH = 200
CLAIM_MS = 5_000
AT_ONCE = 32
WAIT = 0.25
"""Seconds between looks."""

log = structlog.get_logger("dtq.scheduler")


def pause_ms(entry: Entry, live: list[Observed], now: int) -> int | None:
    """When to look again: a run is looked at closely while it is young or a tick waits for it. None: nothing is active."""
    if not live:
        return None
    if entry.blocked is not None:
        return 250
    youngest = now - max(run.tick for run in live)
    return min(10_000, max(500, youngest // 10))


class Watcher:
    """Asks the queues what became of the runs of schedules."""

    def __init__(self, queue: Queue, schedules: ScheduleStore, store: Store) -> None:
        """``store`` knows how runs ended that Redis has forgotten."""
        self._queue = queue
        self._schedules = schedules
        self._store = store

    async def step(self) -> float:
        """Look at the entries whose time has come."""
        taken = await self._schedules.watched(BATCH, CLAIM_MS)

        async def look(entry: Entry) -> None:
            await self._look(entry, taken.now)

        await each(taken.entries, look, AT_ONCE)
        return 0.0 if len(taken.entries) == BATCH else WAIT

    async def _look(self, entry: Entry, now: int) -> None:
        found: dict[str, list[Run]] = {}
        for name in sorted(entry.queues | {entry.spec.jobTemplate.queue}):
            found[name] = await self._queue.runs(name, entry.uid)
        seen = [await self._ending(run) for runs in found.values() for run in runs]
        known = {run.id for run in seen}
        seen += [await self._ending(Run(job_id, tick, "gone", 0)) for job_id, tick in entry.runs.items() if job_id not in known]
        live = [run for run in seen if run.state == "live"]
        there = await self._schedules.observe(entry, seen, pause_ms(entry, live, now))
        ended = {run.id for run in seen if run.state != "live"}
        for name, runs in found.items():
            if not there:
                await self._queue.forget_schedule(name, entry.uid)
            elif forget := [run.id for run in runs if run.id in ended]:
                await self._queue.runs(name, entry.uid, forget)

    async def _ending(self, run: Run) -> Observed:
        if run.state != "gone":
            return Observed(run.id, run.tick_ms, run.state, run.finished_ms)
        try:
            row = await self._store.get(run.id)
        except InvalidJobId:
            row = None
        except StoreUnavailable:
            return Observed(run.id, run.tick_ms, "live")  # to be asked again
        if row is None:
            log.warning("run_vanished", job=run.id)
            return Observed(run.id, run.tick_ms, "gone")
        state = row.state if row.state in (State.SUCCEEDED, State.CANCELLED) else State.FAILED
        return Observed(run.id, run.tick_ms, state.value, row.finished)
