"""Schedules of namespaces that the operator serves no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dtq.config import Settings
from dtq.queue import Queue
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore
from dtq_operator.accept import Acceptor
from dtq_operator.metrics import Metrics
from dtq_operator.resync import Resync
from dtq_operator.sync import Syncer

SPEC = parse_spec({"schedule": "0 3 * * *", "jobTemplate": {"type": "email"}})
ME, OTHER = "dtq/dtq", "dtq/second"


class NoResources:
    """An API server without ScheduledJobs."""

    async def pages(self, scope: str | None) -> AsyncIterator[list[dict[str, Any]]]:
        yield []


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[Queue]:
    queue = await Queue.connect(Settings(redisaddr=redis_url))
    yield queue
    await queue.close()


@pytest.fixture
async def store(queue: Queue) -> ScheduleStore:
    """One schedule in each of four namespaces, as two operators and an unknown one have left them."""
    store = ScheduleStore(queue.client)
    for number, namespace in enumerate(("served", "dropped", "others", "unknown")):
        await store.put(f"{namespace}.nightly", SPEC, owner=f"default/{namespace}", uid=str(number), generation=1)
    await store.serve({"default/served", "default/dropped"}, ME)
    await store.serve({"default/others"}, OTHER)
    return store


def resync(queue: Queue, store: ScheduleStore, scopes: list[str | None], operator: str) -> Resync:
    api: Any = NoResources()
    metrics = Metrics()
    syncer = Syncer(queue, api, Acceptor({}), metrics, "default")
    return Resync(api, store, syncer, metrics, "default", scopes, 60.0, operator)


async def names(store: ScheduleStore) -> set[str]:
    return {entry.name.partition(".")[0] for entry in (await store.list())[0]}


async def test_they_end_after_two_looks_if_it_served_them_last(queue: Queue, store: ScheduleStore) -> None:
    looks = resync(queue, store, ["mine"], ME)
    await looks.step()
    assert await names(store) == {"served", "dropped", "others", "unknown"}
    await looks.step()
    assert await names(store) == {"others", "unknown"}


async def test_they_stay_if_another_operator_has_taken_them_over(queue: Queue, store: ScheduleStore) -> None:
    await store.serve({"default/dropped"}, OTHER)
    looks = resync(queue, store, ["mine"], ME)
    for _ in range(3):
        await looks.step()
    assert "dropped" in await names(store)


async def test_they_stay_if_the_operator_has_no_name(queue: Queue, store: ScheduleStore) -> None:
    looks = resync(queue, store, ["mine"], "")
    for _ in range(3):
        await looks.step()
    assert await names(store) == {"served", "dropped", "others", "unknown"}


async def test_what_it_serves_is_noted(queue: Queue, store: ScheduleStore) -> None:
    await resync(queue, store, ["mine", "dropped"], OTHER).step()
    served = await store.served()
    assert (served["default/mine"], served["default/dropped"], served["default/served"]) == (OTHER, OTHER, ME)
