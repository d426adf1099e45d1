"""Schedules of namespaces that the operator serves no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dtq.queue import Queue
from dtq.registry import load_registry
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore
from dtq_operator.accept import Acceptor
from dtq_operator.metrics import Metrics
from dtq_operator.resource import Resource, parse_resource
from dtq_operator.resync import Resync
from dtq_operator.scopes import Scopes
from dtq_operator.sync import Syncer

SPEC = parse_spec({"schedule": "0 3 * * *", "jobTemplate": {"type": "email"}})
ME, OTHER = "dtq/dtq", "dtq/second"


class Resources:
    """An API server's ScheduledJobs: one in each of these namespaces."""

    def __init__(self, *namespaces: str) -> None:
        self._namespaces = namespaces

    async def pages(self, scope: str | None) -> AsyncIterator[list[dict[str, Any]]]:
        yield [self._resource(namespace) for namespace in self._namespaces if scope in (None, namespace)]

    async def patch_status(self, resource: Resource, _: object) -> dict[str, Any]:
        return self._resource(resource.namespace)

    async def create_event(self, _: object) -> bool:
        return True

    def _resource(self, namespace: str) -> dict[str, Any]:
        metadata = {"namespace": namespace, "name": "nightly", "uid": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {"metadata": metadata, "spec": SPEC.model_dump()}


@pytest.fixture
async def store(schedules: ScheduleStore) -> ScheduleStore:
    """One schedule in each of four namespaces, as two operators and an unknown one have left them."""
    for namespace in ("served", "dropped", "others", "unknown"):
        await schedules.put(f"{namespace}.nightly", SPEC, owner=f"default/{namespace}", uid=namespace, generation=1)
    await schedules.serve({"default/served", "default/dropped"}, ME)
    await schedules.serve({"default/others"}, OTHER)
    return schedules


def resync(tasks: Queue, store: ScheduleStore, scopes: list[str | None], operator: str, *present: str) -> Resync:
    api: Any = Resources(*present)
    metrics = Metrics()
    syncer = Syncer(tasks, api, Acceptor({}), metrics, "default", operator)
    return Resync(api, store, syncer, metrics, "default", Scopes(api, scopes), 60.0, operator)


async def names(store: ScheduleStore) -> set[str]:
    return {entry.name.partition(".")[0] for entry in (await store.list())[0]}


async def test_they_end_after_two_looks_if_it_served_them_last(tasks: Queue, store: ScheduleStore) -> None:
    looks = resync(tasks, store, ["mine"], ME)
    await looks.step()
    assert await names(store) == {"served", "dropped", "others", "unknown"}
    await looks.step()
    assert await names(store) == {"others", "unknown"}


async def test_they_stay_if_another_operator_has_taken_them_over(tasks: Queue, store: ScheduleStore) -> None:
    await store.serve({"default/dropped"}, OTHER)
    looks = resync(tasks, store, ["mine"], ME)
    for _ in range(3):
        await looks.step()
    assert "dropped" in await names(store)


async def test_they_stay_if_the_operator_has_no_name(tasks: Queue, store: ScheduleStore) -> None:
    looks = resync(tasks, store, ["mine"], "")
    for _ in range(3):
        await looks.step()
    assert await names(store) == {"served", "dropped", "others", "unknown"}
    assert "default/mine" not in await store.served(), "nobody could tell later whose it is"


async def test_what_it_serves_is_noted(tasks: Queue, store: ScheduleStore) -> None:
    await resync(tasks, store, ["mine", "dropped"], OTHER).step()
    served = await store.served()
    assert (served["default/mine"], served["default/dropped"], served["default/served"]) == (OTHER, OTHER, ME)


async def test_they_end_when_it_served_all_of_the_cluster_and_now_serves_a_list(tasks: Queue, store: ScheduleStore) -> None:
    present = ("served", "unknown", "new")  # the resource in the last one is refused, and has no schedule yet
    await resync(tasks, store, [None], ME, *present).step()
    assert (await store.served())["default/unknown"] == ME
    assert (await store.served())["default/new"] == ME
    looks = resync(tasks, store, ["served"], ME, *present)
    for _ in range(2):
        await looks.step()
    assert await names(store) == {"served"}


async def test_all_of_an_empty_cluster_is_served_too(tasks: Queue, schedules: ScheduleStore) -> None:
    await resync(tasks, schedules, [None], ME).step()
    assert await schedules.served() == {}


async def test_a_namespace_is_noted_before_its_first_schedule_is_written(tasks: Queue, schedules: ScheduleStore) -> None:
    """Not only by the next full comparison: the operator can be told to serve a list before that."""
    api: Any = Resources("new")
    types = load_registry(["dtq.jobs"], entry_points=False).types
    syncer = Syncer(tasks, api, Acceptor(types), Metrics(), "default", ME)
    [body] = [body async for page in api.pages(None) for body in page]
    body["spec"]["jobTemplate"]["payload"] = {"to": "user@example.com", "subject": "s", "body": "b"}
    await syncer.sync(parse_resource(body))
    assert await names(schedules) == {"new"}
    looks = resync(tasks, schedules, ["mine"], ME, "new")
    for _ in range(2):
        await looks.step()
    assert await names(schedules) == set()
