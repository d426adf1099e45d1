"""Mirrors what the scheduler did into the status of resources, and tells its events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from dtq.roles import each
from dtq.schedule.entry import Entry, Event
from dtq.schedule.store import ScheduleStore
from dtq_operator import status
from dtq_operator.kube import Refusal
from dtq_operator.resource import Resource
from dtq_operator.resync import resource_key
from dtq_operator.sync import Syncer
from dtq_operator.telling import event_object, to_tell

__all__ = ["Mirror", "Pace"]

EVERY = 2.0
"""Seconds between looks; more when a look takes long: it may use a tenth of the time."""

PAGE = 500
AT_ONCE = 8
PER_SECOND = 50.0
"""Most writes to the API server: at a full hour all schedules change at once."""

log = structlog.get_logger("dtq.operator")


class Pace:
    """Lets through so many a second."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._free = 0.0

    async def turn(self) -> None:
        """Wait for a turn."""
        now = time.monotonic()
        self._free = max(now, self._free + self._gap)
        if self._free > now:
            await asyncio.sleep(self._free - now)


class Mirror:
    """Looks at all entries, over and over, and writes only what has changed."""

    def __init__(self, store: ScheduleStore, syncer: Syncer, cluster: str) -> None:
        self._store = store
        self._syncer = syncer
        self._cluster = cluster
        self._pace = Pace(PER_SECOND)
        self._told: dict[str, int] = {}

    async def step(self) -> float:
        """One look at everything."""
        busy = 0.0
        cursor: str | None = None
        while True:
            started = time.monotonic()
            page, cursor = await self._store.list(cursor, PAGE)
            newest = await self._store.newest_events([entry.name for entry in page])
            busy += time.monotonic() - started
            await self._look(page, newest)
            if cursor is None:
                self._forget()
                return max(EVERY, 10 * busy)

    async def _look(self, page: list[Entry], newest: Sequence[Event | None]) -> None:
        changed: list[tuple[Entry, Resource, bool]] = []
        for entry, event in zip(page, newest, strict=True):
            key = resource_key(entry, self._cluster)
            resource = self._syncer.seen.get(key) if key else None
            if resource is None or resource.uid != entry.uid or not resource.status:
                continue  # gone, or another one's entry, or the syncer is about to write its first status
            untold = event is not None and event.time > self._told.get(entry.uid, 0)
            if untold or status.difference(resource.status, status.of_runs(entry)):
                changed.append((entry, resource, untold))
        await each(changed, self._write, AT_ONCE)

    async def _write(self, item: tuple[Entry, Resource, bool]) -> None:
        entry, resource, untold = item
        try:
            change = status.difference(resource.status, status.of_runs(entry))
            if change:
                await self._pace.turn()
                await self._syncer.write_status(resource, change)
        except Refusal as error:
            self._syncer.status_refused(resource, error)
        if untold:
            await self._tell(entry, resource)

    async def _tell(self, entry: Entry, resource: Resource) -> None:
        history = await self._store.history(entry.name)
        for event in to_tell(history.events, self._told.get(entry.uid, 0), await self._store.now()):
            await self._pace.turn()
            if await self._syncer.tell(resource, event_object(resource, event)):
                log.info("event_told", namespace=resource.namespace, name=resource.name, reason=event.reason)
            self._told[entry.uid] = event.time
        if history.events:
            self._told[entry.uid] = max(event.time for event in history.events)

    def _forget(self) -> None:
        """Drop what is known of resources that are gone."""
        uids = {resource.uid for resource in self._syncer.seen.values()}
        self._told = {uid: time for uid, time in self._told.items() if uid in uids}
