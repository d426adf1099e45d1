"""What the queue does when its server stood still or is full, and when there is more than usual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dtq.errors import QueueUnavailable
from dtq.job import NewJob, State
from dtq.queue import FireTick, Queue, keys
from dtq.queue.claims import Claims, Finish
from dtq.queue.connection import call, connect, translated

MakeWorker = Callable[..., Claims]
MakeEnd = Callable[..., Finish]

EXPIRED = -1  # ms: a lease that has run out as soon as it is taken
GAP = 60.0  # seconds


async def submit(queue: Queue, count: int = 1) -> list[str]:
    return [done.id for done in await queue.submit([NewJob("noop", b"{}")] * count)]


async def test_after_a_standstill_live_workers_renew_before_their_jobs_are_taken(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue)
    await worker("a", EXPIRED).claim("default", 1)
    assert (await queue.reclaim("default", gap_s=GAP)).requeued == 0  # nobody has asked before: a standstill for all we know
    assert (await worker("a").renew("default")).held
    await queue.client.set(f"{keys.prefix('default')}:reclaim", f"{await now_ms(queue)} 0", px=10_000)  # the grace is over
    assert (await queue.reclaim("default", gap_s=GAP)).requeued == 0
    assert (await queue.stats(["default"]))[0].running == 1


async def test_once_the_grace_is_over_dead_workers_jobs_are_taken(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue)
    await worker("a", EXPIRED).claim("default", 1)
    await queue.client.set(f"{keys.prefix('default')}:reclaim", f"{await now_ms(queue)} 0", px=10_000)
    assert (await queue.reclaim("default", gap_s=GAP)).requeued == 1


async def now_ms(queue: Queue) -> int:
    if queue.cluster:
        [(seconds, micros)] = (await queue.client.time(target_nodes="random"),)
    else:
        seconds, micros = await queue.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def test_jobs_end_although_the_server_is_full(backend: str, queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    if backend in ("fakeredis", "cluster"):
        pytest.skip("fakeredis knows no maxmemory; a cluster's nodes are each a server as the others here")
    ids = await submit(queue, 3)
    claims = worker("a")
    jobs = (await claims.claim("default", 3)).jobs
    await queue.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable):
            await submit(queue)
        assert (await claims.renew("default")).held
        assert await queue.cancel(ids[2]) == State.RUNNING
        done = await claims.finish("default", [end(jobs[0], "succeeded"), end(jobs[1], "retry")])
        assert (done.stale, done.cancelled) == (set(), set())
    finally:
        await queue.client.config_set("maxmemory", 0)
    views = await queue.get_many(ids)
    assert [view.state if view else None for view in views] == ["succeeded", "retrying", "running"]
    await claims.finish("default", [end(jobs[2], "succeeded")])
    await queue.cancel(ids[1])


async def test_a_server_that_refuses_writes_is_away_for_keyed_submissions_too(backend: str, queue: Queue) -> None:
    """They begin with a pipeline, in which the driver words errors in its own way."""
    if backend in ("fakeredis", "cluster"):
        pytest.skip("fakeredis knows no such setting; a cluster's nodes are each a server as the others here")
    await submit(queue)
    await queue.client.config_set("min-replicas-to-write", 1)
    try:
        for key in (None, "order-4711"):
            with pytest.raises(QueueUnavailable, match="does not serve: NOREPLICAS"):
                await queue.submit([NewJob("noop", b"{}", idempotency_key=key)])
    finally:
        await queue.client.config_set("min-replicas-to-write", 0)


async def test_a_server_that_ends_a_blocking_read_is_away(backend: str, queue: Queue) -> None:
    """As a primary does that becomes a replica: to who reads from it this is a failover, no fault of its own."""
    if backend in ("fakeredis", "cluster"):
        pytest.skip("fakeredis ends no read; a cluster's nodes are each a server as the others here")
    client = await connect(queue.settings.redis_url, cluster=False, blocking=True)

    async def read() -> None:
        with translated():
            await call(client, "BLPOP", f"{keys.prefix('default')}:nothing", 60)

    async def blocked() -> list[str]:
        return [one["id"] for one in await queue.client.client_list() if one["cmd"] == "blpop"]

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(30):
            while not (found := await blocked()):  # noqa: ASYNC110 - the server tells nobody that a client blocks
                await asyncio.sleep(0.01)
            await queue.client.execute_command("CLIENT", "UNBLOCK", found[0], "ERROR")
            with pytest.raises(QueueUnavailable, match="does not serve: UNBLOCKED"):
                await reading
    finally:
        reading.cancel()
        await client.aclose()


async def test_a_tick_fires_beside_thousands_of_live_runs(queue: Queue) -> None:
    tick = FireTick("uid", "busy", 60_000, "Allow", NewJob("noop", b"{}"))
    runs = f"{keys.prefix('default')}:runs:uid"
    await queue.fire(tick)
    pipe = queue.client.pipeline(transaction=False)
    for number in range(8_100):
        pipe.hset(keys.record("default", f"{number:011x}00000d-default"), "st", "scheduled")
        pipe.hset(runs, f"{number:011x}00000d-default", 1)
    await pipe.execute()
    fired = await queue.fire(FireTick("uid", "busy", 120_000, "Allow", NewJob("noop", b"{}")))
    assert (fired.outcome, len(fired.active)) == ("started", 8_102)
    await queue.client.delete(*[keys.record("default", f"{number:011x}00000d-default") for number in range(8_100)])


async def test_progress_is_shown_only_while_the_job_runs(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    [job_id] = await submit(queue)
    claims = worker("a")
    [job] = (await claims.claim("default", 1)).jobs
    await queue.client.set(keys.progress("default", job_id), b'{"fraction":0.5,"message":""}', px=10_000)
    running = await queue.get(job_id)
    await claims.finish("default", [end(job, "retry")])
    waiting = await queue.get(job_id)
    assert running is not None
    assert waiting is not None
    assert (running.progress, waiting.progress) == ({"fraction": 0.5, "message": ""}, None)
    await queue.cancel(job_id)
