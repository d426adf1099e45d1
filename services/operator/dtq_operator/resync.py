"""Compares all resources with all entries of ours in Redis, and makes them equal: at the start, and over and over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from dtq.roles import each
from dtq.schedule.entry import Entry
from dtq.schedule.store import ScheduleStore
from dtq_operator.kube import Api, ApiUnavailable, Refusal
from dtq_operator.metrics import Metrics
from dtq_operator.plan import Odd, is_ahead, is_current, removals
from dtq_operator.resource import Key, Resource, parse_resource
from dtq_operator.scopes import Scope, Scopes
from dtq_operator.sync import Syncer

__all__ = ["Resync", "entries_of", "resource_key"]

AT_ONCE = 32
PAGE = 500
"""Entries read at once."""

AGAIN = 5.0
"""Seconds until the second look at entries without a resource."""

STALE = 600.0
"""After so many seconds without a full comparison the process should be restarted, or after ten of its intervals."""

log = structlog.get_logger("dtq.operator")


async def entries_of(store: ScheduleStore, cluster: str) -> dict[str, Entry]:
    """All entries of this cluster's resources, by name."""
    found: dict[str, Entry] = {}
    cursor: str | None = None
    while True:
        page, cursor = await store.list(cursor, PAGE)
        found.update((entry.name, entry) for entry in page if resource_key(entry, cluster))
        if cursor is None:
            return found


def resource_key(entry: Entry, cluster: str) -> Key | None:
    """The resource that an entry stands for, None if it is not of this cluster."""
    owner, _, namespace = (entry.owner or "").partition("/")
    if owner != cluster or not namespace or not entry.name.startswith(f"{namespace}."):
        return None
    return namespace, entry.name[len(namespace) + 1 :]


class Resync:
    """Compares and repairs, and notes in ``scopes`` which of them are refused."""

    def __init__(
        self,
        api: Api,
        store: ScheduleStore,
        syncer: Syncer,
        metrics: Metrics,
        cluster: str,
        scopes: Scopes,
        every: float,
        operator: str = "",
    ) -> None:
        """``every``: seconds between two full comparisons. ``operator``: this one's name, among those that share the Redis."""
        self._operator = operator
        self._api = api
        self._store = store
        self._syncer = syncer
        self._metrics = metrics
        self._cluster = cluster
        self._every = every
        self._scopes = scopes
        self._missing: dict[Scope, Odd] = {scope: frozenset() for scope in scopes.all}
        self._back: dict[Scope, frozenset[str]] = dict.fromkeys(scopes.all, frozenset())
        """Uids of resources that were deleted and stood in the last list all the same."""
        self._ahead: Odd = frozenset()
        self._unserved: Odd = frozenset()
        self.looked = asyncio.Event()
        """Set when the first comparison has ended, well or not."""
        self.last_good = time.monotonic()
        """When both servers answered to the end of a comparison; at first the start."""

    def problem(self) -> str | None:
        """Why the process should be restarted, None if it should not."""
        age = time.monotonic() - self.last_good
        limit = max(STALE, 10 * self._every)
        return f"the last full comparison of resources and Redis was {age:.0f} s ago" if age > limit else None

    async def step(self) -> float:
        """Compare and repair. A namespace that cannot be listed in full loses no entry, and does not hold up the others.

        Raises:
            Unavailable: a server is away, or refuses the list of a namespace.
        """
        try:
            return await self._step()
        finally:
            self.looked.set()

    async def _step(self) -> float:
        entries = await entries_of(self._store, self._cluster)
        found, ahead, problems = 0, set[tuple[str, str]](), []
        for scope in self._missing:
            try:
                found += await self._compare(scope, entries, ahead)
                self._scopes.listed(scope)
            except Refusal as error:
                self._scopes.not_listed(scope, error)
                where = "the cluster" if scope is None else f"namespace {scope}"
                problems.append(f"{where} is not compared, its schedules stay; if it is gone, take it from NAMESPACES: {error}")
        self._ahead = frozenset(ahead)
        await self._end_unserved(entries)
        self.last_good = time.monotonic()  # also if a namespace was refused: a restart would not help
        if problems:
            raise ApiUnavailable("; ".join(problems))
        self._metrics.resynced(found)
        odd = ahead or self._unserved or any(self._missing.values()) or any(self._back.values())
        return min(AGAIN, self._every) if odd else self._every

    async def _end_unserved(self, entries: Mapping[str, Entry]) -> None:
        """Remove what is left of namespaces that this operator served last and serves no more: their jobs would go on for ever.

        Those that another operator serves are its own, and those that nobody is known to have served are left alone. One that
        serves all of the cluster notes the namespaces that have something, lest they be unknown when it serves some of them only.
        """
        if not self._operator:
            return
        if None in self._missing:
            owners = {entry.owner for entry in entries.values() if entry.owner} | {self._syncer.owner(key[0]) for key in self._syncer.seen}
            if owners:
                await self._store.serve(owners, self._operator)
            return
        served = {self._syncer.owner(scope) for scope in self._missing if scope is not None}
        await self._store.serve(served, self._operator)
        left = {owner for owner, last in (await self._store.served()).items() if last == self._operator} - served
        plan = removals((entry for entry in entries.values() if entry.owner in left), (), self._unserved)
        self._unserved = plan.missing
        await self._remove(plan.remove)

    async def _compare(self, scope: Scope, entries: Mapping[str, Entry], ahead: set[tuple[str, str]]) -> int:
        known = set(self._syncer.seen)
        present: dict[str, Key] = {}
        back: set[str] = set()
        async for page in self._api.pages(scope):
            resources = [resource for resource in map(parse_resource, page) if not resource.deleting]
            present.update((resource.entry, resource.key) for resource in resources)
            back.update(self._brought_back(resources, self._back[scope]))
            await self._repair(resources, entries, ahead)
        self._back[scope] = frozenset(back)
        ours = [entry for entry in entries.values() if scope is None or entry.owner == self._syncer.owner(scope)]
        plan = removals(ours, present, self._missing[scope])
        self._missing[scope] = plan.missing
        await self._remove(plan.remove)
        for namespace, name in known - set(present.values()):
            if scope in (None, namespace):
                self._syncer.dropped((namespace, name))
        return len(present)

    def _brought_back(self, resources: list[Resource], before: frozenset[str]) -> list[str]:
        """Those that were deleted, and by the second list in a row are not: one list may be older than the deletion."""
        found = [resource for resource in resources if self._syncer.ended(resource.uid)]
        for resource in found:
            if resource.uid in before:
                log.warning("scheduledjob_back", namespace=resource.namespace, name=resource.name)
                self._syncer.came_back(resource)
        return [resource.uid for resource in found]

    async def _remove(self, orphans: list[Entry]) -> None:
        if orphans:
            log.warning("orphans_found", count=len(orphans), first=[entry.name for entry in orphans[:10]])
        for entry in orphans:
            key = resource_key(entry, self._cluster)
            if key is not None:
                await self._syncer.remove(*key, entry.uid)

    async def _repair(self, resources: list[Resource], entries: Mapping[str, Entry], ahead: set[tuple[str, str]]) -> None:
        wrong: list[Resource] = []
        for resource in resources:
            entry = entries.get(resource.entry)
            if is_ahead(resource, entry):
                mark = (resource.entry, f"{resource.uid}/{resource.generation}")
                ahead.add(mark)
                if mark in self._ahead:
                    await self._syncer.rewind(resource)
            elif is_current(resource, self._syncer.judge(resource), entry):
                self._syncer.noticed(resource, synced=True)
            else:
                wrong.append(resource)
        await each(wrong, self._syncer.sync, AT_ONCE)
