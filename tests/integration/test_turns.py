"""More calls at once than connections: they wait for their turn, on every kind of server, and no connection is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from failover.servers import open_replicated
from worker_bench import until

from dtq.config import Settings
from dtq.errors import QueueUnavailable
from dtq.job import NewJob
from dtq.queue import LiveFilter, Queue, keys, turns

FEW = 4
KEY = f"{keys.prefix('default')}:test"


@pytest.fixture(params=["single server", "sentinels", "cluster"])
async def queue(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Queue]:
    """A queue with few connections."""
    if request.param == "sentinels":
        with open_replicated(replicas=0) as servers:
            queue = await Queue.connect(Settings(redisaddr=servers.url), connections=FEW)
            yield queue
            await queue.close()
        return
    url = redis_url if request.param == "single server" else request.getfixturevalue("cluster_nodes")[0].url
    queue = await Queue.connect(Settings(redisaddr=url), connections=FEW)
    assert queue.cluster is (request.param == "cluster")
    yield queue
    await queue.close()


async def blocked(probe: Queue) -> int:
    """How many calls the server lets wait."""
    infos = await probe.client.execute_command("INFO", "clients", **({"target_nodes": "primaries"} if probe.cluster else {}))
    found = infos.values() if probe.cluster else [infos]
    return sum(int(info["blocked_clients"]) for info in found)


@pytest.fixture
async def probe(queue: Queue) -> AsyncIterator[Queue]:
    """Another client of the same server, to look and to push with."""
    probe = await Queue.connect(queue.settings)
    yield probe
    await probe.close()


async def hold(queue: Queue, probe: Queue) -> list[asyncio.Task[Any]]:
    """Calls that hold every connection there may be until something is pushed for each."""
    calls = [asyncio.create_task(queue.client.blpop([KEY], timeout=60)) for _ in range(FEW)]

    async def all_held() -> bool:
        return await blocked(probe) == FEW

    await until("every connection is held", all_held)
    return calls


async def release(probe: Queue, calls: list[asyncio.Task[Any]]) -> None:
    await probe.client.rpush(KEY, *["x"] * len(calls))
    await asyncio.gather(*calls)


async def test_a_burst_of_calls_of_every_kind_is_served(queue: Queue) -> None:
    [made] = await queue.submit([NewJob("noop", b"1")])
    for _ in range(2):  # with connections to be made, and with those there are
        calls: list[Any] = []
        for _ in range(50):
            calls += [queue.get(made.id), queue.list_live(LiveFilter(), None, 10), queue.finished([made.id]), queue.queues(), queue.ping()]
        await asyncio.gather(*calls)


async def test_who_is_cancelled_while_waiting_has_taken_nothing(queue: Queue, probe: Queue) -> None:
    holders = await hold(queue, probe)
    waiting = [asyncio.create_task(queue.client.exists(KEY)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # the first in the line, one within it, and the last
    waiting[2].cancel()
    waiting[4].cancel()
    await release(probe, holders)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in found] == [True, False, True, False, True]
    await release(probe, await hold(queue, probe))  # all the connections are there


async def test_who_is_cancelled_at_any_moment_loses_no_connection(queue: Queue, probe: Queue) -> None:
    for ticks in range(40):
        calls = [asyncio.create_task(queue.client.exists(KEY)) for _ in range(3 * FEW)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert set(found[1::2]) == {0}
    await release(probe, await hold(queue, probe))


async def test_the_wait_is_bounded(queue: Queue, probe: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    holders = await hold(queue, probe)
    with monkeypatch.context() as patch:
        patch.setattr(turns, "TURN_TIMEOUT", 0.2)
        with pytest.raises(QueueUnavailable, match=f"all {FEW} connections"):
            await queue.queues()
    await release(probe, holders)
    await queue.queues()
