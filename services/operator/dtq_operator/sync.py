"""Makes Redis and the status of one resource what its spec says. Idempotent, and fenced by uid and generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import structlog

from dtq.errors import Conflict, QueueUnavailable, Unavailable
from dtq.queue import Queue
from dtq.schedule.entry import Entry, Event, rfc3339
from dtq.schedule.spec import ScheduleSpec
from dtq.schedule.store import ScheduleStore
from dtq.schedule.trigger import forget
from dtq_operator import status
from dtq_operator.accept import Accepted, Acceptor, Refused, Verdict
from dtq_operator.conditions import NAME_TAKEN, REDIS_UNAVAILABLE, Unwritten
from dtq_operator.kube import Api, ApiUnavailable, Refusal
from dtq_operator.metrics import Metrics
from dtq_operator.plan import is_ahead
from dtq_operator.resource import Key, Resource, parse_resource
from dtq_operator.telling import event_object

__all__ = ["Retrier", "Syncer"]

AT_ONCE = 24
"""Resources worked on at once: less than Redis' and the API server's connections."""

MOST_ENDED = 10_000
"""Deleted resources remembered, lest a sync that was under way brings one back."""

log = structlog.get_logger("dtq.operator")


class Syncer:
    """Syncs resources.

    ``seen`` is what is known of each resource, without its spec: kept by whoever sees one. What could not be done
    because a server was away is done by :meth:`flush`; kopf is not asked to retry, since it would write its notes on
    that into every resource.
    """

    def __init__(self, queue: Queue, api: Api, acceptor: Acceptor, metrics: Metrics, cluster: str, operator: str = "") -> None:
        """``operator``: this one's name, among those that share the Redis."""
        self._operator = operator
        self._noted: set[str] = set()
        """Owners of which Redis knows that this operator writes for them."""
        self._queue = queue
        self._schedules = ScheduleStore(queue.client)
        self._api = api
        self._acceptor = acceptor
        self._metrics = metrics
        self._cluster = cluster
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._again: dict[Key, str] = {}
        self._gone: dict[Key, str] = {}
        self._ended: dict[str, None] = {}
        self._synced: dict[Key, tuple[str, int]] = {}
        self._refusals: dict[Key, str] = {}
        self.seen: dict[Key, Resource] = {}

    def owner(self, namespace: str) -> str:
        """Who owns the entries of a namespace."""
        return f"{self._cluster}/{namespace}"

    def judge(self, resource: Resource) -> Verdict:
        """Whether its spec can be carried out."""
        return self._acceptor.accept(resource.spec)

    def noticed(self, resource: Resource, *, synced: bool = False) -> None:
        """Note the newest state of a resource, and that there is nothing to be done."""
        self.seen[resource.key] = resource.without_spec()
        if synced:
            self._synced[resource.key] = (resource.uid, resource.generation)

    def _end(self, uid: str) -> None:
        self._ended[uid] = None
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def ended(self, uid: str) -> bool:
        """Whether a resource of this uid was deleted, as far as is known: nothing is done for it any more."""
        return uid in self._ended

    def came_back(self, resource: Resource) -> None:
        """It is there after all: the API server was set back to an older copy."""
        self._ended.pop(resource.uid, None)
        if self._gone.get(resource.key) == resource.uid:
            del self._gone[resource.key]

    def dropped(self, key: Key) -> None:
        """Forget a resource that is gone."""
        self.seen.pop(key, None)
        self._synced.pop(key, None)
        self._refusals.pop(key, None)

    async def sync(self, resource: Resource) -> None:
        """Make it so. Never raises but for faults of our own; what must be done again is noted for :meth:`flush`."""
        async with self._gate:
            if resource.deleting or resource.uid in self._ended:
                return
            self.noticed(resource)
            self._again.pop(resource.key, None)
            verdict = self.judge(resource)
            written = await self._write(resource, verdict)
            if resource.uid in self._ended:
                self._gone[resource.key] = resource.uid  # deleted meanwhile: flush removes what was just written
                return
            if written == "stale":
                return  # a newer version has been written; its own event brings the status
            await self._report(resource, verdict, written)
            if isinstance(written, Unwritten):
                if written.reason == REDIS_UNAVAILABLE:
                    self._again[resource.key] = resource.uid
            elif resource.key not in self._again:
                self._synced[resource.key] = (resource.uid, resource.generation)

    async def write_status(self, resource: Resource, change: Mapping[str, Any]) -> None:
        """Change the status; if the resource is no longer as it was thought to be, it is looked at again.

        Raises:
            Unavailable: the API server is away.
            Refusal: it does not let us.
        """
        body = await self._api.patch_status(resource, status.operations(resource, change))
        self._refusals.pop(resource.key, None)
        if body is None:
            self._again[resource.key] = resource.uid
        else:
            self.noticed(parse_resource(body))

    def status_refused(self, resource: Resource, error: Refusal) -> None:
        """Say that the API server takes no status: once, however often it is tried."""
        text = str(error)
        if self._refusals.get(resource.key) != text:
            self._refusals[resource.key] = text
            log.error("status_refused", namespace=resource.namespace, name=resource.name, error=text)

    async def tell(self, resource: Resource, event: Mapping[str, Any]) -> bool:
        """Post an event; False if it is there already, or refused for good: by a quota, say. It is not worth another attempt.

        Raises:
            Unavailable: the API server is away.
        """
        try:
            return await self._api.create_event(event)
        except Refusal as error:
            log.error("event_refused", namespace=resource.namespace, name=resource.name, reason=event["reason"], error=str(error))
            return False

    async def sync_named(self, namespace: str, name: str, uid: str, generation: int) -> None:
        """The same for a resource of which only this is known; does nothing if that generation was synced already."""
        key = (namespace, name)
        if self._synced.get(key) == (uid, generation):
            return
        async with self._gate:
            try:
                body = await self._api.get(namespace, name)
            except ApiUnavailable:
                self._again[key] = uid
                return
            except Refusal as error:
                _log_unread(key, error)
                return
        if body is not None:
            await self.sync(parse_resource(body))

    async def remove(self, namespace: str, name: str, uid: str) -> None:
        """The resource of this uid is gone: so is its schedule. Runs that have started go on."""
        key = (namespace, name)
        known = self.seen.get(key)
        if known is not None and known.uid == uid:
            self.dropped(key)
        if self._again.get(key) == uid:
            del self._again[key]
        self._gone[key] = uid
        self._end(uid)
        async with self._gate:
            try:
                await self._delete(key, uid)
            except QueueUnavailable as error:
                self._metrics.reconciled("unavailable")
                log.warning("schedule_not_removed", namespace=namespace, name=name, error=str(error))

    async def rewind(self, resource: Resource) -> None:
        """Write an older generation over a newer one, keeping the last start: the API server was set back to an older copy."""
        entry = await self._schedules.get(resource.entry)
        last = resource.last if entry is None else entry.last
        await self._schedules.delete(resource.entry, owner=self.owner(resource.namespace), uid=resource.uid)
        verdict = self.judge(resource)
        if isinstance(verdict, Accepted):
            await self._put(resource, verdict.spec, last)
        log.warning("schedule_rewound", namespace=resource.namespace, name=resource.name, generation=resource.generation)
        await self.sync(resource)

    async def flush(self) -> None:
        """Do again what could not be done.

        Raises:
            Unavailable: a server is still away.
        """
        for key, uid in list(self._gone.items()):
            await self._delete(key, uid)
        for namespace, name in list(self._again):
            try:
                body = await self._api.get(namespace, name)
            except Refusal as error:  # its namespace was deleted with our rights there, say; the others' turn must come
                _log_unread((namespace, name), error)
                body = None
            self._again.pop((namespace, name), None)
            if body is not None:
                await self.sync(parse_resource(body))
                if (namespace, name) in self._again:
                    raise Unavailable(f"{namespace}/{name} cannot be synced yet")

    # ------------------------------------------------------------------

    async def _write(self, resource: Resource, verdict: Verdict) -> Entry | Unwritten | str | None:
        """The entry afterwards, why there is none, or 'stale'."""
        try:
            result = await self._write_spec(resource, verdict)
            self._metrics.reconciled(result)
            if result == "stale":
                return result
            entry = await self._schedules.get(resource.entry)
            if entry is not None and is_ahead(resource, entry):
                return "stale"
        except Conflict as error:
            self._metrics.reconciled("conflict")
            return Unwritten(NAME_TAKEN, str(error))
        except QueueUnavailable as error:
            self._metrics.reconciled("unavailable")
            return Unwritten(REDIS_UNAVAILABLE, f"{error}; it will be written when Redis is back")
        if result in ("created", "changed"):
            log.info("scheduledjob_synced", namespace=resource.namespace, name=resource.name, result=result, generation=resource.generation)
        return entry if entry is not None and entry.uid == resource.uid else None

    async def _write_spec(self, resource: Resource, verdict: Verdict) -> str:
        if isinstance(verdict, Accepted):
            return await self._put(resource, verdict.spec, resource.last)
        await self._refused(resource, verdict)
        return "refused"

    async def _refused(self, resource: Resource, verdict: Refused) -> None:
        """What was accepted before goes on, but nobody should have to correct a spec to stop it."""
        log.warning(
            "scheduledjob_refused", namespace=resource.namespace, name=resource.name, reason=verdict.reason, problem=verdict.message
        )
        entry = await self._schedules.get(resource.entry)
        if entry is None or entry.owner != self.owner(resource.namespace):
            return
        if entry.uid != resource.uid:
            await self._delete(resource.key, entry.uid)  # of a resource that had this name before
        elif resource.spec.get("suspend") is True and not entry.spec.suspend:
            await self._put(resource, entry.spec.model_copy(update={"suspend": True}), entry.last)

    async def _put(self, resource: Resource, spec: ScheduleSpec, last: int | None) -> str:
        owner = self.owner(resource.namespace)
        if self._operator and owner not in self._noted:  # before its first schedule: should the namespace be served no more, this ends
            await self._schedules.serve({owner}, self._operator)
            self._noted.add(owner)
        return await self._schedules.put(
            resource.entry,
            spec,
            owner=owner,
            uid=resource.uid,
            generation=resource.generation,
            created=resource.created,
            last=last,
        )

    async def _delete(self, key: Key, uid: str) -> None:
        namespace, name = key
        try:
            entry = await self._schedules.delete(f"{namespace}.{name}", owner=self.owner(namespace), uid=uid)
        except Conflict:
            entry = None  # somebody else's
        if entry is not None:
            await forget(self._queue, entry)
            self._metrics.reconciled("deleted")
            log.info("schedule_removed", namespace=namespace, name=name)
        if self._gone.get(key) == uid:
            del self._gone[key]

    async def _report(self, resource: Resource, verdict: Verdict, written: Entry | Unwritten | str | None) -> None:
        found = None if isinstance(written, str) else written
        if isinstance(found, Unwritten) and found.reason == REDIS_UNAVAILABLE and _was_written(resource):
            return  # nothing is new: it will be looked at again
        change = status.difference(resource.status, status.of_spec(resource, verdict, found, rfc3339(_now()) or ""))
        try:
            if change:
                await self.write_status(resource, change)
            if change and isinstance(verdict, Refused):
                event = Event(verdict.reason, verdict.message, _now())
                await self.tell(resource, event_object(resource, event, once=f"generation {resource.generation}"))
        except Unavailable as error:
            log.warning("status_not_written", namespace=resource.namespace, name=resource.name, error=str(error))
            self._again[resource.key] = resource.uid
        except Refusal as error:  # the next resync tries again
            self.status_refused(resource, error)


def _now() -> int:
    return int(time.time() * 1000)


def _log_unread(key: Key, error: Refusal) -> None:
    log.error("read_refused", namespace=key[0], name=key[1], error=str(error))  # the next resync tries again


def _was_written(resource: Resource) -> bool:
    return resource.status.get("observedGeneration") == resource.generation


class Retrier:
    """Does again what could not be done."""

    EVERY = 1.0

    def __init__(self, syncer: Syncer) -> None:
        self._syncer = syncer

    async def step(self) -> float:
        """One attempt."""
        await self._syncer.flush()
        return self.EVERY
