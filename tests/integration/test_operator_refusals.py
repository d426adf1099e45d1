"""What the operator does when the API server refuses something, and with resources that come back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import kopf
import msgspec
import pytest
from kube_api import INVALID, ApiServer, names, resync_of
from structlog.testing import capture_logs

from dtq.errors import Unavailable
from dtq.queue import Queue
from dtq.schedule.entry import Event
from dtq.schedule.store import PREFIX, ScheduleStore
from dtq_operator.definition import Definition
from dtq_operator.kube import Api, Refusal
from dtq_operator.metrics import Metrics
from dtq_operator.mirror import Mirror
from dtq_operator.scopes import Scopes
from dtq_operator.sync import Syncer
from dtq_operator.watch import _run as run_kopf
from dtq_operator.watch import watch


async def until(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)


async def left_for_later(server: ApiServer, syncer: Syncer, *namespaces: str) -> None:
    """Let the operator notice a resource in each of them while the API server is away."""
    for namespace in namespaces:
        resource = server.add(namespace, "job", uid=namespace)
        server.refuse("GET", namespace, status=503)
        await syncer.sync_named(namespace, "job", resource.uid, resource.generation)
        del server.refused["GET", namespace]


async def test_a_refused_read_does_not_hold_up_what_is_done_again(server: ApiServer, syncer: Syncer, schedules: ScheduleStore) -> None:
    await left_for_later(server, syncer, "gone", "stays")
    server.refuse("GET", "gone")
    await syncer.flush()
    assert await names(schedules) == {"stays.job"}
    server.asked.clear()
    await syncer.flush()
    assert server.asked == [], "nothing is left to be done again; a refused one is looked at by the resync"


async def test_a_removed_resource_is_not_read_again(server: ApiServer, syncer: Syncer) -> None:
    await left_for_later(server, syncer, "ns")
    server.asked.clear()
    await syncer.remove("ns", "job", "ns")
    await syncer.flush()
    assert server.asked == []


async def test_the_removal_of_an_older_one_leaves_its_successor_to_be_read(
    server: ApiServer, syncer: Syncer, schedules: ScheduleStore
) -> None:
    await left_for_later(server, syncer, "ns")
    await syncer.remove("ns", "job", "an older one of this name")
    await syncer.flush()
    assert await names(schedules) == {"ns.job"}


# ---------------------------------------------------------------------- namespaces


@contextlib.asynccontextmanager
async def watching(api: Api, syncer: Syncer, scopes: Scopes) -> AsyncIterator[None]:
    """While the watch runs."""
    definition, stop = Definition(api), asyncio.Event()
    await definition.step()
    task = asyncio.create_task(watch(syncer, Metrics(), scopes, definition, stop))
    try:
        yield
        assert not task.done()
    finally:
        stop.set()
        await task


async def test_a_refused_namespace_is_left_out_of_the_watch_until_it_is_granted(server: ApiServer, api: Api, syncer: Syncer) -> None:
    server.refuse("GET", "late")
    scopes = Scopes(api, ["late", "stays"])
    await scopes.look()
    server.asked.clear()
    async with watching(api, syncer, scopes):
        await until("the other is watched", lambda: "stays" in server.watching)
        assert ("GET", "late") not in server.asked
        del server.refused["GET", "late"]
        await scopes.look()
        await until("both are watched", lambda: server.watching.keys() == {"late", "stays"})
        await server.tell(server.add("late", "job"))
        await until("what is made there is noticed", lambda: bool(server.resources["late", "job"]["status"]))


async def test_a_watch_that_ended_looks_for_what_is_refused(server: ApiServer, api: Api, syncer: Syncer) -> None:
    scopes = Scopes(api, ["ends", "stays"])
    async with watching(api, syncer, scopes):
        await until("both are watched", lambda: server.watching.keys() == {"ends", "stays"}, seconds=30)
        server.refuse("GET", "ends")
        ends = server.watching["ends"]
        server.watching.clear()  # before it ends: the next watch may come at once
        await ends.write(b'{"type":"ERROR","object":{"code":403,"message":"no"}}\n')
        await until("it is found out", lambda: scopes.open == ["stays"], seconds=45)
        await until("the other is watched anew", lambda: "stays" in server.watching, seconds=45)


async def test_a_kopf_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of its tasks has swallowed its cancellation: kopf waits for it for ever."""

    async def never_ends(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise LookupError("the watch ended")

    monkeypatch.setattr(kopf, "run_tasks", never_ends)
    monkeypatch.setattr("dtq_operator.watch.ENDS", 0.1)
    with pytest.raises(LookupError, match="the watch ended"):
        await run_kopf([asyncio.create_task(fails())])


async def test_what_swallows_its_cancellation_is_cancelled_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    swallowed = asyncio.Event()

    async def never_ends(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        await swallowed.wait()
        raise LookupError("the watch ended")

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(kopf, "run_tasks", never_ends)
    task = asyncio.create_task(stubborn())
    monkeypatch.setattr("dtq_operator.watch.is_of_kopf", lambda some: some is task)
    monkeypatch.setattr("dtq_operator.watch.ENDS", 0.1)
    await asyncio.sleep(0)
    task.cancel()
    failing = asyncio.create_task(fails())
    runner = asyncio.create_task(run_kopf([failing]))
    await until("kopf is given up", lambda: task.done() and runner.done())
    assert isinstance(failing.exception(), LookupError)


async def test_nothing_is_watched_while_all_are_refused(
    server: ApiServer, api: Api, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[list[str]] = []
    spawn = kopf.spawn_tasks

    def noted(*, namespaces: list[str], **options: Any) -> Any:
        watched.append(namespaces)
        return spawn(namespaces=namespaces, **options)

    monkeypatch.setattr(kopf, "spawn_tasks", noted)
    server.refuse("GET", "only")
    scopes = Scopes(api, ["only"])
    await scopes.look()
    async with watching(api, syncer, scopes):
        for _ in range(50):  # turns in which the watch would begin: nothing before that waits for an answer
            await asyncio.sleep(0)
        del server.refused["GET", "only"]
        assert server.watching == {}
        await scopes.look()
        await until("it is watched", lambda: "only" in server.watching)
    assert all(watched), "none at all would mean all of the cluster"


async def test_a_comparison_notes_what_is_refused(server: ApiServer, api: Api, schedules: ScheduleStore, syncer: Syncer) -> None:
    scopes = Scopes(api, ["a", "b"])
    looks = resync_of(api, schedules, syncer, scopes)
    server.refuse("GET", "a")
    with pytest.raises(Unavailable, match="namespace a is not compared"):
        await looks.step()
    assert scopes.open == ["b"]
    assert scopes.changed.is_set()
    del server.refused["GET", "a"]
    await looks.step()
    assert scopes.open == ["a", "b"]


async def test_that_there_are_no_scheduledjobs_is_no_refusal(server: ApiServer, api: Api) -> None:
    server.refuse("GET", "a", 404)
    scopes = Scopes(api, ["a"])
    await scopes.look()
    assert scopes.refused == frozenset()


async def test_it_is_ready_when_any_namespace_can_be_listed(server: ApiServer, api: Api) -> None:
    scopes = Scopes(api, ["a", "b"])
    server.refuse("GET", "a")
    await scopes.check()
    server.refuse("GET", "b")
    with pytest.raises(Refusal):
        await scopes.check()


async def test_kopfs_end_ends_no_task_but_its_own(server: ApiServer, api: Api, syncer: Syncer) -> None:
    scopes = Scopes(api, ["a", "b"])
    async with watching(api, syncer, scopes):
        await until("both are watched", lambda: server.watching.keys() == {"a", "b"})
        younger = asyncio.create_task(asyncio.Event().wait())
        server.refuse("GET", "b")
        server.watching.clear()
        await scopes.look()
        await until("the other is watched anew", lambda: "a" in server.watching)
        assert not younger.done(), "it waits for five seconds for what it takes for its own, and cancels it then"
        younger.cancel()


# ---------------------------------------------------------------------- resources that come back


async def test_a_resource_that_an_older_copy_brings_back_is_synced(
    server: ApiServer, api: Api, schedules: ScheduleStore, syncer: Syncer
) -> None:
    await syncer.sync(server.add("ns", "job"))
    await syncer.remove("ns", "job", "u")
    looks = resync_of(api, schedules, syncer, Scopes(api, ["ns"]))
    assert await looks.step() < 60, "the second look is soon"
    assert await names(schedules) == set(), "one list may be older than the deletion"
    await looks.step()
    assert await names(schedules) == {"ns.job"}


async def test_one_that_was_listed_once_in_between_stays_deleted(
    server: ApiServer, api: Api, schedules: ScheduleStore, syncer: Syncer
) -> None:
    await syncer.sync(server.add("ns", "job"))
    await syncer.remove("ns", "job", "u")
    looks = resync_of(api, schedules, syncer, Scopes(api, ["ns"]))
    await looks.step()
    stale = server.resources.pop(("ns", "job"))
    await looks.step()
    server.resources["ns", "job"] = stale
    await looks.step()
    assert await names(schedules) == set()


# ---------------------------------------------------------------------- statuses and events


async def test_an_invalid_status_is_told_once(server: ApiServer, syncer: Syncer) -> None:
    server.refuse("PATCH", "ns", 422, **INVALID)
    resource = server.add("ns", "job")
    with capture_logs() as logs:
        for _ in range(3):
            await syncer.sync(resource)
            await syncer.flush()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["status_refused"]
    assert server.asked.count(("GET", "ns")) == 0, "it is not read again at once, as one that is not as it was thought to be"


async def test_a_patch_that_hit_another_resource_is_no_refusal(server: ApiServer, syncer: Syncer, schedules: ScheduleStore) -> None:
    old = server.add("ns", "job", uid="old")
    server.add("ns", "job", uid="new")
    with capture_logs() as logs:
        await syncer.sync(old)
        await syncer.flush()
    assert [line for line in logs if line["log_level"] == "error"] == []
    assert server.resources["ns", "job"]["status"]["observedGeneration"] == 1


async def test_a_refused_event_is_told_once(server: ApiServer, syncer: Syncer, schedules: ScheduleStore, tasks: Queue) -> None:
    resource = server.add("ns", "job")
    await syncer.sync(resource)
    now = await schedules.now()
    await tasks.client.lpush(f"{PREFIX}:events:ns.job", msgspec.json.encode(Event("MissSchedule", "missed", now)))
    server.refuse("POST", "ns", 403, message="exceeded quota: events")
    mirror = Mirror(schedules, syncer, "c")
    with capture_logs() as logs:
        for _ in range(3):
            await mirror.step()
    assert [(line["event"], line["reason"]) for line in logs if line["log_level"] == "error"] == [("event_refused", "MissSchedule")]
    assert server.asked.count(("POST", "ns")) == 1
