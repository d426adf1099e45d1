"""What the scheduler's gauges ask of the server itself: its memory, and the age of results that wait in an outbox."""

from __future__ import annotations

import pytest
import redis
import redis.asyncio

from dtq.config import load_settings
from dtq.embedded import ValkeyServer
from dtq.queue import Queue, keys
from dtq_scheduler.servers import memory, outbox_age_seconds

servers = pytest.mark.parametrize("backend", ["valkey", "cluster"], indirect=True)


@servers
async def test_memory_is_that_of_each_primary(queue: Queue) -> None:
    found = await memory(queue.client)
    assert len({server.node for server in found}) == (3 if queue.cluster else 1)
    assert all(server.used > 100_000 and server.limit == 0 for server in found)


async def test_the_limit_is_maxmemory(valkey_server: ValkeyServer, redis_url: str) -> None:
    queue = await Queue.connect(load_settings(redisaddr=redis_url))
    await queue.client.config_set("maxmemory", 64_000_000)
    try:
        (found,) = await memory(queue.client)
    finally:
        await queue.client.config_set("maxmemory", 0)
        await queue.close()
    assert found.limit == 64_000_000
    assert found.node == f"127.0.0.1:{valkey_server.port}"


async def test_a_user_who_may_not_ask_for_memory_gets_none(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command("ACL", "SETUSER", "narrow", "on", ">secret", "~*", "+@all", "-info")
        client = redis.asyncio.Redis.from_url(redis_url.replace("redis://", "redis://narrow:secret@"))
        try:
            assert await memory(client) == []
        finally:
            await client.aclose()
            admin.execute_command("ACL", "DELUSER", "narrow")


@servers
async def test_the_outbox_is_as_old_as_its_oldest_entry(raw_queue: Queue) -> None:
    seconds, _ = await raw_queue.client.time()
    assert await outbox_age_seconds(raw_queue.client, "default") == 0.0
    for age in (90, 30):
        await raw_queue.client.xadd(keys.outbox("default"), {"r": "x" * 100_000}, id=f"{(seconds - age) * 1000}-0")
    assert 90 <= await outbox_age_seconds(raw_queue.client, "default") < 120
