"""What the operator does to the schedule and the status of a resource when things cross each other."""

from __future__ import annotations

from typing import Any

import pytest
from kube_api import EMAIL, INVALID, ApiServer, Json, names, resync_of
from structlog.testing import capture_logs

from dtq.errors import QueueUnavailable, Unavailable
from dtq.queue import Queue
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import PREFIX, ScheduleStore
from dtq_operator.kube import Api
from dtq_operator.mirror import Mirror
from dtq_operator.resource import Resource, parse_resource
from dtq_operator.scopes import Scopes
from dtq_operator.sync import Syncer

KEY = ("ns", "job")


def changed(server: ApiServer, generation: int, **spec: object) -> Resource:
    """The resource after somebody has edited its spec."""
    body = server.resources[KEY]
    body["metadata"]["generation"] = generation
    body["spec"] = {**body["spec"], **spec}
    return parse_resource(body)


def conditions(server: ApiServer) -> dict[str, str]:
    found: list[Json] = server.resources[KEY]["status"]["conditions"]
    return {condition["type"]: condition["reason"] for condition in found}


def away(monkeypatch: pytest.MonkeyPatch, syncer: Syncer) -> None:
    """Redis takes no schedule any more."""

    async def refuse(*_: object, **__: object) -> None:
        raise QueueUnavailable("Redis does not serve: away")

    monkeypatch.setattr(syncer._schedules, "put", refuse)


async def test_one_that_is_deleted_while_it_is_synced_does_not_stay(
    server: ApiServer, syncer: Syncer, schedules: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = syncer._schedules.put

    async def removed_just_before(*args: Any, **changes: Any) -> str:
        await syncer.remove(*KEY, "u")
        return await put(*args, **changes)

    monkeypatch.setattr(syncer._schedules, "put", removed_just_before)
    await syncer.sync(server.add(*KEY))
    assert await names(schedules) == {"ns.job"}
    await syncer.flush()
    assert await names(schedules) == set()


async def test_an_older_version_does_not_report(server: ApiServer, syncer: Syncer, schedules: ScheduleStore) -> None:
    older = server.add(*KEY)
    await syncer.sync(changed(server, 2, schedule="0 4 * * *"))
    server.asked.clear()
    await syncer.sync(older)
    assert server.asked == []
    entry = await schedules.get("ns.job")
    assert entry is not None
    assert entry.generation == 2


async def test_what_redis_did_not_take_is_written_when_it_is_back(
    server: ApiServer, syncer: Syncer, schedules: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        away(patch, syncer)
        await syncer.sync(server.add(*KEY))
    assert conditions(server)["Synced"] == "RedisUnavailable"
    await syncer.flush()
    assert await names(schedules) == {"ns.job"}
    assert conditions(server)["Synced"] != "RedisUnavailable"


async def test_a_status_that_is_true_stays_while_redis_is_away(server: ApiServer, syncer: Syncer, monkeypatch: pytest.MonkeyPatch) -> None:
    await syncer.sync(server.add(*KEY))
    away(monkeypatch, syncer)
    server.asked.clear()
    await syncer.sync(parse_resource(server.resources[KEY]))
    assert server.asked == []


async def test_a_status_refused_anew_is_told_anew(server: ApiServer, syncer: Syncer) -> None:
    resource = server.add(*KEY)
    with capture_logs() as logs:
        for generation in (1, 2):
            server.refuse("PATCH", "ns", 422, **INVALID)
            await syncer.sync(resource)
            del server.refused["PATCH", "ns"]
            await syncer.sync(resource)
            resource = changed(server, generation + 1, schedule=f"{generation} 5 * * *")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["status_refused"] * 2


async def test_the_schedule_of_a_predecessor_ends_also_if_the_new_spec_is_refused(
    server: ApiServer, syncer: Syncer, schedules: ScheduleStore
) -> None:
    await syncer.sync(server.add(*KEY, uid="old"))
    server.add(*KEY, uid="new")
    await syncer.sync(changed(server, 1, timeZone="Mars/Base"))
    assert await names(schedules) == set()


@pytest.mark.parametrize("suspend", [True, False])
async def test_a_spec_that_is_refused_can_still_suspend(server: ApiServer, syncer: Syncer, schedules: ScheduleStore, suspend: bool) -> None:
    await syncer.sync(server.add(*KEY))
    await syncer.sync(changed(server, 2, timeZone="Mars/Base", suspend=suspend))
    entry = await schedules.get("ns.job")
    assert entry is not None
    assert entry.spec.suspend is suspend
    assert entry.spec.timeZone != "Mars/Base"


@pytest.mark.parametrize("owner", [{}, {"owner": "other/ns", "uid": "u", "generation": 1}])
async def test_a_schedule_of_somebody_else_is_not_removed(syncer: Syncer, schedules: ScheduleStore, owner: dict[str, Any]) -> None:
    """The API's, or another cluster's, whose resources were copied with their uids."""
    await schedules.put("ns.job", parse_spec({"schedule": "@daily", "jobTemplate": EMAIL}), **owner)
    await syncer.remove(*KEY, "u")
    await syncer.flush()
    assert await names(schedules) == {"ns.job"}


# ---------------------------------------------------------------------- comparisons


async def test_a_refused_namespace_does_not_call_for_a_restart(
    server: ApiServer, api: Api, schedules: ScheduleStore, syncer: Syncer
) -> None:
    looks = resync_of(api, schedules, syncer, Scopes(api, ["ns"]))
    server.refuse("GET", "ns")
    looks.last_good -= 100_000
    assert looks.problem() is not None
    with pytest.raises(Unavailable):
        await looks.step()
    assert looks.problem() is None


async def test_a_later_generation_is_written_over_after_two_looks(
    server: ApiServer, api: Api, schedules: ScheduleStore, syncer: Syncer
) -> None:
    """One list may be older than the entry, which is of a change made just now; two in a row are not."""
    older = server.add(*KEY)
    await syncer.sync(changed(server, 5, schedule="0 4 * * *"))
    server.resources[KEY]["metadata"]["generation"] = 1
    server.resources[KEY]["spec"] = older.spec
    looks = resync_of(api, schedules, syncer, Scopes(api, ["ns"]))
    for generation in (5, 1):
        await looks.step()
        entry = await schedules.get("ns.job")
        assert entry is not None
        assert entry.generation == generation


async def test_what_is_no_longer_listed_is_forgotten(server: ApiServer, api: Api, schedules: ScheduleStore, syncer: Syncer) -> None:
    looks = resync_of(api, schedules, syncer, Scopes(api, ["ns"]))
    await syncer.sync(server.add(*KEY))
    await looks.step()
    assert KEY in syncer.seen
    del server.resources[KEY]
    await looks.step()
    assert KEY not in syncer.seen


# ---------------------------------------------------------------------- what the scheduler did


async def started(tasks: Queue, schedules: ScheduleStore) -> None:
    """A tick of the schedule has been started."""
    await tasks.client.hset(f"{PREFIX}:e:ns.job", "last", await schedules.now())


async def test_a_start_is_shown_and_its_refusal_told_once(
    server: ApiServer, syncer: Syncer, schedules: ScheduleStore, tasks: Queue
) -> None:
    await syncer.sync(server.add(*KEY))
    await started(tasks, schedules)
    mirror = Mirror(schedules, syncer, "c")
    server.refuse("PATCH", "ns", 422, **INVALID)
    with capture_logs() as logs:
        for _ in range(2):
            await mirror.step()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["status_refused"]
    assert "lastScheduleTime" not in server.resources[KEY]["status"]
    del server.refused["PATCH", "ns"]
    await mirror.step()
    assert server.resources[KEY]["status"]["lastScheduleTime"]


async def test_the_starts_of_a_predecessor_are_not_shown(server: ApiServer, syncer: Syncer, schedules: ScheduleStore, tasks: Queue) -> None:
    await syncer.sync(server.add(*KEY, uid="old"))
    await started(tasks, schedules)
    syncer.noticed(server.add(*KEY, uid="new", observedGeneration=1))
    await Mirror(schedules, syncer, "c").step()
    assert server.resources[KEY]["status"] == {"observedGeneration": 1}
