"""The fault tests' look at what is left in Redis finds each kind of state of a job that has no end, and nothing when all have ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from faultkit.remains import half_done, idempotent_jobs

from dtq.config import Settings
from dtq.job import NewJob
from dtq.queue import Queue, keys

Plant = Callable[[Any], object]

PREFIX = keys.prefix("default")

PLANTS: dict[str, Plant] = {
    "still has 1 entries": lambda server: server.xadd(keys.lane("default", "n"), {"i": "x"}),
    "is the record of a job that nobody knows": lambda server: server.hset(f"{PREFIX}:job:x", "st", "queued"),
    "delayed still has 1 members": lambda server: server.zadd(keys.delayed("default"), {"x": 1}),
    "cancel still has 1 members": lambda server: server.hset(f"{PREFIX}:cancel", "x", "1"),
    "outbox still has 1 members": lambda server: server.xadd(keys.outbox("default"), {"r": "[]"}),
    "holds a job": lambda server: server.rpush(keys.box("default", "w"), "x"),
}


async def ended(redis_url: str) -> str:
    """A job with an idempotency key is submitted, and cancelled; its row has been stored."""
    queue = await Queue.connect(Settings(redisaddr=redis_url))
    try:
        [job] = await queue.submit([NewJob("noop", b"{}", idempotency_key="key", digest="d")])
        assert await queue.cancel(job.id) == "cancelled"
        await queue.client.delete(keys.outbox("default"))
        return job.id
    finally:
        await queue.close()


async def test_nothing_is_found_when_all_have_ended(redis_url: str) -> None:
    job = await ended(redis_url)
    assert half_done(redis_url) == []
    assert idempotent_jobs(redis_url) == {"key": job}


@pytest.mark.parametrize("found", PLANTS)
async def test_what_is_left_of_a_job_is_found(redis_url: str, found: str) -> None:
    await ended(redis_url)
    with redis.Redis.from_url(redis_url) as server:
        PLANTS[found](server)
    [line] = half_done(redis_url)
    assert found in line


async def test_a_claim_whose_entry_has_gone_is_found(redis_url: str) -> None:
    await ended(redis_url)
    lane = keys.lane("default", "n")
    with redis.Redis.from_url(redis_url) as server:
        server.xgroup_create(lane, "other", mkstream=True)
        entry = server.xadd(lane, {"i": "x"})
        server.xreadgroup("other", "w", {lane: ">"})
        server.xdel(lane, entry)
    [line] = half_done(redis_url)
    assert "has 1 pending entries, and no job runs" in line
